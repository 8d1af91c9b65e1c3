"""One step out of an entry's domain: a case inside, changed so that one rule fails."""

from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.utils._pytree import tree_map_only

from mlx_coverage.registry import rules
from mlx_coverage.registry.call import parameters
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case, cases, flatten
from tests.op_conformance.domain import ORDER, list_case_dtypes, list_followers, read_domain

Draw = Callable[..., Any]

WORDS = ("none", "tanh", "floor", "trunc", "mean", "sum", "zeros", "reflect", "constant", "other")
CANDIDATES: dict[str, tuple[Any, ...]] = {
    "bool": (True, False),
    "int": (0, 1, -1, 2, 3),
    "float": (0.5, 2.0, -1.0, 0.0),
    "number": (0.5, 2, -1, 0, 1),
    "str": WORDS,
    "List[int]": ([0], [1], [2], [1, 1], [2, 2], [1, 1, 1]),
    "Tensor": (torch.ones(1),),
}


def has_outside(spec: OpSpec, rule: rules.Rule) -> bool:
    """Whether any call violates the rule."""
    match rule:
        case rules.Rank(_, low, high):
            return low > 0 or high is not None
        case rules.OneOf(argument, accepted):
            return bool(_list_refused(spec, argument, accepted))
        case rules.Range(_, low, high):
            return low is not None or high is not None
    return True


@st.composite
def cases_outside(draw: Draw, spec: OpSpec, rule: rules.Rule) -> tuple[Case, Case]:
    """A case inside and the same case just outside one rule."""
    # bool has no zero-size or rank of its own: a late dtype is as good as an early one.
    dtype = draw(st.sampled_from(list_case_dtypes(spec)), label="case dtype")
    case = draw(cases(spec, dtype), label="inside")
    return case, step_outside(rule, case, lambda strategy, label: draw(strategy, label=label))


@singledispatch
def step_outside(rule: Any, case: Case, draw: Draw) -> Case:
    """The case with one rule violated; rejected where this case has no such neighbour.

    Raises:
        TypeError: the rule is not of the vocabulary.
    """
    raise TypeError(f"{case.spec.name}: conformance cannot step out of {rule!r}")


@step_outside.register
def _(rule: rules.Dtype, case: Case, draw: Draw) -> Case:
    if not flatten(case.arguments.get(rule.argument)):
        reject()
    outside = [dtype for dtype in ORDER if dtype not in rule.accepted]
    dtype = draw(st.sampled_from(outside), label="dtype outside")
    # torch wants the others alike, unless only this one has a rule of its own.
    followers = list_followers(case.spec)
    names = followers if rule.argument in followers else [rule.argument]
    return case.replace(**{name: _cast(case.arguments.get(name), dtype) for name in names})


@step_outside.register
def _(rule: rules.ResultDtype, case: Case, draw: Draw) -> Case:
    outside = [dtype for dtype in ORDER if dtype not in rule.accepted]
    dtype = draw(st.sampled_from(outside), label="dtype outside")
    if "dtype" in [name for name, _, _ in parameters(case.spec.target)]:
        return case.replace(dtype=dtype)
    followers = list_followers(case.spec)
    return case.replace(**{name: _cast(case.arguments.get(name), dtype) for name in followers})


@step_outside.register
def _(rule: rules.SameDtype, case: Case, draw: Draw) -> Case:
    given = [name for name in rule.arguments if flatten(case.arguments.get(name))]
    if len(given) < 2:
        reject()
    name = draw(st.sampled_from(given[1:]), label="argument to cast")
    here = flatten(case.arguments[name])[0].dtype
    accepted = read_domain(case.spec).dtypes.get(name, frozenset(ORDER))
    others = [dtype for dtype in ORDER if dtype in accepted and dtype != here]
    if not others:
        reject()
    dtype = draw(st.sampled_from(others), label="other dtype")
    return case.replace(**{name: _cast(case.arguments[name], dtype)})


@step_outside.register
def _(rule: rules.Rank, case: Case, draw: Draw) -> Case:
    targets = ([rule.low - 1] if rule.low > 0 else []) + (
        [rule.high + 1] if rule.high is not None else []
    )
    rank = draw(st.sampled_from(targets), label="rank outside")

    def bring(tensor: torch.Tensor) -> torch.Tensor:
        while tensor.dim() < rank:
            tensor = tensor.unsqueeze(0)
        while tensor.dim() > rank:
            tensor = tensor[0] if tensor.shape[0] else tensor.flatten(0, min(1, tensor.dim() - 1))
            if tensor.dim() == 1 and not tensor.numel() and rank == 0:
                reject()
        return tensor

    value = case.arguments.get(rule.argument)
    if not flatten(value):
        reject()
    return case.replace(**{rule.argument: tree_map_only(torch.Tensor, bring, value)})


@step_outside.register
def _(rule: rules.NonEmpty, case: Case, draw: Draw) -> Case:
    value = case.arguments.get(rule.argument)
    ranks = [tensor.dim() for tensor in flatten(value)]
    if not ranks or not min(ranks):
        reject()
    axis = draw(st.integers(0, min(ranks) - 1), label="empty axis")
    empty = tree_map_only(torch.Tensor, lambda t: t.narrow(axis, 0, 0), value)
    return case.replace(**{rule.argument: empty})


@step_outside.register
def _(rule: rules.OneOf, case: Case, draw: Draw) -> Case:
    refused = _list_refused(case.spec, rule.argument, rule.accepted)
    return case.replace(**{rule.argument: draw(st.sampled_from(refused), label="value outside")})


@step_outside.register
def _(rule: rules.Range, case: Case, draw: Draw) -> Case:
    beyond = [] if rule.low is None else [rule.low - 1]
    beyond += [] if rule.high is None else [rule.high + 1]
    number = draw(st.sampled_from(beyond), label="number outside")
    value = case.arguments.get(rule.argument, _default(case.spec, rule.argument))
    if isinstance(value, (list, tuple)):
        if not value:
            reject()
        position = draw(st.integers(0, len(value) - 1), label="position")
        number = [*value[:position], number, *value[position + 1 :]]
    return case.replace(**{rule.argument: number})


@step_outside.register
def _(rule: rules.Static, case: Case, draw: Draw) -> Case:
    value = case.arguments.get(rule.argument, _default(case.spec, rule.argument))
    if isinstance(value, torch.Tensor):
        if not value.dim() or 0 in value.shape or 1 in value.shape:
            reject()
        symbolic: Any = symbolize(value)
    elif isinstance(value, (list, tuple)) and value:
        symbolic = [symbolize(torch.ones(5)).shape[0], *value[1:]]
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        reject()
    else:
        symbolic = symbolize(torch.ones(5)).shape[0]
    flag = {rule.where: True} if rule.where else {}
    return case.replace(**flag, **{rule.argument: symbolic})


@step_outside.register
def _(rule: rules.Constant, case: Case, draw: Draw) -> Case:
    if not flatten(case.arguments.get(rule.argument)):
        reject()
    return replace(case, constants=case.constants - {rule.argument})


@step_outside.register
def _(rule: rules.Predicate, case: Case, draw: Draw) -> Case:
    # Samples know nothing of predicates: some of what they draw is outside, at dynamic
    # sizes if not as it is.
    try:
        results = case.run_torch()
    except (RuntimeError, IndexError, ValueError, TypeError):
        reject()
    symbolic = case.replace(**tree_map_only(torch.Tensor, symbolize, case.arguments))
    numbers = {n: v + 0.5 for n, v in case.arguments.items() if type(v) is int}
    for candidate in (case, symbolic, case.replace(**numbers)):
        if not rule.holds(candidate.bind(results)):
            return candidate
    reject()


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(dtype), value)


def symbolize(tensor: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
    """A fake tensor of symbolic sizes; those alone in which `other` differs, where it is given."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    tensor = tensor.contiguous()
    dynamic = [
        DimDynamic.STATIC if other is not None and other.shape[i] == size else DimDynamic.DYNAMIC
        for i, size in enumerate(tensor.shape)
    ]
    context = StatelessSymbolicContext(dynamic_sizes=dynamic)
    return mode.from_tensor(tensor, symbolic_context=context)


def _list_refused(spec: OpSpec, argument: str, accepted: tuple[Any, ...]) -> list[Any]:
    """Values of the argument's schema type that a `OneOf` refuses."""
    if not isinstance(spec.target, OpOverload):
        return []
    kind = next(str(a.type) for a in spec.target._schema.arguments if a.name == argument)
    inner = kind.removeprefix("Optional[").removesuffix("]") if "Optional" in kind else kind
    pool: list[Any] = list(ORDER) if "dtype" in argument else list(CANDIDATES.get(inner, ()))
    pool += [None] if "Optional" in kind else []
    rule = rules.OneOf(argument, accepted)

    def refuses(value: Any) -> bool:
        call = Case(spec, {argument: value})
        return any(rule.check(_Arguments(call.arguments)))

    return [value for value in pool if refuses(value)]


class _Arguments:
    """As much of a `Call` as a rule on one value reads."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments


def _default(spec: OpSpec, argument: str) -> Any:
    return next(default for name, _, default in parameters(spec.target) if name == argument)
