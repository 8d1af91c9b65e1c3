"""Check (b): entries through partitioner, payload and the C++ runtime give (a)'s results."""

from collections.abc import Sequence
from itertools import islice

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.dtypes import name_dtype
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case, cases, flatten
from tests.op_conformance.checks import (
    REFUSALS,
    ConformanceError,
    is_effective,
    is_inside,
    run_mlx,
)
from tests.op_conformance.criterion import MismatchError, compare
from tests.op_conformance.domain import list_case_dtypes
from tests.op_conformance.lowering import (
    gives_tensors,
    is_mixed,
    list_inputs,
    lower,
    make_contiguous,
)
from tests.op_conformance.sampling import draw_examples, measure

BRANCHES = 30


def list_batches() -> list[tuple[tuple[OpSpec, torch.dtype | None], ...]]:
    """Entries and dtypes in runs of `BRANCHES`, in registry order."""
    pairs = iter(
        (spec, dtype)
        for spec in default_registry()
        if spec.samples is not None and gives_tensors(spec)
        for dtype in list_case_dtypes(spec)
    )
    return list(iter(lambda: tuple(islice(pairs, BRANCHES)), ()))


def name_batch(batch: Sequence[tuple[OpSpec, torch.dtype | None]]) -> str:
    (first, one), (last, other) = batch[0], batch[-1]
    names = [
        f"{spec.name}-{dtype and name_dtype(dtype)}"
        for spec, dtype in ((first, one), (last, other))
    ]
    return "..".join(names)


@pytest.mark.parametrize("batch", list_batches(), ids=name_batch)
def test_lowered_program_gives_the_implementations_results(
    batch: Sequence[tuple[OpSpec, torch.dtype | None]],
) -> None:
    chosen = [choose_case(spec, dtype) for spec, dtype in batch]
    missing = [f"{s.name}-{d}" for (s, d), case in zip(batch, chosen, strict=True) if case is None]
    assert not missing, f"no effective case: {missing}"
    failures = check_lowered([case for case in chosen if case is not None])
    assert not failures, "\n\n".join(failures)


def choose_case(spec: OpSpec, dtype: torch.dtype | None) -> Case | None:
    """The largest of a few cases whose tensors are inputs of the program."""
    found = []
    for case in draw_examples(cases(spec, dtype), f"{spec.name}-{dtype}", 8):
        case = make_contiguous(case)
        try:
            expected = case.run_torch()
        except REFUSALS:
            continue
        if is_inside(case, expected) and is_effective(case, expected):
            found.append(case)
    return max(found, key=lambda case: (not is_mixed(case), measure(case)), default=None)


def check_lowered(chosen: Sequence[Case]) -> list[str]:
    """Check (b) on cases in one program; alone each, where together they fail."""
    try:
        failures = _check_together(chosen)
    except Exception as error:  # noqa: BLE001  (whatever lowering raises is a failure)
        if len(chosen) == 1:
            what = f"{type(error).__name__}: {str(error).strip()[:300]}"
            return [str(ConformanceError(chosen[0], what))]
        failures = ["together"]
    if failures and len(chosen) > 1:
        halves = chosen[: len(chosen) // 2], chosen[len(chosen) // 2 :]
        alone = [failure for half in halves for failure in check_lowered(half)]
        return alone or failures
    return failures


def _check_together(chosen: Sequence[Case]) -> list[str]:
    lowered = lower(chosen)
    if lowered.fallbacks or lowered.delegates != 1:
        what = f"{lowered.delegates} delegates, fallback: {lowered.fallbacks}"
        return [str(ConformanceError(chosen[0], what))]
    failures = [
        f"{case.spec.name} is no node of the edge program: its entry is dead"
        for case in chosen
        if case.spec.target not in lowered.placed
        and list_inputs(case)
        # An entry for every core op, though ExecuTorch may write this one otherwise.
        and torch.Tag.core not in case.spec.target.tags
    ]
    for case, actual in lowered.run():
        expected = case.run_torch()
        try:
            compare(case, actual, flatten(expected))
            require_equal(actual, flatten(run_mlx(case, expected)))
        except MismatchError as mismatch:
            failures.append(str(ConformanceError(case, f"lowered: {mismatch}")))
    return failures


def require_equal(actual: list[torch.Tensor], eager: list[torch.Tensor]) -> None:
    """The runtime calls the functions that eager MLX calls: not a bit may differ."""
    for ours, theirs in zip(actual, eager, strict=True):
        same = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        if not same or not torch.equal(ours.nan_to_num(0.125), theirs.nan_to_num(0.125)):
            raise MismatchError(f"the runtime gives {ours}, eager MLX {theirs}")
