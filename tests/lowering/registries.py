"""Small registries for tests of lowering, independent of what the real one holds."""

from collections.abc import Callable
from typing import Any

import torch

from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, Rank
from mlx_coverage.registry.spec import Family, Registry

aten = torch.ops.aten
FLOAT32 = frozenset({torch.float32})


def make_registry(extra: dict[Any, Callable[..., Any]] | None = None) -> Registry:
    """Add, neg, split, full and view are supported; `extra` adds entries or replaces them."""
    entries: dict[Any, Callable[..., Any]] = {
        aten.add.Tensor: lambda self, other: mx.add(self, other),
        aten.full.default: lambda size, fill_value: mx.full(size, fill_value),
        aten.neg.default: lambda self: mx.negative(self),
        aten.split_with_sizes.default: lambda self, split_sizes, dim: mx.split(
            self, _starts(split_sizes), axis=dim
        ),
        **(extra or {}),
    }
    family = Family("test")
    for target, implementation in entries.items():
        family.add(target, implementation)
    family.add(aten.view.default, lambda self, size: mx.reshape(self, size), view=True)
    return Registry([family])


def make_whole_registry() -> Registry:
    """Norms kept whole, in float32 and up to three dimensions; everything else declined."""
    family = Family("test")
    rules = [Dtype("input", FLOAT32), Rank("input", 1, 3)]
    family.add(
        aten.rms_norm.default,
        lambda input, weight, eps: mx.fast.rms_norm(input, weight, 1e-6 if eps is None else eps),
        rules=rules,
        whole=True,
    )
    family.add(
        aten.layer_norm.default,
        lambda input, weight, bias, eps: mx.fast.layer_norm(input, weight, bias, eps),
        rules=rules,
        whole=True,
    )
    return Registry([family])


def _starts(sizes: list[int]) -> list[int]:
    starts, total = [], 0
    for size in sizes[:-1]:
        total += size
        starts.append(total)
    return starts
