"""A two-layer LSTM that labels each step of a sequence."""

import torch
from torch import Tensor, nn


class Tagger(nn.Module):
    """Embedding, LSTM and a linear layer; also returns the last hidden and cell states."""

    def __init__(self, tokens: int = 128, features: int = 32, labels: int = 8) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, features)
        self.lstm = nn.LSTM(features, features, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(features, labels)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, (hidden, cell) = self.lstm(self.embedding(tokens))
        return self.classifier(steps), hidden, cell


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    return Tagger().to(dtype).eval(), (torch.randint(0, 128, (2, 6)),), {}, None
