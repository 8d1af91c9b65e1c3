"""What decoders do at the positions of a sequence that follow each other.

Positions are `arange(n) + start`, where `start` is an element of an input or of a buffer. Where a
program says so, its first position is a number that the host reads: rotary embedding is MLX's
fused function, a cache is updated by a slice, and attention reads only what came so far.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from mlx_coverage.registry.dtypes import ANY, FLOAT, INDEX
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops.attention import is_fused
from mlx_coverage.registry.rules import Dtype, NonEmpty, Rank, Rule, SameDtype, Static
from mlx_coverage.registry.runs import (
    CASTS,
    VIEWS,
    Run,
    find_element,
    find_run,
    is_call,
    measure,
    skip_calls,
)
from mlx_coverage.registry.samples import Choice, Integer, Number, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation, Tolerance

aten = torch.ops.aten
family = Family("positions")


def _locate(start: Any, offset: int) -> Any:
    return offset if start is None else mx.host_item(start) + offset


_START: dict[str, Any] = {
    "start": tensor(dtype=("int32", "int64"), below="P", optional=True),
    "offset": Integer(0, 2),
}


def rotary_embedding(x: Tensor, start: Tensor | None, offset: int, frequencies: Tensor) -> Tensor:
    """Halves of the last dimension rotated by angles that grow with the position.

    Args:
        x: (batch, heads, positions, size).
        start: int32 or int64, one element, or None for 0.
        offset: their sum is the first position.
        frequencies: float32 (size / 2), radians for each position.
    """
    positions = torch.arange(x.shape[-2], device=x.device) + offset
    positions = positions if start is None else positions + start
    angles = positions.float().unsqueeze(-1) * frequencies
    angles = torch.cat([angles, angles], -1)
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * angles.cos().to(x.dtype) + turned * angles.sin().to(x.dtype)


def _find_rotary(node: Any) -> tuple[Any, ...] | None:
    straight, turned = (_take_product(term) for term in node.args[:2])
    if straight is None or turned is None or node.kwargs:
        return None
    for x, cosine in (straight, straight[::-1]):
        for halves, sine in (turned, turned[::-1]):
            if _is_turned(halves, x):
                return _read_angles(x, cosine, sine)
    return None


def _take_product(node: Any) -> tuple[Any, Any] | None:
    if not is_call(node) or node.target is not aten.mul.Tensor:
        return None
    a, b = node.args
    return (a, b) if isinstance(a, Node) and isinstance(b, Node) else None


def _is_turned(node: Any, x: Any) -> bool:
    """Whether `node` is the second half of `x`, negative, before the first."""
    shape, last = measure(x), x.meta["val"].dim() - 1
    if not is_call(node) or node.target is not aten.cat.default or measure(node) != shape:
        return False
    if len(node.args[0]) != 2 or len(node.args) < 2 or node.args[1] not in (-1, last):
        return False
    second, first = node.args[0]
    if not is_call(second) or second.target is not aten.neg.default:
        return False
    size = shape[-1]
    return isinstance(size, int) and all(
        is_call(part)
        and part.target is aten.slice.Tensor
        and part.args[0] is x
        and part.args[1] in (-1, last)
        and (part.args[2] or 0, min(part.args[3], size), *part.args[4:]) == bounds
        for part, bounds in ((first, (0, size // 2)), (second.args[0], (size // 2, size)))
    )


def _read_angles(x: Any, cosine: Any, sine: Any) -> tuple[Any, ...] | None:
    """The arguments of `rotary_embedding`, where both are of the same angles at a run."""
    angles = _find_angles(cosine, x, aten.cos.default)
    if angles is None or angles is not _find_angles(sine, x, aten.sin.default):
        return None
    if angles.target is not aten.cat.default or len(angles.args[0]) != 2:
        return None
    single, other = angles.args[0]
    product = _take_product(single)
    if single is not other or product is None or measure(single)[-1] * 2 != measure(angles)[-1]:
        return None
    for positions, frequencies in (product, product[::-1]):
        places = positions.meta["val"]
        run = find_run(positions.args[0]) if _is_cast(positions, torch.float32) else None
        if run is None or measure(positions)[-1] != 1 or places.dim() < 2:
            continue
        frequencies = _skip_casts(frequencies)
        if measure(positions)[-2] == measure(x)[-2] and frequencies.meta["val"].dim() == 1:
            return x, run.start, run.offset, frequencies
    return None


def _find_angles(node: Any, x: Any, function: Any) -> Any:
    """What `node` is the cosine or sine of, in the dtype of `x` and spread over its heads."""
    if node.meta["val"].dtype != x.meta["val"].dtype:
        return None
    if [n for n in measure(node)[:-2] if n != 1] or measure(node)[-2:] != measure(x)[-2:]:
        return None
    node = skip_calls(node, VIEWS | CASTS)
    if is_call(node) and node.target is aten.mul.Tensor and node.args[1] == 1.0:  # its scale
        node = node.args[0]
    if not is_call(node) or node.target is not function:
        return None
    return node.args[0]


def _is_cast(node: Any, dtype: torch.dtype) -> bool:
    return is_call(node) and node.target in CASTS and node.meta["val"].dtype == dtype


def _skip_casts(node: Any) -> Any:
    """The float32 tensor that casts to float32 left as it was."""
    while _is_cast(node, torch.float32) and node.args[0].meta["val"].dtype == torch.float32:
        node = node.args[0]
    return node


@family.pattern(
    rotary_embedding,
    find=_find_rotary,
    anchor=aten.add.Tensor,
    samples=draw(
        {"D": (1, 4), "L": (1, 5), "P": (1, 9)},
        x=tensor("B", "H", "L", "2*D"),
        **_START,
        frequencies=tensor("D", dtype=("float32",), low=0.0, high=1.0),
    ),
    rules=[
        Dtype("x", FLOAT),
        Rank("x", 4, 4),
        NonEmpty("x"),
        Static("x", first=-1),
        Dtype("start", INDEX),
        Dtype("frequencies", frozenset({torch.float32})),
        Rank("frequencies", 1, 1),
    ],
)
def rotate(x, start, offset, frequencies):
    """rotary_embedding(Tensor x, Tensor? start, SymInt offset, Tensor frequencies) -> Tensor"""
    return mx.fast.rope(
        x,
        x.shape[-1],
        traditional=False,
        base=None,
        scale=1.0,
        offset=_locate(start, offset),
        freqs=mx.reciprocal(frequencies),  # MLX takes the positions for a radian
    )


def run_update(
    cache: Tensor, update: Tensor, start: Tensor | None, offset: int, dim: int
) -> Tensor:
    """`cache` with `update` from the position `start + offset` on, which must fit into it."""
    positions = torch.arange(update.shape[dim], device=cache.device) + offset
    positions = positions if start is None else positions + start
    return torch.index_copy(cache, dim, positions, update)


def _find_update(node: Any) -> tuple[Any, ...] | None:
    cache, dim, index, update = node.args
    run = find_run(index)
    if run is None or not isinstance(dim, int) or measure(index) != [measure(update)[dim]]:
        return None
    return cache, update, run.start, run.offset, dim


@family.pattern(
    run_update,
    find=_find_update,
    anchor=aten.index_copy.default,
    samples=draw(
        {"L": (1, 3), "P": (1, 4)},
        cache=tensor("A", "L+P+1", "B"),
        update=tensor("A", "L", "B"),
        **_START,
        dim=Choice((1, -2)),
    ),
    rules=[
        Dtype("cache", ANY),
        SameDtype(("cache", "update")),
        Dtype("start", INDEX),
    ],
)
def update_run(cache, update, start, offset, dim):
    """run_update(Tensor cache, Tensor update, Tensor? start, SymInt offset, SymInt dim) -> Tensor"""  # noqa: E501
    dim %= cache.ndim
    starts, stops = [0] * cache.ndim, list(cache.shape)
    starts[dim] = _bound(start, offset, update.shape[dim], cache.shape[dim])
    stops[dim] = starts[dim] + update.shape[dim]
    return mx.indexing.slice_update(cache, update, starts, stops, [1] * cache.ndim)


def _bound(start: Any, offset: int, length: Any, size: Any) -> Any:
    """The first of `length` positions, which must lie within `size`."""
    return mx.host_within(_locate(start, offset), 0, size - length)


def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    start: Tensor | None,
    offset: int,
    scale: float,
) -> Tensor:
    """Attention over a cache, of queries at a run of its positions to those before and at theirs.

    Args:
        query: (batch, heads, queries, size).
        key: (batch, heads or a divisor of them, positions, size).
        value: as `key`.
        start: int32 or int64, one element, or None for 0.
        offset: their sum is the position of the first query; the last one's exists.
        scale: of the scores.
    """
    places = torch.arange(query.shape[-2], device=query.device) + offset
    places = places if start is None else places + start
    mask = torch.arange(key.shape[-2], device=key.device) <= places.unsqueeze(-1)
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, scale=scale, enable_gqa=True
    )


def _find_causal(node: Any) -> tuple[Any, ...] | None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given: dict[str, Any] = dict(zip(names, node.args, strict=False))
    given |= node.kwargs
    query, key, value, mask = (given.get(name) for name in names[:4])
    if given.get("dropout_p") or given.get("is_causal") or not isinstance(mask, Node):
        return None
    run = _find_causal_run(mask, query, key)
    if run is None or any(_find_cache_run(cache) != run for cache in (key, value)):
        return None
    heads = [measure(n)[1] for n in node.args[:3] if n.meta["val"].dim() == 4]
    scale = given.get("scale") or measure(query)[-1] ** -0.5
    if len(heads) < 3 or (heads[0] != heads[1] and not given.get("enable_gqa")):
        return None
    return query, key, value, run.start, run.offset, float(scale)


def _find_causal_run(mask: Any, query: Any, key: Any) -> Run | None:
    """The run of queries of which each sees the positions up to its own."""
    mask = skip_calls(mask, VIEWS)
    if not is_call(mask) or mask.target not in (aten.le.Tensor, aten.ge.Tensor):
        return None
    keys, queries = mask.args if mask.target is aten.le.Tensor else mask.args[::-1]
    length, reach = measure(query)[-2], measure(key)[-2]
    *ones, rows, columns = measure(mask)
    if [rows, columns] != [length, reach] or any(n != 1 for n in ones):
        return None
    # The one run lies along the columns, the other along the rows.
    if measure(keys)[-1] != reach or (measure(queries)[-2:] != [length, 1]):
        return None
    seen, run = find_run(keys), find_run(queries)
    if seen is None or seen.start is not None or seen.offset != 0:
        return None
    return run


def _find_cache_run(node: Any) -> Run | None:
    """The run at which a cache was updated, along the axis of its positions."""
    if not is_call(node) or node.target is not torch.ops.mlx_coverage.run_update.default:
        return None
    cache, _, start, offset, dim = node.args
    if dim % cache.meta["val"].dim() != cache.meta["val"].dim() - 2:
        return None
    if start is None:
        return Run(None, (), offset)
    element = find_element(start)
    return None if element is None else Run(*element, offset)


_ATTENTION: list[Rule] = [
    Dtype("query", FLOAT),
    SameDtype(("query", "key", "value")),
    Dtype("start", INDEX),
    *(Rank(name, 4, 4) for name in ("query", "key", "value")),
    *(NonEmpty(name) for name in ("query", "key", "value")),
    Static("query", first=-1),
]


@family.pattern(
    causal_attention,
    find=_find_causal,
    anchor=aten.scaled_dot_product_attention.default,
    samples=draw(
        {"B": (1, 2), "H": (1, 2), "G": (1, 3), "L": (1, 4), "P": (1, 4), "E": (1, 5)},
        query=tensor("B", "H*G", "L", "E"),
        key=tensor("B", "H", "L+P+1", "E"),
        value=tensor("B", "H", "L+P+1", "E"),
        **_START,
        scale=Number(0.125, 1.0),
    ),
    rules=_ATTENTION,
    limitations=(
        Limitation(
            "a NaN in a key that a query does not see does not reach its result",
            "MLX's kernel selects where torch adds, and reads no key that comes later",
            avoids="nan",
        ),
        Limitation(
            "an infinite key that a query does not see does not give NaN; scores that are all"
            " -infinity do, and 0 in torch",
            "as for NaN; and MLX's kernel has no such check",
            avoids="inf",
        ),
        Limitation(
            "scores that all overflow to -infinity give NaN, and 0 in torch",
            "MLX's kernel has no such check",
            avoids="overflow",
        ),
    ),
    tolerance=Tolerance(
        1e-5, 1e-36, "MLX's exp(x) is out by |x| roundings, up to 88, and flushes subnormal weights"
    ),
)
def attend(query, key, value, start, offset, scale):
    """causal_attention(Tensor query, Tensor key, Tensor value, Tensor? start, SymInt offset, float scale) -> Tensor"""  # noqa: E501
    length = query.shape[2]
    reach = _bound(start, offset, length, key.shape[2]) + length
    # MLX aligns the last query with the last key.
    key, value = (_cut(a, reach) for a in (key, value))
    if not is_fused(query, value):
        query, key, value = (mx.astype(a, mx.float32) for a in (query, key, value))
    return mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask="causal")


def _cut(a: Any, stop: Any) -> Any:
    """The positions of `a` before `stop`."""
    starts, steps = [0] * 4, [1] * 4
    return mx.indexing.slice(a, starts, [*a.shape[:2], stop, a.shape[3]], steps)
