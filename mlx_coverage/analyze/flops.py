"""Floating-point operations of a call, by its metadata alone.

Products (matrix products, convolutions, attention) count as `torch.utils.flop_counter` counts
them, a multiply-add being two. Everything else counts as XLA's HloCostAnalysis does: one for
each element that a pointwise op writes, whatever its function, and one for each element that a
reduction reads. What torch decomposes (softmax, normalisations, variances, resampling) counts as
its decomposition does, so that it costs the same whole and taken apart.
Scans count one for each element, a sort of n elements n log2 n comparisons, a Fourier transform
of n points 5 n log2 n, pooling one for each element of each window. Ops that only move or make
data, and ops on integers, have none.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, log2, prod
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from mlx_coverage.registry.call import Target, bind, canonicalize

# Ops that read rows or elements by index, and no others.
INDEXED = frozenset("embedding index index_select gather".split())
# Ops that move or make data and do no arithmetic on it, beside views.
_MOVES = INDEXED | frozenset(
    "cat stack split split_with_sizes chunk unbind clone copy _to_copy contiguous lift_fresh_copy "
    "constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d "
    "replication_pad2d replication_pad3d pad repeat repeat_interleave flip roll tril triu where "
    "masked_fill masked_scatter masked_select index_put index_copy index_fill select_scatter "
    "slice_scatter diagonal_scatter scatter pixel_shuffle pixel_unshuffle channel_shuffle "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d unfold_copy dropout nonzero "
    "empty empty_like empty_permuted empty_strided full full_like zeros zeros_like ones ones_like "
    "scalar_tensor eye arange fill new_empty new_empty_strided new_full new_zeros new_ones detach "
    "alias view _unsafe_view reshape expand permute unsqueeze squeeze _conj view_as_real "
    "view_as_complex _local_scalar_dense _assert_async broadcast_tensors "
    # of torch's `prims`, which decompositions call
    "convert_element_type broadcast_in_dim transpose collapse_view split_dim iota "
    "device_put view_of".split()
)
_REDUCTIONS = frozenset("sum mean prod amax amin max min any all argmax argmin".split())
_POOLS = frozenset(
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
    "avg_pool1d avg_pool2d avg_pool3d".split()
)
_ADAPTIVE = frozenset("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d".split())
_SCANS = frozenset("cumsum cumprod cummax cummin logcumsumexp".split())
_SORTS = frozenset("sort topk argsort msort kthvalue median".split())
_SCATTERS = frozenset("scatter_add scatter_reduce index_add index_reduce index_put scatter".split())
_TRANSFORMS = frozenset("_fft_c2c _fft_r2c _fft_c2r".split())
_OF_A_VARIANCE = 4  # for each element: of the mean, a difference, its square, and their sum
_OF_A_TRANSFORM = 5  # n log2 n, of the radix-2 algorithm; the convention of FFTW's benchmarks


@dataclass(frozen=True)
class Flops:
    """Floating-point operations.

    Attributes:
        products: of matrix products, convolutions and attention.
        others: of everything else.
    """

    products: int = 0
    others: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.products + self.others

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(self.products + other.products, self.others + other.others)


def count_flops(
    node: Node, references: Mapping[Target, Callable[..., Any]], describe: Callable[[Any], Any]
) -> Flops | None:
    """FLOPs of a call; None where there is no model of it.

    Args:
        node: with `val` metadata.
        references: what ops that stand for a pattern mean, as torch functions.
        describe: gives `Shape` for tensors, and numbers for symbolic sizes.
    """
    target = canonicalize(node.target)
    if not isinstance(target, OpOverload):
        return None
    arguments = bind(target, node.args, node.kwargs)
    described = tuple((name, describe(value)) for name, value in arguments.items())
    return _trace(references.get(target, target), described)


def name_op(target: Target) -> str:
    """Name of an ATen op without namespace and overload; empty for any other target."""
    if not isinstance(target, OpOverload) or target.namespace not in ("aten", "prims"):
        return ""
    return target._schema.name.partition("::")[2]


@dataclass(frozen=True)
class Shape:
    """A tensor, as far as counting reads it; hashable, so that identical layers count once."""

    sizes: tuple[int, ...]
    dtype: torch.dtype


@cache
def _trace(function: Callable[..., Any], arguments: tuple[tuple[str, Any], ...]) -> Flops | None:
    operands = tree_map(_make_meta, dict(arguments))
    counter = _Counter()
    try:
        with counter, torch.no_grad():
            function(**operands)
    except (_UnmodelledError, NotImplementedError):  # the latter: no kernel for meta tensors
        return None
    return counter.found


def _make_meta(value: Any) -> Any:
    if isinstance(value, Shape):
        return torch.empty(value.sizes, dtype=value.dtype, device="meta")
    return value


class _UnmodelledError(Exception):
    """A part of a call has no model."""


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is called while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found = Flops()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # the protocol's signature
        kwargs = kwargs or {}
        if self._is_counted_whole(func):
            result = func(*args, **kwargs)
            self.found += _count_call(func, args, kwargs, result)
            return result
        with self:
            if func in decomposition_table:
                result = decomposition_table[func](*args, **kwargs)
            else:
                result = func.decompose(*args, **kwargs)
        if result is NotImplemented:
            raise _UnmodelledError(str(func))
        return result

    @staticmethod
    def _is_counted_whole(func: OpOverload) -> bool:
        name = name_op(func)
        if func.overloadpacket in flop_registry or func.is_view or _has_formula(name):
            return True
        parts = func in decomposition_table or func.has_kernel_for_dispatch_key(
            torch.DispatchKey.CompositeImplicitAutograd
        )
        return torch.Tag.pointwise in func.tags or not parts


def _has_formula(name: str) -> bool:
    families = (_MOVES, _REDUCTIONS, _POOLS, _ADAPTIVE, _SCANS, _SORTS, _SCATTERS, _TRANSFORMS)
    return any(name in family for family in families) or name in ("var", "_cdist_forward")


def _count_call(func: OpOverload, args: Sequence[Any], kwargs: Any, result: Any) -> Flops:
    if func.overloadpacket in flop_registry:
        return Flops(int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)))
    operands, results = list(_list_tensors((args, kwargs))), list(_list_tensors(result))
    name = name_op(func)
    arguments = bind(func, args, kwargs)
    if func.is_view or not any(t.is_floating_point() or t.is_complex() for t in operands + results):
        return Flops()
    if name in _MOVES and not _accumulates(arguments):
        return Flops()
    count = _apply_formula(name, arguments, operands, results)
    if count is None:
        # `prims` bear no tags.
        same = func.namespace == "prims" and operands[0].shape == results[0].shape
        if torch.Tag.pointwise not in func.tags and not same:
            raise _UnmodelledError(str(func))
        count = max((t.numel() for t in results), default=0)
    return Flops(0, count)


def _apply_formula(
    name: str, arguments: Mapping[str, Any], operands: Sequence[Tensor], results: Sequence[Tensor]
) -> int | None:
    """The count of an op that is neither a product nor pointwise; None for any other."""
    if not operands:
        return None
    first = operands[0]
    if name in _REDUCTIONS:
        # `max` and `min` of two tensors are pointwise.
        return max(first.numel(), *(t.numel() for t in results))
    if name == "var":
        return _OF_A_VARIANCE * first.numel()
    if name in _POOLS:
        size = arguments["kernel_size"]
        window: int = prod(size if len(size) > 1 else size * (first.dim() - 2))
        return results[0].numel() * window
    if name in _ADAPTIVE or name in _SCANS:
        return first.numel()
    if name in _SORTS:
        length = first.shape[arguments.get("dim", -1) or 0] if first.dim() else 1
        return first.numel() * ceil(log2(max(length, 2)))
    if name in _SCATTERS:
        return max(t.numel() for t in operands[1:])
    if name in _TRANSFORMS:
        points = max(first, results[0], key=Tensor.numel)
        lengths = (points.shape[dim] for dim in arguments["dim"])
        return ceil(_OF_A_TRANSFORM * points.numel() * sum(map(log2, lengths)))
    if name == "_cdist_forward":
        return 3 * int(results[0].numel()) * int(first.shape[-1])
    return None


def _accumulates(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("accumulate")) or "reduce" in arguments


def _list_tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
