"""Check (c): just outside each rule, the verdict is that rule's reason."""

import zlib
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, reject, seed, settings
from torch.utils._pytree import tree_map_only

from mlx_coverage.registry import default_registry, rules
from mlx_coverage.registry.judge import Unsupported, judge
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case
from tests.op_conformance.checks import REFUSALS
from tests.op_conformance.outside import cases_outside, has_outside


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
