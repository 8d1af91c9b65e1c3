"""Convolution, pooling, resampling, attention, recurrence, matrix products and transforms."""

from collections.abc import Iterator

import torch

from tests.op_conformance.probes.probe import (
    FLOATS,
    HALVES,
    Probe,
    build,
    constant,
    probe,
    random,
    sweep,
)

INF, NAN = torch.inf, torch.nan
LINE, IMAGE, VOLUME = random(2, 4, 11), random(2, 4, 9, 7), random(2, 4, 5, 6, 7)


def list_convolutions() -> Iterator[Probe]:
    for options in (
        "",
        "stride=2",
        "stride=3, padding=2",
        "dilation=2",
        "padding=1, dilation=3",
        "groups=2",
        "padding='same'",
        "padding='valid'",
        "groups=4, padding=1",
        "padding='same', dilation=2",
    ):
        group = 4 if "groups=4" in options else 2 if "groups" in options else 1
        for module, x, suffix in (
            ("1d", LINE, (3,)),
            ("2d", IMAGE, (3, 2)),
            ("3d", VOLUME, (3, 2, 1)),
        ):
            if "=3" in options and module == "3d":
                x = random(2, 4, 7, 8, 9)
            w, b = constant(8, 4 // group, *suffix), constant(8)
            yield probe(f"F.conv{module}(x, w, b, {options})", x=x, w=w, b=b)
            yield from sweep(f"F.conv{module}(x, w, None, {options})", HALVES, x=x, w=w)
            yield probe(
                f"F.conv{module}(x, w, None, {options})",
                x=x[0].clone(),
                w=random(8, 4 // group, *suffix),
            )
    yield probe(
        "F.conv2d(x, w, stride=(2, 1), padding=(0, 2), dilation=(1, 2))",
        x=IMAGE,
        w=constant(5, 4, 3, 2),
    )
    yield from sweep("F.conv2d(x, w, b)", HALVES, x=IMAGE, w=constant(8, 4, 3, 2), b=constant(8))
    yield probe("F.conv2d(x, w, padding='same')", x=IMAGE, w=constant(5, 4, 4, 2))
    yield probe("F.conv2d(F.pad(x, (1, 0, 2, 1)), w)", x=IMAGE, w=constant(5, 4, 3, 3))
    for options in (
        "",
        "stride=2",
        "stride=2, padding=1, output_padding=1",
        "dilation=2",
        "groups=2",
        "stride=3, output_padding=2, dilation=2, padding=2",
        "padding=2",
    ):
        group = 2 if "groups" in options else 1
        for module, x, suffix in (
            ("1d", LINE, (3,)),
            ("2d", IMAGE, (3, 2)),
            ("3d", VOLUME, (3, 2, 3)),
        ):
            w, b = constant(4, 6 // group, *suffix), constant(6)
            yield probe(f"F.conv_transpose{module}(x, w, b, {options})", x=x, w=w, b=b)
            yield from sweep(f"F.conv_transpose{module}(x, w, None, {options})", HALVES, x=x, w=w)
            yield probe(
                f"F.conv_transpose{module}(x, w, None, {options})",
                x=x[0].clone(),
                w=random(4, 6 // group, *suffix),
            )
    yield probe(
        "F.conv_transpose2d(x, w, stride=(2, 3), padding=(1, 0), output_padding=(0, 2))",
        x=IMAGE,
        w=constant(4, 3, 3, 2),
    )
    for dtype in FLOATS:
        x, w = random(1, 512, 6, 6), constant(8, 512, 3, 3)
        yield from sweep("F.conv2d(x, w)", (dtype,), x=x, w=w)
        yield from sweep("F.conv2d(x.abs(), w.abs())", (dtype,), x=x, w=w)
        yield from sweep("F.conv_transpose2d(x, w)", (dtype,), x=x, w=constant(512, 8, 3, 3))
        yield from sweep("F.conv1d(x, w)", (dtype,), x=random(1, 1024, 8), w=constant(8, 1024, 3))
        yield from sweep(
            "F.linear(x, w, b)", (dtype,), x=random(4, 8192), w=constant(8, 8192), b=constant(8)
        )
        yield from sweep(
            "F.linear(x.abs(), w.abs())", (dtype,), x=random(4, 8192), w=constant(8, 8192)
        )
        yield from sweep("x @ y", (dtype,), x=random(4, 8192).abs(), y=random(8192, 4).abs())
        yield from sweep(
            "torch.bmm(x, y)", (dtype,), x=random(2, 4, 4096) + 1, y=random(2, 4096, 4) + 1
        )
        yield from sweep(
            "torch.addmm(b, x, y, beta=0.5, alpha=-2)",
            (dtype,),
            x=random(4, 64),
            y=random(64, 4),
            b=random(4),
        )
        yield from sweep(
            "torch.baddbmm(b, x, y, beta=0.5, alpha=-2)",
            (dtype,),
            x=random(2, 4, 64),
            y=random(2, 64, 4),
            b=random(1, 4),
        )
        yield from sweep(
            "torch.addmv(b, x, y)", (dtype,), x=random(4, 64), y=random(64), b=random(4)
        )
        yield from sweep("torch.dot(x, y)", (dtype,), x=random(5000) + 1, y=random(5000) + 1)
        yield from sweep("torch.mv(x, y)", (dtype,), x=random(4, 5000) + 1, y=random(5000) + 1)
        yield from sweep(
            "torch.einsum('bhid,bhjd->bhij', x, y)",
            (dtype,),
            x=random(2, 3, 4, 64),
            y=random(2, 3, 5, 64),
        )
        yield from sweep(
            "torch.einsum('ij,jk,k->i', x, y, z)",
            (dtype,),
            x=random(3, 4),
            y=random(4, 5),
            z=random(5),
        )
        yield from sweep(
            "torch.addbmm(b, x, y)", (dtype,), x=random(2, 4, 6), y=random(2, 6, 4), b=random(4, 4)
        )
        yield from sweep(
            "F.bilinear(x, y, w, b)",
            (dtype,),
            x=random(3, 4),
            y=random(3, 5),
            w=constant(6, 4, 5),
            b=constant(6),
        )
        yield from sweep("torch.kron(x, y)", (dtype,), x=random(2, 3), y=random(3, 2))
        yield from sweep("torch.tensordot(x, y, 2)", (dtype,), x=random(2, 3, 4), y=random(3, 4, 5))
    yield probe(
        "torch.addmm(b, x, y, beta=0)", x=random(4, 3), y=random(3, 4), b=torch.full((4, 4), NAN)
    )
    yield probe(
        "torch.baddbmm(b, x, y, beta=0)",
        x=random(2, 4, 3),
        y=random(2, 3, 4),
        b=torch.full((2, 4, 4), INF),
    )
    yield probe(
        "torch.addmv(b, x, y, beta=0)", x=random(4, 3), y=random(3), b=torch.full((4,), NAN)
    )
    yield probe("torch.addr(b, x, y, beta=0)", x=random(4), y=random(3), b=torch.full((4, 3), NAN))
    yield probe(
        "torch.addbmm(b, x, y, beta=0)",
        x=random(2, 4, 3),
        y=random(2, 3, 4),
        b=torch.full((4, 4), NAN),
    )
    yield probe(
        "x @ y", x=torch.tensor([[INF, 0.0], [NAN, 1.0]]), y=torch.tensor([[0.0, 1.0], [1.0, -INF]])
    )
    yield probe(
        "F.linear(x, w, b)",
        x=torch.tensor([[INF, 0.0]]),
        w=torch.nn.Buffer(torch.tensor([[0.0, 1.0], [1.0, 0.0]])),
        b=constant(2),
    )
    yield probe(
        "F.conv1d(x, w, padding=1)",
        x=torch.tensor([[[INF, 0.0, NAN, 1.0, 2.0, 3.0]]]),
        w=constant(1, 1, 3),
    )
    yield probe("x @ y", x=torch.arange(4).reshape(2, 2), y=torch.arange(4).reshape(2, 2))
    yield probe("x @ y", x=random(3), y=random(3))
    yield probe("x @ y", x=random(3), y=random(2, 3, 4))
    yield probe("x @ y", x=random(2, 1, 4, 3), y=random(5, 3, 2))
    yield probe("x @ y", x=random(2, 4, 3), y=random(3))
    yield probe("torch.linalg.multi_dot([x, y, x])", x=random(3, 4), y=random(4, 3))
    yield probe("torch.matrix_power(x, 3)", x=random(3, 3))
    yield probe("torch.cross(x, y, dim=-1)", x=random(2, 3), y=random(2, 3, seed=1))


def list_pooling() -> Iterator[Probe]:
    for options in (
        "2",
        "3, 2",
        "3, 2, 1",
        "3, 2, 1, ceil_mode=True",
        "2, 3, ceil_mode=True",
        "3, 1, 1",
        "3, 2, 0, 2, ceil_mode=True",
        "3, 2, 1, 2",
    ):
        for n, x in (("1", LINE), ("2", IMAGE), ("3", VOLUME)):
            if n == "3" and ", 2" in options[4:]:
                x = random(2, 4, 7, 8, 9)
            yield from sweep(f"F.max_pool{n}d(x, {options})", FLOATS, x=x)
            yield probe(f"F.max_pool{n}d(x, {options})", x=x[0].clone() - 5)
            if n != "1":
                yield probe(f"F.max_pool{n}d(x, {options}, return_indices=True)", x=x)
    for options in (
        "2",
        "3, 2, 1",
        "3, 2, 1, count_include_pad=False",
        "3, 2, 1, ceil_mode=True",
        "3, 2, 1, True, False",
        "2, 3, 0, True",
        "(3), 1, 1",
    ):
        for n, x in (("1", LINE), ("2", IMAGE), ("3", VOLUME)):
            yield from sweep(f"F.avg_pool{n}d(x, {options})", FLOATS, x=x)
            yield probe(f"F.avg_pool{n}d(x, {options})", x=x[0].clone())
    for n, x in (("2", IMAGE), ("3", VOLUME)):
        for divisor in (1, 3, -2):
            yield probe(f"F.avg_pool{n}d(x, 3, 2, 1, True, False, {divisor})", x=x)
        yield probe(f"F.avg_pool{n}d(x, 3, 2, 1, False, True, 5)", x=x)
    for n, x in (("1", LINE), ("2", IMAGE), ("3", VOLUME)):
        for size in (1, 2, 3, 5, 7, 12):
            yield probe(f"F.adaptive_avg_pool{n}d(x, {size})", x=x)
            yield probe(f"F.adaptive_max_pool{n}d(x, {size})", x=x)
    yield probe("F.adaptive_avg_pool2d(x, (None, 3))", x=IMAGE)
    yield probe("F.adaptive_max_pool2d(x, (2, 3), return_indices=True)", x=IMAGE)
    special = torch.tensor([[[NAN, 1.0, -INF, -INF, 2.0, 3.0, INF, -0.0]]])
    for source in (
        "F.max_pool1d(x, 2)",
        "F.max_pool1d(x, 3, 1, 1)",
        "F.avg_pool1d(x, 2)",
        "F.adaptive_max_pool1d(x, 3)",
        "F.lp_pool1d(x, 2, 2)",
    ):
        yield from sweep(source, FLOATS, x=special)
    yield probe("F.max_pool2d(x, 2, return_indices=True)", x=torch.full((1, 1, 4, 4), -INF))
    yield probe(
        "F.max_pool2d(x, 2, return_indices=True)", x=torch.tensor([[[[1.0, 1.0], [1.0, NAN]]]])
    )
    yield probe("F.max_pool2d(x, 2)", x=torch.arange(16, dtype=torch.int64).reshape(1, 1, 4, 4))
    yield probe("F.lp_pool2d(x, 3, 2)", x=IMAGE)
    yield probe("F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)", x=random(1, 2, 4, 4))
    yield probe("F.pixel_shuffle(x, 2)", x=IMAGE)
    yield probe("F.pixel_unshuffle(x, 3)", x=random(2, 1, 6, 9))
    yield probe("F.channel_shuffle(x, 2)", x=IMAGE)
    yield probe("F.unfold(x, (3, 2), dilation=(1, 2), padding=(1, 0), stride=2)", x=IMAGE)
    yield probe("F.unfold(x[0], 2)", x=IMAGE)
    yield probe("F.fold(x, (5, 6), (2, 3), padding=1, stride=(1, 2))", x=random(2, 12, 18))
    yield from sweep("F.fold(F.unfold(x, 3), (9, 7), 3)", FLOATS, x=IMAGE)


def list_resampling() -> Iterator[Probe]:
    for scale in (2, 0.5, 1.7, 0.3, 3.1):
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
            yield from sweep(
                f"F.interpolate(x, scale_factor={scale}, mode='{mode}')", FLOATS, x=IMAGE
            )
            options = f"scale_factor={scale}, mode='{mode}', recompute_scale_factor=True"
            yield probe(f"F.interpolate(x, {options})", x=IMAGE)
        for mode in ("bilinear", "bicubic"):
            yield probe(
                f"F.interpolate(x, scale_factor={scale}, mode='{mode}', align_corners=True)",
                x=IMAGE,
            )
            yield probe(
                f"F.interpolate(x, scale_factor={scale}, mode='{mode}', antialias=True)", x=IMAGE
            )
        yield probe(f"F.interpolate(x, scale_factor={scale}, mode='linear')", x=LINE)
        yield probe(f"F.interpolate(x, scale_factor={scale}, mode='nearest')", x=LINE)
        yield probe(f"F.interpolate(x, scale_factor={scale}, mode='nearest')", x=VOLUME)
    for size in ("1", "(1, 1)", "(13, 1)", "(9, 7)", "(4, 20)", "(27, 21)"):
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
            yield probe(f"F.interpolate(x, size={size}, mode='{mode}')", x=IMAGE)
        for mode in ("bilinear", "bicubic"):
            yield probe(
                f"F.interpolate(x, size={size}, mode='{mode}', align_corners=True)", x=IMAGE
            )
            yield probe(
                f"F.interpolate(x, size={size}, mode='{mode}', align_corners=True)",
                x=random(1, 1, 1, 1),
            )
    yield probe("F.interpolate(x, scale_factor=2, mode='trilinear')", x=VOLUME)
    yield probe(
        "F.interpolate(x, scale_factor=(1.5, 2.5), mode='nearest')",
        x=torch.arange(24, dtype=torch.uint8).reshape(1, 1, 4, 6),
    )
    yield probe("F.upsample(x, scale_factor=2)", x=IMAGE)
    points = torch.tensor([-1.0, 1.0, 0.0, -1.1, 1.3, 0.999, -0.5, 2.7, -3.9, 1e6, 0.25, -0.0])
    grid = torch.cartesian_prod(points, points).reshape(1, 12, 12, 2).repeat(2, 1, 1, 1)
    poor = torch.tensor([NAN, INF, -INF, 1e30, 0.1])
    bad = torch.cartesian_prod(poor, poor).reshape(1, 5, 5, 2).repeat(2, 1, 1, 1)
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for align in (True, False):
                source = f"F.grid_sample(x, y, '{mode}', '{padding}', {align})"
                yield probe(source, x=IMAGE, y=grid)
                yield probe(source, x=IMAGE, y=bad)
                yield from sweep(source, HALVES, x=IMAGE, y=grid.clamp(-3, 3))
    yield probe(
        "F.grid_sample(x, y, align_corners=False)", x=random(1, 2, 3, 4, 5), y=random(1, 2, 2, 2, 3)
    )
    yield probe("F.affine_grid(x, (2, 3, 4, 5), align_corners=False)", x=random(2, 2, 3))
    yield probe("F.affine_grid(x, (2, 3, 4, 5), align_corners=True)", x=random(2, 2, 3))


def list_attention() -> Iterator[Probe]:
    q, k, v = random(2, 4, 5, 16), random(2, 4, 7, 16, seed=1), random(2, 4, 7, 16, seed=2)
    mask = torch.ones(5, 7).tril().bool()
    masked = mask.clone()
    masked[1] = False
    names = {"q": q, "k": k, "v": v}
    for options in ("", "is_causal=True", "scale=0.1", "scale=-1.0", "scale=0.0"):
        yield from sweep(f"F.scaled_dot_product_attention(q, k, v, {options})", FLOATS, **names)
        yield from sweep(
            f"F.scaled_dot_product_attention(q, k, v, {options})",
            FLOATS,
            q=k,
            k=q,
            v=random(2, 4, 5, 16, seed=3),
        )
        yield probe(
            f"F.scaled_dot_product_attention(q, k, v, {options})",
            q=q[0].clone(),
            k=k[0].clone(),
            v=v[0].clone(),
        )
        yield probe(
            f"F.scaled_dot_product_attention(q, k, v, {options})",
            q=q[0, 0].clone(),
            k=k[0, 0].clone(),
            v=v[0, 0].clone(),
        )
    for m in (
        mask,
        masked,
        torch.zeros(5, 7, dtype=torch.bool),
        mask[None, None].repeat(2, 1, 1, 1),
        torch.ones(1, 7, dtype=torch.bool),
    ):
        yield from sweep("F.scaled_dot_product_attention(q, k, v, m)", FLOATS, **names, m=m)
    for m in (
        random(5, 7),
        torch.zeros(5, 7).masked_fill(~mask, -INF),
        torch.zeros(5, 7).masked_fill(~masked, -INF),
        torch.zeros(2, 1, 1, 7),
        torch.full((5, 7), -1e9),
        torch.zeros(5, 7).masked_fill(~masked, -3.4e38),
    ):
        yield from sweep("F.scaled_dot_product_attention(q, k, v, m)", FLOATS[:1], **names, m=m)
        yield from sweep(
            "F.scaled_dot_product_attention(q, k, v, m)",
            HALVES,
            **names,
            m=m.clamp(min=-6e4) if bool(m.isfinite().all()) else m,
        )
    for heads, groups in ((4, 2), (4, 1), (6, 3)):
        x = {
            "q": random(2, heads, 5, 16),
            "k": random(2, groups, 7, 16, seed=1),
            "v": random(2, groups, 7, 16, seed=2),
        }
        yield from sweep("F.scaled_dot_product_attention(q, k, v, enable_gqa=True)", FLOATS, **x)
        yield probe("F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)", **x)
        yield probe("F.scaled_dot_product_attention(q, k, v, m, enable_gqa=True)", **x, m=masked)
    for width in (64, 80, 128, 256):
        x = {
            "q": random(1, 2, 9, width),
            "k": random(1, 2, 9, width, seed=1),
            "v": random(1, 2, 9, width, seed=2),
        }
        yield from sweep("F.scaled_dot_product_attention(q, k, v, is_causal=True)", FLOATS, **x)
        yield from sweep("F.scaled_dot_product_attention(q * 20, k * 20, v)", FLOATS, **x)
    yield probe("F.scaled_dot_product_attention(q, k, v)", q=q, k=k, v=random(2, 4, 7, 3))
    yield from sweep("F.scaled_dot_product_attention(q * 60, k * 60, v)", FLOATS, **names)
    yield probe("F.scaled_dot_product_attention(q, k, v)", q=q * INF, k=k, v=v)
    yield probe("F.scaled_dot_product_attention(q, k, v)", q=q, k=k, v=torch.full_like(v, INF))
    yield probe(
        "F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))",
        q=random(2, 5, 4, 16),
        k=random(2, 7, 4, 16),
        v=random(2, 7, 4, 16),
    )
    yield probe("F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)", **names)
    padding = torch.tensor([[False, True, True, False], [False, False, False, False]])
    for options in (
        {},
        {"bias": False},
        {"add_bias_kv": True},
        {"add_zero_attn": True},
        {"kdim": 6, "vdim": 5},
    ):
        module = build(torch.nn.MultiheadAttention, 8, 2, batch_first=True, **options)
        k6 = random(2, 4, options.get("kdim", 8), seed=1)
        v5 = random(2, 4, options.get("vdim", 8), seed=2)
        yield probe("m(q, k, v)", q=random(2, 3, 8), k=k6, v=v5, m=module)
        yield probe(
            "m(q, k, v, key_padding_mask=p)", q=random(2, 3, 8), k=k6, v=v5, m=module, p=padding
        )
        yield probe(
            "m(q, k, v, attn_mask=a, need_weights=False)",
            q=random(2, 3, 8),
            k=k6,
            v=v5,
            m=module,
            a=torch.ones(3, 4).triu(1).bool(),
        )
        yield probe(
            "m(q, k, v, attn_mask=a, average_attn_weights=False)",
            q=random(2, 3, 8),
            k=k6,
            v=v5,
            m=module,
            a=random(3, 4),
        )
    yield probe(
        "m(q, q, q, key_padding_mask=p)",
        q=random(2, 4, 8),
        m=build(torch.nn.MultiheadAttention, 8, 2, batch_first=True),
        p=torch.tensor([[True] * 4, [False] * 4]),
    )
    layer = build(
        torch.nn.TransformerEncoderLayer,
        8,
        2,
        16,
        batch_first=True,
        norm_first=True,
        activation="gelu",
    )
    yield probe("m(q, src_key_padding_mask=p)", q=random(2, 4, 8), m=layer, p=padding)
    yield probe(
        "m(q, q)",
        q=random(2, 4, 8),
        m=build(torch.nn.TransformerDecoderLayer, 8, 2, 16, batch_first=True),
    )


def list_recurrence() -> Iterator[Probe]:
    for cls in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN):
        for options in (
            {},
            {"bidirectional": True},
            {"num_layers": 2, "batch_first": True},
            {"num_layers": 2, "bidirectional": True, "bias": False},
        ):
            yield probe("m(x)", x=random(5, 2, 4), m=build(cls, 4, 3, **options))
        yield probe("m(x)", x=random(5, 4), m=build(cls, 4, 3))
        yield probe("m(x)", x=random(1, 2, 4) * 1e3, m=build(cls, 4, 3))
        yield probe("m(x)", x=random(5, 2, 4).half(), m=build(cls, 4, 3).half())
        yield probe("m(x)", x=random(5, 2, 4).bfloat16(), m=build(cls, 4, 3).bfloat16())
    yield probe("m(x)", x=random(5, 2, 4), m=build(torch.nn.LSTM, 4, 3, proj_size=2))
    yield probe("m(x)", x=random(5, 2, 4), m=build(torch.nn.RNN, 4, 3, nonlinearity="relu"))
    yield probe(
        "m(x, (h, c))",
        x=random(5, 2, 4),
        h=random(1, 2, 3),
        c=random(1, 2, 3, seed=1),
        m=build(torch.nn.LSTM, 4, 3),
    )
    yield probe("m(x, h)", x=random(2, 4), h=random(2, 3), m=build(torch.nn.GRUCell, 4, 3))
    yield probe("m(x, (h, h))", x=random(2, 4), h=random(2, 3), m=build(torch.nn.LSTMCell, 4, 3))


def list_transforms() -> Iterator[Probe]:
    for size in (1, 2, 5, 8, 15, 17):
        x = random(3, size)
        for norm in ("backward", "ortho", "forward"):
            yield probe(f"torch.view_as_real(torch.fft.rfft(x, norm='{norm}'))", x=x)
            yield probe(f"torch.view_as_real(torch.fft.fft(x, norm='{norm}'))", x=x)
            yield probe(
                f"torch.view_as_real(torch.fft.ifft(torch.view_as_complex(x), norm='{norm}'))",
                x=random(3, size, 2),
            )
            yield probe(
                f"torch.fft.irfft(torch.view_as_complex(x), {size}, norm='{norm}')",
                x=random(3, size // 2 + 1, 2),
            )
    yield probe("torch.fft.irfft(torch.fft.rfft(x))", x=random(3, 8))
    yield probe("torch.fft.irfft2(torch.fft.rfft2(x), s=(5, 7))", x=random(2, 5, 7))
    yield probe("torch.view_as_real(torch.fft.fftn(x, dim=(0, -1)))", x=random(3, 4, 5))
    yield probe("torch.view_as_real(torch.fft.rfft(x, n=12))", x=random(3, 8))
    yield probe("torch.view_as_real(torch.fft.rfft(x, n=5))", x=random(3, 8))
    yield probe("torch.fft.rfft(x).abs()", x=random(3, 8))
    yield probe("torch.fft.rfft(x).angle()", x=random(3, 8))
    yield probe("torch.fft.fftshift(x)", x=random(3, 5))
    yield probe("torch.fft.rfftfreq(8) * x", x=random(5))
    yield probe(
        "torch.view_as_real(torch.stft(x, 8, 4, window=w, return_complex=True))",
        x=random(2, 40),
        w=torch.nn.Buffer(torch.hann_window(8)),
    )
    yield probe(
        "torch.istft(torch.stft(x, 8, 4, window=w, return_complex=True), 8, 4, window=w)",
        x=random(2, 40),
        w=torch.nn.Buffer(torch.hann_window(8)),
    )
    yield probe("torch.view_as_real(torch.polar(x, y))", x=random(5).abs(), y=random(5))
    yield probe(
        "torch.view_as_real(torch.view_as_complex(x) * torch.view_as_complex(y))",
        x=random(5, 2),
        y=random(5, 2, seed=1),
    )
    yield probe("torch.view_as_complex(x).conj().imag + 1", x=random(5, 2))
    calls = ("inv(x)", "solve(x, y)", "solve(x, y[:, 0])", "solve(x, y.T, left=False)",
             "solve_triangular(x, y, upper=True)", "cholesky(x @ x.mT + torch.eye(3))",
             "det(x)", "svdvals(y)", "eigvalsh(x)", "pinv(y)", "matrix_rank(y)",
             "matrix_power(x, -3)", "matrix_norm(y, 2)", "matrix_norm(y, 'nuc')", "cond(x)",
             "matrix_exp(x)")  # fmt: skip
    for call in calls:
        yield probe(f"torch.linalg.{call}", x=random(3, 3), y=random(3, 2, seed=1))
