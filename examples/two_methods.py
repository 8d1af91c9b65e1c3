"""One program with two methods, `encode` and `score`, which share an encoder's weights."""

import torch
from torch import Tensor, nn


class Encoder(nn.Module):
    """Text features: the mean over tokens, projected and normalised."""

    def __init__(self, tokens: int = 512, features: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, features)
        self.projection = nn.Sequential(
            nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features)
        )
        self.norm = nn.LayerNorm(features)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.projection(self.embedding(tokens).mean(1)))


class Scorer(nn.Module):
    """How well two texts match, by the same encoder."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, query: Tensor, document: Tensor) -> Tensor:
        return (self.encoder(query) * self.encoder(document)).sum(-1)


def model(dtype: torch.dtype = torch.float32):
    """For each method, its module, example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    encoder = Encoder().to(dtype).eval()
    query, document = torch.randint(0, 512, (4, 6)), torch.randint(0, 512, (4, 20))
    return {
        "encode": (encoder, (query,), {}, None),
        "score": (Scorer(encoder).eval(), (query, document), {}, None),
    }
