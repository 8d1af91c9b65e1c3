"""Small models of the text families, with weights that give distinct tokens, as program files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mlx_coverage.analyze.capture import Lowering
from mlx_coverage.generation import ExportOptions, Program, Source, export_source

PROMPT, STEPS, CONTEXT, CHUNK, WINDOW = 21, 64, 96, 8, 12
_SIZES = {
    "vocab_size": 250, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.3,
}  # fmt: skip


def make_llama() -> Any:
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
    }  # fmt: skip
    sizes = _SIZES | {"num_hidden_layers": 2, "head_dim": 16, "rope_parameters": rope}
    return LlamaForCausalLM, LlamaConfig(**sizes, tie_word_embeddings=True)


def make_qwen3() -> Any:
    return Qwen3ForCausalLM, Qwen3Config(**_SIZES, num_hidden_layers=1, head_dim=16)


def make_phi() -> Any:
    rope = {
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 128, "factor": 2.0,
        "short_factor": [1.0] * 6, "long_factor": [1.0, 1.2, 2, 4, 8, 16],
    }  # fmt: skip
    sizes = _SIZES | {"max_position_embeddings": 256, "rope_parameters": rope}
    return Phi3ForCausalLM, Phi3Config(**sizes, num_hidden_layers=1, sliding_window=200)


def make_gemma() -> Any:
    kinds = ["sliding_attention", "full_attention"]
    sizes = _SIZES | {"num_hidden_layers": 2, "head_dim": 16, "query_pre_attn_scalar": 16}
    return Gemma3ForCausalLM, Gemma3TextConfig(
        # Tied as published, random weights would repeat one token.
        **sizes, sliding_window=WINDOW, layer_types=kinds, tie_word_embeddings=False,
    )  # fmt: skip


def make_qwen3_5() -> Any:
    rope = {
        "rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
        "mrope_section": [2, 1, 1],
    }  # fmt: skip
    sizes = {name: size for name, size in _SIZES.items() if name != "intermediate_size"}
    return Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig(
        **sizes, num_hidden_layers=2, layer_types=["linear_attention", "full_attention"],
        head_dim=16, moe_intermediate_size=32, shared_expert_intermediate_size=32, num_experts=4,
        num_experts_per_tok=2, linear_key_head_dim=16, linear_value_head_dim=16,
        linear_num_key_heads=2, linear_num_value_heads=4, rope_parameters=rope,
    )  # fmt: skip


FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": make_llama,
    "qwen3": make_qwen3,
    "phi-4-mini": make_phi,
    "gemma-3": make_gemma,
    "qwen3.5-moe": make_qwen3_5,
}


@dataclass(frozen=True)
class Case:
    """A family in one dtype, lowered into a folder."""

    family: str
    dtype: torch.dtype
    folder: Path

    @cached_property
    def source(self) -> Source:
        """As the command line makes one of a folder."""
        kind, config = FAMILIES[self.family]()
        return Source(self.family, "text", config, None, kind)

    @cached_property
    def lowering(self) -> Lowering:
        """The file is written by it."""
        # One token a call where the recurrence is unrolled otherwise: cheap, and no less cached.
        chunk = 1 if self.family == "qwen3.5-moe" else CHUNK
        options = ExportOptions(CONTEXT, chunk, self.dtype)
        return export_source(self.source, self.path, options).lowering

    @property
    def path(self) -> Path:
        """Of the program."""
        return self.folder / "model.pte"

    @cached_property
    def program(self) -> Program:
        """Loaded once for all tests."""
        assert self.lowering.program is not None, self.lowering.refusals
        return Program(self.path)

    def make_model(self, dtype: torch.dtype) -> Any:
        """The same weights in eager torch, rounded as the case's."""
        return self.source.load_model(self.dtype).to(dtype)


def draw_prompt(length: int = PROMPT, seed: int = 0) -> list[int]:
    """Token ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 250, (length,), generator=generator).tolist()


@torch.no_grad()
def run_whole(model: Any, tokens: list[int]) -> Tensor:
    """Logits (length, vocabulary) of all tokens in one call, without a cache."""
    logits: Tensor = model(torch.tensor([tokens]), use_cache=False).logits[0]
    return logits.float()
