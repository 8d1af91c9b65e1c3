"""The checks themselves, without pytest: one call in, `ConformanceError` out."""

import math
import zlib
from typing import Any

import torch
from hypothesis import Phase, given, reject, seed, settings
from torch.utils._pytree import tree_map_only

from mlx_coverage.registry import rules
from mlx_coverage.registry.evaluate import evaluate
from mlx_coverage.registry.judge import list_refusals
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.arrays import to_mlx, to_torch
from tests.op_conformance.cases import Case, cases, flatten
from tests.op_conformance.criterion import MismatchError, compare

# What torch raises for a call that it does not accept.
REFUSALS = (RuntimeError, NotImplementedError, IndexError, TypeError, ValueError, ZeroDivisionError)


class ConformanceError(AssertionError):
    """A case that fails, with the code that shows it."""

    def __init__(self, case: Case, what: str) -> None:
        super().__init__(f"{case}: {what}\n\nTo see it, run:\n\n{case.print_snippet()}")


def check_inside(case: Case) -> Any:
    """Check (a): the implementation on MLX arrays against eager torch.

    Returns:
        torch's result.

    Raises:
        ConformanceError: outside the domain though drawn inside, or another result than torch's.
    """
    expected = run_or_reject(case)
    require_inside(case, expected)
    try:
        actual = run_mlx(case, expected)
    except Exception as error:
        raise ConformanceError(
            case, f"the implementation raises {type(error).__name__}: {error}"
        ) from error
    try:
        compare(case, actual, expected)
    except MismatchError as mismatch:
        raise ConformanceError(case, str(mismatch)) from None
    return expected


def run_or_reject(case: Case) -> Any:
    """Torch's result; a call that torch itself refuses does not count."""
    try:
        expected = case.run_torch()
    except REFUSALS:
        reject()
    return expected


def require_inside(case: Case, expected: Any) -> None:
    """The verdict is Supported, unless a rule that generation cannot follow refuses."""
    call = case.bind(expected)
    for rule in case.spec.rules:
        found = list(rule.check(call))
        if found and isinstance(rule, (rules.Predicate, rules.ResultDtype)):
            reject()
        if found:
            raise ConformanceError(case, f"samples draw what the rules refuse: {found[0].text}")
    if list_refusals(case.spec, call):  # a dtype that MLX lacks, of operands that mix
        reject()


def is_inside(case: Case, expected: Any) -> bool:
    """Whether every rule holds."""
    return not list_refusals(case.spec, case.bind(expected))


def run_mlx(case: Case, expected: Any) -> Any:
    """The results of the entry's implementation, as tensors."""
    arrays = tree_map_only(torch.Tensor, to_mlx, case.arguments)
    results = evaluate(case.spec, case.bind(expected), arrays)
    if isinstance(results, (bool, int, float)):
        return results
    if isinstance(results, (tuple, list)):
        return tuple(to_torch(result) for result in results)
    return to_torch(results)


def is_effective(case: Case, expected: Any) -> bool:
    """Whether a case compares anything: its result has elements."""
    found = flatten(expected)
    return not found or any(math.prod(result.shape) for result in found)


def run_inside(
    spec: OpSpec,
    dtype: torch.dtype | None,
    name: str,
    *,
    avoids: frozenset[str] | None = None,
    favours: str | None = None,
    examples: int | None = None,
    shrink: bool = True,
) -> int:
    """Run check (a) on many cases of one entry and dtype.

    `spec`, `dtype`, `avoids` and `favours` are those of `cases`, `name` is the seed, `examples` how
    many where not as many as the profile says; `shrink` whether to look for the smallest failure.

    Returns:
        How many cases compared something.

    Raises:
        ConformanceError: the smallest case that fails.
    """
    effective = 0

    @seed(zlib.crc32(name.encode()))
    @settings(
        max_examples=examples or settings().max_examples,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    @given(cases(spec, dtype, avoids, favours))
    def check(case: Case) -> None:
        nonlocal effective
        effective += is_effective(case, check_inside(case))

    check()
    return effective
