"""What `check` plans without weights is what the full lowering delegates."""

import dataclasses

import pytest
import torch

from examples import two_methods
from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.attest import attest, attest_methods
from mlx_coverage.analyze.capture import plan_methods
from mlx_coverage.analyze.failures import AttestationError
from mlx_coverage.lowering.plan import Delegated, Fallback
from mlx_coverage.registry import reasons
from mlx_coverage.registry.reasons import Reason
from tests.e2e.lowering import Method, export, lower_methods
from tests.e2e.models import MODELS

METHODS: dict[str, dict[str, Method]] = {
    **{model.name: {"forward": model.make(torch.float32)} for model in MODELS},
    "two_methods": two_methods.model(),
}


@pytest.mark.parametrize("name", METHODS)
def test_lowered_program_is_what_was_planned(name: str) -> None:
    methods = METHODS[name]
    planned = plan_methods(export(methods), lambda: MLXPartitioner(_plan_only=True))
    assert sum(plan.delegated for plan in planned.plans.values()) > 0
    attest_methods(planned.plans, lower_methods(methods).edge)


@pytest.mark.parametrize("planned", [Fallback, Delegated])
def test_difference_is_found(planned: type[Fallback] | type[Delegated]) -> None:
    lowered = lower_methods(METHODS["fallback"])
    plan = lowered.plans["forward"]
    module = lowered.edge.exported_program().graph_module
    attest(plan, module)
    node = next(n for n, placement in plan.placements.items() if isinstance(placement, planned))
    excluded = Fallback((Reason(reasons.EXCLUDED, "it was not"),))
    other = excluded if planned is Delegated else Delegated(0)
    altered = dataclasses.replace(plan, placements={**plan.placements, node: other})
    with pytest.raises(AttestationError, match="was planned to"):
        attest(altered, module)
