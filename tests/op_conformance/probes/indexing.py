"""Views, layouts, reading and writing at indices."""

from collections.abc import Iterator

import torch

from tests.op_conformance.probes.probe import (
    FLOATS,
    HALVES,
    INTEGERS,
    Probe,
    constant,
    probe,
    random,
    sweep,
)

INF, NAN = torch.inf, torch.nan
CUBE = torch.arange(24.0).reshape(2, 3, 4)
SQUARE = torch.arange(20.0).reshape(4, 5)
ROW = torch.arange(6.0)
TWICE = torch.tensor([2, 0, 2, -1, 2])
IMAGE = random(2, 3, 5, 7)

# What a value may look like before an op reads it: strides that are not those of its shape.
LAYOUTS = {
    "transposed": "x.transpose(-1, -2)",
    "expanded": "x[..., :1].expand(x.shape)",
    "stepped": "x[..., ::2]",
    "flipped": "x.flip(-1)",
    "sliced": "x[..., 1:-1]",
    "narrowed": "x.narrow(0, 1, 1)",
    "selected": "x[0]",
    "diagonal": "x.diagonal(0, -1, -2)",
    "unfolded": "x.unfold(-1, 2, 1)",
    "rolled": "x.roll(1, -1)",
}
READERS = (
    "v + v.mean()", "v.sum(-1)", "v.softmax(-1)", "v.cumsum(0)", "v.sort(0)", "v.reshape(-1)",
    "v.max(0)", "v @ v.transpose(-1, -2) if v.dim() > 1 else v",
    "v.contiguous().view(-1) * 2", "torch.cat([v, v], 0)", "v[..., -1]",
    "F.layer_norm(v, v.shape[-1:])", "v.gather(0, torch.zeros_like(v, dtype=torch.int64))",
    "v.argmax()", "torch.where(v > 3, v, -v)",
)  # fmt: skip


def list_layouts() -> Iterator[Probe]:
    for layout in LAYOUTS.values():
        for reader in READERS:
            yield probe(f"(lambda v: {reader})({layout})", x=CUBE)
    channels_last = IMAGE.to(memory_format=torch.channels_last)
    for source in (
        "x + 1",
        "x.sum(1)",
        "x.flatten(1) * 2",
        "x.permute(0, 2, 3, 1).reshape(2, -1) * 1",
        "F.conv2d(x, w)",
        "F.max_pool2d(x, 2)",
        "F.interpolate(x, scale_factor=2.0)",
        "x.softmax(1)",
        "F.group_norm(x, 3)",
        "x.to(memory_format=torch.contiguous_format) * 2",
        "x.cumsum(-1)",
        "torch.cat([x, x], 1)",
        "x.argmax(1)",
    ):
        values = {"w": constant(4, 3, 3, 3)} if "conv" in source else {}
        yield probe(source, x=channels_last, **values)
        yield probe(
            f"(lambda x: {source})((x * 2).to(memory_format=torch.channels_last))",
            x=IMAGE,
            **values,
        )
    weights = constant(6, 3, 3, 3).detach().to(memory_format=torch.channels_last)
    yield probe("F.conv2d(x, w)", x=IMAGE, w=torch.nn.Buffer(weights))
    yield probe("F.linear(x, w.t())", x=random(3, 4), w=constant(4, 5))
    yield probe("F.linear(x, w)", x=random(3, 4), w=torch.nn.Buffer(random(4, 5).t()))
    yield probe("F.linear(x, w)", x=random(3, 4), w=torch.nn.Buffer(random(1, 4).expand(5, 4)))
    yield probe("F.linear(x, w)", x=random(3, 4), w=torch.nn.Buffer(random(10, 8)[::2, ::2]))
    yield probe("F.embedding(x, w)", x=TWICE.abs(), w=torch.nn.Buffer(random(4, 5).t()))
    yield probe("x.as_strided((3, 2), (1, 2))", x=ROW)
    yield probe("x.as_strided((4, 3), (1, 1))", x=ROW)
    yield probe("x.as_strided((2, 2), (3, 1), 1)", x=ROW)
    yield probe("x.as_strided((3,), (0,), 2)", x=ROW)
    yield probe("(x * 2).as_strided((4, 3), (1, 1))", x=ROW)
    yield probe("x.expand(4, -1, 3, 4)[2] + 1", x=CUBE)
    yield probe("x.squeeze((0, 1))", x=CUBE)
    yield probe("x.unsqueeze(-2).squeeze(-2) * 1", x=CUBE)
    yield probe("x.movedim((0, 1), (-1, 0)) * 1", x=CUBE)
    yield probe("x.swapaxes(0, -1).reshape(6, 4)", x=CUBE)
    yield probe("x.view(4, 6).t().reshape(2, 12)", x=CUBE)
    yield probe("x.unflatten(-1, (2, -1))", x=CUBE)
    yield probe("x.split([1, 3], -1)", x=CUBE)
    yield probe("x.chunk(5, -1)", x=CUBE)
    yield probe("x.tensor_split((1, 3), -1)", x=CUBE)
    yield probe("x.unbind(-1)", x=CUBE)
    for source in ("x.tril({})", "x.triu({})"):
        for k in (0, 1, -1, 3, -3, 10, -10):
            yield probe(source.format(k), x=SQUARE)
    yield probe("x.tril(-1)", x=torch.full((3, 3), NAN))
    yield probe("x.triu(1)", x=torch.full((2, 3, 3), -INF).half())
    yield probe("torch.ones(4, 4).triu(1).bool() & x", x=SQUARE[:, :4] > 3)
    yield probe("x.tril()", x=SQUARE > 3)
    yield probe("torch.tril_indices(3, 4) + x", x=torch.tensor(1))
    for k in (0, 2, -2, 4, -3):
        yield probe(f"x.diagonal({k})", x=SQUARE)
        yield probe(f"torch.diag_embed(x, {k}, 0, -1)", x=SQUARE)
        yield probe(f"torch.diag(x[0], {k})", x=SQUARE)
    for shift in (1, -1, 7, -13, 0):
        yield probe(f"x.roll({shift})", x=SQUARE)
        yield probe(f"x.roll({shift}, -1)", x=SQUARE)
    yield probe("x.roll((1, -2), (0, 1))", x=SQUARE)
    yield probe("x.roll((1, 2), (0, 0))", x=SQUARE)
    yield probe("x.rot90(3, (0, 1))", x=SQUARE)
    yield probe("x.flip((0, -1))", x=CUBE)
    yield probe("x.repeat(2, 1, 3, 1)", x=CUBE)
    yield probe("x.repeat_interleave(2, 1)", x=CUBE)
    yield probe("x.repeat_interleave(torch.tensor([1, 0, 2]), 1)", x=CUBE)
    yield probe("x.unfold(-1, 3, 2)", x=SQUARE)
    yield probe("x.unfold(0, 4, 1)", x=SQUARE)
    for pad in ((1, 2), (-1, 2), (-1, -1), (0, 0, 1, 2), (1, 0, -2, 1), (0, 0, 0, 0, 3, -1)):
        yield probe(f"F.pad(x, {pad}, value=-inf)", x=CUBE)
    for mode in ("reflect", "replicate", "circular"):
        yield probe(f"F.pad(x, (2, 1), mode='{mode}')", x=CUBE)
        yield probe(f"F.pad(x, (2, 1, 1, 2), mode='{mode}')", x=IMAGE)
        yield probe(f"F.pad(x, (0, 1, 1, 0, 1, 1), mode='{mode}')", x=random(1, 2, 3, 4, 5))
    yield probe("F.pad(x, (-1, 2), mode='replicate')", x=CUBE)
    yield probe("F.pad(x, (-1, 2), mode='circular')", x=CUBE)
    yield probe("F.pad(x, (1, 1), value=2.7)", x=CUBE.int())
    yield probe("F.pad(x, (1, 1), value=1)", x=SQUARE > 3)
    for source in (
        "x[1]",
        "x[:, ::2]",
        "x[-1, -2:]",
        "x[..., None, 1:3]",
        "x[:, -10:10]",
        "x[5:]",
        "x[:, 2:1]",
        "x[:, :-1] - x[:, 1:]",
        "x[1:, None]",
        "x.select(-1, -1)",
        "x.narrow(-1, -2, 2)",
        "x[::3]",
    ):
        yield probe(f"{source} * 1", x=SQUARE)
    yield probe("torch.slice_scatter(x, x[:2] * 2, 0, 0, 4, 2)", x=SQUARE)
    yield probe("torch.slice_scatter(x, x[:, :2] * 2, 1, -2, 100)", x=SQUARE)
    yield probe("torch.select_scatter(x, x[0] * 2, 0, -1)", x=SQUARE)
    yield probe("torch.diagonal_scatter(x, x[0, :4] * 2, 1)", x=SQUARE)
    yield probe("x.clone().fill_(3.7) + x", x=SQUARE)
    yield probe("x.index_fill(1, y, -inf)", x=SQUARE, y=torch.tensor([0, -1, 0]))


def list_reads() -> Iterator[Probe]:
    for kind in (torch.int64, torch.int32):
        index = TWICE.to(kind)
        yield probe("x[y]", x=SQUARE, y=index)
        yield probe("x[:, y]", x=SQUARE, y=index)
        yield probe("x[y, y]", x=SQUARE, y=index)
        yield probe("x[y[:, None], y]", x=SQUARE, y=index)
        yield probe("x[..., y]", x=CUBE, y=index)
        yield probe("x[y, :, y]", x=CUBE, y=index.clamp(-1, 1))
        yield probe("x[:, y, None]", x=CUBE, y=index)
        yield probe("x[0, y]", x=CUBE, y=index)
        yield probe("x[:, 1, y]", x=CUBE, y=index)
        yield probe("x.index_select(-1, y)", x=CUBE, y=index.abs())
        yield probe("F.embedding(y, x)", x=SQUARE, y=index.abs())
        yield probe("F.embedding(y, x, padding_idx=2)", x=SQUARE, y=index.abs().reshape(5, 1))
        yield probe("F.embedding(y, x, padding_idx=-1)", x=SQUARE, y=index.abs())
        yield probe("F.embedding_bag(y, x, torch.tensor([0, 2, 2]))", x=SQUARE, y=index.abs())
        yield probe("F.embedding_bag(y.reshape(1, 5), x, mode='max')", x=SQUARE, y=index.abs())
        yield probe("F.one_hot(y.long(), 4)", y=index.abs())
    for dtype in (*FLOATS, *INTEGERS, torch.bool):
        yield probe("x[y]", x=SQUARE.to(dtype), y=TWICE)
        yield probe("x.gather(1, y)", x=SQUARE.to(dtype), y=torch.tensor([[0, 0, 4], [1, 1, 1]]))
        yield probe("x.index_select(0, y)", x=SQUARE.to(dtype), y=TWICE.abs())
        yield probe("x.take_along_dim(y, 0)", x=SQUARE.to(dtype), y=torch.tensor([[0, 1, 2, 3, 0]]))
    yield probe("x[y]", x=SQUARE, y=SQUARE > 3)
    yield probe("x.masked_select(y)", x=SQUARE, y=SQUARE > 3)
    yield probe("x.take(y)", x=SQUARE, y=torch.tensor([[0, -1], [19, 7]]))
    yield probe("x.gather(-1, y)", x=CUBE, y=torch.zeros(1, 2, 6, dtype=torch.int64))
    yield probe("x.gather(0, y)", x=ROW, y=torch.tensor([5, 0, 5]))
    yield probe("x[y.to(torch.uint8).long()]", x=SQUARE, y=TWICE.abs())
    yield probe("x[torch.tensor([[0, 1], [2, 3]])]", x=SQUARE)
    yield probe("x[[0, -1]]", x=SQUARE)
    yield probe("x[[0, 1], [2, -1]]", x=SQUARE)
    yield probe("x[[True, False, True, False]]", x=SQUARE)
    yield probe("x[None, [0, 1], ..., [2, -1]]", x=CUBE)
    yield probe("torch.argsort(y)[x]", x=TWICE.abs(), y=ROW.flip(0))
    for source in (
        "x[y]",
        "x.index_select(0, y)",
        "F.embedding(y, x)",
        "x.gather(0, y[:, None])",
        "x.index_add(0, y, x[:1])",
        "x.scatter(0, y[:, None], 1.0)",
        "x.index_put((y,), x[:1])",
    ):
        yield probe(source, raises=True, x=SQUARE, y=torch.tensor([9]))


def list_writes() -> Iterator[Probe]:
    ones = torch.ones(5, 5)
    for dtype in (*FLOATS, *INTEGERS):
        x, v = SQUARE.to(dtype), (SQUARE[[0, 1, 2, 3, 0]] + 1).to(dtype)
        yield probe("x.index_put((y,), v, accumulate=True)", x=x, y=TWICE, v=v)
        yield probe("x.index_put((y,), v)", x=x, y=TWICE, v=v[2:3].expand(5, 5).contiguous())
        yield probe("x.index_put((y, y), v, accumulate=True)", x=x, y=TWICE, v=v[:, 0].contiguous())
        yield probe("x.index_add(0, y, v)", x=x, y=TWICE.abs(), v=v)
        yield probe("x.index_add(0, y, v, alpha=-2)", x=x, y=TWICE.abs(), v=v)
        yield probe("x.scatter_add(1, y, v)", x=x, y=torch.tensor([[0, 0, 4, 4, 4]] * 3), v=v)
        yield probe("x.index_copy(0, y, v)", x=x, y=torch.tensor([2, 0]), v=v[:2].contiguous())
        yield probe("x.scatter(1, y, v)", x=x, y=torch.tensor([[0, 2, 4], [1, 0, 3]]), v=v)
        yield probe("x.scatter(1, y, 7)", x=x, y=torch.tensor([[0, 2, 4], [1, 0, 3]]))
        for reduce in ("sum", "prod", "mean", "amax", "amin"):
            for include in (True, False):
                yield probe(
                    f"x.scatter_reduce(0, y, v, '{reduce}', include_self={include})",
                    x=x,
                    y=torch.tensor([[0, 0, 3, 3, 1], [0, 0, 3, 1, 1]]),
                    v=v,
                )
        for reduce in ("prod", "mean", "amax", "amin"):
            for include in (True, False):
                source = f"x.index_reduce(0, y, v, '{reduce}', include_self={include})"
                yield probe(source, x=x, y=TWICE.abs(), v=v)
        yield probe("x.masked_fill(y, 3)", x=x, y=SQUARE > 7)
        yield probe("x.masked_scatter(y, v)", x=x, y=SQUARE > 7, v=v)
        yield probe("x.index_put((y,), torch.tensor(3, dtype=x.dtype))", x=x, y=SQUARE > 7)
        yield probe("x.index_fill(0, y, 3)", x=x, y=TWICE.abs())
        yield probe("torch.scatter(x, 0, y, v)", x=x, y=torch.tensor([[3, 2]]), v=v)
    special = torch.tensor([[NAN, 1.0, -INF], [INF, NAN, 2.0], [-0.0, 5.0, NAN]])
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        for include in (True, False):
            yield from sweep(
                f"x.scatter_reduce(0, y, v, '{reduce}', include_self={include})",
                FLOATS,
                x=special,
                y=torch.tensor([[0, 0, 1], [0, 2, 1]]),
                v=special.flip(1),
            )
            yield from sweep(
                f"x.scatter_reduce(0, y, v, '{reduce}', include_self={include})",
                HALVES,
                x=torch.ones(2),
                y=torch.zeros(3000, dtype=torch.int64),
                v=torch.full((3000,), 1.0),
            )
    for dtype in HALVES:
        many = torch.zeros(4096, dtype=torch.int64)
        yield probe(
            "x.index_add(0, y, v)", x=torch.zeros(2).to(dtype), y=many, v=torch.ones(4096).to(dtype)
        )
        yield probe(
            "x.scatter_add(0, y, v)",
            x=torch.zeros(2).to(dtype),
            y=many,
            v=torch.ones(4096).to(dtype),
        )
        yield probe(
            "x.index_put((y,), v, accumulate=True)",
            x=torch.zeros(2).to(dtype),
            y=many,
            v=torch.ones(4096).to(dtype),
        )
    yield probe("x.index_put((None, y), v)", x=SQUARE, y=torch.tensor([4, 0]), v=ones[0, 0])
    yield probe(
        "x.index_put((y, None, y), v)",
        x=CUBE,
        y=torch.tensor([1, 0]),
        v=torch.arange(6.0).reshape(2, 3),
    )
    yield probe(
        "x.index_put((y,), v)", x=SQUARE, y=torch.tensor([3, 1], dtype=torch.int32), v=ones[:2]
    )
    yield probe("x.index_put((y,), v)", x=SQUARE, y=SQUARE[:, 0] > 4, v=torch.tensor(NAN))
    yield probe("x.index_put((y,), v)", x=SQUARE, y=SQUARE > 4, v=torch.arange(15.0))
    yield probe("x.masked_fill(y, z)", x=SQUARE, y=SQUARE > 4, z=torch.tensor(-INF))
    yield probe(
        "x.masked_fill(y, -inf)", x=SQUARE, y=torch.tensor([True, False, True, False])[:, None]
    )
    yield probe("x.masked_fill(y, True)", x=SQUARE.int(), y=SQUARE > 4)
