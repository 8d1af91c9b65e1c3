"""Attestation: the plan is what the lowered program holds; `test_models` does every model."""

import dataclasses

import pytest

from examples import fallback, two_methods
from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.attest import attest, attest_methods
from mlx_coverage.analyze.capture import plan_methods
from mlx_coverage.analyze.failures import AttestationError
from mlx_coverage.lowering.plan import Delegated, Fallback
from mlx_coverage.registry import reasons
from mlx_coverage.registry.reasons import Reason
from tests.e2e.lowering import export, lower_methods


def test_both_methods_are_what_was_planned() -> None:
    methods = two_methods.model()
    planned = plan_methods(export(methods), lambda: MLXPartitioner(_plan_only=True))
    assert set(planned.plans) == set(methods)
    attest_methods(planned.plans, lower_methods(methods).edge)


@pytest.mark.parametrize("planned", [Fallback, Delegated])
def test_difference_is_found(planned: type[Fallback] | type[Delegated]) -> None:
    lowered = lower_methods({"forward": fallback.model()})
    plan = lowered.plans["forward"]
    module = lowered.edge.exported_program().graph_module
    attest(plan, module)
    node = next(n for n, placement in plan.placements.items() if isinstance(placement, planned))
    excluded = Fallback((Reason(reasons.EXCLUDED, "it was not"),))
    other = excluded if planned is Delegated else Delegated(0)
    altered = dataclasses.replace(plan, placements={**plan.placements, node: other})
    with pytest.raises(AttestationError, match="was planned to"):
        attest(altered, module)
