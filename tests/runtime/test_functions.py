"""Every row of the function table against the mlx.core function of its name."""

import re
from typing import Any

import mlx.core as mx
import pytest
import torch

from mlx_coverage import runtime
from mlx_coverage.lowering import functions
from mlx_coverage.runtime import library
from mlx_coverage.runtime.functions import names
from tests.runtime.programs import leaves, load_program, record_call, to_torch
from tests.runtime.samples import SAMPLES, Arguments

ROWS = [name for name in names() if not name.startswith("host.")]
CASES = [
    pytest.param(name, arguments, id=f"{name}-{number}")
    for name in ROWS
    for number, arguments in enumerate(SAMPLES.get(name, []))
]

# MLX has no CPU kernel for these.
GPU_ONLY = {"qqmm", "gather_qqmm"}

# Made of Python objects, of files or of kernel source, or linear algebra.
NOT_ROWS = {
    *("asarray from_dlpack load matrix_norm fast.precompiled_cuda_kernel").split(),
}

_RETURNS_ARRAYS = re.compile(r"-> (tuple\[|list\[)?(mlx\.core\.)?array")


def test_every_row_has_samples():
    assert [name for name in ROWS if not SAMPLES.get(name)] == []


def test_library_has_the_rows_that_python_reads():
    runtime.load()
    assert library.list_functions() == dict(names())


def test_every_array_function_of_mlx_has_a_row():
    def list_names(module: Any, prefix: str = "") -> set[str]:
        return {
            prefix + name
            for name in dir(module)
            if _RETURNS_ARRAYS.search(_signature(module, name))
        }

    mlx = list_names(mx) | list_names(mx.fast, "fast.") | list_names(mx.fft, "fft.")
    assert mlx - set(names()) == NOT_ROWS


def _signature(module: Any, name: str) -> str:
    published = getattr(getattr(module, name), "__nb_signature__", None)
    return published[0][0] if published else ""


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_row_equals_mlx(name: str, arguments: Arguments):
    args, kwargs = arguments
    values = list(functions.bind(name, args, kwargs).values())
    assert len(values) == names()[name]
    expected = leaves(functions.find_function(name)(*args, **kwargs))
    program = record_call(name, values, expected)
    method = load_program(program, *[a.shape for a in expected])
    if name in GPU_ONLY and runtime.device() == "cpu":
        with pytest.raises(RuntimeError):
            method.execute(*(to_torch(a) for a in leaves(values)))
        assert "NYI" in runtime.last_error()
        return
    outputs = method.execute(*(to_torch(a) for a in leaves(values)))
    assert len(outputs) == len(expected)
    for output, array in zip(outputs, expected, strict=True):
        wanted = to_torch(array)
        assert output.dtype == wanted.dtype
        assert output.shape == wanted.shape
        torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-6, equal_nan=True)
