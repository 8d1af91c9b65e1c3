"""The BERT encoder of transformers, from a small configuration with random weights."""

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel


class Encoder(nn.Module):
    """BERT, returning its last hidden state and the pooled one."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = BertModel(config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        result = self.bert(input_ids, attention_mask=attention_mask)
        return result.last_hidden_state, result.pooler_output


def model(dtype: torch.dtype = torch.float32):
    """The module, its example arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=512,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    module = Encoder(config).to(dtype).eval()
    tokens = torch.randint(0, 512, (2, 12))
    mask = torch.ones_like(tokens)
    mask[1, 9:] = 0  # the second sentence is shorter
    return module, (tokens, mask), {}, None
