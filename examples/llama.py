"""The Llama decoder of transformers, from a small configuration with random weights.

`model` keeps its keys and values in a static cache, as an application does; the
sequence length is dynamic, so that one program serves prefill and decoding.
`without_cache` sees the whole sequence at each call.
"""

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.integrations.executorch import TorchExportableModuleWithStaticCache

MAX_LENGTH = 64


class CachedDecoder(TorchExportableModuleWithStaticCache):
    """transformers' own wrapper, made exportable by non-strict `torch.export`."""

    def forward(self, input_ids: Tensor, cache_position: Tensor) -> Tensor:
        """Logits of `input_ids`, which continue the sequence at `cache_position[0]`."""
        # Export traces the module's buffers; the cache must hold these very tensors.
        for number, layer in enumerate(self.static_cache.layers):
            layer.keys = getattr(self, f"key_cache_{number}")
            layer.values = getattr(self, f"value_cache_{number}")
            layer.cumulative_length = getattr(self, f"cumulative_length_{number}")
        return super().forward(input_ids=input_ids, cache_position=cache_position)


class Decoder(nn.Module):
    """Llama, returning logits alone."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.llama = LlamaForCausalLM(config)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.llama(input_ids, use_cache=False).logits


def configure(layers: int = 2, hidden: int = 64) -> LlamaConfig:
    """Grouped-query attention, as in Llama 3, at a small size."""
    return LlamaConfig(
        vocab_size=512,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
    )


def make_cached_decoder(config: LlamaConfig, dtype: torch.dtype) -> CachedDecoder:
    """A decoder with a static cache of `config.max_position_embeddings` tokens."""
    llama = LlamaForCausalLM(config).to(dtype).eval()
    llama.generation_config = GenerationConfig(
        use_cache=True,
        cache_implementation="static",
        cache_config={"batch_size": 1, "max_cache_len": config.max_position_embeddings},
    )
    return CachedDecoder(llama)


def model(dtype: torch.dtype = torch.float32):
    """The decoder with a static cache, and its arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    decoder = make_cached_decoder(configure(), dtype)
    length = torch.export.Dim("length", min=1, max=MAX_LENGTH - 1)
    args = (torch.randint(0, 512, (1, 7)), torch.arange(7))
    return decoder, args, {}, ({1: length}, {0: length})


def without_cache(dtype: torch.dtype = torch.float32):
    """The decoder without a cache, and its arguments, keywords and dynamic shapes."""
    torch.manual_seed(0)
    decoder = Decoder(configure()).to(dtype).eval()
    length = torch.export.Dim("length", min=2, max=MAX_LENGTH)
    return decoder, (torch.randint(0, 512, (1, 12)),), {}, ({1: length},)
