"""What `ExportedProgram.run_decompositions` does, executed at the nodes that it changes alone.

torch traces the whole program anew, twice, for each decomposition table. Here a node that
no decomposition or functionalisation concerns is carried over with the metadata that it
has; every other one goes through torch's own modes, in the order that torch stacks them.
Programs with parts that this cannot carry over take torch's way.
"""

import copy
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import torch
from torch._decomp import _should_decompose_because_unsafe_op
from torch._dispatch.python import enable_python_dispatcher
from torch._export.utils import (
    _compiling_state_context,
    _detect_fake_mode_from_gm,
    _is_cia_op,
    _special_op_to_preserve_cia,
    apply_runtime_assertion_pass,
)
from torch._guards import TracingContext, tracing
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode
from torch._utils import _functionalize_sync
from torch.export import ExportedProgram
from torch.export._trace import _ignore_backend_decomps
from torch.export.exported_program import (
    _remove_unnecessary_copy_op_pass,
)
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymBoolArgument,
    SymFloatArgument,
    SymIntArgument,
    TensorArgument,
)
from torch.fx import Graph, GraphModule, Node
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import (
    fetch_sym_proxy,
    get_proxy_mode,
    make_fx,
    py_sym_types,
    snapshot_fake,
    track_tensor_tree,
)
from torch.fx.experimental.symbolic_shapes import rebind_unbacked
from torch.utils import _pytree as pytree

from mlx_coverage.lowering.composites import Table, override_composites, split_table
from mlx_coverage.lowering.metadata import forget_erased, share_origin

_aten = torch.ops.aten
_GRAD_REGION = torch.ops.higher_order.wrap_with_set_grad_enabled
_AUTOCAST_REGION = torch.ops.higher_order.wrap_with_autocast
# Functionalisation gives these another meaning than their schema does.
_SPECIAL = frozenset(
    {
        *(_aten.lift.default, _aten.lift_fresh.default, _aten.lift_fresh_copy.default),
        _aten.detach.default,
    }
)
_MEASURES: dict[Any, Callable[..., Any]] = {
    _aten.sym_size.int: lambda tensor, dim: tensor.shape[dim],
    _aten.sym_stride.int: lambda tensor, dim: tensor.stride()[dim],
    _aten.sym_numel.default: lambda tensor: tensor.numel(),
    _aten.sym_storage_offset.default: lambda tensor: tensor.storage_offset(),
}
_MUTATIONS = {
    InputKind.BUFFER: OutputKind.BUFFER_MUTATION,
    InputKind.PARAMETER: OutputKind.PARAMETER_MUTATION,
    InputKind.USER_INPUT: OutputKind.USER_INPUT_MUTATION,
}
_ARGUMENTS = (
    (torch.Tensor, TensorArgument),
    (torch.SymInt, SymIntArgument),
    (torch.SymFloat, SymFloatArgument),
    (torch.SymBool, SymBoolArgument),
)


def run_decompositions(program: ExportedProgram, table: Table) -> ExportedProgram:
    """`program.run_decompositions(table)`, in a fraction of the time.

    Args:
        program: left as it is.
        table: overload to decomposition, of composite ops too; an empty one functionalises.
    """
    mode = _detect_fake_mode_from_gm(program.graph_module)
    if not isinstance(mode, FakeTensorMode) or not _can_carry_over(program):
        decomposed: ExportedProgram = program.run_decompositions(dict(table))
        return decomposed
    composite, functional = split_table(table)
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    retracer = _Retracer(program, mode.shape_env, composite, functional)
    with (
        retracer.overriding,
        torch.no_grad(),
        _ignore_backend_decomps(),
        _compiling_state_context(),
        tracing(TracingContext(mode)),
        mode,
        enable_python_dispatcher(),
        fx_traceback.preserve_node_meta(),
    ):
        values = [_detach(node.meta["val"]) for node in placeholders]
        traced = make_fx(retracer.run, decomposition_table=dict(functional))(*values)
        traced.graph.eliminate_dead_code()
        forget_erased(traced.graph)
        # It also merges equal symbolic sizes.
        apply_runtime_assertion_pass(traced, SimpleNamespace())
    return _rebuild(program, traced, retracer.mutated)


def _can_carry_over(program: ExportedProgram) -> bool:
    signature = program.graph_signature
    # torch writes a mutated input once more each time.
    if signature.backward_signature is not None or signature.user_inputs_to_mutate:
        return False
    return all(
        _is_known(node, module)
        for module in program.graph_module.modules()
        if isinstance(module, GraphModule)
        for node in module.graph.nodes
    )


def _is_known(node: Node, module: GraphModule) -> bool:
    values = pytree.tree_leaves(node.meta.get("val"))
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, filter(torch.is_tensor, values))):
        return False  # what a transform of torch.func was tracing
    if node.op == "placeholder":
        value = node.meta.get("val")
        return type(value) is FakeTensor or isinstance(value, (int, float, bool, *py_sym_types))
    if node.op == "get_attr":
        return isinstance(getattr(module, str(node.target), None), GraphModule)
    if node.op == "call_function" and isinstance(node.target, HigherOrderOperator):
        # The arguments of autocast: device, dtype, whether it is enabled.
        return node.target is _GRAD_REGION or (
            node.target is _AUTOCAST_REGION and node.args[2] is False
        )
    return node.op in ("call_function", "output")


class _Retracer:
    """One walk over a program's graph, below `make_fx`.

    Attributes:
        mutated: the inputs that the program writes to, once it has run.
        overriding: to be open meanwhile; composite ops are decomposed as the table says from
            the first call on that is not carried over.
    """

    def __init__(
        self, program: ExportedProgram, shapes: Any, composite: Table, functional: Table
    ) -> None:
        self.mutated: list[InputSpec] = []
        self._shapes = shapes
        self._program = program
        self._graph = program.graph_module.graph
        self._composite = composite
        self._functional = functional
        self.overriding = ExitStack()
        self._is_overriding = False
        self._mode = FunctionalTensorMode(export=True, _allow_token_discovery=True)
        self._values: dict[Node, Any] = {}
        self._last_uses = _find_last_uses(program.graph_module)
        self._changed: set[Node] = set()
        self._tainted = _find_tainted(program.graph_module)
        self._inert: dict[Any, bool] = {}
        self._sizes: dict[Any, Any] = {}
        self._tracer: Any = None

    def run(self, *values: Any) -> tuple[Any, ...]:
        """The outputs, mutated inputs first, as torch orders them."""
        self._tracer = get_proxy_mode().tracer  # type: ignore[union-attr]
        placeholders = [node for node in self._graph.nodes if node.op == "placeholder"]
        for node, value in zip(placeholders, values, strict=True):
            self._note_sizes(value)
            self._values[node] = self._wrap(value) if node in self._tainted else value
        outputs = self._run_graph(self._program.graph_module)
        updated = []
        specs = self._program.graph_signature.input_specs
        for node, value, spec in zip(placeholders, values, specs, strict=True):
            if node in self._tainted:
                current = _unwrap(self._values[node])
                if current is not value:
                    self.mutated.append(spec)
                    updated.append(current)
        return (*updated, *outputs)

    def _run_graph(self, module: GraphModule) -> Any:
        for node in module.graph.nodes:
            if node.op == "output":
                return pytree.tree_map(_unwrap, self._map(node.args[0]))
            if node.op != "placeholder":
                last = next(reversed(self._tracer.graph.nodes), None)
                with fx_traceback.set_current_meta(node):
                    self._values[node] = self._run_node(node, module)
                self._share_origin(node, last)
                for read in self._last_uses.get(node, ()):
                    del self._values[read]
        return None

    def _share_origin(self, node: Node, last: Node | None) -> None:
        # At once, or for a time all the copies would be there.
        for made in reversed(self._tracer.graph.nodes):
            if made is last:
                return
            share_origin(made, node)

    def _run_node(self, node: Node, module: GraphModule) -> Any:
        if node.op == "get_attr":
            return getattr(module, str(node.target))
        if node.target in (_GRAD_REGION, _AUTOCAST_REGION):
            return self._inline(node)
        if node.target is operator.getitem:
            source, index = node.args
            return self._note_change(node, self._values[source][index])  # type: ignore[index]
        if node.target in _MEASURES:
            return self._note_change(node, self._measure(node))
        if not isinstance(node.target, OpOverload):
            return self._note_change(node, node.target(*self._map(node.args)))  # type: ignore[operator]
        with torch._C.DisableTorchFunction():  # make_fx notes every access to a tensor's shape
            if self._is_carried_over(node):
                return self._carry_over(node)
        return self._note_change(node, self._dispatch(node))

    def _measure(self, node: Node) -> Any:
        source, *rest = self._map(node.args)
        result = _MEASURES[node.target](_unwrap(source), *rest)
        self._find_proxy(result)  # its node belongs here, not at the first use
        return result

    def _inline(self, node: Node) -> Any:
        regions = [i for i, arg in enumerate(node.args) if isinstance(arg, Node)]
        body = self._values[node.args[regions[0]]]  # type: ignore[index]
        operands = node.args[regions[0] + 1 :]
        inputs = [n for n in body.graph.nodes if n.op == "placeholder"]
        for inner, operand in zip(inputs, operands, strict=True):
            value = self._map(operand)
            tainted = inner in self._tainted and isinstance(value, torch.Tensor)
            self._values[inner] = self._wrap(value) if tainted else value
            if operand in self._changed:
                self._changed.add(inner)
        return self._run_graph(body)

    def _is_carried_over(self, node: Node) -> bool:
        inputs = node.all_input_nodes
        return (
            self._is_inert(node.target)
            and "val" in node.meta
            and node not in self._tainted
            and not any(n in self._changed or n in self._tainted for n in inputs)
            # A new size is computed by arithmetic, which torch has to see.
            and all(s.node.expr in self._sizes for s in _list_symbols(node.meta["val"]))
        )

    def _is_inert(self, op: Any) -> bool:
        if op not in self._inert:
            composite = self._composite.get(op)
            decomposed = (
                composite is not _special_op_to_preserve_cia
                if composite is not None
                else op in self._functional or _is_cia_op(op)
            )
            self._inert[op] = not (
                decomposed
                or op._schema.is_mutable
                or op in _SPECIAL
                or _should_decompose_because_unsafe_op(op)
            )
        return self._inert[op]

    def _carry_over(self, node: Node) -> Any:
        op: Any = node.target
        value = pytree.tree_map_only(torch.Tensor, snapshot_fake, node.meta["val"])
        args, kwargs = self._map((node.args, dict(node.kwargs)), self._find_proxy)
        trackers = self._tracer.symnode_tracker
        for size in _list_symbols(value):
            known = self._sizes[size.node.expr]
            if size not in trackers and known in trackers:
                trackers[size] = trackers[known]
        name = self._tracer.graph._target_to_str(op.overloadpacket.__name__)
        proxy = self._tracer.create_proxy("call_function", op, args, kwargs, name=name)
        return track_tensor_tree(value, proxy, constant=None, tracer=self._tracer)

    def _dispatch(self, node: Node) -> Any:
        # What is computed anew for its sizes alone is patched only where it would fall apart.
        op = node.target
        if not self._is_overriding and (op in self._composite or not self._is_inert(op)):
            self._is_overriding = True
            self.overriding.enter_context(override_composites(self._composite))
        with self._mode:
            args, kwargs = self._map((node.args, dict(node.kwargs)))
            args, kwargs = pytree.tree_map_only(torch.Tensor, self._wrap, (args, kwargs))
            result = node.target(*args, **kwargs)  # type: ignore[operator]
        rebind_unbacked(self._shapes, node, result)
        if node in self._tainted:
            return result
        return pytree.tree_map(_unwrap, result)

    def _note_change(self, node: Node, value: Any) -> Any:
        with torch._C.DisableTorchFunction():
            if not agree(value, node.meta.get("val")):
                self._changed.add(node)
            self._note_sizes(value)
        return value

    def _note_sizes(self, value: Any) -> None:
        for size in _list_symbols(value):
            self._sizes.setdefault(size.node.expr, size)

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, FunctionalTensor):
            return value
        with self._mode:
            return FunctionalTensor.to_functional(value)

    def _find_proxy(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tracer.tensor_tracker[value].proxy
        if isinstance(value, py_sym_types):
            return fetch_sym_proxy(self._tracer)(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._find_proxy(item) for item in value)
        return value

    def _map(self, args: Any, function: Callable[[Any], Any] | None = None) -> Any:
        def replace(arg: Any) -> Any:
            if not isinstance(arg, Node):
                return arg
            value = self._values[arg]
            return value if function is None else function(value)

        return torch.fx.node.map_aggregate(args, replace)


def _unwrap(value: Any) -> Any:
    if not isinstance(value, FunctionalTensor):
        return value
    _functionalize_sync(value)  # type: ignore[no-untyped-call]
    return torch._from_functional_tensor(value.elem)


def _detach(value: Any) -> Any:
    return snapshot_fake(value) if isinstance(value, torch.Tensor) else value


def agree(found: Any, expected: Any) -> bool:
    if isinstance(found, torch.Tensor):
        if not isinstance(expected, torch.Tensor):
            return False
        return _describe(found) == _describe(expected)
    if isinstance(found, (list, tuple)):
        return (
            isinstance(expected, (list, tuple))
            and len(found) == len(expected)
            and all(map(agree, found, expected))
        )
    return bool(express(found) == express(expected))


def _describe(tensor: torch.Tensor) -> tuple[Any, ...]:
    sizes = (*tensor.shape, *tensor.stride(), tensor.storage_offset())
    return tensor.dtype, tensor.device, tensor.dim(), *map(express, sizes)


def express(value: Any) -> Any:
    """What a size can be compared by: equality of symbolic sizes would be a guard."""
    return value.node.expr if isinstance(value, py_sym_types) else value


def _list_symbols(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _list_symbols(item)
    elif isinstance(value, torch.Tensor):
        yield from _list_symbols((*value.shape, *value.stride(), value.storage_offset()))
    elif isinstance(value, py_sym_types) and value.node.is_symbolic():
        yield value


def _find_last_uses(module: GraphModule) -> dict[Node, list[Node]]:
    """The nodes that each one is the last to read; inputs and what is returned are kept."""
    found: dict[Node, list[Node]] = {}
    outputs = (m.graph.output_node() for m in module.modules() if isinstance(m, GraphModule))
    seen = {source for output in outputs for source in output.all_input_nodes}
    for node in reversed(_list_nodes(module)):
        for source in node.all_input_nodes:
            if source not in seen and source.op == "call_function":
                found.setdefault(node, []).append(source)
            seen.add(source)
    return found


def _find_tainted(module: GraphModule) -> frozenset[Node]:
    """Nodes that may share memory with something that is written to."""
    group: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        while (above := group.get(node, node)) is not node:
            group[node] = group.get(above, above)
            node = above
        return node

    written: list[Node] = []
    nodes = _list_nodes(module)
    for node in nodes:
        for source in _list_shared(node):
            group[find(source)] = find(node)
        written += _list_written(node)
    roots = {find(node) for node in written}
    return frozenset(node for node in nodes if find(node) in roots) if roots else frozenset()


def _list_nodes(module: GraphModule) -> list[Node]:
    modules = [m for m in module.modules() if isinstance(m, GraphModule)]
    return [node for m in modules for node in m.graph.nodes if node.op != "output"]


def _list_shared(node: Node) -> Iterable[Node]:
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        # Regions and results of several: everything with everything.
        return node.all_input_nodes if node.op == "call_function" else ()
    op = node.target
    if _should_decompose_because_unsafe_op(op):
        return node.all_input_nodes
    schema = op._schema
    if not any(result.alias_info is not None for result in schema.returns):
        return ()
    return _list_aliased(node, write_only=False)


def _list_written(node: Node) -> Iterable[Node]:
    if node.op != "call_function" or not isinstance(node.target, OpOverload):
        return ()
    return _list_aliased(node, write_only=True) if node.target._schema.is_mutable else ()


def _list_aliased(node: Node, *, write_only: bool) -> list[Node]:
    found: list[Node] = []
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        alias = argument.alias_info
        if alias is None or (write_only and not alias.is_write):
            continue
        value = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        found += [n for n in pytree.tree_leaves(value) if isinstance(n, Node)]
    return found


def _rebuild(
    program: ExportedProgram, traced: GraphModule, mutated: list[InputSpec]
) -> ExportedProgram:
    _name_placeholders(program.graph, traced.graph)
    outputs = list(traced.graph.output_node().args[0])  # type: ignore[arg-type]
    specs = [
        OutputSpec(_MUTATIONS[spec.kind], _describe_output(output), spec.target or spec.arg.name)
        for spec, output in zip(mutated, outputs, strict=False)
    ]
    specs += [
        OutputSpec(spec.kind, _describe_output(output, spec.arg), spec.target)
        for spec, output in zip(
            program.graph_signature.output_specs, outputs[len(mutated) :], strict=True
        )
    ]
    signature = ExportGraphSignature(copy.copy(program.graph_signature.input_specs), specs)
    traced.meta.update(program.graph_module.meta)
    if any(spec.kind is not OutputKind.USER_OUTPUT for spec in specs):
        traced, signature = _remove_unnecessary_copy_op_pass(traced, signature)
    return ExportedProgram(
        root=traced,
        graph=traced.graph,
        graph_signature=signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
    )


def _describe_output(output: Any, previous: Any = None) -> Any:
    if not isinstance(output, Node):
        name = previous.name if previous is not None else ""
        return ConstantArgument(name=name, value=output)
    value = output.meta["val"]
    for kind, argument in _ARGUMENTS:
        if isinstance(value, kind):
            return argument(name=output.name)
    raise AssertionError(f"an output is a {type(value).__name__}")


def _name_placeholders(original: Graph, traced: Graph) -> None:
    """Give the inputs their names again, on which the signature goes."""
    wanted = [node for node in original.nodes if node.op == "placeholder"]
    names = {node.name for node in wanted}
    for node in traced.nodes:
        if node.op != "placeholder" and node.name in names:
            node._rename(f"{node.name}_1")
    placeholders = [node for node in traced.nodes if node.op == "placeholder"]
    for node, previous in zip(placeholders, wanted, strict=True):
        node.name = node.target = previous.name
        # make_fx notes none for a number that is the same in every call.
        node.meta = {**previous.meta, "val": node.meta.get("val", previous.meta["val"])}
