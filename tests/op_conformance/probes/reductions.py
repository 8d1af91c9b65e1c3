"""Accumulation dtypes, empty and 0-d operands, dims and keepdim, variance and norms."""

from collections.abc import Iterator

import torch

from tests.op_conformance.probes.probe import (
    FLOATS,
    HALVES,
    INTEGERS,
    Probe,
    build,
    constant,
    probe,
    random,
    sweep,
)

FULL = torch.full((3, 50), 127)
SCALAR = torch.tensor(2.5)
EMPTY = torch.zeros(0)
HOLLOW = torch.zeros(2, 0, 3)

REDUCTIONS = (
    "sum mean prod amax amin max min argmax argmin all any std var norm logsumexp nansum "
    "nanmean median count_nonzero cumsum cumprod cummax cummin softmax log_softmax sort "
    "topk flip"
).split()


def list_accumulation() -> Iterator[Probe]:
    for dtype in (*INTEGERS, torch.bool):
        x = FULL.to(dtype)
        for source in (
            "x.sum()", "x.sum(1)", "x.prod(0)", "x.cumsum(1)", "x.cumprod(1)",
            "x.sum(1, dtype=torch.float32)",
                       "x.mean(1, dtype=torch.float32)", "x.sum(dtype=torch.int32)",
                       "x.sum(dtype=torch.int8)", "x.sum(0, dtype=torch.float16)",
                       "x.cumsum(0, dtype=torch.float32)", "x.cumsum(1, dtype=torch.int8)",
                       "x.cumsum(1, dtype=torch.int32)", "x.prod(dtype=torch.float32)",
                       "x.amax(1)", "x.amin()", "x.all()", "x.any(1)",
                       "x.count_nonzero()", "torch.sum(x, (0, 1), keepdim=True)",
                       "x.float().var(1)", "x.max(1)", "x.argmax(1)",
                       "x.sum(1, dtype=torch.bool)"):  # fmt: skip
            yield probe(source, x=x)
    for source in (
        "x.mean()", "x.sum()", "x.sum(0)", "x.cumsum(0)", "x.var()", "x.std()", "x.norm()",
        "x.logsumexp(0)",
        "x.mean(dtype=torch.float32)", "x.sum(dtype=torch.float32)",
        "x.cumsum(0, dtype=torch.float32)", "x.softmax(0)", "x.norm(p=1)",
        "x.mean(0, keepdim=True)",
        "torch.var_mean(x)", "x.abs().max()", "F.normalize(x, dim=0)", "x.nanmean()", "x.prod(0)",
    ):  # fmt: skip
        for dtype in HALVES:
            yield probe(source, x=torch.ones(70000).to(dtype))
            yield probe(
                source,
                x=(torch.rand(5000, generator=torch.Generator().manual_seed(1)) + 1).to(dtype),
            )
    yield probe("x.mean()", x=torch.full((100,), 60000.0).half())
    yield probe("x.sum()", x=torch.full((100,), 60000.0).half())
    yield probe("x.norm()", x=torch.full((100,), 300.0).half())
    yield probe("x.var()", x=torch.tensor([60000.0, -60000.0, 1.0]).half())
    yield probe("x.norm()", x=torch.full((100,), 1e25))
    yield probe("x.cumprod(0)", x=torch.full((60,), 1.3).half())
    yield probe("x.mean()", x=torch.full((1000,), 3e38))
    large = random(8, 64) + 1e4
    for source in (
        "x.var(1)", "x.std(1)", "x.var(1, correction=0)", "x.std(1, correction=0.5)",
        "x.var(1, correction=63)", "x.var(1, correction=70)",
                   "torch.var_mean(x, 1)", "torch.std_mean(x, (0, 1), keepdim=True)",
                   "x.var((0, 1), correction=3)",
                   "F.layer_norm(x, (64,))", "F.layer_norm(x, (8, 64))",
                   "F.group_norm(x.view(2, 4, 64), 2)", "F.instance_norm(x.view(2, 4, 64))",
                   "F.rms_norm(x, (64,))",
               ):  # fmt: skip
        yield probe(source, x=large)
        yield probe(source, x=random(8, 64) * 1e-3 + 100)
        yield probe(source, x=random(8, 64).half() + 500)
        yield probe(source, x=random(8, 64).half() * 3000)
        yield probe(source, x=random(8, 64).bfloat16() + 60)
        yield probe(source, x=torch.full((8, 64), 3.3))
        yield probe(source, x=torch.full((8, 64), 1e-4).half())
    yield from sweep(
        "F.layer_norm(x, (64,), w, b, 1e-12)",
        FLOATS,
        x=random(8, 64),
        w=constant(64),
        b=constant(64, seed=2),
    )
    yield from sweep("F.layer_norm(x, (64,), w, None, 0.0)", FLOATS, x=random(8, 64), w=random(64))
    yield from sweep("F.rms_norm(x, (64,), w)", FLOATS, x=random(8, 64), w=constant(64))
    yield from sweep("F.rms_norm(x, (8, 64))", FLOATS, x=random(3, 8, 64))
    yield from sweep(
        "F.group_norm(x, 4, w, b)",
        FLOATS,
        x=random(2, 8, 5, 3),
        w=constant(8),
        b=constant(8, seed=2),
    )
    yield from sweep(
        "F.batch_norm(x, m, v, w, b)",
        FLOATS,
        x=random(2, 8, 5),
        m=constant(8),
        v=torch.nn.Buffer(random(8).abs()),
        w=constant(8),
        b=constant(8),
    )
    yield from sweep(
        "F.batch_norm(x, m, v)", FLOATS, x=random(2, 8), m=random(8), v=random(8).abs()
    )
    yield probe("F.layer_norm(x, (3,))", x=torch.zeros(2, 3))
    yield probe("F.layer_norm(x, (3,))", x=torch.tensor([[torch.inf, 1, 2], [torch.nan, 1, 2]]))
    yield from sweep("F.local_response_norm(x, 3)", FLOATS, x=random(2, 8, 5))
    yield from sweep("x.std(1, correction=5)", FLOATS, x=random(2, 3))
    yield from sweep("x.var(1)", FLOATS, x=random(3, 1))


def list_shapes() -> Iterator[Probe]:
    for name in REDUCTIONS:
        argument = {"topk": "1, 0", "flip": "0", "norm": "dim=0"}.get(name, "0")
        yield probe(f"x.{name}({argument})", x=SCALAR)
        yield probe(f"x.{name}({argument.replace('0', '-1')})", x=random(3, 4))
        yield probe(f"x.{name}({argument.replace('0', '1')})", x=random(1, 1))
        if name in (
            "sum",
            "mean",
            "prod",
            "all",
            "any",
            "norm",
            "nansum",
            "max",
            "min",
            "argmax",
            "amax",
            "median",
            "std",
            "count_nonzero",
        ):
            yield probe(f"x.{name}()", x=SCALAR)
            yield probe(f"x.{name}()", x=random(2, 3, 4))
        if name not in (
            "cumsum",
            "cumprod",
            "cummax",
            "cummin",
            "softmax",
            "log_softmax",
            "sort",
            "topk",
            "flip",
            "count_nonzero",
        ):
            yield probe(f"x.{name}(dim=-2, keepdim=True)", x=random(2, 3, 4))
        if name in (
            "sum",
            "mean",
            "amax",
            "amin",
            "std",
            "var",
            "norm",
            "logsumexp",
            "nansum",
            "count_nonzero",
            "all",
            "any",
        ):
            yield probe(f"x.{name}(dim=(0, -1))", x=random(2, 3, 4))
            if name != "count_nonzero":
                yield probe(f"x.{name}(dim=(-1, 0), keepdim=True)", x=random(2, 3, 4))
    for source in (
        "x.sum()",
        "x.prod()",
        "x.mean()",
        "x.all()",
        "x.any()",
        "x.norm()",
        "x.var()",
        "x.count_nonzero()",
        "x.nansum()",
    ):
        yield probe(source, x=EMPTY)
        yield probe(source, x=HOLLOW)
    for source in (
        "x.sum(1)", "x.prod(1)", "x.mean(1)", "x.all(1)", "x.any(1)", "x.norm(dim=1)",
        "x.logsumexp(1)", "x.var(1)", "x.cumsum(1)", "x.cumprod(1)", "x.softmax(1)",
        "x.log_softmax(1)",
                   "x.sum(0)", "x.amax(0)", "x.argmax(0)", "x.max(0)", "x.sort(1)", "x.sort(0)",
                   "x.topk(0, 1)", "x.cummax(1)", "x.cummax(0)", "x.flip(1)", "x.std(0)",
                   "x.softmax(0)", "x.median(0)", "x.sum((0, 1))",
                   "x.mean((0, 2))",
                   "x + 1", "x.exp()", "x == x", "x.transpose(0, 1) * 2", "x.reshape(0, 6) * 2",
                   "x.relu()", "x.clamp(0, 1)", "x.roll(1, 0)", "x.repeat(2, 1, 2)", "x.tril()",
                   "F.pad(x, (1, 1))", "F.pad(x, (0, 0, 2, 1), value=3.0)",
                   "x.logcumsumexp(1)", "x.unfold(1, 0, 1)",
                   "x.gather(1, torch.zeros(2, 0, 3, dtype=torch.int64))",
                   "x[:, torch.zeros(0, dtype=torch.int64)]",
                   "x.index_select(1, torch.zeros(0, dtype=torch.int64))", "F.gelu(x)",
                   "F.layer_norm(x, (3,))", "F.layer_norm(x, (0, 3))", "x.to(torch.int32)",
                   "x.diff(dim=0)", "torch.var_mean(x, 1)",
               ):  # fmt: skip
        yield probe(source, x=HOLLOW)
        yield probe(source, x=HOLLOW.half())
    yield probe("torch.cat([x, y])", x=EMPTY, y=random(3))
    yield probe("torch.cat([x, y], 1)", x=torch.zeros(2, 0), y=random(2, 3))
    yield probe("torch.cat([x, y], 1)", x=EMPTY, y=random(2, 3))
    yield probe("torch.cat([x, x], 1)", x=HOLLOW)
    yield probe("torch.stack([x, x], -1)", x=HOLLOW)
    yield probe("torch.stack([x, x])", x=SCALAR)
    yield probe("x @ y", x=torch.zeros(3, 0), y=torch.zeros(0, 4))
    yield probe("x @ y", x=torch.zeros(0, 3), y=random(3, 4))
    yield probe("x @ y", x=torch.zeros(2, 3, 0), y=torch.zeros(2, 0, 4))
    yield probe("x @ y", x=torch.zeros(0), y=torch.zeros(0))
    yield probe("x @ y", x=torch.zeros(3, 0), y=torch.zeros(0))
    yield probe("torch.addmm(z, x, y)", x=torch.zeros(3, 0), y=torch.zeros(0, 4), z=random(4))
    yield probe(
        "torch.baddbmm(z, x, y)", x=torch.zeros(2, 3, 0), y=torch.zeros(2, 0, 4), z=random(2, 3, 4)
    )
    yield probe("F.linear(x, w, b)", x=torch.zeros(0, 5), w=constant(3, 5), b=constant(3))
    yield probe(
        "F.linear(x, w, b)",
        x=torch.zeros(4, 0),
        w=torch.nn.Buffer(torch.zeros(3, 0)),
        b=constant(3),
    )
    yield probe("F.conv1d(x, w)", x=torch.zeros(0, 4, 9), w=constant(6, 4, 3))
    yield probe(
        "F.conv2d(x, w, b)", x=torch.zeros(0, 4, 9, 9), w=constant(6, 4, 3, 3), b=constant(6)
    )
    yield probe("F.conv_transpose2d(x, w)", x=torch.zeros(0, 4, 9, 9), w=constant(4, 6, 3, 3))
    yield probe("F.max_pool2d(x, 2)", x=torch.zeros(0, 4, 8, 8))
    yield probe("F.avg_pool2d(x, 2)", x=torch.zeros(0, 4, 8, 8))
    yield probe("F.adaptive_avg_pool2d(x, 2)", x=torch.zeros(0, 4, 8, 8))
    yield probe("F.interpolate(x, scale_factor=2)", x=torch.zeros(0, 4, 8, 8))
    yield probe("F.embedding(x, w)", x=torch.zeros(0, dtype=torch.int64), w=constant(5, 3))
    yield probe("F.scaled_dot_product_attention(x, x, x)", x=torch.zeros(0, 2, 4, 8))
    yield probe(
        "F.scaled_dot_product_attention(x, y, y)", x=random(1, 2, 4, 8), y=torch.zeros(1, 2, 0, 8)
    )
    yield probe(
        "torch.einsum('bij,bjk->bik', x, y)", x=torch.zeros(2, 3, 0), y=torch.zeros(2, 0, 4)
    )
    yield probe(
        "x.index_add(0, y, z)",
        x=random(3, 2),
        y=torch.zeros(0, dtype=torch.int64),
        z=torch.zeros(0, 2),
    )
    yield probe(
        "x.scatter_add(0, y, z)",
        x=random(3, 2),
        y=torch.zeros(0, 2, dtype=torch.int64),
        z=torch.zeros(0, 2),
    )
    yield probe("F.group_norm(x, 2)", x=torch.zeros(0, 4, 3))
    yield probe(
        "F.batch_norm(x, m, v)",
        x=torch.zeros(0, 4, 3),
        m=constant(4),
        v=torch.nn.Buffer(torch.ones(4)),
    )
    for source in (
        "x.reshape(())", "x.reshape(1, 1)", "x[None]", "x.expand(3)", "x.view(1)",
        "x.unsqueeze(-1)", "x.squeeze()", "x.flatten()", "x.permute(())", "x.repeat(2)", "x[...]",
        "x.t()", "x.transpose(0, -1)",
                   "x.index_select(0, torch.tensor([0]))", "x.index_fill(0, torch.tensor(0), 3)",
                   "x.masked_fill(x > 0, 1)", "x.where(x > 3, 7)", "x.take(torch.tensor([0, 0]))",
                   "x.tile(2)", "x.clamp(0, 1)", "x.roll(1)", "x.roll(1, 0)", "x.cumsum(0)",
                   "x.expand(2, 3)",
               ):  # fmt: skip
        yield probe(f"({source}) + 1", x=SCALAR)
    yield probe("x.scatter(0, y, 5.0)", x=SCALAR, y=torch.tensor(0))
    yield probe("x.scatter_add(0, y, z)", x=SCALAR, y=torch.tensor(0), z=SCALAR)
    yield probe("x.scatter_reduce(0, y, z, 'amax')", x=SCALAR, y=torch.tensor(0), z=SCALAR)
    yield probe("x.index_add(0, y, z)", x=SCALAR, y=torch.tensor(0), z=SCALAR)
    yield probe("x.index_copy(0, y, z)", x=SCALAR, y=torch.tensor(0), z=SCALAR)
    yield probe("x.index_put((y,), z)", x=random(3), y=torch.tensor(1), z=SCALAR)
    yield probe("x[y]", x=random(3), y=torch.tensor(1))
    yield probe("x[y]", x=random(3, 4), y=torch.tensor([[1, -1], [0, 2]]))
    yield probe("torch.dot(x, x)", x=random(3))
    yield probe("torch.outer(x, x)", x=random(3))
    yield probe("torch.mv(x, y)", x=random(3, 4), y=random(4))
    yield probe("F.conv1d(x, w)", x=random(4, 9), w=constant(6, 4, 3))
    yield probe("torch.bincount(x, minlength=4)", x=torch.tensor([0, 1, 1]))
    for module, x in (
        (build(torch.nn.LayerNorm, 16), random(3, 16)),
        (build(torch.nn.GroupNorm, 4, 16), random(3, 16)),
        (build(torch.nn.BatchNorm1d, 16), random(3, 16)),
        (
            build(torch.nn.InstanceNorm2d, 3, affine=True, track_running_stats=True),
            random(2, 3, 4, 5),
        ),
        (build(torch.nn.RMSNorm, 16), random(3, 16)),
    ):
        yield probe("m(x)", x=x, m=module)
