"""Check (c): just outside each rule, the verdict is that rule's reason."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from hypothesis import given, reject, seed, settings
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_map_only

from mlx_coverage.registry import default_registry, rules
from mlx_coverage.registry.judge import Unsupported, judge
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case, flatten
from tests.op_conformance.checks import REFUSALS, ConformanceError, is_effective, is_inside
from tests.op_conformance.criterion import MismatchError, compare
from tests.op_conformance.executing import execute
from tests.op_conformance.lowering import Branches, list_inputs, lower, make_contiguous
from tests.op_conformance.outside import cases_outside, has_outside
from tests.op_conformance.sampling import draw_examples


@dataclass(frozen=True)
class Border:
    """One rule of one entry."""

    spec: OpSpec
    rule: rules.Rule

    def __str__(self) -> str:
        subject = getattr(self.rule, "argument", None) or ""
        return f"{self.spec.name}-{type(self.rule).__name__}-{subject}"


BORDERS = [
    Border(spec, rule)
    for spec in default_registry()
    if spec.samples is not None
    for rule in spec.rules
    if has_outside(spec, rule)
]


# The number of examples from which a profile is as thorough as the nightly one.
NIGHTLY = 500
BATCH = 25

# torch itself dies of these calls (no keys: integer division by zero).
TORCH_DIES = {("aten.scaled_dot_product_attention.default", rules.NonEmpty)}


@pytest.mark.parametrize("border", BORDERS, ids=str)
def test_verdict_names_the_violated_rule(border: Border) -> None:
    spec, rule = border.spec, border.rule
    exact = tried = 0

    @seed(zlib.crc32(str(border).encode()))
    @settings(max_examples=max(10, settings().max_examples // 4))
    @given(cases_outside(spec, rule))
    def check(pair: tuple[Case, Case]) -> None:
        nonlocal exact, tried
        inside, outside = pair
        try:
            results = inside.run_torch()
        except REFUSALS:
            reject()
        results = run_outside(rule, outside, results)
        call = outside.bind(results)
        expected = {reason.slug for reason in rule.check(call)}
        assert expected, f"{outside} is still inside {rule}"
        verdict = judge(call, default_registry())
        assert isinstance(verdict, Unsupported), f"{outside} is outside {rule} and supported"
        found = {reason.slug for reason in verdict.reasons}
        assert expected <= found, f"{outside}: {found}, not {expected}"
        tried += 1
        exact += found == expected

    check()
    assert tried, f"no case just outside {rule} was found: let the samples reach it"
    assert exact, f"never the reason of {rule} alone"


def is_core(spec: OpSpec) -> bool:
    return torch.Tag.core in getattr(spec.target, "tags", ())


def list_batches() -> list[list[Border]]:
    """One border of each kind of rule in a family, all in the nightly profile; few to a batch."""
    every = settings().max_examples >= NIGHTLY
    # A core op where there is one: ExecuTorch has kernels for hardly any other.
    ordered = sorted(BORDERS, key=lambda border: is_core(border.spec))
    kinds = {(border.spec.family, type(border.rule)): border for border in ordered}
    chosen = BORDERS if every else list(kinds.values())
    return [chosen[i : i + BATCH] for i in range(0, len(chosen), BATCH)]


@pytest.mark.parametrize("batch", list_batches(), ids=lambda batch: f"{batch[0]}..{batch[-1]}")
def test_program_outside_runs_by_fallback(batch: Sequence[Border], tmp_path: Path) -> None:
    chosen = [case for border in batch if (case := choose_outside(border)) is not None]
    failures = check_fallback(chosen, tmp_path)
    assert not failures, "\n\n".join(map(str, failures))


def choose_outside(border: Border) -> Case | None:
    """A case just outside the rule that torch takes, or None."""
    if isinstance(border.rule, (rules.Static, rules.Constant)):
        return None  # of the program, not of the call
    if (border.spec.name, type(border.rule)) in TORCH_DIES:
        return None
    strategy = cases_outside(border.spec, border.rule).map(itemgetter(1))
    for case in draw_examples(strategy, f"fallback {border}", 8):
        if any(isinstance(tensor, FakeTensor) for tensor in case.tensors()):
            continue  # outside at dynamic sizes only: nothing to run
        case = make_contiguous(case)
        try:
            results = case.run_torch()
        except REFUSALS:
            continue
        if is_effective(case, results) and not is_inside(case, results):
            return case
    return None


def check_fallback(chosen: Sequence[Case], folder: Path) -> list[ConformanceError]:
    """Lower and run each case; a missing kernel, or one that refuses the dtype, is no fault."""
    failures = []
    running: list[tuple[Case, bytes]] = []
    for case in chosen:
        try:
            lowered = lower([case])
            if not lowered.missing_kernels:
                running.append((case, bytes(lowered.program.buffer)))
        except Exception as error:  # noqa: BLE001  (whatever lowering raises is a failure)
            if not is_refused_by_executorch(case):
                what = f"{type(error).__name__}: {str(error).strip()[:300]}"
                failures.append(ConformanceError(case, what))
    assert len(running) > len(chosen) // 4 or len(chosen) < BATCH, "hardly a program to run"
    programs = [(program, list_inputs(case)) for case, program in running]
    for (case, _), actual in zip(running, execute(folder, programs), strict=True):
        if actual is None or torch.Tag.nondeterministic_seeded in case.spec.target.tags:
            continue
        try:
            expected = flatten(case.run_torch())
            # ExecuTorch's kernels: signs of zero are theirs, and some compute float64 in float32.
            compare(case, _narrow(actual), _narrow(expected), signs=False)
        except MismatchError as mismatch:
            failures.append(ConformanceError(case, f"by fallback: {mismatch}"))
    return failures


def _narrow(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [t.float() if t.dtype == torch.float64 else t for t in tensors]


def is_refused_by_executorch(case: Case) -> bool:
    """Whether ExecuTorch, without a delegate, does not lower the case either."""
    module = Branches([case]).eval()
    try:
        to_edge_transform_and_lower(torch.export.export(module, module.inputs())).to_executorch()
    except Exception:  # noqa: BLE001  (that it fails is the answer)
        return True
    return False


def run_outside(rule: rules.Rule, outside: Case, inside_results: Any) -> Any:
    """Results by which a case just outside a rule is judged.

    Only another dtype changes what a verdict reads of the results. The rest is not run:
    torch may refuse such a call, or die of it (attention over no keys divides by zero).
    """
    if not isinstance(rule, (rules.Dtype, rules.SameDtype, rules.ResultDtype)):
        return inside_results
    try:
        return outside.run_torch()
    except REFUSALS:
        if isinstance(rule, rules.ResultDtype):
            dtype = outside.arguments["dtype"]
            return tree_map_only(torch.Tensor, lambda t: t.to(dtype), inside_results)
        return inside_results
