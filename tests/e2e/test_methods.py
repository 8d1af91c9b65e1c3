"""A program with two methods that share weights."""

import pytest
import torch

from examples import two_methods
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import count_bytes, lower_methods, run_eagerly
from tests.e2e.models import DTYPES


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
def test_methods_share_weights(dtype: torch.dtype) -> None:
    methods = two_methods.model(dtype)
    lowered = lower_methods(methods)
    for name, (module, inputs, _, _) in methods.items():
        assert lowered.fallbacks(name) == []
        assert len(lowered.delegates(name)) == 1
        run = lowered.start(name)
        assert_close(run(*inputs), run_eagerly(module, *inputs))

    # Each weight once: two copies would be twice this size.
    weights = count_bytes([module for module, *_ in methods.values()])
    assert len(lowered.pte) <= 1.01 * weights + (64 << 10)
    assert weights > 256 << 10
