"""Products of integer matrices, exact: MLX multiplies matrices of floats alone."""

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.operands import is_integer, wrap_integer

_DIGIT = 8  # bits, with a sign: TF32 holds them as well
_INNER = 1024  # products of two digits, of 14 bits each, that float32 adds exactly


def multiply(a, b):
    """The matrix product, of integers modulo the range of their dtype."""
    return multiply_integers(a, b, a.dtype) if is_integer(a.dtype) else mx.matmul(a, b)


def multiply_integers(a, b, dtype):
    """`a @ b` (..., N, M) of (..., N, K) and (..., K, M), modulo the range of `dtype`.

    Batches are the same. Each operand is written in signed digits of base 256, and digits that
    belong to one place of the result are multiplied as one float32 matrix.
    """
    work = mx.int64 if dtype.size == 8 else mx.int32
    left, right = (_list_digits(x, min(x.dtype.size, dtype.size), work) for x in (a, b))
    total = None
    for place in range(min(dtype.size, len(left) + len(right) - 1)):
        pairs = [(i, place - i) for i in range(len(left)) if 0 <= place - i < len(right)]
        rows = mx.concatenate([left[i] for i, _ in pairs], -1)
        columns = mx.concatenate([right[j] for _, j in pairs], -2)
        part = _multiply_digits(rows, columns, work) * 256**place
        total = part if total is None else total + part
    return mx.astype(total, dtype)


def add_integers(self, a, b, beta, alpha):
    """`beta * self + alpha * (a @ b)`, modulo the range of their dtype.

    Factors that are not whole lose their fractions, as in torch.
    """
    alpha, beta = (wrap_integer(int(factor), a.dtype) for factor in (alpha, beta))
    product = multiply(a, b) * alpha
    return product if beta == 0 else self * beta + product


def _list_digits(x, count, work):
    """The lowest digits, from -128 to 127, as float32 matrices."""
    digits, half = [], 1 << (_DIGIT - 1)
    x = mx.astype(x, work)
    for _ in range(count):
        digit = mx.bitwise_and(x + half, 2 * half - 1) - half
        digits.append(mx.astype(digit, mx.float32))
        x = mx.right_shift(x - digit, _DIGIT)
    return digits


def _multiply_digits(a, b, dtype):
    """The product, added in float32 over at most `_INNER` places and in integers beyond."""
    inner = a.shape[-1]
    if type(inner) is int and inner <= _INNER:
        return mx.astype(mx.matmul(a, b), dtype)
    blocks = mx.host_max((inner + _INNER - 1) // _INNER, 1)
    length = (inner + blocks - 1) // blocks
    missing, kept = blocks * length - inner, [(0, 0)] * (a.ndim - 2)
    a = mx.pad(a, [*kept, (0, 0), (0, missing)])
    b = mx.pad(b, [*kept, (0, missing), (0, 0)])
    a = mx.swapaxes(mx.reshape(a, [*a.shape[:-1], blocks, length]), -2, -3)
    b = mx.reshape(b, [*b.shape[:-2], blocks, length, b.shape[-1]])
    return mx.sum(mx.astype(mx.matmul(a, b), dtype), -3)
