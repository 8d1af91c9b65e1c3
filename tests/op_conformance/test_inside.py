"""Check (a): inside its domain every implementation gives torch's results."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import settings

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.dtypes import name_dtype
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.checks import run_inside
from tests.op_conformance.domain import list_case_dtypes, list_followers

# Examples of each run that must compare something; half of them in a short profile.
FLOOR = 50


@dataclass(frozen=True)
class Entry:
    """One entry in one dtype."""

    spec: OpSpec
    dtype: torch.dtype | None

    def __str__(self) -> str:
        return self.spec.name + (f"-{name_dtype(self.dtype)}" if self.dtype else "")


ENTRIES = [
    Entry(spec, dtype)
    for spec in default_registry()
    if spec.samples is not None
    for dtype in list_case_dtypes(spec)
]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_implementation_gives_torchs_results(entry: Entry) -> None:
    effective = run_inside(entry.spec, entry.dtype, str(entry))
    if list_followers(entry.spec):  # an op on sizes alone can run out of different cases
        floor = min(FLOOR, settings().max_examples // 2)
        assert effective >= floor, f"{entry}: {effective} effective examples, fewer than {floor}"
