"""Caches of transformers' models as buffers of a module, at positions that come from outside.

transformers' own static caches count the tokens that they have seen, sliding ones in Python;
ExecuTorch's runners say where a call starts. So a layer here holds tensors and counts nothing: a
conversation goes back by starting a call at an earlier position, and anew by starting it at 0.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from mlx_coverage.analyze.failures import InputError


class FullLayer(nn.Module):
    """Keys and values of every position, (1, heads, context, width) each.

    Args:
        keys: those of one token, for the number of heads, the width and the dtype.
        values: likewise.
        size: how many positions there are.
    """

    is_sliding = False
    is_compileable = True

    def __init__(self, keys: Tensor, values: Tensor, size: int) -> None:
        super().__init__()
        self.keys: Tensor
        self.values: Tensor
        for name, one in (("keys", keys), ("values", values)):
            shape = (*one.shape[:2], size, one.shape[3])
            self.register_buffer(name, one.new_zeros(shape))

    def update(self, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Write those of some positions, and return those of all."""
        self.keys.index_copy_(2, positions, keys)
        self.values.index_copy_(2, positions, values)
        return self.keys, self.values

    def make_mask(self, positions: Tensor) -> Tensor:
        """Which slots each position attends to: bool (1, 1, positions, slots)."""
        slots = torch.arange(self.keys.shape[2], device=positions.device)
        return (slots <= positions[:, None])[None, None]


class RingLayer(FullLayer):
    """Keys and values of a sliding window, and of the tokens that a call writes over it.

    Position p is in slot p modulo the size. With a window of W, of which the last position is a
    query itself, and at most C tokens in a call, W + C - 1 slots lose nothing that any query of
    the call attends to, and what a conversation that goes back by C - 1 tokens left is outside
    of each window.
    """

    is_sliding = True

    def __init__(self, keys: Tensor, values: Tensor, size: int, window: int) -> None:
        super().__init__(keys, values, size)
        self.window = window

    def update(self, keys: Tensor, values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Write those of some positions, and return those of all slots."""
        return super().update(keys, values, positions % self.keys.shape[2])

    def make_mask(self, positions: Tensor) -> Tensor:
        """Which slots each position attends to: bool (1, 1, positions, slots)."""
        size = self.keys.shape[2]
        last = positions[-1:]
        # The newest position, up to the last one, that the slot can hold.
        held = last - (last - torch.arange(size, device=positions.device)) % size
        query = positions[:, None]
        return ((held >= 0) & (held <= query) & (held > query - self.window))[None, None]


class RecurrentLayer(nn.Module):
    """The states of linear attention: of its convolution and of its recurrence."""

    is_sliding = False
    is_compileable = True

    def __init__(self, convolved: Tensor, recurrent: Tensor) -> None:
        super().__init__()
        self.convolved: Tensor
        self.recurrent: Tensor
        self.register_buffer("convolved", torch.zeros_like(convolved))
        self.register_buffer("recurrent", torch.zeros_like(recurrent))

    def begin(self, positions: Tensor) -> None:
        """Forget everything at position 0."""
        for state in (self.convolved, self.recurrent):
            state.copy_(torch.where(positions[0] > 0, state, torch.zeros_like(state)))


class BufferCache(Cache):
    """A cache over layers that are modules; `begin` comes before each call of the model."""

    layers: list[Any]

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__(layers=list(layers))
        self.positions = torch.zeros(1, dtype=torch.int64)

    def begin(self, positions: Tensor) -> None:
        """Have the next call write at `positions`, int64 (length,)."""
        self.positions = positions
        for layer in self.layers:
            if isinstance(layer, RecurrentLayer):
                layer.begin(positions)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """As the base class."""
        found: tuple[Tensor, Tensor] = self.layers[layer_idx].update(
            key_states, value_states, self.positions
        )
        return found

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor:
        """As the base class: there always is one."""
        state: Tensor = self.layers[layer_idx].convolved
        return state

    def update_conv_state(
        self, conv_states: Tensor, layer_idx: int, state_idx: int = 0, **kwargs: Any
    ) -> Tensor:
        """Keep the last columns of what came; returns them behind those that were kept."""
        state = self.layers[layer_idx].convolved
        whole = torch.cat([state, conv_states], dim=-1)
        state.copy_(whole[..., -state.shape[-1] :])
        return whole

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor:
        """As the base class: there always is one."""
        state: Tensor = self.layers[layer_idx].recurrent
        return state

    def update_recurrent_state(
        self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **kwargs: Any
    ) -> Tensor:
        """As the base class."""
        state: Tensor = self.layers[layer_idx].recurrent
        state.copy_(recurrent_states)
        return state

    def has_previous_state(
        self, layer_idx: int | None = None, state_idx: int | None = None
    ) -> bool:
        """As the base class: a state of zeros is one."""
        return True

    def is_recording_past(self, *args: Any, **kwargs: Any) -> bool:
        """As the base class."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> Any:
        """Where the call starts."""
        return self.positions[0]

    @property
    def rewindable(self) -> int | None:
        """Tokens by which a conversation may go back; None for any number."""
        if any(isinstance(layer, RecurrentLayer) for layer in self.layers):
            return 0
        rings = [layer for layer in self.layers if isinstance(layer, RingLayer)]
        return min((ring.keys.shape[2] - ring.window for ring in rings), default=None)


@torch.no_grad()
def make_cache(model: PreTrainedModel, context: int, chunk: int) -> BufferCache:
    """A cache for one conversation.

    What each layer keeps is read off transformers' own cache after a call with one token.

    Args:
        model: a causal language model.
        context: most positions of a conversation.
        chunk: most tokens of a call.

    Raises:
        InputError: a layer keeps something else than keys and values, or the states of linear
            attention.
    """
    found = DynamicCache(config=model.config.get_text_config())
    token = torch.zeros(1, 1, dtype=torch.int64, device=model.device)
    model(input_ids=token, past_key_values=found, use_cache=True)
    if len(found.layers) != model.config.get_text_config().num_hidden_layers:
        raise InputError(
            f"{type(model).__name__} does not keep its layers' keys and values in a cache of "
            "transformers; accepted: models that do"
        )
    return BufferCache([_make_layer(layer, context, chunk) for layer in found.layers])


def _make_layer(layer: Any, context: int, chunk: int) -> nn.Module:
    if type(layer) is LinearAttentionLayer and layer.number_of_states == 1:
        return RecurrentLayer(layer.conv_states[0], layer.recurrent_states[0])
    window = getattr(layer, "sliding_window", context)
    if type(layer) is DynamicSlidingWindowLayer and window < context:
        size = min(window + chunk - 1, context)
        return RingLayer(layer.keys, layer.values, size, window)
    if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
        return FullLayer(layer.keys, layer.values, context)
    raise InputError(
        f"the model keeps a {type(layer).__name__} between tokens; accepted: keys and values of "
        "all tokens or of a window, and the states of linear attention"
    )
