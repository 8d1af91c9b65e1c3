"""NaN, infinities, signed zeros, subnormals, ties and the edges of the number line."""

from collections.abc import Iterator

import torch

from tests.op_conformance.probes.probe import (
    FLOATS,
    HALVES,
    Probe,
    grid,
    probe,
    random,
    sweep,
)

INF, NAN = torch.inf, torch.nan
SPECIAL = torch.tensor(
    [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 3.5, 1e-8, -1e-8]
)
WIDE = torch.tensor([3e38, -3e38, 1e30, -1e30, 1e10, 88.0, 89.0, -88.0, -104.0, 1e-30, 1e-38])
SUBNORMAL = torch.tensor([1e-45, -1e-45, 1e-40, -1e-40, 1.1e-38, 0.0, -0.0])
HALF_EDGES = torch.tensor(
    [65504.0, -65504.0, 6e-8, -6e-8, 6e-5, 1e-4, 11.0, 12.0, -17.0, 300.0, 2049.0]
)
RANKED = torch.tensor(
    [
        [1.0, NAN, 3.0, NAN],
        [INF, -INF, INF, 2.0],
        [-0.0, 0.0, -0.0, 0.0],
        [5.0, 5.0, 1.0, 1.0],
        [NAN] * 4,
        [-INF] * 4,
    ]
)
TIES = torch.tensor(
    [[2.0, 1.0, 2.0, 1.0, 2.0], [0.0, -0.0, 0.0, -0.0, 0.0], [3.0, 3.0, 3.0, 3.0, 3.0]]
)

UNARY = (
    "abs neg sign round floor ceil trunc frac relu exp exp2 expm1 log log2 log10 log1p sqrt "
    "rsqrt reciprocal square sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sigmoid erf erfc erfinv isnan isinf isfinite signbit logical_not nan_to_num lgamma "
    "digamma i0 sinc logit deg2rad rad2deg special.expit special.log_ndtr special.ndtr "
    "special.erfcx special.i0e special.entr"
).split()
ACTIVATIONS = (
    "relu gelu silu mish hardswish hardsigmoid hardtanh elu selu celu softplus logsigmoid "
    "softsign tanhshrink hardshrink softshrink leaky_relu relu6"
).split()


def list_unary() -> Iterator[Probe]:
    for name in UNARY:
        for dtype in FLOATS:
            edges = HALF_EDGES if dtype == torch.float16 else WIDE
            yield probe(f"torch.{name}(x)", x=torch.cat([SPECIAL, edges]).to(dtype))
    for name in ACTIVATIONS:
        for dtype in FLOATS:
            edges = HALF_EDGES if dtype == torch.float16 else WIDE
            yield probe(f"F.{name}(x)", x=torch.cat([SPECIAL, edges]).to(dtype))
    yield from sweep("F.gelu(x, approximate='tanh')", FLOATS, x=torch.cat([SPECIAL, HALF_EDGES]))
    for name in (
        "abs",
        "neg",
        "sign",
        "sqrt",
        "relu",
        "square",
        "reciprocal",
        "isnan",
        "logical_not",
        "signbit",
        "exp",
        "sigmoid",
        "floor",
        "ceil",
    ):
        yield probe(f"torch.{name}(x)", x=SUBNORMAL)
    yield probe("x * 2 == 0", x=SUBNORMAL)
    yield probe("x != 0", x=SUBNORMAL)
    yield probe("x > 0", x=SUBNORMAL)
    for name in ("sin", "cos", "tan"):
        yield probe(
            f"torch.{name}(x)",
            x=torch.tensor([1e6, 1e7, 12345678.0, 1e10, 1e20, 1e30, 3e38, 3.14159265, 1.57079633]),
        )
        yield from sweep(
            f"torch.{name}(x)", HALVES, x=torch.tensor([1e4, 3e4, 65504.0, 3.14, 1.57])
        )
    near = torch.tensor([1e-3, 1e-5, 1e-7, 1e-10, 1e-20, -1e-3, -1e-7, -1e-20, 0.25, -0.4])
    for name in (
        "log1p",
        "expm1",
        "tanh",
        "sinh",
        "asinh",
        "atanh",
        "erf",
        "sin",
        "tan",
        "erfinv",
        "log_ndtr",
        "sinc",
    ):
        yield from sweep(
            f"torch.{'special.' if name == 'log_ndtr' else ''}{name}(x)", FLOATS, x=near
        )
    yield probe(
        "torch.erfinv(x)", x=torch.tensor([1.0, -1.0, 1.1, 0.9999999, -0.9999999, 0.5, 0.0, -0.0])
    )
    yield probe("torch.acos(x)", x=torch.tensor([1.0, -1.0, 0.99999994, -0.99999994, 1.0000001]))
    yield probe("torch.atanh(x)", x=torch.tensor([1.0, -1.0, 0.99999994, 1.5]))
    yield probe("torch.logit(x, eps=1e-6)", x=torch.tensor([0.0, 1.0, 0.5, -1.0, NAN, 1e-7]))
    yield from sweep(
        "torch.round(x)",
        FLOATS,
        x=torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, 8388609.0]),
    )
    yield from sweep(
        "torch.round(x, decimals=2)",
        FLOATS,
        x=torch.tensor([0.125, 2.675, -1.005, 1e6, INF, NAN, -0.001]),
    )
    yield from sweep(
        "torch.round(x, decimals=-2)", FLOATS, x=torch.tensor([150.0, 250.0, 49.0, -50.0, 12345.0])
    )
    yield from sweep("torch.nan_to_num(x, nan=7.0, posinf=1e3, neginf=-1e3)", FLOATS, x=SPECIAL)
    yield probe("torch.nan_to_num(x, nan=inf)", x=SPECIAL)
    yield from sweep("torch.clamp(x, -1, 1)", FLOATS, x=SPECIAL)
    yield from sweep("torch.clamp(x, 1, -1)", FLOATS, x=SPECIAL)
    yield from sweep("torch.clamp(x, nan, 1)", FLOATS, x=SPECIAL)
    yield from sweep("torch.clamp(x, min=-inf, max=inf)", FLOATS, x=SPECIAL)
    yield from sweep(
        "torch.clamp(x, y, z)", FLOATS, x=SPECIAL, y=torch.tensor(NAN), z=torch.tensor(1.0)
    )
    yield from sweep("F.threshold(x, 0.0, 20.0)", FLOATS, x=SPECIAL)
    yield from sweep("F.prelu(x, y)", FLOATS, x=SPECIAL, y=torch.tensor([0.25]))
    yield from sweep("F.glu(x)", FLOATS, x=SPECIAL)
    yield from sweep("F.hardtanh(x, -0.5, 0.25)", FLOATS, x=SPECIAL)
    yield from sweep(
        "F.softplus(x, beta=2, threshold=5)", FLOATS, x=torch.cat([SPECIAL, HALF_EDGES])
    )
    yield from sweep("F.elu(x, alpha=-0.5)", FLOATS, x=SPECIAL)
    for exponent in (
        "2",
        "3",
        "0",
        "1",
        "-1",
        "-2",
        "0.5",
        "-0.5",
        "1/3",
        "nan",
        "inf",
        "-inf",
        "100",
    ):
        yield from sweep(f"x ** ({exponent})", FLOATS, x=SPECIAL)
    for base in ("0.0", "-0.0", "1.0", "-1.0", "2", "0.5", "inf", "-inf", "nan", "-2.5"):
        yield from sweep(f"torch.pow({base}, x)", FLOATS, x=SPECIAL)


def list_binary() -> Iterator[Probe]:
    small = SPECIAL[:13]
    for source in (
        "x == y", "x != y", "x < y", "x <= y", "x > y", "x >= y", "torch.maximum(x, y)",
        "torch.minimum(x, y)",
        "torch.fmax(x, y)", "torch.fmin(x, y)", "x + y", "x - y", "x * y", "x / y",
        "torch.pow(x, y)",
        "torch.fmod(x, y)", "torch.remainder(x, y)", "x // y",
        "torch.div(x, y, rounding_mode='trunc')",
        "torch.atan2(x, y)", "torch.hypot(x, y)", "torch.copysign(x, y)", "torch.logaddexp(x, y)",
        "torch.logaddexp2(x, y)", "torch.xlogy(x, y)", "torch.special.xlog1py(x, y)",
        "torch.heaviside(x, y)",
        "torch.nextafter(x, y)", "torch.ldexp(x, y)", "torch.where(x > y, x, y)",
        "torch.isclose(x, y)",
        "torch.isclose(x, y, equal_nan=True)", "torch.logical_and(x, y)", "torch.logical_or(x, y)",
        "torch.logical_xor(x, y)", "torch.clamp(x, min=y)", "torch.clamp(x, max=y)",
        "torch.clamp_min(x, y)",
        "torch.lerp(x, y, 0.5)", "torch.lerp(x, y, 0.75)", "torch.float_power(x, y)",
        "F.l1_loss(x, y, reduction='none')",
        "F.smooth_l1_loss(x, y, reduction='none')", "F.mse_loss(x, y, reduction='none')",
        "F.huber_loss(x, y, reduction='none', delta=0.7)",
        "torch.addcmul(x, y, y, value=-0.5)", "torch.addcdiv(x, y, x, value=-0.5)",
        "torch.dist(x, y)", "torch.dist(x, y, 0)", "torch.dist(x, y, inf)",
    ):  # fmt: skip
        yield from sweep(source, FLOATS, **grid(small))
    for source in (
        "torch.fmod(x, {})",
        "torch.remainder(x, {})",
        "x // {}",
        "torch.div(x, {}, rounding_mode='trunc')",
    ):
        for divisor in ("0.3", "-0.3", "inf", "-inf", "0.0", "1e-30", "nan", "3"):
            yield from sweep(source.format(divisor), FLOATS, x=SPECIAL)
    large = torch.tensor([1e10, 16777217.0, 1e30, -1e30, 5.3, -5.3, 1e-3])
    for source in ("torch.fmod(x, y)", "torch.remainder(x, y)", "x // y"):
        yield probe(source, **grid(large))
        yield from sweep(
            source, HALVES, **grid(torch.tensor([1000.0, -1000.0, 0.1, 0.3, -0.7, 2.5, 60000.0]))
        )
    for source in (
        "torch.hypot(x, y)",
        "torch.logaddexp(x, y)",
        "torch.logaddexp2(x, y)",
        "torch.atan2(x, y)",
    ):
        yield probe(source, **grid(torch.tensor([3e38, 2e-38, 1e30, 1.0, -1e30, 1e-20])))
        yield from sweep(source, (torch.float16,), **grid(HALF_EDGES))
    yield probe(
        "torch.where(x, y, z)",
        x=torch.tensor([True, False]),
        y=torch.tensor([NAN, -0.0]),
        z=torch.tensor([1.0, -0.0]),
    )
    yield probe("torch.where(torch.isnan(x), -0.0, x)", x=SPECIAL)
    yield probe("x.masked_fill(x < 0, -inf)", x=SPECIAL)
    yield from sweep("x.masked_fill(x < 0, 1e5)", (torch.bfloat16,), x=SPECIAL)
    yield probe("-x + 0", x=SPECIAL)
    yield probe("x * 0", x=SPECIAL)
    yield probe("x - x", x=SPECIAL)
    yield probe("(x + y) - y", x=torch.tensor([1.0, 1e-8]), y=torch.tensor([1e8, 1.0]))
    yield from sweep(
        "(x + y) - y", HALVES, x=torch.tensor([1.0, 0.1]), y=torch.tensor([2048.0, 300.0])
    )
    yield from sweep(
        "x * y + y", HALVES, x=torch.tensor([1.001, 300.0]), y=torch.tensor([1.001, 300.0])
    )


def list_ordered() -> Iterator[Probe]:
    for source in (
        "x.max()", "x.min()", "x.max(1)", "x.min(1)", "x.max(0)", "x.min(0, keepdim=True)",
        "x.amax(1)", "x.amin((0, 1))",
        "x.argmax()", "x.argmin()", "x.argmax(1)", "x.argmin(1)", "x.argmax(0, keepdim=True)",
        "x.aminmax(dim=1)",
        "x.sort(1)", "x.sort(1, descending=True)", "torch.sort(x, stable=True, dim=1)",
        "torch.sort(x, stable=True, dim=0, descending=True)",
        "x.argsort(1, stable=True)", "x.argsort(1, descending=True, stable=True)", "x.topk(2)",
        "x.topk(3, largest=False)", "x.topk(1, dim=0)", "x.topk(0)",
        "x.cummax(1)", "x.cummin(1)", "x.cummax(0)", "x.cumsum(1)", "x.cumprod(1)",
        "x.logcumsumexp(1)", "x.median(1)", "x.nanmedian(1)",
        "x.median()", "x.kthvalue(2, 1)", "x.mode(1)", "x.any(1)", "x.all(1)", "x.sum(1)",
        "x.nansum(1)", "x.mean(1)", "x.nanmean(1)", "x.prod(1)",
        "x.softmax(1)", "x.log_softmax(1)", "F.softmin(x, 1)", "x.logsumexp(1)",
        "x.logsumexp((0, 1))", "x.norm(dim=1)", "x.norm(p=1, dim=1)",
        "x.norm(p=inf, dim=1)", "x.norm(p=-inf, dim=1)", "x.norm(p=0, dim=1)",
        "x.norm(p=3, dim=1)", "x.norm(p=0.5, dim=1)", "x.norm()",
        "x.var(1)", "x.std(1)", "torch.var_mean(x, 1)", "F.normalize(x)", "x.count_nonzero(1)",
        "x.diff(dim=1)", "x.renorm(2, 0, 1.0)",
        "x.quantile(0.3, 1)", "x.histc(4, 0, 4)", "x.trace()",
        "x.nonzero()", "torch.trapezoid(x)",
    ):  # fmt: skip
        for values in (RANKED, TIES, torch.cat([RANKED, RANKED.flip(1)], 1).t().contiguous()):
            yield from sweep(source, FLOATS, x=values)
        for dtype in (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool):
            yield probe(source, x=TIES.to(dtype))
    for sequence in (torch.tensor([1.0, 2.0, 2.0, 3.0, NAN]), torch.tensor([-INF, -1.0, 0.0, INF])):
        for right in (True, False):
            for dtype in FLOATS:
                yield probe(
                    "torch.searchsorted(x, y, right=r)",
                    x=sequence.to(dtype),
                    y=SPECIAL.to(dtype),
                    r=right,
                )
                yield probe(
                    "torch.bucketize(y, x, right=r)",
                    x=sequence.to(dtype),
                    y=SPECIAL.to(dtype),
                    r=right,
                )
    yield probe(
        "torch.searchsorted(x, y, out_int32=True)",
        x=torch.tensor([1, 3, 5]),
        y=torch.tensor([0, 3, 6]),
    )
    yield probe(
        "torch.searchsorted(x, y, sorter=z)",
        x=torch.tensor([5, 1, 3]),
        y=torch.tensor([0, 3, 6]),
        z=torch.tensor([1, 2, 0]),
    )
    yield probe(
        "torch.searchsorted(x, y)",
        x=torch.tensor([[1, 3, 5], [2, 4, 6]]),
        y=torch.tensor([[3, 9], [1, 4]]),
    )
    for dtype in FLOATS:
        yield probe(
            "torch.isin(x, y)", x=SPECIAL.to(dtype), y=torch.tensor([NAN, -0.0, INF, 1.5]).to(dtype)
        )
    yield probe("torch.isin(x, y, invert=True)", x=torch.tensor([1, 2, 3]), y=torch.tensor([2]))
    yield probe("torch.isin(x, 2)", x=torch.tensor([1, 2, 3]))
    yield probe("torch.isin(x, y, assume_unique=True)", x=torch.arange(40), y=torch.arange(5, 9))
    yield probe("x.softmax(-1)", x=torch.tensor([[-INF] * 3, [INF, 1.0, 2.0], [1e30, 1e30, -1e30]]))
    yield probe(
        "torch._safe_softmax(x, -1)",
        x=torch.tensor([[-INF] * 3, [1.0, 2.0, 3.0], [NAN, 1.0, -INF]]),
    )
    yield from sweep("x.softmax(-1)", HALVES, x=random(4, 3000, scale=4))
    yield from sweep("x.log_softmax(-1)", HALVES, x=random(4, 3000, scale=4))
    yield from sweep("x.softmax(-1, dtype=torch.float32)", HALVES, x=random(4, 300, scale=4))
    yield probe("x.softmax(-1, dtype=torch.float16)", x=random(4, 300, scale=4))
    yield probe("x.softmax(0)", x=torch.tensor(3.0))
    yield probe("x.softmax(-1)", x=torch.tensor([[1e4, -1e4], [88.0, 89.0]]))
    yield probe("F.gumbel_softmax(x)", x=torch.tensor([1.0, 2.0]))
    yield probe("F.cross_entropy(x, y)", x=random(4, 5), y=torch.tensor([0, 4, -100, 2]))
    yield probe(
        "F.cross_entropy(x, y, reduction='none', label_smoothing=0.1)",
        x=random(4, 5),
        y=torch.tensor([0, 4, 1, 2]),
    )
    yield probe("F.nll_loss(x, y, ignore_index=2)", x=random(4, 5), y=torch.tensor([0, 4, 1, 2]))
    yield probe(
        "F.nll_loss(x, y, weight=z)",
        x=random(4, 5),
        y=torch.tensor([0, 4, 1, 2]),
        z=random(5).abs(),
    )
    yield probe(
        "F.kl_div(x, y, reduction='batchmean')",
        x=random(4, 5),
        y=torch.tensor([0.0, 0.2, 0.3, 0.5, -1.0]).expand(4, 5).contiguous(),
    )
    yield probe(
        "F.binary_cross_entropy(x, y)",
        x=torch.tensor([0.0, 1.0, 0.5, 1e-20]),
        y=torch.tensor([1.0, 1.0, 0.3, 0.0]),
    )
    yield probe(
        "F.binary_cross_entropy_with_logits(x, y)",
        x=torch.tensor([100.0, -100.0, INF, 0.5]),
        y=torch.tensor([1.0, 1.0, 1.0, 0.0]),
    )
    yield probe(
        "F.cosine_similarity(x, y)",
        x=torch.tensor([[0.0, 0.0], [1e-20, 1e-20], [3e20, 1.0]]),
        y=torch.tensor([[1.0, 2.0], [1e-20, 2e-20], [1.0, 2.0]]),
    )
    yield probe("F.pairwise_distance(x, y)", x=random(3, 4), y=random(3, 4))
    yield probe("torch.cdist(x, y)", x=random(5, 4), y=random(6, 4, seed=1))
    yield probe(
        "torch.cdist(x, y, p=1)", x=random(5, 4), y=torch.tensor([[NAN, 1, 2, 3], [INF, 1, 2, 3]])
    )
    yield probe("torch.cdist(x, y, p=inf)", x=random(5, 4), y=random(6, 4, seed=1))
    yield probe("torch.cdist(x, y, p=0)", x=TIES, y=TIES.flip(0))
    yield probe("torch.cdist(x, x)", x=random(40, 4) + 1000)
    yield probe("torch.pdist(x)", x=random(5, 4))
