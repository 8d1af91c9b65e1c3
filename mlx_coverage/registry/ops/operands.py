"""Operands of two-operand ops: numbers and halves as torch treats them."""

from mlx_coverage.registry.mx import mx


def is_array(value):
    return not isinstance(value, (bool, int, float))


def is_half(dtype):
    return dtype in (mx.float16, mx.bfloat16)


def is_integer(dtype):
    return dtype in (mx.uint8, mx.int8, mx.int16, mx.int32, mx.int64)


def wrap_integer(value, dtype):
    """A number as torch converts it to `dtype`: integers modulo the range, which MLX refuses."""
    if type(value) is not int or not is_integer(dtype):
        return value
    bits = 8 * dtype.size
    value &= (1 << bits) - 1
    return value if dtype == mx.uint8 or value < 1 << (bits - 1) else value - (1 << bits)


def convert(a, b):
    """The operands, the one that is a number converted to the other's dtype as torch does."""
    if not is_array(b):
        return a, wrap_integer(b, a.dtype)
    return (a if is_array(a) else wrap_integer(a, b.dtype)), b


def widen(a, b):
    """`convert`, and float32 for a half beside a number, which torch's products keep unrounded."""
    a, b = convert(a, b)
    if not is_array(b) and is_half(a.dtype):
        a = mx.astype(a, mx.float32)
    elif not is_array(a) and is_half(b.dtype):
        b = mx.astype(b, mx.float32)
    return a, b


def converted(function):
    return lambda a, b: function(*convert(a, b))


def widened(function):
    return lambda a, b: function(*widen(a, b))


def as_arrays(*operands):
    """The operands as arrays of their common dtype, then halves in float32."""
    dtype = next(x.dtype for x in operands if is_array(x))
    arrays = [x if is_array(x) else mx.array(wrap_integer(x, dtype), dtype) for x in operands]
    return [mx.astype(x, mx.float32) for x in arrays] if is_half(dtype) else arrays


def of_arrays(function):
    return lambda a, b: function(*as_arrays(a, b))


def as_array(value, dtype):
    """A number as an array of `dtype`; a complex one is an array already."""
    return value if is_array(value) else mx.array(value, dtype)


def convert_dtype(x, dtype):
    """`x` in another dtype, by way of 32 bits from a float to a shorter integer, as torch does."""
    if x.dtype == mx.complex64 and dtype not in (mx.complex64, mx.bool_):
        x = mx.real(x)
    if dtype in (mx.int8, mx.int16, mx.uint8) and (is_half(x.dtype) or x.dtype == mx.float32):
        x = mx.astype(x, mx.int32)
    return mx.astype(x, dtype)


def widen_half(a):
    """Half sums are formed in float32; every other dtype sums in itself."""
    return mx.astype(a, mx.float32) if is_half(a.dtype) else a


def _is_one(value):
    return not is_array(value) and value == 1


def add_product(self, a, b, beta=1, alpha=1):
    """`beta * self + alpha * (a @ b)`; `self` is not read, and may hold NaN, where beta is 0."""
    if self.dtype == mx.complex64:
        # Also where they are 1, MLX's addmm multiplies by them, which spreads NaN between parts.
        product = mx.matmul(a, b)
        product = product if _is_one(alpha) else product * alpha
        if not is_array(beta) and beta == 0:
            return product
        return product + (self if _is_one(beta) else self * beta)
    if alpha == 1 and beta == 0:
        return mx.matmul(a, b)
    if alpha == 1 and all(size != 0 for size in a.shape):
        return mx.addmm(self, a, b, 1.0, float(beta))
    # `alpha` belongs to the unrounded product: BLAS may scale an operand, which underflows.
    # And MLX's addmm fails, or gives other numbers, where there is nothing to multiply.
    product = mx.matmul(widen_half(a), widen_half(b)) * alpha
    return product if beta == 0 else widen_half(self) * beta + product
