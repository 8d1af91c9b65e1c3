"""Fast matrix products: equal to MLX's own, and harmless where they cannot be had."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_coverage.runtime import blas

ROOT = Path(__file__).parents[2]
LINUX_CPU = sys.platform == "linux" and not blas.has_cuda_backend()
needs_forwarder = pytest.mark.skipif(not LINUX_CPU, reason="MLX brings a fast BLAS here")

# Products of many shapes, saved as one file; the state and the count of forwarded calls printed.
PRODUCTS = """
import json, sys
from mlx_coverage.runtime import blas
state = blas.preload()
import mlx.core as mx
import numpy as np
values = np.random.default_rng(0)
def make(*shape, dtype=mx.float32):
    return mx.array(values.normal(size=shape).astype(np.float32)).astype(dtype)
results = {}
def keep(name, array):
    results[name] = np.array(array.astype(mx.float32))
mx.set_default_device(mx.cpu)
for m, n, k in [(1, 1, 1), (1, 7, 5), (5, 1, 3), (33, 17, 65), (128, 64, 96), (0, 4, 3), (4, 0, 3),
                (4, 3, 0)]:
    a, b = make(m, k), make(k, n)
    keep(f"plain {m} {n} {k}", a @ b)
    keep(f"left transposed {m} {n} {k}", make(k, m).T @ b)
    keep(f"right transposed {m} {n} {k}", a @ make(n, k).T)
    keep(f"both transposed {m} {n} {k}", make(k, m).T @ make(n, k).T)
    keep(f"addmm {m} {n} {k}", mx.addmm(make(m, n), a, b, alpha=0.5, beta=2.0))
    keep(f"addmm row {m} {n} {k}", mx.addmm(make(n), a, b, alpha=-1.0, beta=1.0))
    keep(f"double {m} {n} {k}", a.astype(mx.float64) @ b.astype(mx.float64))
keep("batched", make(3, 4, 5) @ make(3, 5, 6))
keep("broadcast", make(3, 4, 5) @ make(5, 6))
keep("strided", make(8, 20)[:, ::2] @ make(10, 6)[:, 1:5])
forwarded = blas.count_calls()
for dtype in (mx.float16, mx.bfloat16):
    keep(str(dtype), make(33, 65, dtype=dtype) @ make(65, 17, dtype=dtype))
keep("quantized", mx.quantized_matmul(make(2, 64), *mx.quantize(make(8, 64))))
np.savez(sys.argv[1], **results)
print(json.dumps([state, forwarded, blas.count_calls()]))
"""


def run(code: str, *arguments: str, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


@needs_forwarder
def test_products_equal_mlx_own(tmp_path: Path):
    on, off = tmp_path / "on.npz", tmp_path / "off.npz"
    state, forwarded, after = run(PRODUCTS, str(on), MLX_COVERAGE_FAST_MATMUL="1")
    assert state == "active"
    assert forwarded > 20
    # Half precision and quantized products are MLX's own kernels.
    assert after == forwarded
    assert run(PRODUCTS, str(off), MLX_COVERAGE_FAST_MATMUL="0") == ["off", 0, 0]
    with np.load(on) as fast, np.load(off) as slow:
        assert fast.files == slow.files
        for name in fast.files:
            np.testing.assert_allclose(fast[name], slow[name], rtol=1e-4, atol=1e-4, err_msg=name)


@needs_forwarder
def test_too_late():
    code = """
import json, mlx.core
from mlx_coverage.runtime import blas
print(json.dumps(blas.preload()))
"""
    assert run(code) == "too late"


@needs_forwarder
def test_without_torch_the_products_are_mlx_own(tmp_path: Path):
    code = f"""
from pathlib import Path
from mlx_coverage.runtime import blas
blas._find_torch_library = lambda: Path("/nowhere/libtorch_cpu.so")
{PRODUCTS}
"""
    assert run(code, str(tmp_path / "out.npz")) == ["active", 0, 0]


@needs_forwarder
def test_without_a_compiler(tmp_path: Path):
    code = """
import json
from mlx_coverage.runtime import blas
print(json.dumps(blas.preload()))
import mlx.core
"""
    state = run(code, PATH="", CXX="", MLX_COVERAGE_CACHE_DIR=str(tmp_path))
    assert state == "unavailable: there is no C compiler."


@needs_forwarder
def test_preload_is_cheap():
    code = """
import json, time
from mlx_coverage.runtime import blas
start = time.perf_counter()
blas.preload()
print(json.dumps(time.perf_counter() - start))
"""
    run(code)
    assert min(run(code) for _ in range(3)) < 0.05
