"""`--quantize`: which layers, packed how, and what the model then computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.generation import ExportOptions, Program, Source, export_source
from mlx_coverage.generation.quantization import (
    Quantization,
    Scheme,
    parse_quantization,
    quantize,
)
from tests.generation.families import draw_prompt, run_whole
from tests.generation.test_command_line import SIZES

WIDTH, VOCABULARY = 64, 1024


def make_source(tied: bool) -> Source:
    sizes = SIZES | {"hidden_size": WIDTH, "intermediate_size": 96, "vocab_size": VOCABULARY}
    config = LlamaConfig(**sizes, tie_word_embeddings=tied)
    return Source("llama", "text", config, None, LlamaForCausalLM)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4w", Quantization(Scheme(4))),
        ("8da4w:32", Quantization(Scheme(4, 32, True))),
        ("linear=3w, embedding=8w:128", Quantization(Scheme(3), Scheme(8, 128))),
        ("embedding=2w", Quantization(None, Scheme(2))),
        ("4w,embedding=none", Quantization(Scheme(4), None, True)),
    ],
)
def test_schemes(text: str, expected: Quantization) -> None:
    assert parse_quantization(text) == expected


@pytest.mark.parametrize(
    "text", ["", "9w", "4w:48", "4", "head=4w", "4w,8w", "embedding=8da4w", "4w:", "8da"]
)
def test_schemes_that_mean_nothing(text: str) -> None:
    with pytest.raises(InputError, match="is not understood at"):
        parse_quantization(text)


def find_quantized(tied: bool, text: str) -> dict[str, Any]:
    model = make_source(tied).load_model()
    quantize(model, parse_quantization(text))
    return {
        name.rpartition(".")[0]: parameter.target_dtype
        for name, parameter in model.named_parameters()
        if hasattr(parameter, "target_dtype")
    }


def test_which_layers_are_quantized() -> None:
    inner, table, head = "model.layers.0.mlp.up_proj", "model.embed_tokens", "lm_head"
    for tied in (False, True):
        found = find_quantized(tied, "4w:32,embedding=8w:32")
        assert found[inner] == torch.int4
        assert found[table] == torch.int8
        # A tied head is the embedding.
        assert found[head] == (torch.int8 if tied else torch.int4)
        found = find_quantized(tied, "4w:32")
        assert found.get(table) == (torch.int4 if tied else None)
        assert set(find_quantized(tied, "4w:32,embedding=none")) == {*found, head} - {table}
    assert set(find_quantized(False, "embedding=4w:32")) == {table}
    with pytest.raises(InputError, match=r"groups of 64 of the 96 columns of .*down_proj; .*4w:32"):
        find_quantized(False, "4w")


def test_a_tied_table_is_stored_once_and_packed(tmp_path: Path) -> None:
    sizes = {}
    for tied in (True, False):
        path = tmp_path / f"{tied}.pte"
        options = ExportOptions(32, 8, quantize="4w:32,embedding=4w:32")
        lowered = export_source(make_source(tied), path, options).lowering
        assert [len(plan.partitions) for plan in lowered.plans.values()] == [1]
        sizes[tied] = path.stat().st_size
    packed = VOCABULARY * WIDTH // 2
    assert packed <= sizes[False] - sizes[True] < 2 * packed
    assert sizes[True] < VOCABULARY * WIDTH * 2
    model = make_source(True).load_model()
    quantize(model, parse_quantization(options.quantize))
    tokens = draw_prompt(20)
    expected = run_whole(model, tokens)
    found = Program(tmp_path / "True.pte").open_session().extend(tokens)
    assert (found - expected[-1]).abs().max() <= 1e-4 * expected.abs().max()
