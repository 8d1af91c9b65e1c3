"""Type promotion, integers that wrap, and arithmetic that integers do not have."""

import re
from collections.abc import Iterator
from math import inf

import torch

from tests.op_conformance.probes.probe import (
    FLOATS,
    HALVES,
    INTEGERS,
    SIGNED,
    Probe,
    grid,
    probe,
    sweep,
)

SMALL = torch.tensor([-128, -127, -7, -3, -2, -1, 0, 1, 2, 3, 7, 100, 127])
BYTES = torch.tensor([0, 1, 2, 3, 127, 128, 200, 255], dtype=torch.uint8)
BOOLS = torch.tensor([True, False, True, True])
FOUR = torch.tensor([-3, 0, 2, 5])
DIVISORS = torch.tensor([-128, -7, -3, -2, -1, 1, 2, 3, 7, 127])
LARGE = torch.tensor(
    [2**31, 2**31 + 1, -(2**31) - 1, 2**53 + 1, -(2**53) - 1, 2**62 + 1, 2**63 - 1]
)
PAIRS = {
    "x": SMALL.repeat_interleave(len(DIVISORS)),
    "y": DIVISORS.repeat(len(SMALL)),
}
UNSIGNED = {"x": BYTES.repeat_interleave(7), "y": BYTES[1:].repeat(8)}


def list_promotion() -> Iterator[Probe]:
    for source in (
        "x + 1.5",
        "x * 0.1",
        "2.5 - x",
        "x / 2",
        "x ** 0.5",
        "x ** 2.0",
        "1 / (x + 9.5)",
    ):
        yield from sweep(source, INTEGERS, x=FOUR.abs())
    for source in (
        "x + 1.5",
        "x * 3",
        "x + True",
        "x / 2",
        "x - 1.5",
        "x // 2.0",
        "x % 3",
        "-(x * 1)",
    ):
        yield probe(source, x=BOOLS)
    for source in ("x + y", "x * y", "x - y", "x / y", "torch.minimum(x, y)", "x == y", "x < y"):
        yield probe(source, x=BOOLS, y=FOUR)
        yield probe(source, x=FOUR.to(torch.int8), y=FOUR.to(torch.int32))
        yield probe(source, x=FOUR.abs().to(torch.uint8), y=FOUR.to(torch.int8))
        yield probe(source, x=FOUR, y=torch.tensor([0.3, -2.5, 2.0, 5.0]))
        yield probe(source, x=FOUR.to(torch.int32), y=torch.tensor([0.3, -2.5, 2.0, 5.0]).half())
    for source in ("x + y", "x * y", "y - x", "torch.pow(y, x)", "torch.maximum(x, y)", "x >= y"):
        yield probe(source, x=FOUR.half(), y=torch.tensor(1.1))
        yield probe(source, x=FOUR.bfloat16(), y=torch.tensor(1.1))
        yield probe(source, x=FOUR.half(), y=torch.tensor([1.1]))
        yield probe(source, x=FOUR.half(), y=FOUR.bfloat16())
        yield probe(source, x=FOUR.to(torch.int8), y=torch.tensor(300))
        yield probe(source, x=FOUR, y=torch.tensor(1.5))
        yield probe(source, x=FOUR, y=torch.tensor(1.5, dtype=torch.float16))
        yield probe(source, x=torch.tensor(2), y=torch.tensor(1.5, dtype=torch.bfloat16))
        yield probe(source, x=BOOLS, y=torch.tensor(2.5).bfloat16())
    for source in ("x + 300", "x * 300", "x == 300", "x < 300", "x > -300", "x - 300.5"):
        yield probe(source, x=BYTES)
        yield probe(source, x=SMALL.to(torch.int8))
    yield probe("x + y * 2.5", x=FOUR.half(), y=FOUR.to(torch.int64))
    yield probe("torch.add(x, y, alpha=3)", x=BOOLS, y=FOUR)
    yield probe("torch.add(x, y, alpha=0.3)", x=FOUR.half(), y=FOUR.half() * 1001)
    yield probe("torch.sub(x, y, alpha=-2)", x=BYTES, y=BYTES.flip(0))
    yield probe("torch.rsub(x, 3, alpha=2)", x=FOUR)
    yield probe("torch.where(y, x, 1.5)", x=FOUR, y=BOOLS)
    yield probe("torch.where(y, x, z)", x=FOUR.half(), y=BOOLS, z=torch.tensor(1.1))
    yield probe("torch.where(y, 1, 2)", y=BOOLS)
    yield probe("torch.where(y, 1.5, 2)", y=BOOLS)
    yield probe("torch.where(y, x, z)", x=FOUR.to(torch.int8), y=BOOLS, z=FOUR)
    yield probe("torch.cat([x, y])", x=FOUR, y=torch.tensor([0.5]))
    yield probe("torch.cat([x, y])", x=BOOLS, y=FOUR.to(torch.int8))
    yield probe("torch.cat([x, y])", x=FOUR.half(), y=FOUR.bfloat16())
    yield probe("torch.stack([x, y])", x=FOUR, y=BOOLS)
    yield probe("torch.lerp(x, y, 0.3)", x=FOUR.half(), y=FOUR.half() * 7)
    yield probe("torch.clamp(x, 0.5, 2.5)", x=FOUR)
    yield probe("torch.clamp(x, min=-1)", x=BYTES)
    yield probe("torch.clamp(x, max=300)", x=BYTES)
    yield probe("torch.clamp(x, max=y)", x=FOUR, y=torch.tensor(1.5))
    yield probe("torch.addcmul(x, y, y, value=2)", x=FOUR, y=FOUR)
    yield probe("torch.addcdiv(x, y, z, value=0.5)", x=FOUR.half(), y=FOUR.half(), z=FOUR.half())
    yield probe("torch.isclose(x, y)", x=FOUR, y=FOUR.flip(0))
    for name in ("sin", "exp", "sqrt", "sigmoid", "erf", "reciprocal", "log1p", "atan", "rsqrt"):
        yield probe(f"torch.{name}(x)", x=FOUR)
        yield probe(f"torch.{name}(x)", x=BOOLS)
        yield probe(f"torch.{name}(x)", x=BYTES)
    for name in ("floor", "ceil", "round", "trunc", "abs", "neg", "sign", "square", "relu"):
        yield probe(f"torch.{name}(x)", x=SMALL.to(torch.int8))
        yield probe(f"torch.{name}(x)", x=BYTES)
    yield probe("torch.abs(x)", x=LARGE)
    yield probe("torch.atan2(x, y)", x=FOUR, y=FOUR.flip(0))
    yield probe("torch.true_divide(x, y)", x=BOOLS, y=BOOLS.flip(0))
    yield probe("torch.logical_and(x, y)", x=FOUR, y=torch.tensor([0.0, -0.0, torch.nan, 1.0]))
    yield probe("torch.logical_not(x)", x=torch.tensor([0.0, -0.0, torch.nan, 1e-45]))
    yield probe("torch.logical_xor(x, y)", x=FOUR.half(), y=BYTES[:4])


def list_numbers() -> Iterator[Probe]:
    """Halves beside numbers that a half rounds, overflows or loses: torch computes in float32."""
    small = torch.tensor([0.35, 0.5, 0.0625, -0.21, 0.0, 6e-5, inf])
    for number in ("1e5", "-7e4", "1.001", "3e-8", "2049"):
        for source in (
            "x * N", "N * x", "x / N", "N / x", "x + N", "N - x", "x.mul(N).div(N)",
            "torch.add(x, y, alpha=N)", "torch.sub(x, y, alpha=N)", "torch.rsub(x, y, alpha=N)",
            "torch.add(x, N, alpha=0.001)", "x + 0.001 * N",
            "torch.addcmul(x, y, y, value=N)", "torch.addcdiv(x, y, y + 2, value=N)",
            "torch.lerp(x, y, N)", "x ** N", "abs(N) ** x", "x % N", "N % x", "torch.fmod(x, N)",
            "x // N", "torch.div(x, N, rounding_mode='trunc')", "torch.where(x > 0.1, x, N)",
            "torch.clamp(x, max=N)", "torch.clamp(x, min=N)", "torch.full_like(x, N)",
            "x > N", "x <= N", "x == N", "x != N", "x >= -N", "x < -N",
            "F.threshold(x, N, N)", "F.hardtanh(x, -abs(N), abs(N))", "F.leaky_relu(x, N)",
            "F.softplus(x, beta=abs(N))", "F.softplus(x, threshold=N)", "F.elu(x, N)",
            "F.celu(x, N)", "F.hardshrink(x, N)", "F.softshrink(x, abs(N))",
            "torch.heaviside(x, torch.full_like(x, N))", "x.masked_fill(x > 0, N)",
            "torch.copysign(x, N)", "torch.atan2(x, torch.full_like(x, N))",
            "torch.nan_to_num(x, 0.0, N, -N)", "x.add(N).sub(N)", "F.pad(x, (1, 1), value=N)",
        ):  # fmt: skip
            for dtype in HALVES:
                given = {"x": small.to(dtype)}
                if "y" in source.replace("copy", ""):
                    given["y"] = small.flip(0).nan_to_num(posinf=2.0).to(dtype)
                yield probe(source.replace("N", f"({number})"), **given)
    for number in map(torch.tensor, (1e5, 1.001, 100000, 2.5)):
        for source in ("x * y", "y * x", "x / y", "y / x", "x + y", "y - x", "x > y", "y == x",
                       "x.div(y, rounding_mode='trunc')", "torch.maximum(x, y)"):  # fmt: skip
            for dtype in HALVES:
                yield probe(source, x=small.to(dtype), y=number)
                yield probe(source, x=small.to(dtype), y=torch.nn.Buffer(number))
    for source in ("x * 300", "x + 300", "x - 300", "x == 300", "x > 300", "x * 1e5", "x / 1e5",
                   "x + 2.0**40", "x // 300.5", "x ** 9", "torch.add(x, x, alpha=300)", "x % 300",
                   "torch.clamp(x, max=300)", "torch.clamp(x, -1000.5, 1000.5)", "x > 1e39",
                   "x < -2.0**70", "x != 2**40", "x * 2**40", "torch.where(x > 0, x, 2.5)",
                   "torch.full_like(x, 7.9)"):  # fmt: skip
        yield from sweep(source, INTEGERS, x=torch.tensor([1, 2, 100, 0, 3]))


def list_integers() -> Iterator[Probe]:
    for source in (
        "x // y", "x % y", "torch.fmod(x, y)", "torch.remainder(x, y)",
        "torch.div(x, y, rounding_mode='trunc')", "torch.div(x, y, rounding_mode='floor')",
        "x / y", "x * y", "x + y", "x - y", "torch.floor_divide(x, y)",
    ):  # fmt: skip
        yield from sweep(source, SIGNED, **PAIRS)
        yield probe(source, **UNSIGNED)
    for divisor in (3, -3, 1, -1, 2.5, -2.5):
        for source in (
            "x // d",
            "x % d",
            "torch.fmod(x, d)",
            "torch.div(x, d, rounding_mode='trunc')",
        ):
            yield from sweep(source, (torch.int64, torch.int8), x=SMALL, d=divisor)
    for divisor in (7, 255):
        yield probe("x // d", x=BYTES, d=divisor)
        yield probe("x % d", x=BYTES, d=divisor)
    yield probe("7 // x", x=DIVISORS)
    yield probe("7 % x", x=DIVISORS)
    yield probe("torch.remainder(7, x)", x=DIVISORS)
    for dtype in (torch.int8, torch.int16, torch.int32, torch.int64):
        low = torch.iinfo(dtype)
        x = torch.tensor([low.min, low.min + 1, low.max], dtype=dtype)
        y = torch.tensor([-1, -1, -1], dtype=dtype)
        for source in ("-x", "x.abs()", "x - 1", "x + x", "x * x", "x // -1", "x % -1"):
            yield probe(source, x=x)
        for source in ("x // y", "x % y", "torch.fmod(x, y)"):
            yield probe(source, x=x, y=y)
    zero = torch.tensor([0, 1, 0, 2])
    for source in ("x // y", "x % y", "torch.fmod(x, y)", "torch.div(x, y, rounding_mode='trunc')"):
        for dtype in (torch.int64, torch.int32, torch.uint8):
            yield probe(
                source, raises=True, x=torch.tensor([5, 6, 0, 8], dtype=dtype), y=zero.to(dtype)
            )
    yield probe("x / y", x=FOUR, y=zero)
    shifts = torch.tensor([0, 1, 2, 3, 5, 6, 7])
    for source in ("x << y", "x >> y"):
        for dtype in (*SIGNED, torch.uint8):
            x = (
                (SMALL if dtype.is_signed else BYTES.long())
                .repeat_interleave(len(shifts))
                .to(dtype)
            )
            y = shifts.repeat(len(x) // len(shifts)).to(dtype)
            yield probe(source, x=x, y=y)
            bits = torch.iinfo(dtype).bits
            far = torch.tensor([bits - 1, bits, bits + 1, 2 * bits - 1], dtype=dtype)
            yield probe(source, x=x[:4], y=far)
            yield probe(source, x=x[:4] - 1, y=far)
        yield probe(source, x=SMALL, y=-torch.arange(len(SMALL)))
        yield probe(source, x=SMALL.int(), y=torch.tensor(40, dtype=torch.int32))
        yield probe(source.replace("y", "3"), x=SMALL)
        yield probe(source.replace("y", "70"), x=SMALL)
        yield probe(source.replace("y", "70"), x=SMALL.to(torch.int8))
        yield probe(source.replace("y", "8"), x=BYTES)
    exponents = torch.tensor([0, 1, 2, 3, 5, 10, 40, 63])
    for dtype in (*SIGNED, torch.uint8):
        base = (SMALL if dtype.is_signed else BYTES.long()).to(dtype)
        yield probe(
            "torch.pow(x, y)", x=base.repeat_interleave(8), y=exponents.repeat(len(base)).to(dtype)
        )
        for exponent in (0, 1, 2, 3, 7, 31):
            yield probe(f"x ** {exponent}", x=base)
        yield probe("2 ** x", x=torch.arange(8, dtype=dtype))
        yield probe("(-3) ** x", x=torch.arange(8, dtype=dtype))
    negative = torch.tensor([-1, -2, -3, 0, -5])
    yield probe("torch.pow(x, y)", x=torch.tensor([1, -1, 2, 3, -1]), y=negative)
    yield probe("(-1) ** x", x=negative)
    yield probe("2 ** x", x=negative)
    for source in ("x + 1", "x - 1", "x * 3", "x // 3", "x % 1000", "x // -1", "x == y", "x < y",
                   "torch.maximum(x, y)", "x.sum()", "x.max()", "x.argmax()", "x.sort()[0]",
                   "x.cumsum(0)", "x.cumprod(0)", "x.prod()", "x & y", "x ^ y", "~x",
                   "x.to(torch.int32)",
                   "x.to(torch.int8)", "x.to(torch.uint8)", "x.float()", "x.half()", "x.bool()",
                   "x.clamp(-5, 2**40)", "x.clamp(max=2**53 + 1)",
                   "x.eq(2**53 + 1)", "x.ge(2**62 + 1)", "x.sign()", "torch.where(x > y, x, y)",
                   "x.topk(3)[0]", "torch.remainder(x, y)", "torch.gcd(x, y)", "x.diff()",
                   "torch.isin(x, y)", "torch.searchsorted(torch.sort(x)[0], y)",
                   "x.unique(sorted=True)",
                   "x / 3", "x * 1.5", "x.masked_fill(y > 0, 2**53 + 1)",
                   "F.pad(x, (1, 1), value=2**53 + 1)",
                   "torch.full_like(x, 2**53 + 1)", "x.amax()", "x.cummax(0)[0]", "torch.dot(x, y)",
                   "x[:, None] @ y[None]", "x.all()", "x.any()", "x.remainder(2**53 + 1)",
               ):  # fmt: skip
        others = {"y": LARGE.flip(0)} if re.search(r"\by\b", source) else {}
        yield probe(source, x=LARGE, **others)
    for source in ("~x", "x & y", "x | y", "x ^ y"):
        yield from sweep(source, INTEGERS, **grid(SMALL[::3]))
        yield probe(source, **grid(torch.tensor([True, False])))
        yield probe(source, x=BYTES, y=BYTES.flip(0).to(torch.int8))
    yield probe("x & 300", x=BYTES)
    yield probe("x & -1", x=BYTES)
    yield probe("x | True", x=FOUR)
    yield probe("torch.gcd(x, y)", x=SMALL, y=SMALL.flip(0))


def list_conversions() -> Iterator[Probe]:
    values = torch.tensor(
        [0.0, -0.0, 0.5, -0.9, 1.5, 2.5, -2.5, 100.7, -100.7, 127.0, 70000.0, 1e-8]
    )
    for dtype in (*INTEGERS, torch.bool):
        for source in FLOATS:
            limit = {torch.int8: 100.0, torch.uint8: 100.0}.get(dtype, 30000.0)
            low = 0.0 if dtype == torch.uint8 else -limit
            yield probe("x.to(dtype)", x=values.clamp(low, limit).to(source), dtype=dtype)
        for source in INTEGERS:
            yield probe(
                "x.to(dtype)",
                x=torch.tensor([0, 1, 127, 128, 255, 256, -1, 300, -300]).to(source),
                dtype=dtype,
            )
        yield probe("x.to(dtype)", x=BOOLS, dtype=dtype)
    special = torch.tensor(
        [
            torch.inf,
            -torch.inf,
            torch.nan,
            65504.0,
            65519.0,
            65520.0,
            3.4e38,
            1e-45,
            1e-8,
            5.96e-8,
            2.98e-8,
            1 + 2**-11,
            1 + 2**-8,
            1 + 3 * 2**-9,
        ]
    )
    for dtype in (*HALVES, torch.bool, torch.float32):
        for source in FLOATS:
            if source != dtype:
                yield probe("x.to(dtype)", x=special.to(source), dtype=dtype)
    yield probe("x.half().bfloat16().float()", x=special)
    yield probe("x.to(torch.float16)", x=LARGE)
    yield probe("x.to(torch.bfloat16)", x=LARGE)
    yield probe("x.type_as(y)", x=values, y=BOOLS)
    yield probe("x.type_as(y)", x=values, y=values.half())
    yield probe("x.view(torch.int32)", x=special)
    yield probe("x.view(torch.int16)", x=special.half())
    yield probe("x.view(torch.uint8)", x=special)
    yield probe("x.view(torch.float32)", x=torch.arange(16, dtype=torch.uint8))
    yield probe("x.view(torch.int64)", x=torch.arange(8, dtype=torch.int32))
    yield probe("x.double().sum()", x=values)
    yield probe("x.to(torch.int8)", x=torch.tensor([300.0, -300.0, 1e10, torch.inf, torch.nan]))
    yield probe("x.to(torch.uint8)", x=torch.tensor([-1.0, -1.5, 256.0, 300.0]))
    yield probe("x.to(torch.int32)", x=torch.tensor([3e9, -3e9, torch.inf, -torch.inf, torch.nan]))
    yield probe("x.to(torch.int64)", x=torch.tensor([3e9, 1e19, -1e19, torch.inf, torch.nan]))
    yield probe("x.clone()", x=values)
    yield probe("x.to(torch.float32, copy=True) + 0", x=values)
    yield probe("torch.full((3,), nan, dtype=torch.float16) + x", x=values[:3].half())
    yield probe("torch.full_like(x, inf)", x=values)
    yield probe("torch.full_like(x, 2.7)", x=FOUR)
    yield probe("torch.full_like(x, -0.0)", x=values)
    yield probe("torch.arange(0, 1, 0.1) + x", x=torch.zeros(10))
    yield probe("torch.arange(5, 0, -1.5) + x", x=torch.zeros(4))
    yield probe("torch.arange(10, 0, -3) * x", x=FOUR)
    yield probe("torch.linspace(-1, 1, 7) + x", x=torch.zeros(7))
    yield probe("torch.linspace(3, 3, 1) + x", x=torch.zeros(1))
    yield probe(
        "torch.linspace(0, 10, 7, dtype=torch.int64) + x", x=torch.zeros(7, dtype=torch.int64)
    )
    yield probe("torch.logspace(0, 2, 5) + x", x=torch.zeros(5))
    yield probe("torch.eye(3, 5) * x", x=torch.tensor([2.0, torch.inf, 1.0, 1.0, 1.0]))
    yield probe("torch.scalar_tensor(2.5) * x", x=FOUR)
    yield probe("torch.ones_like(x, dtype=torch.int8) * x", x=BYTES)
    yield probe("torch.complex(x, x).real", x=values)
