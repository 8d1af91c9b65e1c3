"""`check` of whole models says what `export` does: placements, refusals and their lines."""

import zlib
from pathlib import Path

import pytest
from hypothesis import settings

from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.capture import export_methods, lower_methods, plan_methods
from mlx_coverage.analyze.load import open_model
from mlx_coverage.zoo import PRESETS
from tests.e2e.test_idioms import describe

EXAMPLES = Path(__file__).parents[2] / "examples"
# Outside the nightly profile one model in so many, always the same.
SHARE = 1 if settings.get_current_profile_name() == "nightly" else 8
MODELS = [
    model
    for model in (
        *(f"zoo:{name}@small" for name in PRESETS),
        *sorted(str(path) for path in EXAMPLES.glob("*.py") if "def model(" in path.read_text()),
    )
    if not zlib.crc32(Path(model).name.encode()) % SHARE
]


@pytest.mark.parametrize("name", MODELS, ids=lambda name: Path(name).stem)
def test_check_says_what_export_does(name: str) -> None:
    if name.startswith("zoo:") and PRESETS[name[4:].removesuffix("@small")].find_missing():
        pytest.skip("the extra zoo is not installed")
    # Some models keep what torch.export traced in them, so that each is had anew.
    with open_model(name) as methods:
        planned = plan_methods(export_methods(methods), MLXPartitioner)
    with open_model(name) as methods:
        lowered = lower_methods(export_methods(methods), MLXPartitioner)
    assert describe(planned) == describe(lowered)
