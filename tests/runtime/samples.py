"""Sample arguments for every function of the runtime's table."""

from typing import Any

import mlx.core as mx
import numpy as np

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def sample(*args: Any, **kwargs: Any) -> Arguments:
    """The arguments of one call as Python code would write them."""
    return args, kwargs


def normal(*shape: int, dtype: mx.Dtype = mx.float32, seed: int = 0) -> mx.array:
    """Numbers of either sign."""
    values = np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)
    return mx.array(values).astype(dtype)


def unit(*shape: int, low: float = 0.05, high: float = 0.95) -> mx.array:
    """Numbers between two bounds."""
    values = np.random.default_rng(shape).uniform(low, high, size=shape)
    return mx.array(values.astype(np.float32))


def whole(*shape: int, low: int = -4, high: int = 5, dtype: mx.Dtype = mx.int32) -> mx.array:
    """Integers from `low` to before `high`."""
    return mx.array(np.random.default_rng(shape).integers(low, high, size=shape)).astype(dtype)


A, B, ROW = normal(2, 3), normal(2, 3, seed=1), normal(3)
BOOLS = mx.array([True, False, True])
SPECIAL = mx.array([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.5])
COMPLEX = mx.array(np.array([1 + 2j, -3 + 0.5j, 2 - 1j], np.complex64))


def _unary(*names: str, operand: mx.array = A) -> dict[str, list[Arguments]]:
    return {name: [sample(operand)] for name in names}


def _binary(*names: str, pairs: list[tuple[Any, Any]]) -> dict[str, list[Arguments]]:
    return {name: [sample(a, b) for a, b in pairs] for name in names}


def _reduction(*names: str, **more: Any) -> dict[str, list[Arguments]]:
    return {
        name: [
            sample(A),
            sample(A, axis=1),
            sample(normal(2, 3, 4), axis=(0, -1), keepdims=True, **more),
        ]
        for name in names
    }


def _scan(*names: str) -> dict[str, list[Arguments]]:
    return {
        name: [sample(A), sample(A, 0), sample(A, -1, reverse=True, inclusive=False)]
        for name in names
    }


ELEMENTWISE: dict[str, list[Arguments]] = {
    **_unary(
        *("abs ceil cos cosh degrees erf exp expm1 floor negative positive radians").split(),
        *("sigmoid sign sin sinh square stop_gradient tan tanh trunc arctan atan").split(),
        *("arcsinh asinh").split(),
    ),
    **_unary("arccos", "acos", "arcsin", "asin", "arctanh", "atanh", "erfinv", operand=unit(2, 3)),
    **_unary("log", "log10", "log1p", "log2", "sqrt", "rsqrt", "reciprocal", operand=unit(4)),
    **_unary("arccosh", "acosh", operand=unit(4, low=1, high=5)),
    **_unary("isfinite", "isinf", "isnan", "isneginf", "isposinf", operand=SPECIAL),
    **_unary("conj", "conjugate", "real", "imag", operand=COMPLEX),
    **_unary("bitwise_invert", operand=whole(5)),
    **_unary("logical_not", operand=BOOLS),
    **_binary(
        *("add subtract multiply divide maximum minimum equal not_equal less").split(),
        *("less_equal greater greater_equal logaddexp arctan2 atan2").split(),
        pairs=[(A, B), (A, ROW)],
    ),
    **_binary("pow", "power", pairs=[(unit(3), ROW), (unit(3), 2), (2.0, ROW), (whole(3), 2)]),
    **_binary(
        *("remainder", "floor_divide"),
        pairs=[(A, B), (whole(5), whole(5, low=1)), (normal(3, dtype=mx.bfloat16), 2)],
    ),
    **_binary(
        "bitwise_and", "bitwise_or", "bitwise_xor", pairs=[(whole(4), whole(4)), (whole(4), 3)]
    ),
    **_binary(
        *("left_shift", "bitwise_left_shift", "right_shift", "bitwise_right_shift"),
        pairs=[(whole(4, low=0), whole(4, low=0))],
    ),
    **_binary("logical_and", "logical_or", "logical_xor", pairs=[(BOOLS, BOOLS), (A, B)]),
    "add ": [sample(A, 2.5), sample(whole(3), 2), sample(1, whole(3, dtype=mx.int8))],
    "divmod": [sample(A, B), sample(whole(4), 3)],
    "array_equal": [sample(A, A), sample(SPECIAL, SPECIAL, equal_nan=True)],
    "allclose": [sample(A, A), sample(A, B, rtol=10.0, atol=1.0)],
    "isclose": [sample(A, B), sample(SPECIAL, SPECIAL, equal_nan=True)],
    "astype": [sample(A, mx.bfloat16), sample(A * 5, mx.int32), sample(whole(3), mx.bool_)],
    "clip": [sample(A, -0.5, 0.5), sample(A, None, 0), sample(whole(4), 0, None), sample(A, B, 1)],
    "nan_to_num": [sample(SPECIAL), sample(SPECIAL, 1.0, 2.0, -3.0)],
    "round": [sample(A * 3), sample(A * 3, 2)],
    "view": [sample(A, mx.int32), sample(normal(4), mx.uint8)],
    "where": [sample(A > 0, A, B), sample(A > 0, A, 0), sample(BOOLS, 1.0, ROW.astype(mx.float16))],
}

REDUCTION: dict[str, list[Arguments]] = {
    **_reduction("count_nonzero", "logsumexp", "max", "mean", "median", "min", "prod", "sum"),
    **_reduction("minmax"),
    **_reduction("std", "var", ddof=1),
    "all": [sample(BOOLS), sample(A > 0, 1, True)],
    "any": [sample(BOOLS), sample(A > 0, 0)],
    "argmax": [sample(A), sample(A, 1), sample(A, -1, keepdims=True)],
    "argmin": [sample(A), sample(A, 0, True)],
    **_scan("cummax", "cummin", "logcumsumexp", "cumprod", "cumulative_prod"),
    **_scan("cumsum", "cumulative_sum"),
    "cumsum ": [sample(whole(4), dtype=mx.float32)],
    "argsort": [sample(A), sample(A, 0), sample(A, None)],
    "sort": [sample(A), sample(A, 0), sample(A, None)],
    "argpartition": [sample(normal(9), 0), sample(A, 0, None)],
    "partition": [sample(normal(9), 0), sample(A, 0, None)],
    "topk": [sample(normal(9), 1), sample(A, 1, 1), sample(A, 6, None)],
    "searchsorted": [
        sample(mx.array([0.0, 1.0, 2.0]), A),
        sample(mx.array([0, 1, 2]), whole(4), side="right"),
    ],
    "softmax": [sample(A), sample(A, -1), sample(normal(2, 3, 4), (0, 2), precise=True)],
    "unique": [sample(whole(6), 6), sample(whole(6), 8, True, True, True, fill_value=0)],
}

SHAPE: dict[str, list[Arguments]] = {
    "as_strided": [sample(A), sample(A, (3, 2), (1, 3), 0), sample(A, (2, 2), (-2, 1), 3)],
    "atleast_1d": [sample(mx.array(2.0)), sample(A, ROW)],
    "atleast_2d": [sample(ROW), sample(A, ROW)],
    "atleast_3d": [sample(ROW), sample(A, ROW)],
    "broadcast_arrays": [sample(A, ROW)],
    "broadcast_to": [sample(ROW, (2, 3)), sample(2.0, (2,))],
    "concat": [sample([A, B]), sample([A, B], 1), sample([A, ROW], None)],
    "concatenate": [sample([A, B]), sample([A, B], -1)],
    "contiguous": [sample(A.T), sample(A.T, True)],
    "depends": [sample([A, B], [ROW])],
    "diff": [sample(A), sample(A, 2, 0)],
    "expand_dims": [sample(A, 0), sample(A, (0, -1))],
    "flatten": [sample(A), sample(normal(2, 3, 4), 1, 2)],
    "flip": [sample(A), sample(A, 1), sample(A, (0, 1))],
    "matrix_transpose": [sample(A)],
    "meshgrid": [
        sample(ROW, normal(2)),
        sample(ROW, normal(2), sparse=True, indexing="ij"),
    ],
    "moveaxis": [sample(normal(2, 3, 4), 0, -1)],
    "pad": [
        sample(A, 1),
        sample(A, (1, 2)),
        sample(A, [(0, 1), (2, 0)], constant_values=1.5),
        sample(A, [(1, 1)], mode="edge"),
        sample(A, ((1, 0), (0, 1)), "constant", mx.array(7.0)),
    ],
    "permute_dims": [sample(A), sample(normal(2, 3, 4), (2, 0, 1))],
    "repeat": [sample(A, 2), sample(A, 2, 1)],
    "reshape": [sample(A, (3, 2)), sample(A, (-1,)), sample(A, [6, 1])],
    "roll": [sample(A, 1), sample(A, (1, 2), (0, 1)), sample(A, -1, 1), sample(A, 2, (0, 1))],
    "split": [sample(A, 3, 1), sample(normal(6), [1, 4]), sample(A, 2)],
    "squeeze": [sample(normal(1, 3, 1)), sample(normal(1, 3, 1), 0), sample(normal(1, 1), (0, 1))],
    "stack": [sample([A, B]), sample([A, B], -1)],
    "swapaxes": [sample(normal(2, 3, 4), 0, 2)],
    "tile": [sample(A, 2), sample(ROW, (2, 2))],
    "transpose": [sample(A), sample(normal(2, 3, 4), (1, 0, -1))],
    "unflatten": [sample(normal(6), 0, (2, 3)), sample(normal(2, 6), -1, (3, -1))],
    "unstack": [sample(A), sample(A, axis=1)],
}

CREATION: dict[str, list[Arguments]] = {
    "array": [
        sample([[1, 2], [3, 4]], mx.int32),
        sample([1.5, 2.5], mx.float16),
        sample([True, False], mx.bool_),
        sample(3, mx.int64),
        sample([[]], mx.float32),
    ],
    "arange": [sample(5), sample(1, 7, 2), sample(0.5, 3), sample(2, 9, 3, mx.bfloat16)],
    **{name: [sample(5)] for name in ("bartlett", "blackman", "hamming", "hanning")},
    "empty": [sample((2, 3))],
    "empty_like": [sample(A)],
    "eye": [sample(3), sample(3, 4, 1, mx.int32)],
    "full": [sample((2, 3), 1.5), sample(3, 2), sample((2, 3), ROW), sample((2,), 1, mx.float16)],
    "full_like": [sample(A, 2), sample(A, 1.5, mx.float16)],
    "identity": [sample(3), sample(2, mx.int32)],
    "linspace": [sample(0, 1, 5), sample(0, 1, 4, endpoint=False, dtype=mx.float16)],
    "ones": [sample((2, 3)), sample(3, mx.int32)],
    "ones_like": [sample(A), sample(A, mx.int8)],
    "tri": [sample(3), sample(2, 4, 1, mx.int32)],
    "tril": [sample(normal(3, 3)), sample(normal(2, 3, 4), 1)],
    "triu": [sample(normal(3, 3)), sample(normal(2, 3, 4), -1)],
    "zeros": [sample((2, 3)), sample(3, mx.bool_)],
    "zeros_like": [sample(A), sample(A, mx.int8)],
}

INDEXING: dict[str, list[Arguments]] = {
    "indexing.slice": [
        sample(normal(4, 5), (1, 0), (3, 5), (1, 2)),
        sample(normal(4, 5), (3, 4), (-1, -1), (-1, -2)),
        sample(normal(4), (3,), (0,), (-2,)),
        sample(normal(4), (2,), (2,), (1,)),
    ],
    "indexing.slice_update": [
        sample(normal(4, 5), normal(2, 3), (1, 0), (3, 5), (1, 2)),
        sample(normal(4), mx.array(1.0), (0,), (4,), (2,)),
        sample(normal(4), normal(4, seed=3), (3,), (-1,), (-1,)),
    ],
    "indexing.gather": [
        sample(normal(4, 5), [mx.array([0, -1, 2])]),
        sample(normal(4, 5), [mx.array([[0], [1]]), mx.array([4, -5, 0])]),
        sample(normal(4, 5, 2), [mx.array(2), mx.array([1, 2])]),
        sample(normal(300), [mx.array([0, 7, 255], mx.uint8)]),
    ],
    "indexing.scatter": [
        sample(normal(4, 5), [mx.array([0, -1])], normal(2, 5), "set"),
        sample(normal(4, 5), [mx.array([0, 0])], normal(2, 5), "add"),
        sample(normal(4, 5), [mx.array([0, 0]), mx.array([1, 1])], normal(2), "multiply"),
        sample(normal(4, 5), [mx.array([1, 1])], normal(2, 5), "maximum"),
        sample(normal(4, 5), [mx.array([1, 1])], normal(2, 5), "minimum"),
        sample(normal(4, 5), [mx.array([1, 2])], mx.array(3.0), "set"),
        sample(normal(0, 2), [mx.zeros(0, mx.int32)], normal(0, 2), "add"),
    ],
    "diag": [sample(ROW), sample(normal(3, 3), 1)],
    "diagonal": [sample(normal(3, 4)), sample(normal(2, 3, 4), 1, 1, 2)],
    "put_along_axis": [
        sample(A, mx.array([[0], [2]]), mx.array([[1.0], [2.0]]), 1),
        sample(A, mx.array([5, -6]), mx.array([1.0, 2.0]), None),
    ],
    "slice": [sample(normal(4, 5), mx.array([1, 2]), (0, 1), (2, 3))],
    "slice_update": [sample(normal(4, 5), normal(2, 3), mx.array([1, 2]), (0, 1))],
    "take": [
        sample(A, mx.array([0, -1, 2, 1]), 1),
        sample(A, mx.array([[0, 5]])),
        sample(A, 1, 0),
        sample(A, -2),
    ],
    "take_along_axis": [sample(A, mx.array([[0], [-1]]), 1), sample(A, mx.array([0, 5]), None)],
}

_W = normal(8, 64)
_QUANTIZED = mx.quantize(_W)
_EXPERTS = mx.quantize(normal(3, 8, 64))

MATRIX: dict[str, list[Arguments]] = {
    "addmm": [sample(normal(2, 4), A, normal(3, 4)), sample(ROW, A, normal(3, 3), 2.0, 0.5)],
    "block_masked_mm": [
        sample(normal(32, 32), normal(32, 32), 32, mask_out=mx.array([[True]])),
    ],
    "dequantize": [sample(*_QUANTIZED), sample(*_QUANTIZED, dtype=mx.float16)],
    "einsum": [sample("ij,kj->ik", A, B), sample("i->", ROW)],
    "from_fp8": [sample(mx.to_fp8(A)), sample(mx.to_fp8(A), mx.float32)],
    "gather_mm": [
        sample(normal(1, 2, 3), normal(4, 3, 5), rhs_indices=mx.array([2, 0])),
        sample(normal(2, 2, 3), normal(2, 3, 5), mx.array([1]), mx.array([0])),
    ],
    "gather_qmm": [sample(normal(1, 2, 64), *_EXPERTS, rhs_indices=mx.array([2, 0]))],
    "gather_qqmm": [
        sample(normal(1, 2, 64), mx.stack([_W, _W]), rhs_indices=mx.array([1])),
    ],
    "hadamard_transform": [sample(normal(2, 8)), sample(normal(2, 8), 1.0)],
    "inner": [sample(A, B)],
    "kron": [sample(A, normal(2, 2))],
    "matmul": [sample(A, normal(3, 4)), sample(normal(2, 2, 3), ROW)],
    "outer": [sample(ROW, normal(2))],
    "qqmm": [sample(normal(2, 64), _W)],
    "quantize": [sample(_W), sample(_W, 32, 8), sample(_W, mode="mxfp4")],
    "quantized_matmul": [
        sample(normal(2, 64), *_QUANTIZED),
        sample(normal(2, 8), *_QUANTIZED, transpose=False),
        sample(normal(2, 64), *mx.quantize(_W, 32, 8), group_size=32, bits=8),
    ],
    "segmented_mm": [sample(normal(2, 6), normal(6, 3), mx.array([[0, 2], [2, 6]], mx.uint32))],
    "tensordot": [
        sample(A, B.T, 1),
        sample(normal(2, 3, 4), normal(4, 3), [[2, 1], [0, 1]]),
    ],
    "to_fp8": [sample(A)],
    "trace": [sample(normal(3, 3)), sample(normal(2, 3, 4), 1, 1, 2, mx.float16)],
    "vecdot": [sample(A, B), sample(A, B, axis=0)],
}

CONVOLUTION: dict[str, list[Arguments]] = {
    "conv1d": [sample(normal(1, 8, 2), normal(4, 3, 2), 2, 1, 1)],
    "conv2d": [
        sample(normal(1, 6, 5, 2), normal(4, 3, 3, 2), 1, 1),
        sample(normal(1, 6, 5, 4), normal(4, 3, 2, 2), (2, 1), (1, 0), (1, 2), 2),
    ],
    "conv3d": [sample(normal(1, 4, 4, 4, 2), normal(3, 2, 2, 2, 2), 1, (0, 1, 0))],
    "conv_general": [
        sample(normal(1, 6, 5, 2), normal(4, 3, 3, 2)),
        sample(normal(1, 6, 5, 2), normal(4, 3, 3, 2), [2, 1], [1, 0], 1, [1, 2], flip=True),
        sample(normal(1, 6, 5, 2), normal(4, 3, 3, 2), 1, ([1, 0], [2, 1])),
    ],
    "conv_transpose1d": [sample(normal(1, 5, 2), normal(4, 3, 2), 2, 1, 1, 1)],
    "conv_transpose2d": [sample(normal(1, 4, 4, 2), normal(3, 3, 3, 2), 2, (1, 0), 1, (1, 0))],
    "conv_transpose3d": [sample(normal(1, 3, 3, 3, 2), normal(3, 2, 2, 2, 2), (1, 2, 1))],
    "convolve": [
        sample(normal(7), normal(3)),
        sample(normal(3), normal(6), "same"),
        sample(normal(7), normal(4), "valid"),
    ],
}

_Q = normal(1, 4, 5, 8)
_KV = normal(1, 2, 7, 8)

FAST: dict[str, list[Arguments]] = {
    "fast.cross_entropy": [sample(A, mx.array([0, 2]))],
    "fast.gated_delta_update": [
        sample(*(normal(1, 4, 2, 32, seed=i) * 0.1 for i in range(3)), unit(1, 4, 2), unit(1, 4, 2))
    ],
    "fast.layer_norm": [sample(A, None, None, 1e-5), sample(A, ROW, normal(3, seed=2), 1e-3)],
    "fast.rms_norm": [sample(A, ROW, 1e-5), sample(A, None, 1e-6)],
    "fast.rope": [
        sample(_Q, 8, traditional=False, base=10000.0, scale=1.0, offset=0),
        sample(_Q, 4, traditional=True, base=500.0, scale=0.5, offset=mx.array(3)),
        sample(*(_Q, 8), traditional=False, base=None, scale=1.0, offset=1, freqs=unit(4, high=9)),
    ],
    "fast.scaled_dot_product_attention": [
        sample(_Q, _KV, _KV, scale=0.3),
        sample(_Q, _KV, _KV, scale=0.3, mask="causal"),
        sample(_Q, _KV, _KV, scale=0.3, mask=normal(5, 7) > 0),
        sample(_Q, _KV, _KV, scale=0.3, mask=normal(5, 7), sinks=normal(4)),
    ],
}

FFT: dict[str, list[Arguments]] = {
    **{f"fft.{name}": [sample(normal(2, 8)), sample(normal(2, 8), 6, 1, "ortho")] for name in
       ("fft", "ifft", "rfft")},
    "fft.irfft": [sample(normal(2, 5)), sample(normal(2, 5), 6, 0, "forward")],
    **{f"fft.{name}": [sample(normal(4, 6)), sample(normal(3, 4, 6), (4, 4), (0, 1))] for name in
       ("fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn")},
    "fft.fftfreq": [sample(6), sample(5, 0.5)],
    "fft.rfftfreq": [sample(6), sample(5, 0.5)],
    "fft.fftshift": [sample(normal(4, 5)), sample(normal(4, 5), 1)],
    "fft.ifftshift": [sample(normal(4, 5)), sample(normal(4, 5), (0, 1))],
    "fft.stft": [sample(normal(64), 16), sample(normal(64), 16, 4, 8, center=False)],
    "fft.istft": [sample(mx.fft.stft(normal(64), 16))],
}  # fmt: skip

_A = normal(2, 3, 3) + 3 * mx.eye(3)
_DEFINITE = _A @ mx.swapaxes(_A, -1, -2) + mx.eye(3)

LINALG: dict[str, list[Arguments]] = {
    "linalg.cholesky": [sample(_DEFINITE), sample(_DEFINITE, upper=True)],
    "linalg.cholesky_inv": [sample(_A), sample(_A, upper=True)],
    "linalg.det": [sample(_A)],
    "linalg.eigh": [sample(_DEFINITE), sample(_DEFINITE, "U")],
    "linalg.eigvalsh": [sample(_DEFINITE), sample(_DEFINITE, "U")],
    "linalg.inv": [sample(_A)],
    "linalg.qr": [sample(_A), sample(normal(4, 3)), sample(normal(3, 4))],
    "linalg.slogdet": [sample(_A)],
    "linalg.solve": [sample(_A, normal(2, 3, 4))],
    "linalg.solve_triangular": [sample(_A, normal(2, 3, 4)), sample(_A, _A, upper=True)],
    "linalg.svd": [sample(normal(4, 3)), sample(normal(2, 3, 4)), sample(_A, False)],
}


def _collect() -> dict[str, list[Arguments]]:
    samples: dict[str, list[Arguments]] = {}
    families = (
        ELEMENTWISE,
        REDUCTION,
        SHAPE,
        CREATION,
        INDEXING,
        MATRIX,
        CONVOLUTION,
        FAST,
        FFT,
        LINALG,
    )
    for family in families:
        for name, calls in family.items():
            # A trailing blank adds samples to a function that a group names already.
            samples.setdefault(name.strip(), []).extend(calls)
    return samples


SAMPLES = _collect()
