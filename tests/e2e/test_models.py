"""Every example model, lowered and run in ExecuTorch's runtime, against eager torch."""

from collections.abc import Callable

import pytest
import torch

from mlx_coverage.analyze.attest import attest
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import count_bytes, lower_methods, run_eagerly
from tests.e2e.models import DTYPES, MODELS, Model


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_model_equals_eager(
    model: Model, dtype: torch.dtype, record_property: Callable[[str, object], None]
) -> None:
    module, args, kwargs, shapes = model.make(dtype)
    lowered = lower_methods({"forward": (module, args, kwargs, shapes)})
    assert tuple(lowered.fallbacks()) == model.fallbacks
    assert len(lowered.delegates()) == model.delegates

    run = lowered.start()
    errors = [assert_close(run(*i), run_eagerly(module, *i)) for i in model.inputs(args)]
    weights = count_bytes([module])
    assert len(lowered.pte) <= 1.01 * weights + (64 << 10)

    plan = lowered.plans["forward"]
    attest(plan, lowered.edge.exported_program().graph_module)
    dtype_name = str(dtype).removeprefix("torch.")
    nodes = f"{plan.delegated}/{len(plan.placements)}"
    fallbacks = ", ".join(model.fallbacks) or "-"
    record_property(
        "model", f"{model.name:22}{dtype_name:10}{nodes:>9}{model.delegates:>5}   "
        f"{max(errors):8.1e}   {fallbacks}"
    )  # fmt: skip
