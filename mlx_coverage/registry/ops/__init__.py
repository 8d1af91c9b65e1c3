"""The entries, one file per family, and the list of families."""

from mlx_coverage.registry.ops import (
    attention,
    binary,
    convolution,
    creation,
    fused,
    indexing,
    joining,
    matmul,
    normalization,
    pooling,
    reduction,
    scatter,
    softmax,
    unary,
    upsampling,
    views,
)
from mlx_coverage.registry.spec import Family

FAMILIES: tuple[Family, ...] = (
    attention.family,
    binary.family,
    convolution.family,
    creation.family,
    fused.family,
    indexing.family,
    joining.family,
    matmul.family,
    normalization.family,
    pooling.family,
    reduction.family,
    scatter.family,
    softmax.family,
    unary.family,
    upsampling.family,
    views.family,
)
