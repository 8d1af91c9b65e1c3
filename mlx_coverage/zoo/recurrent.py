"""Recurrent networks: LSTM and GRU, both directions, two layers."""

from functools import partial
from typing import Any

from torch import nn

from mlx_coverage.zoo.preset import Methods, Preset, Published, Scale

# No single published model stands for these; the predictor of Parakeet is a common size.
SIZES = Published(
    "nvidia/parakeet-tdt-0.6b-v3, prediction network", {"input_size": 640, "hidden_size": 640}
)
ARCHITECTURE = Published(
    "ours: every option of torch's module in one model",
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
)


def build(kind: type[nn.RNNBase], scale: Scale, numbers: dict[str, Any]) -> Methods:
    """A sequence (batch, length, features) to the outputs and the last state."""
    module = scale.construct(lambda: kind(**numbers))
    values = scale.floats(2, scale.pick(32, 5), numbers["input_size"])
    return {"forward": (module, (values,), {}, None)}


PRESETS = tuple(
    Preset(
        kind.__name__.lower(),
        kind.__name__,
        (SIZES, ARCHITECTURE),
        {"input_size": 24, "hidden_size": 32},
        partial(build, kind),
        packages=(),
    )
    for kind in (nn.LSTM, nn.GRU)
)
