"""Scaled dot product attention, kept whole for MLX's fused kernel.

`_safe_softmax` and `_scaled_dot_product_flash_attention_for_cpu`, which is what torch's own
decompositions leave of it, arrive decomposed.
"""

import torch

from mlx_coverage.registry.dtypes import BOOL, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Rank, SameDtype, Static
from mlx_coverage.registry.samples import BroadcastTensor, Choice, Number, draw, tensor
from mlx_coverage.registry.shapes import count_elements, is_same_size
from mlx_coverage.registry.spec import Family, Limitation, Tolerance

aten = torch.ops.aten
family = Family("attention")
# Head sizes of MLX's fused GPU kernels, which form the scores of halves in float32. Elsewhere
# MLX forms them in the query's dtype, where float16 overflows (docs/findings).
_FUSED_SIZES = (64, 80, 96, 128, 256)


@family.op(
    aten.scaled_dot_product_attention.default,
    samples=draw(
        sizes={"H": (1, 2), "G": (1, 3), "L": (1, 5), "S": (1, 3), "E": (1, 5), "V": (1, 9)},
        groups={"*B": (0, 3)},
        query=tensor("*B", "H*G", "L", "E"),
        key=tensor("*B", "H", "S", "E"),
        value=tensor("*B", "H", "S", "V"),
        attn_mask=BroadcastTensor(("*B", "H*G", "L", "S"), optional=True),
        is_causal=Choice((False, True)),
        scale=Number(0.125, 1.0, optional=True),
        enable_gqa=Choice((True,)),
    ),
    rules=[
        Dtype("query", FLOAT),
        SameDtype(("query", "key", "value")),
        Dtype("attn_mask", FLOAT | BOOL),
        *(Rank(name, 2) for name in ("query", "key", "value", "attn_mask")),
        NonEmpty("query"),
        NonEmpty("key"),
        NonEmpty("value"),
        OneOf("dropout_p", (0.0,)),
        Static("query", first=-1),  # MLX takes the scale as a number
    ],
    whole=True,
    tolerance=Tolerance(
        1e-5, 1e-36, "MLX's exp(x) is out by |x| roundings, up to 88, and flushes subnormal weights"
    ),
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
        Limitation(
            "scores that all overflow to -infinity without a mask give NaN, and 0 in torch",
            "MLX's kernel has no such check",
            avoids="overflow",
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
    rank = max(a.ndim for a in (query, key, value))
    batch, query, key, value, mask = _align(query, key, value, attn_mask, enable_gqa)
    bias, unmasked = _make_mask(mask, is_causal, query, key)
    width = query.shape[-1]
    if not is_fused(query, value) or (mask is not None and mask.dtype == mx.float32):
        query, key, value = (mx.astype(a, mx.float32) for a in (query, key, value))
    scale = width**-0.5 if scale is None else scale
    result = mx.fast.scaled_dot_product_attention(query, key, value, scale=scale, mask=bias)
    if unmasked is not None:
        result = mx.where(unmasked, result, 0)
    if rank == 4:
        return result
    return mx.reshape(result, [*batch, *result.shape[1:]][-rank:])


def _align(query, key, value, attn_mask, enable_gqa):
    """The operands in four dimensions, as MLX broadcasts less than torch, and their batch."""
    rank = max(a.ndim for a in (query, key, value))
    arrays = [_lead(a, max(rank, 4)) for a in (query, key, value)]
    sizes = zip(*(a.shape[:-3] for a in arrays), strict=True)
    batch = [_broadcast(each) for each in sizes]
    heads = arrays[0].shape[-3] if enable_gqa else _broadcast([a.shape[-3] for a in arrays])
    query, key, value = (_merge(a, batch) for a in arrays)
    query = _repeat(query, 1, heads)
    if not is_same_size(key.shape[1], value.shape[1]):
        key, value = _repeat(key, 1, heads), _repeat(value, 1, heads)
    if attn_mask is not None and attn_mask.ndim > 3:
        attn_mask = _merge(_lead(attn_mask, max(rank, 4)), batch)
    return batch, query, key, value, attn_mask


def is_fused(query, value):
    """Whether MLX has a kernel for the heads' sizes that forms the scores of halves in float32."""
    width = query.shape[-1]
    return is_same_size(width, value.shape[-1]) and any(
        is_same_size(width, n) for n in _FUSED_SIZES
    )


def _lead(a, rank):
    return mx.expand_dims(a, list(range(rank - a.ndim))) if a.ndim < rank else a


def _merge(a, batch):
    """`a` with all dimensions before the last three as one."""
    if len(batch) == 1:
        return _repeat(a, 0, batch[0])
    expanded = mx.broadcast_to(a, [*batch, *a.shape[-3:]])
    return mx.reshape(expanded, [count_elements(batch), *a.shape[-3:]])


def _broadcast(sizes):
    return next((size for size in sizes if size != 1), 1)


def _repeat(a, axis, size):
    own = a.shape[axis]
    return a if is_same_size(own, size) else mx.repeat(a, size // own, axis)


def _make_mask(attn_mask, is_causal, query, key):
    """MLX's mask, and where rows attend to anything (torch gives 0 for the others)."""
    length, reach = query.shape[2], key.shape[2]
    if is_causal and attn_mask is None and is_same_size(length, reach):
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
