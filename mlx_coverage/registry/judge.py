"""The one place that decides support: a call against the registry, metadata only."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._pytree import tree_leaves

from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import Call, Target, canonicalize, find_callee, name_target
from mlx_coverage.registry.dtypes import MLX_NAMES, name_dtype
from mlx_coverage.registry.evaluate import find_promoted
from mlx_coverage.registry.reasons import Reason, order_reasons
from mlx_coverage.registry.spec import OpSpec, Registry


@dataclass(frozen=True)
class Supported:
    """The call lies in the domain of `spec`."""

    spec: OpSpec


@dataclass(frozen=True)
class Unsupported:
    """Every reason why the call is outside; the first is the primary one."""

    reasons: tuple[Reason, ...]

    @property
    def primary(self) -> Reason:
        """The reason that headline figures count."""
        return self.reasons[0]


Verdict = Supported | Unsupported


def judge_node(node: Node, registry: Registry, constants: Collection[Node] = ()) -> Verdict:
    """Judge a `call_function` node of an ATen or edge graph.

    Args:
        node: with `val` metadata (fake tensors suffice; nothing is computed).
        registry: what is supported.
        constants: the placeholders that are parameters, buffers or constants.
    """
    target = find_callee(node)
    known = _judge_target(target, registry)
    if isinstance(known, Unsupported):
        return _explain_sizes(node, target) or known
    if target is not canonicalize(node.target):
        return _judge_target(canonicalize(node.target), registry)
    call = Call.from_node(node, constants)
    if call is None:
        text = "the node or one of its operands has no `val` metadata"
        return Unsupported((Reason(reasons.MISSING_METADATA, text),))
    return judge(call, registry)


def _explain_sizes(node: Node, target: Target) -> Unsupported | None:
    """Set where the sizes of an op's results are made of data, whatever else it is."""
    results = [v for v in tree_leaves(node.meta.get("val")) if isinstance(v, torch.Tensor)]
    known = [operand.meta.get("val") for operand in node.all_input_nodes]
    if not isinstance(target, OpOverload) or target.namespace == "aten":
        return None
    if not free_unbacked_symbols(results) - free_unbacked_symbols(known):
        return None
    return Unsupported((_refuse_size(target),))


def _refuse_size(target: Target) -> Reason:
    text = f"the size of {name_target(target)}'s result depends on the values of its input"
    return Reason(reasons.DATA_DEPENDENT, text)


def judge(call: Call, registry: Registry) -> Verdict:
    """Judge a bound call: every rule is checked and every failure kept."""
    known = _judge_target(call.target, registry)
    if isinstance(known, Unsupported):
        return known
    found = list_refusals(known.spec, call)
    return Unsupported(order_reasons(found)) if found else known


def list_refusals(spec: OpSpec, call: Call) -> list[Reason]:
    """Every reason why a call is outside the domain of an entry."""
    found = [reason for rule in spec.rules for reason in rule.check(call)]
    found += _refuse_dynamic_numbers(call)
    found += _refuse_strange_results(call)
    return found or list(_refuse_strange_operands(spec, call))


def _refuse_dynamic_numbers(call: Call) -> Iterator[Reason]:
    # Sizes are ints under the recorder; it has no symbolic float or bool.
    for name, value in call.arguments.items():
        if isinstance(value, (torch.SymFloat, torch.SymBool)):
            kind = "float" if isinstance(value, torch.SymFloat) else "bool"
            text = f"`{name}` is a dynamic {kind}; accepted: a static one, or a dynamic int"
            yield Reason(reasons.DYNAMIC_ARGUMENT, text, name)


def _describe_mutation(op: OpOverload) -> str:
    written = [a.name for a in op._schema.arguments if a.alias_info and a.alias_info.is_write]
    names = " and ".join(f"`{name}`" for name in written)
    return f"{name_target(op)} writes into {names}"


def _refuse_strange_results(call: Call) -> Iterator[Reason]:
    # Such as complex32, of a half and a complex number.
    for result in call.results:
        if isinstance(result, torch.Tensor) and result.dtype not in MLX_NAMES:
            text = f"the result is {name_dtype(result.dtype)}, a dtype that MLX does not have"
            yield Reason(reasons.DTYPE, text)


def _refuse_strange_operands(spec: OpSpec, call: Call) -> Iterator[Reason]:
    # A half compared with a complex number: the result is bool, the operands are complex32.
    promoted = find_promoted(spec, call)
    if promoted is not None and promoted not in MLX_NAMES:
        text = f"the operands promote to {name_dtype(promoted)}, a dtype that MLX does not have"
        yield Reason(reasons.DTYPE, text)


def _judge_target(target: Target, registry: Registry) -> Verdict:
    spec = registry.get(target)
    if spec is not None:
        return Supported(spec)
    name = name_target(target)
    gap = registry.get_gap(target)
    if gap is not None:
        return Unsupported((Reason(reasons.BY_SLUG[gap.kind], f"{name}: {gap.why}"),))
    if isinstance(target, HigherOrderOperator):
        return Unsupported(
            (Reason(reasons.HIGHER_ORDER, f"{name} is given functions of the program to run"),)
        )
    if isinstance(target, OpOverload):
        if torch.Tag.nondeterministic_seeded in target.tags:
            return Unsupported((Reason(reasons.RANDOM, f"{name} draws random numbers"),))
        if target._schema.is_mutable:
            return Unsupported((Reason(reasons.MUTATION, _describe_mutation(target)),))
        if torch.Tag.dynamic_output_shape in target.tags:
            return Unsupported((_refuse_size(target),))
    return Unsupported((Reason(reasons.NO_ENTRY, f"the registry has no entry for {name}"),))
