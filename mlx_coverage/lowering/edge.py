"""ExecuTorch's edge dialect of a decomposed program, as the partitioner will see it.

The passes are ExecuTorch's own, in its order. Each of them interprets the whole program
under fake tensors; here passes that follow each other share one interpretation, and a call
that they leave as it is keeps the metadata that it has.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from inspect import unwrap
from itertools import groupby, takewhile
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig
from executorch.exir.dialects._ops import ops as exir_ops
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
from executorch.exir.verification.arg_validator import (
    EdgeOpArgValidator,
    RunHigherOrderOperatorError,
)
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch._export.passes.replace_view_ops_with_view_copy_ops_pass import (
    _NON_FUNCTIONAL_OPS_TO_FUNCTIONAL_OPS,
    get_view_copy_of_view_op,
)
from torch._export.verifier import _verify_exported_program_signature
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Interpreter, Node

from mlx_coverage.lowering.metadata import drop_history
from mlx_coverage.lowering.retracing import agree
from mlx_coverage.registry.call import name_target


def convert_to_edge(program: ExportedProgram) -> ExportedProgram:
    """The edge program of a decomposed one, which is used up.

    Args:
        program: as `prepare_program` gives it.
    """
    config = EdgeCompileConfig()
    if program.graph_signature.user_inputs_to_mutate:
        # ExecuTorch functionalises once more, and each time torch copies a mutated input.
        program = program.run_decompositions({})
    drop_history(program.graph)
    if any(node.op == "placeholder" and not node.users for node in program.graph.nodes):
        program = remove_unused_parameters_pass(program)
    before = [unwrap(step) for step in _get_aten_to_edge_passes(config)[0]]
    # What precedes them works in place, on sizes: it may as well precede the views.
    in_place = list(takewhile(lambda step: not _rewrites_calls(step), before))
    calls = before[len(in_place) :]
    passes = [*in_place, _ViewCopyPass(), *calls, OpReplacePass(), MemoryFormatOpsPass()]
    module = RemoveNonCoreAtenOpGraphAssertsPass()(program.graph_module).graph_module
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
        verifiers=[_make_lenient_verifier()],
    )
    # Both change the program that they are given, and return it.
    convert_constant_dim_order_pass(lift_constant_tensor_pass(edge))
    dead_code_elimination_pass(edge.graph_module)
    return edge


def forget_redefined_ops(program: ExportedProgram) -> None:
    """Have ExecuTorch look up anew each op of the program that was defined again since.

    It keeps edge ops by name: one whose definition was replaced, as a notebook's cell does
    when it is run again, would call into memory that torch has freed.
    """
    for target in {node.target for node in program.graph.nodes}:
        if isinstance(target, OpOverload):
            namespace, _, name = target._schema.name.partition("::")
            known = vars(getattr(exir_ops.edge, namespace))
            current = getattr(getattr(torch.ops, namespace), name, None)
            if name in known and known[name]._parent_overload_packet is not current:
                del known[name]


@cache
def _make_lenient_verifier() -> Any:
    # `check_validity` does the checks that cost, once.
    config = EdgeCompileConfig(_check_ir_validity=False)
    return EXIREdgeDialectVerifier(edge_compile_config=config, class_only=True)


class RefusedFunctionError(Exception):
    """ExecuTorch refuses a Python function on sizes, and says nothing of it.

    Attributes:
        node: that calls it.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(name_target(node.target))  # type: ignore[arg-type]
        self.node = node


def check_validity(program: ExportedProgram, kept: Sequence[OpOverload]) -> None:
    """What ExecuTorch checks of an edge program.

    Args:
        program: in the edge dialect.
        kept: the ops that the partitioner asked to keep whole.

    Raises:
        SpecViolationError: the program holds an op outside core ATen, or one with
            inputs of dtypes that the op does not take, or its signature names its
            placeholders in another order.
        RefusedFunctionError: the program computes with sizes what ExecuTorch cannot.
    """
    _verify_exported_program_signature(program)
    module = program.graph_module
    verifier = EXIREdgeDialectVerifier(
        edge_compile_config=EdgeCompileConfig(), preserve_ops=list(kept)
    )
    calls = {n.target: n for n in reversed(module.graph.nodes) if n.op == "call_function"}
    for target, node in reversed(calls.items()):
        try:
            verifier.check_valid_op(target)
        except AssertionError as error:
            raise RefusedFunctionError(node) from error
    validator = _Validator(module)
    try:
        validator.run(*(n.meta.get("val") for n in module.graph.nodes if n.op == "placeholder"))
    except RunHigherOrderOperatorError:
        return  # ExecuTorch's own check gives up here, too
    if validator.violating_ops:
        verifier(module)  # says it in ExecuTorch's words


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
        if op is not self.node.target or not _is_unchanged(
            (args, kwargs), (self.node.args, self.node.kwargs)
        ):
            result = super()._fx(kind, target, args, kwargs, meta)
            if agree(result.data, known):
                # Readers need no computing then.
                result.data = result.node.meta["val"] = known
            return result
        args, kwargs = _map((args, kwargs), lambda value: value.proxy)
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
        return (
            isinstance(given, dict)
            and given.keys() == original.keys()
            and all(_is_unchanged(given[key], original[key]) for key in original)
        )
    return type(given) is type(original) and bool(given == original)


def _map(value: Any, function: Any) -> Any:
    if isinstance(value, ProxyValue):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map(item, function) for item in value)
    if isinstance(value, dict):
        return {key: _map(item, function) for key, item in value.items()}
    return value
