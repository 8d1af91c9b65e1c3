"""Scaled dot product attention, kept whole for MLX's fused kernel."""

import torch

from mlx_coverage.registry.dtypes import BOOL, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Rank, SameDtype
from mlx_coverage.registry.samples import BroadcastTensor, Choice, Number, draw, tensor
from mlx_coverage.registry.spec import Family, Limitation

aten = torch.ops.aten
family = Family("attention")
# Head sizes of MLX's fused GPU kernels, which form the scores of halves in float32. Elsewhere
# MLX forms them in the query's dtype, where float16 overflows (docs/findings).
_FUSED_SIZES = (64, 80, 96, 128, 256)


@family.op(
    aten.scaled_dot_product_attention.default,
    samples=draw(
        sizes={"H": (1, 2), "G": (1, 3), "L": (1, 5), "S": (1, 5), "E": (1, 9), "V": (1, 9)},
        groups={"*B": (0, 2)},
        query=tensor("*B", "H*G", "L", "E"),
        key=tensor("*B", "H", "S", "E"),
        value=tensor("*B", "H", "S", "V"),
        attn_mask=BroadcastTensor(("*B", "H*G", "L", "S"), optional=True),
        is_causal=Choice((False, True)),
        scale=Number(0.125, 2.0, optional=True),
        enable_gqa=Choice((True,)),
    ),
    rules=[
        Dtype("query", FLOAT),
        SameDtype(("query", "key", "value")),
        Dtype("attn_mask", FLOAT | BOOL),
        *(Rank(name, 2, 4) for name in ("query", "key", "value", "attn_mask")),
        NonEmpty("query"),
        NonEmpty("key"),
        NonEmpty("value"),
        OneOf("dropout_p", (0.0,)),
    ],
    whole=True,
    limitations=(
        Limitation(
            "a query whose scores are all -infinity without a mask gives NaN, and 0 in torch",
            "MLX's kernel has no such check; it is made for masks, where it costs little",
            avoids="inf",
        ),
        Limitation(
            "with is_causal, a NaN in a key does not reach the queries before it",
            "MLX's kernel selects where torch adds",
            avoids="nan",
        ),
    ),
)
def scaled_dot_product_attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    *,
    scale=None,
    enable_gqa=False,
):
    """scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor"""  # noqa: E501
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    rank = max(query.ndim, key.ndim, value.ndim)
    query, key, value = _align(query, key, value, enable_gqa)
    mask, unmasked = _make_mask(attn_mask, is_causal, query, key)
    fused = query.shape[-1] in _FUSED_SIZES and query.shape[-1] == value.shape[-1]
    if not fused or (attn_mask is not None and attn_mask.dtype == mx.float32):
        query, key, value = (mx.astype(a, mx.float32) for a in (query, key, value))
    result = mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask=mask)
    if unmasked is not None:
        result = mx.where(unmasked, result, 0)
    return mx.squeeze(result, list(range(4 - rank))) if rank < 4 else result


def _align(query, key, value, enable_gqa):
    """The operands in four dimensions, as MLX broadcasts less than torch."""
    arrays = [mx.expand_dims(a, list(range(4 - a.ndim))) if a.ndim < 4 else a
              for a in (query, key, value)]  # fmt: skip
    batch = _broadcast([a.shape[0] for a in arrays])
    heads = arrays[0].shape[1] if enable_gqa else _broadcast([a.shape[1] for a in arrays])
    query, key, value = (_repeat(a, 0, batch) for a in arrays)
    query = _repeat(query, 1, heads)
    if key.shape[1] != value.shape[1]:
        key, value = _repeat(key, 1, heads), _repeat(value, 1, heads)
    return query, key, value


def _broadcast(sizes):
    return next((size for size in sizes if size != 1), 1)


def _repeat(a, axis, size):
    own = a.shape[axis]
    return a if own == size else mx.repeat(a, size // own, axis)


def _make_mask(attn_mask, is_causal, query, key):
    """MLX's mask, and where rows attend to anything (torch gives 0 for the others)."""
    length, reach = query.shape[2], key.shape[2]
    if is_causal and attn_mask is None and length == reach:
        return "causal", None
    if not is_causal and attn_mask is None:
        return None, None
    allowed = None
    if is_causal:
        # torch aligns the first query with the first key, MLX the last with the last.
        allowed = mx.expand_dims(mx.arange(0, length), 1) >= mx.arange(0, reach)
    if attn_mask is None or attn_mask.dtype == mx.bool_:
        if attn_mask is not None:
            allowed = attn_mask if allowed is None else attn_mask & allowed
        # Added, not selected: a NaN score stays NaN under a mask.
        bias = mx.where(allowed, mx.array(0, query.dtype), mx.array(-mx.inf, query.dtype))
    else:
        bias = attn_mask if allowed is None else mx.where(allowed, attn_mask, -mx.inf)
    if attn_mask is None:
        return bias, None
    return bias, mx.any(bias != -mx.inf, -1, keepdims=True)
