"""Causal language models as methods that ExecuTorch's text runners call."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from transformers import PreTrainedModel

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.generation.cache import BufferCache, RecurrentLayer, make_cache

_LAYER_TYPES = {"full_attention", "sliding_attention", "linear_attention"}


class TextModel(nn.Module):
    """A causal language model with its cache.

    Args:
        model: of transformers, in evaluation mode.
        cache: for it.
        every_position: whether the logits of every token come out, instead of the last one's.
    """

    def __init__(
        self, model: PreTrainedModel, cache: BufferCache, every_position: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.layers = nn.ModuleList(cache.layers)
        self.cache = cache
        self.kept = 0 if every_position else 1
        types = getattr(model.config.get_text_config(), "layer_types", None)
        self.types: list[str] = list(types or ["full_attention"] * len(cache.layers))

    def forward(self, tokens: Tensor, start_pos: Tensor) -> Tensor:
        """Logits (1, 1, vocabulary), or (1, length, vocabulary) with `every_position`.

        Args:
            tokens: int64 (1, length).
            start_pos: int64 (1,): the position of the first of them.
        """
        positions = start_pos + torch.arange(tokens.shape[1], device=tokens.device)
        self.cache.begin(positions)
        result = self.model(
            input_ids=tokens,
            position_ids=positions[None],
            attention_mask=self._make_masks(positions),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=self.kept,
        )
        logits: Tensor = result.logits
        return logits

    def _make_masks(self, positions: Tensor) -> Any:
        """One mask, or one by each type of layer where a model has several."""
        masks: dict[str, Tensor | None] = {}
        for kind, layer in zip(self.types, self.cache.layers, strict=True):
            if kind not in masks:
                recurrent = isinstance(layer, RecurrentLayer)
                masks[kind] = None if recurrent else layer.make_mask(positions)
        return masks if len(masks) > 1 else next(iter(masks.values()))


def make_text_methods(
    model: PreTrainedModel, context: int, chunk: int, every_position: bool = False
) -> tuple[dict[str, Exportable], dict[str, Any]]:
    """The methods of a causal language model, and what their runner must know.

    `forward` takes up to `chunk` tokens. A model with a recurrent state computes a chunk and a
    token in different ways: its `forward` takes one token, and `prefill` takes `chunk` of them.

    Args:
        model: in evaluation mode.
        context: most positions of a conversation.
        chunk: most tokens of a call.
        every_position: as in `TextModel`.

    Raises:
        InputError: the model has layers of other kinds than these caches serve.
    """
    config = model.config.get_text_config()
    if unknown := {*(getattr(config, "layer_types", None) or ())} - _LAYER_TYPES:
        raise InputError(
            f"the model has layers of the type {', '.join(sorted(unknown))}; accepted: "
            f"{', '.join(sorted(_LAYER_TYPES))}"
        )
    cache = make_cache(model, context, chunk)
    module = TextModel(model, cache, every_position).eval()
    recurrent = any(isinstance(layer, RecurrentLayer) for layer in cache.layers)
    start = torch.zeros(1, dtype=torch.int64, device=model.device)

    def draw(length: int) -> Tensor:
        tokens: Tensor = torch.arange(1, length + 1, device=model.device) % config.vocab_size
        return tokens[None]

    methods: dict[str, Exportable] = {}
    if recurrent or chunk == 1:
        methods["forward"] = Exportable(module, (draw(1), start))
        if chunk > 1:
            methods["prefill"] = Exportable(module, (draw(chunk), start))
    else:
        shapes = ({1: Dim("length", min=1, max=chunk)}, None)
        example = draw(min(3, chunk))
        methods["forward"] = Exportable(module, (example, start), dynamic_shapes=shapes)
    metadata = {
        "get_max_seq_len": 1 if recurrent else chunk,
        "get_prefill_chunk_size": chunk,
        "get_max_context_len": context,
        "get_vocab_size": config.vocab_size,
        "get_max_rewind_len": context if cache.rewindable is None else cache.rewindable,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": False,
        "enable_dynamic_shape": not recurrent and chunk > 1,
    }
    return methods, metadata
