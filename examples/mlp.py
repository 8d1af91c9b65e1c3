"""A perceptron with two hidden layers and a dynamic batch size."""

import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Linear layers with GELU and SiLU between them; the result is a distribution."""

    def __init__(self, features: int = 64, hidden: int = 256, classes: int = 10) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).softmax(-1)


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    module = Perceptron().to(dtype).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    return module, (torch.randn(8, 64, dtype=dtype),), {}, ({0: batch},)
