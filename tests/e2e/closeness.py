"""When a result counts as torch's: the criterion of the end-to-end tests.

The error of an output is its largest difference from eager torch, relative to the
largest magnitude in eager torch's output. Whole models are compared, so rounding adds
up over layers: float32 is held to 1e-5, bfloat16 (8 bits of mantissa, 2^-8 = 4e-3 for
each rounding) to 3e-2. Integers and booleans must be equal.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def assert_close(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Compare all outputs; return the largest relative error of the floating ones."""
    assert len(found) == len(expected)
    return max((_compare(a, b) for a, b in zip(found, expected, strict=True)), default=0.0)


def _compare(found: Any, expected: Any) -> float:
    if not isinstance(expected, Tensor):
        assert found == expected
        return 0.0
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if not expected.dtype.is_floating_point:
        assert torch.equal(found, expected)
        return 0.0
    error = measure_error(found, expected)
    assert error <= TOLERANCES[expected.dtype]
    return error


def measure_error(found: Tensor, expected: Tensor) -> float:
    """Largest difference over largest magnitude; NaN where only one side has one."""
    if expected.numel() == 0:
        return 0.0
    difference = (found.double() - expected.double()).abs().max().item()
    return difference / max(expected.double().abs().max().item(), 1e-30)
