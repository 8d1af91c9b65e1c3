"""GPT-2 of transformers without a cache, at a dynamic sequence length."""

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel


class Decoder(nn.Module):
    """GPT-2, returning logits alone."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.gpt2 = GPT2LMHeadModel(config)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.gpt2(input_ids, use_cache=False).logits


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=512, n_positions=64, n_embd=64, n_layer=2, n_head=4)
    module = Decoder(config).to(dtype).eval()
    length = torch.export.Dim("length", min=2, max=64)
    return module, (torch.randint(0, 512, (1, 12)),), {}, ({1: length},)
