"""A few good cases of an entry, the same in every run."""

import zlib

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from tests.op_conformance.cases import Case

_QUIET = settings(
    deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def draw_examples(strategy: st.SearchStrategy[Case], name: str, count: int) -> list[Case]:
    """Up to `count` examples of a strategy; `name` is the seed."""
    found: list[Case] = []

    @seed(zlib.crc32(name.encode()))
    @settings(_QUIET, max_examples=count)
    @given(strategy)
    def collect(case: Case) -> None:
        found.append(case)

    try:
        collect()
    except Unsatisfiable:
        return found
    return found


def measure(case: Case) -> int:
    """How many elements a case's operands have."""
    return sum(tensor.numel() for tensor in case.tensors() if isinstance(tensor, torch.Tensor))
