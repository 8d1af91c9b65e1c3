"""Models of which something falls back that a fix mends."""

import torch
from torch import Tensor, nn
from torch.export import Dim

aten = torch.ops.aten


class Filter(nn.Module):
    """How long the filter is must be known at export; the batch may stay dynamic."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.linspace(-1, 1, 64))

    def forward(self, x: Tensor) -> Tensor:
        taps = self.taps[: x.shape[1]]
        return nn.functional.conv1d(x.sin()[:, None], taps[None, None]).cos()


FILTERED = {"x": {0: Dim("batch", max=8), 1: Dim("length", max=64)}}


class Smoother(nn.Module):
    """Calls the overload that torch's own functions do not call."""

    def forward(self, image: Tensor) -> Tensor:
        return aten._upsample_bilinear2d_aa.default(image.cos(), [5, 6], False).sin()


class Gate(nn.Module):
    """A bilinear layer inside a larger model, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Bilinear(4, 6, 4)
        self.head = nn.ModuleList([nn.Linear(4, 4), nn.Tanh()])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for layer in self.head:
            x = layer(self.mix(x, y))
        return x


class Lookup(nn.Module):
    """Rows longer than `max_norm` are cut when they are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4, padding_idx=0, max_norm=0.5)

    def forward(self, indices: Tensor) -> Tensor:
        return self.table(indices).sin()


class Stuck(nn.Module):
    """Nothing helps: the op draws random numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cos() + torch.bernoulli(x.sigmoid())


class Both(nn.Module):
    """ExecuTorch refuses either of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.lookup = Gate(), Lookup()

    def forward(self, x: Tensor, y: Tensor, indices: Tensor) -> Tensor:
        return self.gate(x, y) + self.lookup(indices)
