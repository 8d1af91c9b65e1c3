"""A model with one op in the middle that MLX cannot run: the number of results is data."""

import torch
from torch import Tensor, nn

STEPS = 16


class Spotter(nn.Module):
    """Scores each step of a sequence, keeps the steps that stand out, and sums them up."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, features), nn.Tanh())
        self.score = nn.Linear(features, 1)
        self.head = nn.Sequential(nn.Linear(features, features), nn.GELU(), nn.Linear(features, 4))

    def forward(self, steps: Tensor) -> Tensor:
        features = self.encoder(steps)
        kept = torch.nonzero(self.score(features).squeeze(-1) > 0).squeeze(-1)
        torch._check(kept.shape[0] <= STEPS)
        return self.head(features[kept]).sum(0)


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    return Spotter().to(dtype).eval(), (torch.randn(STEPS, 32, dtype=dtype),), {}, None
