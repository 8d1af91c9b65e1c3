"""The ViT encoder of transformers, from a small configuration with random weights."""

import torch
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel


class Encoder(nn.Module):
    """ViT, returning its last hidden state alone."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.vit = ViTModel(config, add_pooling_layer=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.vit(image).last_hidden_state


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
    )
    module = Encoder(config).to(dtype).eval()
    return module, (torch.randn(2, 3, 32, 32, dtype=dtype),), {}, None
