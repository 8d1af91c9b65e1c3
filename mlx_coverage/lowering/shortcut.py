"""The public pipeline in a fraction of its time: only what a pass changes is computed anew.

torch traces a whole program anew, twice, for each decomposition table, and ExecuTorch interprets
it about eight times more on the way to its edge dialect. Here torch's own modes run at the calls
that a table or a write concerns, in place, and passes that follow each other share one walk.

This is the one room that reaches into private names. `pipeline` imports it, lazily, and takes
the public way instead whenever something in it is not as expected.
"""

import operator
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from inspect import unwrap
from itertools import groupby, takewhile
from types import SimpleNamespace
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from executorch.exir.pass_base import ExportPass, NodeMetadata, ProxyValue
from executorch.exir.passes import MemoryFormatOpsPass, OpReplacePass, dead_code_elimination_pass
from executorch.exir.passes.convert_constant_dim_order_pass import convert_constant_dim_order_pass
from executorch.exir.passes.remove_graph_asserts_pass import RemoveNonCoreAtenOpGraphAssertsPass
from executorch.exir.passes.remove_unused_parameters_pass import remove_unused_parameters_pass
from executorch.exir.passes.scalar_to_tensor_pass import ScalarToTensorPass
from executorch.exir.program._program import (
    _get_aten_to_edge_passes,
    _get_updated_graph_signature,
    lift_constant_tensor_pass,
)
from executorch.exir.verification.arg_validator import EdgeOpArgValidator
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch._decomp import _should_decompose_because_unsafe_op
from torch._dispatch.python import enable_python_dispatcher
from torch._export.passes.replace_view_ops_with_view_copy_ops_pass import (
    _NON_FUNCTIONAL_OPS_TO_FUNCTIONAL_OPS,
    get_view_copy_of_view_op,
)
from torch._export.utils import (
    _compiling_state_context,
    _detect_fake_mode_from_gm,
    _is_cia_op,
    _is_preservable_cia_op,
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
    _override_composite_implicit_decomp,
    _remove_unnecessary_copy_op_pass,
)
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, GraphModule, Interpreter, Node, Proxy
from torch.fx.experimental import proxy_tensor
from torch.fx.experimental.proxy_tensor import (
    ProxyTorchDispatchMode,
    PythonKeyTracer,
    decompose,
    fetch_sym_proxy,
    py_sym_types,
    snapshot_fake,
    track_tensor_tree,
)
from torch.fx.experimental.symbolic_shapes import rebind_unbacked
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from mlx_coverage.lowering.graphs import agree, isolate

Table = Mapping[Any, Callable[..., Any]]
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
}


class UnexpectedProgramError(Exception):
    """The program holds what only the public pipeline takes."""


def run_decompositions(program: ExportedProgram, table: Table) -> ExportedProgram:
    """`program.run_decompositions(table)`.

    Args:
        program: left as it is.
        table: overload to decomposition, of composite ops too; an empty one functionalises.

    Raises:
        UnexpectedProgramError: it takes torch's own way.
    """
    mode = _detect_fake_mode_from_gm(program.graph_module)
    signature = program.graph_signature
    # torch writes a mutated input once more each time.
    if not isinstance(mode, FakeTensorMode) or signature.user_inputs_to_mutate:
        raise UnexpectedProgramError("no fake tensors, or an input that is written to")
    program = isolate(program, program.graph)
    graph = program.graph
    _inline_regions(program.graph_module)
    for node in graph.nodes:
        if not _is_known(node):
            raise UnexpectedProgramError(str(node.target))
    present = {node.target for node in graph.nodes if isinstance(node.target, OpOverload)}
    # torch patches each of half a thousand composite ops, for two dozen dispatch keys.
    composite = {
        op: table.get(op, _special_op_to_preserve_cia) for op in present if _is_composite(op)
    }
    functional = {op: run for op, run in table.items() if not _is_composite(op)}
    retracer = _Retracer(graph, mode.shape_env, composite, functional)
    with (
        retracer.overriding,
        torch.no_grad(),
        _ignore_backend_decomps(),
        _compiling_state_context(),
        tracing(TracingContext(mode)),
        mode,
        enable_python_dispatcher(),
        ProxyTorchDispatchMode(retracer.tracer, "real"),
        decompose(functional),
    ):
        mutated = retracer.run()
    if list(retracer.tracer.root.named_buffers()) or vars(retracer.tracer.root).keys() - _BARE:
        raise UnexpectedProgramError("a decomposition made a constant")
    _sign(program, mutated)
    graph.eliminate_dead_code()
    # It also merges equal symbolic sizes.
    apply_runtime_assertion_pass(program.graph_module, SimpleNamespace())
    return program


_INHERITED = frozenset({"stack_trace", "nn_module_stack", "custom"})
_is_composite = cache(_is_preservable_cia_op)
_BARE = vars(torch.nn.Module()).keys()


def _is_known(node: Node) -> bool:
    values = pytree.tree_leaves(node.meta.get("val"))
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, filter(torch.is_tensor, values))):
        return False  # what a transform of torch.func was tracing
    if node.op == "placeholder":
        value = node.meta.get("val")
        return type(value) is FakeTensor or isinstance(value, (int, float, bool, *py_sym_types))
    called = node.op == "call_function" and not isinstance(node.target, HigherOrderOperator)
    return called or node.op == "output"


def _inline_regions(module: GraphModule) -> None:
    """Put the bodies of `no_grad` and of disabled autocast in place of their calls."""
    graph = module.graph
    found = True
    while found:
        found = False
        for node in list(graph.nodes):
            # The arguments of autocast: device, dtype, whether it is enabled.
            if node.target is not _GRAD_REGION and (
                node.target is not _AUTOCAST_REGION or node.args[2] is not False
            ):
                continue
            found = True
            index = next(i for i, arg in enumerate(node.args) if isinstance(arg, Node))
            region, operands = node.args[index], node.args[index + 1 :]
            body = getattr(module, region.target)
            for name, inner in body.named_children():
                module.add_module(name := f"{region.target}_{name}", inner)
            inputs = body.graph.find_nodes(op="placeholder")
            copies = dict(zip(inputs, operands, strict=True))
            with graph.inserting_before(node):
                results: Any = graph.graph_copy(body.graph, copies)
            for inner in body.graph.find_nodes(op="get_attr"):
                copies[inner].target = f"{region.target}_{inner.target}"
            for user in list(node.users):
                user.replace_all_uses_with(results[user.args[1]])
                graph.erase_node(user)
            graph.erase_node(node)
            if not region.users:
                graph.erase_node(region)


class _Retracer:
    """One walk over a program's graph, which it changes.

    Attributes:
        overriding: to be open meanwhile; composite ops are decomposed as the table says from
            the first call on that is traced.
        tracer: writes the calls that torch makes instead into the graph.
    """

    def __init__(self, graph: Graph, shapes: Any, composite: Table, functional: Table) -> None:
        self.overriding = ExitStack()
        self.tracer = PythonKeyTracer()
        self.tracer.graph = graph
        self.tracer.root = torch.nn.Module()
        self._graph = graph
        self._shapes = shapes
        self._composite = composite
        self._functional = functional
        self._is_overriding = False
        self._mode = FunctionalTensorMode(export=True, _allow_token_discovery=True)
        self._values: dict[Node, Any] = {}
        self._tainted = _find_tainted(graph)
        # What is traced anew, and what others differ by.
        self._touched = set(self._tainted)
        self._inert: dict[Any, bool] = {}

    def run(self) -> list[tuple[Node, Node]]:
        """Retrace; returns the placeholders that are written to, and their new values."""
        placeholders = self._graph.find_nodes(op="placeholder")
        for node in placeholders:
            self._track(node)
        for node in placeholders:
            if node in self._tainted:
                self._values[node] = self._wrap(self._values[node])
        dead = [node for node in list(self._graph.nodes) if self._visit(node)]
        output = self._graph.output_node()
        output.args = torch.fx.node.map_arg(output.args, self._find_current)
        mutated = [
            (node, current)
            for node in placeholders
            if (current := self._find_current(node)) is not node
        ]
        results: Any = output.args[0]
        output.args = ((*(value for _, value in mutated), *results),)
        for node in reversed(dead):
            self._graph.erase_node(node)
        return mutated

    def _visit(self, node: Node) -> bool:
        """Trace the call, unless it may stay; whether others stand for it now."""
        if node.op != "call_function" or self._may_stay(node):
            return False
        self._touched.add(node)
        last = node.prev
        with self._graph.inserting_before(node), torch._C.DisableTorchFunction():
            value = self._call(node)
            self._values[node] = value
            if node not in self._tainted:
                self._replace(node, value)
        origin: Any = {key: node.meta[key] for key in _INHERITED & node.meta.keys()}
        made = node.prev
        while made is not last:
            made.meta.update(origin)
            made = made.prev
        return True

    def _may_stay(self, node: Node) -> bool:
        return (
            (not isinstance(node.target, OpOverload) or self._is_inert(node.target))
            and "val" in node.meta
            and self._touched.isdisjoint((node, *node.all_input_nodes))
        )

    def _is_inert(self, op: OpOverload) -> bool:
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

    def _call(self, node: Node) -> Any:
        target: Any = node.target
        if target is operator.getitem:
            return self._read(node.args[0])[node.args[1]]
        if target in _MEASURES:
            source, *rest = self._read(node.args)
            return _MEASURES[target](_unwrap(source), *rest)
        if not isinstance(target, OpOverload):
            return target(*self._read(node.args))
        # What is traced anew for its sizes alone is patched only where it would fall apart.
        if not self._is_overriding and (target in self._composite or not self._is_inert(target)):
            self._is_overriding = True
            self.overriding.enter_context(_override_composite_implicit_decomp(self._composite))
        with self._mode:
            args, kwargs = pytree.tree_map_only(
                torch.Tensor, self._wrap, self._read((node.args, dict(node.kwargs)))
            )
            result = target(*args, **kwargs)
        rebind_unbacked(self._shapes, node, pytree.tree_map(_unwrap, result))
        return result if node in self._tainted else pytree.tree_map(_unwrap, result)

    def _replace(self, node: Node, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            return  # each reader takes one of the results, and is visited for it
        known = node.meta.get("val")
        new = self._find_node(value)
        if isinstance(new, Node):
            self._values.setdefault(new, value)
            if not agree(value, known):
                self._touched.add(new)
        for user in list(node.users):
            user.args, user.kwargs = torch.fx.node.map_arg(
                (user.args, user.kwargs), lambda n: new if n is node else n
            )

    def _find_current(self, node: Node) -> Any:
        return self._find_node(_unwrap(self._values[node])) if node in self._tainted else node

    def _find_node(self, value: Any) -> Any:
        """The node that computes a value, or a number that it always is."""
        if isinstance(value, torch.Tensor):
            return self.tracer.tensor_tracker[value].proxy.node
        found = fetch_sym_proxy(self.tracer)(value) if isinstance(value, py_sym_types) else value
        return found.node if isinstance(found, Proxy) else found

    def _read(self, args: Any) -> Any:
        return torch.fx.node.map_aggregate(
            args, lambda arg: self._track(arg) if isinstance(arg, Node) else arg
        )

    def _track(self, node: Node) -> Any:
        if node not in self._values:
            value = pytree.tree_map_only(torch.Tensor, snapshot_fake, node.meta["val"])
            proxy = Proxy(node, self.tracer)
            if isinstance(value, (list, tuple)):
                parts = {user.args[1]: user for user in node.users}
                value = [self._track(parts[i]) if i in parts else v for i, v in enumerate(value)]
            else:
                track_tensor_tree(value, proxy, constant=None, tracer=self.tracer)
            self._values[node] = value
        return self._values[node]

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, FunctionalTensor):
            return value
        with self._mode:
            return FunctionalTensor.to_functional(value)


def _unwrap(value: Any) -> Any:
    if not isinstance(value, FunctionalTensor):
        return value
    _functionalize_sync(value)  # type: ignore[no-untyped-call]
    return torch._from_functional_tensor(value.elem)


def _find_tainted(graph: Graph) -> frozenset[Node]:
    """Nodes that may share memory with something that is written to."""
    group: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        while (above := group.get(node, node)) is not node:
            group[node] = group.get(above, above)
            node = above
        return node

    written: list[Node] = []
    nodes = [node for node in graph.nodes if node.op != "output"]
    for node in nodes:
        for source in _list_shared(node):
            group[find(source)] = find(node)
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            written += _list_aliased(node, write_only=True)
    roots = {find(node) for node in written}
    return frozenset(node for node in nodes if find(node) in roots) if roots else frozenset()


def _list_shared(node: Node) -> Iterable[Node]:
    op = node.target
    # Results of several share memory with all of them.
    if not isinstance(op, OpOverload) or _should_decompose_because_unsafe_op(op):
        return node.all_input_nodes
    shared = any(result.alias_info is not None for result in op._schema.returns)
    return _list_aliased(node, write_only=False) if shared else ()


def _list_aliased(node: Node, *, write_only: bool) -> list[Node]:
    found: list[Node] = []
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        alias = argument.alias_info
        if alias is None or (write_only and not alias.is_write):
            continue
        value = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        found += [n for n in pytree.tree_leaves(value) if isinstance(n, Node)]
    return found


def _sign(program: ExportedProgram, mutated: Sequence[tuple[Node, Node]]) -> None:
    """Write into the signature what the graph returns now."""
    signature = program.graph_signature
    inputs = {spec.arg.name: spec for spec in signature.input_specs}
    specs = [
        OutputSpec(_MUTATIONS[inputs[node.name].kind], TensorArgument(value.name),
                   inputs[node.name].target)
        for node, value in mutated
    ]  # fmt: skip
    results = program.graph.output_node().args[0][len(mutated) :]
    for spec, result in zip(signature.output_specs, results, strict=True):
        argument: Any = spec.arg
        if isinstance(result, Node):
            argument = replace(argument, name=result.name)
        elif not isinstance(argument, ConstantArgument):
            argument = ConstantArgument(name=argument.name, value=result)
        specs.append(replace(spec, arg=argument))
    signature = replace(signature, output_specs=specs)
    module = program.graph_module
    if any(spec.kind is not OutputKind.USER_OUTPUT for spec in specs):
        module, signature = _remove_unnecessary_copy_op_pass(module, signature)
    program._graph_signature = signature


def convert_to_edge(program: ExportedProgram, kept: Sequence[OpOverload]) -> ExportedProgram:
    """The edge program that `to_edge_transform_and_lower` hands to a partitioner.

    Args:
        program: decomposed; it is used up.
        kept: the ops that the partitioner asked to keep whole.

    Raises:
        UnexpectedProgramError: ExecuTorch may refuse it: it is to say why.
    """
    if program.graph_signature.user_inputs_to_mutate:
        raise UnexpectedProgramError("an input that is written to")
    program = remove_unused_parameters_pass(program)
    before = [unwrap(step) for step in _get_aten_to_edge_passes(EdgeCompileConfig())[0]]
    # What precedes them works in place, on sizes: it may as well precede the views.
    in_place = list(takewhile(lambda step: not _rewrites_calls(step), before))
    passes = [RemoveNonCoreAtenOpGraphAssertsPass(), *in_place, _ViewCopyPass()]
    passes += [*before[len(in_place) :], OpReplacePass(), MemoryFormatOpsPass()]
    module = program.graph_module
    program._graph_module = GraphModule({}, Graph())  # each pass frees what was before it
    for step in _fuse(passes):
        module = step(module).graph_module
    edge: ExportedProgram = ExportedProgram(
        root=module,
        graph=module.graph,
        graph_signature=_get_updated_graph_signature(program.graph_signature, module),
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=[_LENIENT],
    )
    # Both change the program that they are given, and return it.
    convert_constant_dim_order_pass(lift_constant_tensor_pass(edge))
    dead_code_elimination_pass(edge.graph_module)
    verifier = EXIREdgeDialectVerifier(preserve_ops=list(kept))
    for target in {node.target for node in edge.graph.nodes if node.op == "call_function"}:
        verifier.check_valid_op(target)
    validator = _Validator(edge.graph_module)
    validator.run(*(node.meta.get("val") for node in edge.graph.find_nodes(op="placeholder")))
    if validator.violating_ops:
        raise UnexpectedProgramError("operands of dtypes that ExecuTorch does not take")
    return edge


_LENIENT = EXIREdgeDialectVerifier(
    edge_compile_config=EdgeCompileConfig(_check_ir_validity=False), class_only=True
)


class _Recalled(Interpreter):
    """Takes the results of calls from their metadata."""

    node: Node

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """The example value of the call."""
        return self.node.meta.get("val")


class _Validator(EdgeOpArgValidator, _Recalled):
    """ExecuTorch's check of dtypes, computing nothing."""


class _SharedPass(ExportPass):
    """Computes results only of calls that differ from those of the graph."""

    class ExportInterpreter(ExportPass.ExportInterpreter):
        """Tells which node is at hand."""

        def run_node(self, n: Node) -> Any:
            """Run it, without ExecuTorch's note for debugging."""
            self.node = self.callback.node = n
            return Interpreter.run_node(self, n)

    node: Node

    def _fx(self, kind: str, target: Any, args: Any, kwargs: Any, meta: NodeMetadata) -> ProxyValue:
        known = self.node.meta.get("val")
        if kind != "call_function" or known is None:
            return super()._fx(kind, target, args, kwargs, meta)
        op = target._op if isinstance(target, EdgeOpOverload) else target
        given = (list(args), dict(kwargs))
        if op is not self.node.target or not _is_unchanged(
            given, (list(self.node.args), dict(self.node.kwargs))
        ):
            result = super()._fx(kind, target, args, kwargs, meta)
            if agree(result.data, known):
                # Readers need no computing then.
                result.data = result.node.meta["val"] = known
            return result
        args, kwargs = pytree.tree_map_only(ProxyValue, lambda value: value.proxy, (args, kwargs))
        name = None
        if isinstance(target, OpOverload):
            name = self.tracer.graph._target_to_str(target.overloadpacket.__name__)
        proxy = self.tracer.create_proxy(kind, target, args, kwargs, name=name)
        proxy.node.meta.update(meta.data)
        return ProxyValue(known, proxy)


class _ViewCopyPass(ExportPass):
    """torch's `ReplaceViewOpsWithViewCopyOpsPass`, on ExecuTorch's base class."""

    def call_operator(self, op: Any, args: Any, kwargs: Any, meta: NodeMetadata) -> ProxyValue:
        """The copying op for one that gives a view."""
        copying = _NON_FUNCTIONAL_OPS_TO_FUNCTIONAL_OPS.get(op) or (
            get_view_copy_of_view_op(op._schema) if isinstance(op, OpOverload) else None
        )
        return super().call_operator(copying or op, args, kwargs, meta)


def _fuse(passes: Sequence[Any]) -> Iterator[Any]:
    """Passes that follow each other and rewrite single calls, as one that inherits from all.

    Each calls the next by `super().call_operator`, as it called its base class before.
    """
    for single, group in groupby(passes, key=_rewrites_calls):
        if not single:
            yield from group
            continue
        types = dict.fromkeys(type(step) for step in group)
        yield type("_FusedPass", (*types, _SharedPass), {})()


def _rewrites_calls(step: Any) -> bool:
    # The one own `call` among them that only counts.
    return isinstance(step, ExportPass) and (
        type(step).call is ExportPass.call or isinstance(step, ScalarToTensorPass)
    )


def _is_unchanged(given: Any, original: Any) -> bool:
    if isinstance(original, Node):
        return isinstance(given, ProxyValue) and given.data is original.meta.get("val")
    if isinstance(original, (list, tuple)):
        return (
            isinstance(given, (list, tuple))
            and len(given) == len(original)
            and all(map(_is_unchanged, given, original))
        )
    if isinstance(original, dict):
        return given.keys() == original.keys() and all(
            _is_unchanged(given[key], original[key]) for key in original
        )
    return type(given) is type(original) and bool(given == original)


def recall_delegates(module: GraphModule) -> None:
    """Let delegates give the example results that they are known to give.

    `to_executorch` runs each of them twice, under fake tensors, from the code of its graph.
    """
    for node in module.graph.nodes:
        if node.target is executorch_call_delegate:
            held = getattr(module, node.args[0].target)
            held._original_exported_program = _Recalling(held.original_module, node.meta["val"])


class _Recalling:
    """An exported program that is not run."""

    def __init__(self, program: ExportedProgram, results: Any) -> None:
        self._program = program
        self._results = results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def module(self) -> Callable[..., Any]:
        """Gives the results, whatever the operands."""
        return lambda *operands: self._results


_recompile = GraphModule.recompile
_scope = threading.local()
_lock = threading.Lock()
_scopes = 0


@contextmanager
def defer_code() -> Iterator[None]:
    """Graph modules that this thread makes or changes meanwhile get their code when called.

    fx prints and compiles a function for every graph, anew after every pass: a second and
    200 MB at 40,000 nodes, for code that nobody calls.
    """
    global _scopes
    with _lock:
        _scopes += 1
        GraphModule.recompile = _defer  # type: ignore[method-assign, assignment]
    _scope.depth = getattr(_scope, "depth", 0) + 1
    try:
        yield
    finally:
        _scope.depth -= 1
        with _lock:
            _scopes -= 1
            if not _scopes:
                GraphModule.recompile = _recompile  # type: ignore[method-assign]


def _defer(module: GraphModule) -> Any:
    if not getattr(_scope, "depth", 0):
        return _recompile(module)  # of another thread
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):  # read without a call
        module._in_spec = codegen.pytree_info.in_spec
        module._out_spec = codegen.pytree_info.out_spec
    module._code = "# generated at the first call"  # ExecuTorch prints graphs into its log
    # Each graph module has a class of its own, as fx has it.
    type(module).forward = _generate_and_call
    return None


def _generate_and_call(module: GraphModule, *args: Any, **kwargs: Any) -> Any:
    _recompile(module)
    return module(*args, **kwargs)


def forget_traces() -> None:
    """Free the graph that `torch.export` traced before the one that it returned.

    torch remembers its nodes until the next trace, to name fake tensors that leaked.
    """
    proxy_tensor._FAKE_TENSOR_ID_TO_PROXY_MAP_FOR_EXPORT.clear()
