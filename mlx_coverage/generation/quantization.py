"""Weights of a few bits by torchao: what `--quantize` names.

A list separated by commas: a scheme for linear layers, and one for embeddings.

    4w               linear layers: weights of 4 bits (2 to 8), a scale for each 64 columns
    4w:32            a scale for each 32 columns
    8da4w            activations of 8 bits, chosen at run time, and weights of 4
    embedding=8w     embeddings as well; embedding=none leaves them as they are

A head that is tied to the embedding is the same tensor: both take the embedding's scheme or, where
none is given, that of the linear layers, and the file holds the packed weight once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mlx_coverage.analyze.failures import InputError

_SCHEME = re.compile(r"(?P<dynamic>8da)?(?P<bits>[2-8])w(:(?P<group>[0-9]+))?")
_GROUP = 64
_GROUPS = (32, 64, 128)  # for which MLX has one scale
_FORMS = "such as 4w, 4w:32, 8da4w or embedding=8w: 2 to 8 bits, groups of 32, 64 or 128 columns"


@dataclass(frozen=True)
class Scheme:
    """How the weights of a kind of layer are stored.

    Attributes:
        bits: of each weight.
        group: columns that have one scale.
        dynamic: whether activations are rounded to 8 bits at run time.
    """

    bits: int
    group: int = _GROUP
    dynamic: bool = False

    def make_config(self) -> Any:
        """Torchao's configuration."""
        from torchao.quantization import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig
        from torchao.quantization.granularity import PerGroup

        dtype, granularity = getattr(torch, f"int{self.bits}"), PerGroup(self.group)
        if self.dynamic:
            return Int8DynamicActivationIntxWeightConfig(
                weight_dtype=dtype, weight_granularity=granularity
            )
        return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity)


@dataclass(frozen=True)
class Quantization:
    """What of a model is quantized, and how.

    Attributes:
        linear: of linear layers; None leaves them.
        embedding: of embeddings; None leaves them, unless they are tied to a head.
        keeps_embedding: whether embeddings are left even then.
    """

    linear: Scheme | None = None
    embedding: Scheme | None = None
    keeps_embedding: bool = False


def parse_quantization(text: str) -> Quantization:
    """What `--quantize` asks for.

    Raises:
        InputError: it is not understood.
    """
    found: dict[str, Scheme | None] = {}
    for part in text.split(","):
        kind, equals, scheme = part.strip().rpartition("=")
        kind = kind if equals else "linear"
        if kind not in ("linear", "embedding") or kind in found:
            raise InputError(f"--quantize {text} is not understood at {part!r}; accepted: {_FORMS}")
        found[kind] = _parse_scheme(scheme, kind, text)
    keeps = "embedding" in found and found["embedding"] is None
    return Quantization(found.get("linear"), found.get("embedding"), keeps)


def _parse_scheme(text: str, kind: str, whole: str) -> Scheme | None:
    if text == "none":
        return None
    match = _SCHEME.fullmatch(text)
    scheme = match and Scheme(
        int(match["bits"]), int(match["group"] or _GROUP), match["dynamic"] is not None
    )
    if not scheme or scheme.group not in _GROUPS or (scheme.dynamic and kind == "embedding"):
        raise InputError(f"--quantize {whole} is not understood at {text!r}; accepted: {_FORMS}")
    return scheme


def quantize(model: Any, quantization: Quantization) -> None:
    """Replace weights by torchao's quantized ones, in place.

    Args:
        model: of transformers.
        quantization: of which layers, and how.

    Raises:
        InputError: a layer's columns are no multiple of the group.
    """
    linear, embedding = quantization.linear, quantization.embedding
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and table is not None and head.weight is table.weight
    if tied and not quantization.keeps_embedding:
        embedding = embedding or (linear and Scheme(linear.bits, linear.group))
    if tied and embedding is not None:
        _apply(model, embedding, lambda module: module is table or module is head)
        table = None
    elif embedding is not None:
        _apply(model, embedding, lambda module: isinstance(module, nn.Embedding))
    if linear is not None:
        done = head if tied and table is None else None
        _apply(model, linear, lambda module: isinstance(module, nn.Linear) and module is not done)


def _apply(model: nn.Module, scheme: Scheme, chooses: Callable[[nn.Module], bool]) -> None:
    from torchao.quantization import quantize_

    for name, module in model.named_modules():
        if chooses(module) and module.weight.shape[-1] % scheme.group:
            raise InputError(
                f"--quantize cannot take groups of {scheme.group} of the {module.weight.shape[-1]} "
                f"columns of {name}; accepted: a group that divides them, such as "
                f"{scheme.bits}w:{_GROUPS[0]}"
            )
    quantize_(model, scheme.make_config(), lambda module, _: chooses(module))
