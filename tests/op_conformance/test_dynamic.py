"""Entries at symbolic sizes: lowered once, right at sizes that export never saw."""

from collections.abc import Sequence

import pytest

from mlx_coverage.registry import default_registry, rules
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case, cases, flatten
from tests.op_conformance.checks import REFUSALS, ConformanceError, is_effective, is_inside
from tests.op_conformance.criterion import MismatchError, compare
from tests.op_conformance.domain import list_case_dtypes
from tests.op_conformance.growing import grow
from tests.op_conformance.lowering import (
    gives_tensors,
    is_mixed,
    list_inputs,
    lower,
    make_contiguous,
)
from tests.op_conformance.sampling import draw_examples, measure

BRANCHES = 20
STEPS = (0, 1, 4)

ENTRIES = [
    spec
    for spec in default_registry()
    if spec.samples is not None
    and gives_tensors(spec)
    # These say by a rule which argument must be static.
    and not any(isinstance(rule, rules.Static) for rule in spec.rules)
]
BATCHES = [ENTRIES[i : i + BRANCHES] for i in range(0, len(ENTRIES), BRANCHES)]


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"{batch[0].name}..{batch[-1].name}")
def test_program_is_right_at_other_sizes(batch: Sequence[OpSpec]) -> None:
    chosen = [case for spec in batch if (case := choose_growing(spec)) is not None]
    assert len(chosen) > len(batch) // 2, "hardly an entry that grows: the check is empty"
    failures = check_dynamic(chosen)
    assert not failures, "\n\n".join(failures)


def choose_growing(spec: OpSpec) -> Case | None:
    """The largest of a few cases that torch takes at all sizes, or None."""
    found = []
    for case in draw_examples(cases(spec, list_case_dtypes(spec)[0]), f"grow {spec.name}", 12):
        case = make_contiguous(case)
        try:
            grown = [grow(case, step) for step in STEPS]
            results = [one.run_torch() for one in grown]
        except REFUSALS:
            continue
        pairs = list(zip(grown, results, strict=True))
        inside = all(is_inside(*pair) and is_effective(*pair) for pair in pairs)
        shapes = [[t.shape for t in list_inputs(one)] for one in grown]
        if inside and shapes[0] != shapes[1]:
            found.append(case)
    return max(found, key=lambda case: (not is_mixed(case), measure(case)), default=None)


def check_dynamic(chosen: Sequence[Case]) -> list[str]:
    """Lower cases at symbolic sizes together, alone each where together they fail."""
    try:
        failures = _check_together(chosen)
    except Exception as error:  # noqa: BLE001  (whatever lowering raises is a failure)
        what = f"dynamic: {type(error).__name__}: {str(error).strip()[:300]}"
        failures = [str(ConformanceError(chosen[0], what))]
    if failures and len(chosen) > 1:
        half = len(chosen) // 2
        return check_dynamic(chosen[:half]) + check_dynamic(chosen[half:]) or failures
    return failures


def _check_together(chosen: Sequence[Case]) -> list[str]:
    grown = [[grow(case, step) for case in chosen] for step in STEPS]
    lowered = lower(chosen, others=grown[1])
    if lowered.fallbacks or lowered.delegates != 1:
        what = f"dynamic: {lowered.delegates} delegates, fallback: {lowered.fallbacks}"
        return [str(ConformanceError(chosen[0], what))]
    failures = []
    for others in grown:
        for case, actual in lowered.run(others):
            try:
                compare(case, actual, flatten(case.run_torch()))
            except MismatchError as mismatch:
                failures.append(str(ConformanceError(case, f"dynamic: {mismatch}")))
    return failures
