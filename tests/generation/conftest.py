"""Each family and dtype is lowered once for all modules."""

from collections.abc import Callable

import pytest
import torch

from tests.generation.families import Case

Open = Callable[[str, torch.dtype], Case]


@pytest.fixture(scope="session")
def open_case(tmp_path_factory: pytest.TempPathFactory) -> Open:
    cases: dict[tuple[str, torch.dtype], Case] = {}

    def open_case(family: str, dtype: torch.dtype = torch.float32) -> Case:
        key = (family, dtype)
        if key not in cases:
            cases[key] = Case(family, dtype, tmp_path_factory.mktemp(family))
        return cases[key]

    return open_case
