"""What `check` says of a program is what `export` does; what runs equals eager torch."""

from pathlib import Path
from typing import Any

import pytest

from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.capture import Capture, export_methods, lower_methods, plan_methods
from mlx_coverage.analyze.verification import verify
from tests.e2e.idioms import IDIOMS
from tests.lowering.plans import describe_plan


def describe(capture: Capture) -> list[Any]:
    plans = {name: describe_plan(plan) for name, plan in capture.plans.items()}
    return [plans, [(refusal.sentence, refusal.source) for refusal in capture.refusals]]


@pytest.mark.parametrize("name", IDIOMS)
def test_check_says_what_export_does(name: str, tmp_path: Path) -> None:
    idiom = IDIOMS[name]
    methods = idiom.methods()
    planned = plan_methods(export_methods(methods), MLXPartitioner)
    programs = export_methods(methods)
    lowered = lower_methods(programs, MLXPartitioner)
    assert describe(planned) == describe(lowered)
    for plan in lowered.plans.values():
        assert plan.placements
        assert not idiom.whole or lowered.refusals or plan.delegated == len(plan.placements)
    if idiom.partitions is None:
        assert lowered.program is None
        assert idiom.says in lowered.refusals[0].sentence
        source = lowered.refusals[0].source.file
        assert source is not None
        assert source.endswith("idioms.py")
        return
    assert [len(plan.partitions) for plan in lowered.plans.values()] == [idiom.partitions] * len(
        methods
    )
    assert lowered.program is not None
    path = tmp_path / "model.pte"
    with path.open("wb") as file:
        lowered.program.write_to_file(file)
    # In sequence where there is state, at other values and sizes.
    assert len(verify(methods, programs, path, MLXPartitioner)) == len(methods)
