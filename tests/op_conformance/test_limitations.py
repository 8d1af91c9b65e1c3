"""Limitations and tolerances: what is declared must still show."""

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.spec import Limitation, OpSpec
from tests.op_conformance.arrays import DEVICE
from tests.op_conformance.cases import list_avoided
from tests.op_conformance.checks import ConformanceError, run_inside
from tests.op_conformance.domain import list_case_dtypes
from tests.op_conformance.values import AVOIDABLE

DECLARED = [
    (spec, limitation)
    for spec in default_registry()
    for limitation in spec.limitations
    if limitation.device in (None, DEVICE)
]


@pytest.mark.parametrize(
    ("spec", "limitation"), DECLARED, ids=[f"{s.name}-{n.avoids}" for s, n in DECLARED]
)
def test_limitation_still_shows(spec: OpSpec, limitation: Limitation) -> None:
    assert limitation.avoids in AVOIDABLE, "names no value class: conformance cannot see it"
    dtypes = [d for d in list_case_dtypes(spec) if not limitation.dtypes or d in limitation.dtypes]
    assert dtypes, "holds for no dtype of the entry"
    assert any(shows(spec, limitation, dtype) for dtype in dtypes), "stale: remove it"


def shows(spec: OpSpec, limitation: Limitation, dtype: torch.dtype | None) -> bool:
    """Whether the entry fails when the values that the limitation leaves out are drawn."""
    others = list_avoided(spec, dtype) - {limitation.avoids}
    for favours, examples in ((None, 400), (limitation.avoids, 2000)):
        name = f"{spec.name}-{limitation.avoids}"
        try:
            run_inside(
                spec, dtype, name, avoids=others, favours=favours, examples=examples, shrink=False
            )
        except ConformanceError:
            return True
    return False
