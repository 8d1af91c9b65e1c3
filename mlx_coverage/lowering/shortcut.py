"""The public pipeline in a fraction of its time: only what a pass changes is computed anew.

torch patches every composite op that it knows for each decomposition table, and ExecuTorch
interprets a program about eight times on the way to its edge dialect. Here the ops of the program
are patched, and passes that follow each other share one walk.

This is the one room that reaches into private names. `pipeline` imports it, lazily, and takes
the public way instead whenever something in it is not as expected.
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from torch._export.passes.replace_view_ops_with_view_copy_ops_pass import (
    _NON_FUNCTIONAL_OPS_TO_FUNCTIONAL_OPS,
    get_view_copy_of_view_op,
)
from torch._export.utils import (
    _is_cia_op,
    _is_preservable_cia_op,
    _special_op_to_preserve_cia,
    apply_runtime_assertion_pass,
)
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses import FakeTensor
from torch.export import ExportedProgram
from torch.export._trace import _ignore_backend_decomps
from torch.export.exported_program import _decompose_exported_program
from torch.fx import Graph, GraphModule, Interpreter
from torch.fx.experimental import proxy_tensor
from torch.fx.graph import _PyTreeCodeGen
from torch.fx.node import Node
from torch.utils import _pytree as pytree

from mlx_coverage.lowering.graphs import agree, describe, inline_graph, isolate, trace_call


class UnexpectedProgramError(Exception):
    """The program holds what only the public pipeline takes."""


def run_decompositions(
    program: ExportedProgram, table: Mapping[Any, Callable[..., Any]]
) -> ExportedProgram:
    """`program.run_decompositions(table)`.

    torch traces the whole program, twice, and patches each of half a thousand composite ops for
    two dozen dispatch keys, whether the program has it or not. Where nothing is written to, only
    the calls that the table concerns are traced here; else only the program's ops are patched.
    """
    present = {node.target for node in program.graph.nodes if isinstance(node.target, OpOverload)}
    composite: dict[Any, Any] = {
        op: table.get(op, _special_op_to_preserve_cia) for op in present if _is_composite(op)
    }
    functional = {op: run for op, run in table.items() if not _is_composite(op)}
    # torch writes a mutated input once more each time.
    if not program.graph_signature.user_inputs_to_mutate and all(
        map(_is_plain, program.graph.nodes)
    ):
        kept = {op for op, run in composite.items() if run is _special_op_to_preserve_cia}
        return _decompose_calls(program, {**functional, **composite}, kept)
    decomposed: ExportedProgram = _decompose_exported_program(
        program,
        cia_to_decomp=composite,
        python_decomp_table=functional,
        joint_loss_index=None,
        decompose_custom_triton_ops=False,
    )
    return decomposed


def _is_plain(node: Node) -> bool:
    """Whether functionalising a program leaves the node as it is."""
    values = filter(torch.is_tensor, pytree.tree_leaves(node.meta.get("val")))
    if any(type(value) is not FakeTensor for value in values):
        return False  # a subclass that torch takes apart, or what torch.func was tracing
    op = node.target
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    if not isinstance(op, OpOverload):
        return not isinstance(op, HigherOrderOperator)
    # Functionalising gives these another meaning than their schema does.
    special = str(op).startswith(("aten.lift", "aten.detach"))
    if special or op._schema.is_mutable or _should_decompose_because_unsafe_op(op):
        return False
    return bool(op._schema.returns) or str(op).startswith("aten._assert")


def _decompose_calls(
    program: ExportedProgram, table: Mapping[Any, Callable[..., Any]], kept: Collection[Any]
) -> ExportedProgram:
    program = isolate(program, program.graph)
    graph = program.graph
    bodies: dict[str, Graph] = {}  # layers are alike
    for node in list(graph.nodes):
        op: Any = node.target
        function = table.get(op)
        if function is None and isinstance(op, OpOverload) and _is_cia_op(op):
            function = op.decompose
        if function is None or op in kept:
            continue
        key = _describe_call(node)
        if key not in bodies:
            with _ignore_backend_decomps():
                bodies[key] = trace_call(node, function, table)
        body = bodies[key]
        made = torch.fx.node.map_arg(body.output_node().args[0], lambda inner: inner.meta["val"])
        if not all(map(_is_plain, body.nodes)) or not agree(made, node.meta["val"]):
            raise UnexpectedProgramError(f"{op} is written with writes, constants or checks")
        inline_graph(node, body)
    graph.eliminate_dead_code()
    # It also merges equal symbolic sizes.
    apply_runtime_assertion_pass(program.graph_module, SimpleNamespace())
    results = graph.output_node().args[0]
    specs = program.graph_signature.output_specs
    program._graph_signature = replace(
        program.graph_signature,
        output_specs=[
            replace(spec, arg=replace(spec.arg, name=result.name))
            if isinstance(result, Node)
            else spec
            for spec, result in zip(specs, results, strict=True)
        ],
    )
    return program


def _describe_call(node: Node) -> str:
    """What tells calls apart whose decompositions differ."""
    places = {source: f"input {index}" for index, source in enumerate(node.all_input_nodes)}
    arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: places[source])
    examples = [describe(source.meta["val"]) for source in places]
    return repr((str(node.target), arguments, examples))


_is_composite = cache(_is_preservable_cia_op)


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


_MANY = 200  # nodes: short of that, code is cheap, and torch writes some of its own into modules
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
    if not getattr(_scope, "depth", 0) or len(module.graph.nodes) < _MANY:
        return _recompile(module)  # of another thread, or cheap
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
