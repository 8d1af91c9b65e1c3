"""What ExecuTorch refuses of a program, as values with the user's line.

ExecuTorch raises untyped errors, each from its first objection. Here an error is read beside the
plan of the program, so that every call that it concerns is named.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.verification.verifier import EXIREdgeDialectVerifier
from torch._export.verifier import SpecViolationError
from torch._ops import HigherOrderOperator, OpOverload
from torch.export import ExportedProgram
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from mlx_coverage.analyze.failures import AttestationError, CaptureError, condense
from mlx_coverage.analyze.model import Source
from mlx_coverage.analyze.sources import is_ours, locate_node
from mlx_coverage.lowering.plan import Fallback, PartitionPlan
from mlx_coverage.registry import reasons, standins
from mlx_coverage.registry.call import canonicalize, name_node, name_target

_NOT_TAKEN = "was not decomposed or delegated"
_MISPLACED = re.compile(r"Input spec name \S+ does not match node name")
# Those that ExecuTorch's passes convert.
_CONVERTED = frozenset(
    {
        *(torch.ops.higher_order.cond, torch.ops.higher_order.while_loop),
        *(torch.ops.higher_order.map_impl, torch.ops.higher_order.scan),
        *(executorch_call_delegate, torch.ops.higher_order.auto_functionalized),
        torch.ops.higher_order.auto_functionalized_v2,
    }
)
_INSTEAD = {
    "flex_attention": "call torch.nn.functional.scaled_dot_product_attention with an attn_mask",
}
_TOKEN = re.compile(r"Number of lifted inputs \(\d+\) does not match placeholder nodes")
_NO_OUT_VARIANT = "Missing out variants"
_OP = re.compile(r"\w+::[\w.]+")


def explain_refused(
    error: Exception, method: str, program: ExportedProgram, plan: PartitionPlan
) -> list[CaptureError]:
    """Why ExecuTorch does not lower a method.

    Args:
        error: that it raised.
        method: name of the method.
        program: as exported.
        plan: of what ExecuTorch made of it, or would have.

    Raises:
        AttestationError: an op that was to be delegated whole was not placed, or is refused.
        Exception: `error` itself, where ExecuTorch has no objection without our partitioner.
    """
    if _NOT_TAKEN in str(error):
        raise AttestationError(f"an op was kept whole and not delegated: {condense(error)}")
    found = [*list_regions(plan.graph), *_list_functions(plan.graph)]
    if isinstance(error, SpecViolationError):
        found += [*_list_outside_core(plan), *_list_mixed(plan, str(error))]
    if found:
        return found
    if _MISPLACED.search(str(error)):
        sentence = (
            "ExecuTorch refuses a model that takes no inputs and computes with several numbers; "
            "give it an input, such as a tensor to add"
        )
        return [CaptureError("edge", reasons.INTERFACE, sentence)]
    if _TOKEN.search(str(error)):
        return [_refuse_effect(program.graph)]
    if is_ours(error):
        return [_ask_without_us(error, method, program)]
    return [CaptureError.from_error("edge", reasons.DECOMPOSITION_FAILED, error)]


_FACTORISED = "the delegate runs torch.linalg.inv, solve and cholesky"


def _refuse_effect(graph: Graph) -> CaptureError:
    """Torch passes a token along calls with an effect, for which ExecuTorch has no place."""
    calls = (n for n in graph.nodes if isinstance(n.target, OpOverload))
    found = next((n for n in calls if "linalg" in n.target._schema.name), None)
    sentence = (
        f"ExecuTorch cannot lower {name_node(found) if found else 'a call'} with its check at run "
        f"time; {_FACTORISED}"
    )
    source = locate_node(found) if found else Source()
    return CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, source)


def _ask_without_us(error: Exception, method: str, program: ExportedProgram) -> CaptureError:
    """The refusal of a program that torch or ExecuTorch refuse with no partitioner as well."""
    steps: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("torch cannot functionalise the exported model: ", lambda: program.run_decompositions({})),
        ("", lambda: to_edge_transform_and_lower({method: program})),
    )
    for prefix, step in steps:
        try:
            step()
        except Exception as theirs:  # noqa: BLE001  (whatever they raise is their refusal)
            kind = reasons.DECOMPOSITION_FAILED
            return CaptureError.from_error("edge", kind, theirs, prefix)
    raise error


def explain_unfinished(error: Exception, plans: Mapping[str, PartitionPlan]) -> list[CaptureError]:
    """Why ExecuTorch does not finish a lowered program.

    Args:
        error: that `to_executorch` raised.
        plans: of the methods.
    """
    prefix = "ExecuTorch cannot write the program: "
    text = str(error)
    text = text.replace(f"{standins.NAMESPACE}::", "aten::")
    missing = set(_OP.findall(text)) if _NO_OUT_VARIANT in text else set()
    found: dict[str, CaptureError] = {}
    for plan in plans.values():
        for node, _ in _list_fallbacks(plan):
            # `shop.push.default` is `shop::push` in ExecuTorch's words.
            name = name_node(node)
            namespace, _, op = name.partition(".")
            if f"{namespace}::{op.removesuffix('.default')}" not in missing:
                continue
            sentence = (
                f"{prefix}{name} has no out variant, which to_executorch asks for; register one "
                "and its kernel, bring an entry for the op, or write the line with other ops"
            )
            refusal = CaptureError("edge", reasons.NO_KERNEL, sentence, locate_node(node))
            found.setdefault(name, refusal)
    if found:
        return list(found.values())
    other = CaptureError.from_error("edge", reasons.DECOMPOSITION_FAILED, error, prefix)
    if other.source.file is None and isinstance(error, GuardOnDataDependentSymNode):
        other.source = _find_data_dependent(plans)
    return [other]


def _find_data_dependent(plans: Mapping[str, PartitionPlan]) -> Source:
    """The first call whose result's size is data."""
    for plan in plans.values():
        for node, given in _list_fallbacks(plan):
            if given[0].kind is reasons.DATA_DEPENDENT:
                return locate_node(node)
    return Source()


def list_regions(graph: Graph) -> Iterator[CaptureError]:
    """Calls that ExecuTorch's passes do not know: of functions, and of ops with an effect."""
    for node in graph.nodes:
        target = node.target
        if not isinstance(target, HigherOrderOperator) or target in _CONVERTED:
            continue
        name = name_node(node)
        if "with_effects" in str(target):
            advice = "which checks or prints at run time; leave it out"
            if "linalg" in name:
                advice = f"the check at run time of a factorisation; {_FACTORISED}"
            sentence = f"ExecuTorch cannot lower {name}, {advice}"
        else:
            name = name.rpartition(".")[2]
            sentence = (
                f"ExecuTorch cannot lower {name}: it leaves the functions that it is given "
                f"unconverted; {_INSTEAD.get(name, 'write the line without it')}"
            )
        yield CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, locate_node(node))


def _list_functions(graph: Graph) -> Iterator[CaptureError]:
    """Python functions on sizes that ExecuTorch refuses, without a word."""
    verifier = EXIREdgeDialectVerifier()
    refused: dict[Any, Node] = {}
    for node in graph.nodes:
        target = node.target
        if node.op != "call_function" or hasattr(target, "_schema"):
            continue
        if isinstance(target, HigherOrderOperator) or target in refused:
            continue
        try:
            verifier.check_valid_op(target)
        except AssertionError:
            refused[target] = node
    for target, node in refused.items():
        sentence = (
            f"ExecuTorch cannot compute {name_target(target)} of dynamic sizes; make those sizes "
            "static, or compute with whole numbers"
        )
        kind = reasons.DECOMPOSITION_FAILED
        yield CaptureError("edge", kind, sentence, locate_node(node))


def _list_outside_core(plan: PartitionPlan) -> Iterator[CaptureError]:
    """One refusal of the ops outside core ATen that stay with ExecuTorch, where there are any."""
    refused: dict[str, Source] = {}
    remedies: list[str] = []
    for node, reasons_given in _list_fallbacks(plan):
        op = canonicalize(node.target)
        if _is_outside_core(op):
            refused.setdefault(name_target(op), locate_node(node))
            remedies += [r.text for r in reasons_given if r.kind is reasons.KNOWN_GAP]
    if refused:
        sentence = (
            f"ExecuTorch refuses ops outside core ATen ({', '.join(refused)}), so the program does "
            f"not lower; {remedies[0] if remedies else 'rewrite the line with core ops'}"
        )
        source = next(iter(refused.values()))
        yield CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, source)


def _list_mixed(plan: PartitionPlan, text: str) -> Iterator[CaptureError]:
    """Calls whose operands are of dtypes that ExecuTorch's check does not take."""
    for node in plan.graph.nodes:
        if node.op != "call_function" or not hasattr(node.target, "_schema"):
            continue
        op = canonicalize(node.target)
        name = name_target(op)
        if f"{name}>" not in text.replace("::", ".") and f"{name} " not in text:
            continue
        dtypes = [str(dtype).removeprefix("torch.") for dtype in _list_dtypes(node)]
        if not dtypes or f"{dtypes[0]}" not in text:
            continue
        sentence = (
            f"ExecuTorch does not take operands of {' and '.join(dtypes)} in {name}; "
            "give it operands of one real dtype"
        )
        yield CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, locate_node(node))


def _list_dtypes(node: Node) -> list[torch.dtype]:
    values = (source.meta.get("val") for source in node.all_input_nodes)
    return list(dict.fromkeys(v.dtype for v in values if isinstance(v, torch.Tensor)))


def _list_fallbacks(plan: PartitionPlan) -> Iterator[tuple[Node, Sequence[reasons.Reason]]]:
    for node, placement in plan.placements.items():
        if isinstance(placement, Fallback):
            yield node, placement.reasons


def _is_outside_core(op: Any) -> bool:
    if not isinstance(op, OpOverload) or op.namespace != "aten":
        return False
    return not op.is_view and torch.Tag.core not in op.tags
