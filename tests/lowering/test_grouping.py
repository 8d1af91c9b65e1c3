"""Attention over repeated heads is taken as grouped-query attention, and over nothing else."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.nn.functional import scaled_dot_product_attention as attend
from transformers.models.llama.modeling_llama import repeat_kv

from examples import llama
from mlx_coverage.lowering.decomposition import prepare_program
from mlx_coverage.lowering.grouping import group_queries
from mlx_coverage.lowering.plan import Options
from mlx_coverage.registry import default_registry
from mlx_coverage.zoo.text import PRESETS

aten = torch.ops.aten
HEADS, LENGTH, REACH, SIZE = 6, 4, 5, 8
Repeat = Callable[[Tensor, int], Tensor]


class Attention(nn.Module):
    """Attention whose keys and values are rearranged for groups of query heads."""

    def __init__(self, repeat: Repeat, groups: int, masked: bool = False) -> None:
        super().__init__()
        self.repeat, self.groups, self.masked = repeat, groups, masked

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mask = torch.arange(REACH)[None] < REACH - 1 if self.masked else None
        key, value = self.repeat(key, self.groups), self.repeat(value, self.groups)
        return attend(query, key, value, attn_mask=mask)


def draw(groups: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    few = torch.randn(2, 2, HEADS // groups, REACH, SIZE, dtype=dtype)
    return torch.randn(2, HEADS, LENGTH, SIZE, dtype=dtype), *few


def prepare(module: nn.Module, inputs: tuple[Tensor, ...], **options: object) -> ExportedProgram:
    program = export(module.eval(), inputs, dynamic_shapes=options.pop("shapes", None))
    return prepare_program(program, default_registry(), Options(**options))  # type: ignore[arg-type]


def group(module: nn.Module, inputs: tuple[Tensor, ...], **options: object) -> int:
    program = export(module, inputs).run_decompositions({})
    return group_queries(program, default_registry(), Options(**options))  # type: ignore[arg-type]


def count(program: ExportedProgram, *targets: object) -> int:
    return sum(node.target in targets for node in program.graph.nodes)


def find_attention(program: ExportedProgram) -> list[torch.fx.Node]:
    target = aten.scaled_dot_product_attention.default
    return program.graph.find_nodes(op="call_function", target=target)


def is_grouped(program: ExportedProgram) -> bool:
    (node,) = find_attention(program)
    return bool(node.kwargs.get("enable_gqa"))


def repeat_interleave(x: Tensor, groups: int) -> Tensor:
    return x.repeat_interleave(groups, dim=1)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("groups", [2, 3, HEADS])
@pytest.mark.parametrize("repeat", [repeat_kv, repeat_interleave])
def test_repeated_heads(repeat: Repeat, groups: int, masked: bool) -> None:
    inputs = draw(groups)
    module = Attention(repeat, groups, masked)
    program = prepare(module, inputs)
    assert is_grouped(program)
    assert count(program, aten.expand.default, aten.clone.default) == 0
    torch.testing.assert_close(program.module()(*inputs), module(*inputs))


def test_dynamic_lengths() -> None:
    inputs, module = draw(2), Attention(repeat_kv, 2)
    reach, length = {2: Dim("reach", min=2, max=64)}, {2: Dim("length", min=2, max=64)}
    program = prepare(module, inputs, shapes=(length, reach, reach))
    assert is_grouped(program)
    longer = torch.randn(2, HEADS, 7, SIZE), *torch.randn(2, 2, HEADS // 2, 9, SIZE)
    torch.testing.assert_close(program.module()(*longer), module(*longer))


def tile(x: Tensor, groups: int) -> Tensor:
    """Other heads side by side: not neighbours."""
    return x.repeat(1, groups, 1, 1)


def lengthen(x: Tensor, groups: int) -> Tensor:
    """As many heads as there are queries, each of keys that belong to several."""
    batch, heads, length, size = x.shape
    repeated = x[:, :, None].expand(batch, heads, 2 * groups, length, size)
    return repeated.reshape(batch, heads * groups, 2 * length, size)


def lengthen_each(x: Tensor, groups: int) -> Tensor:
    """No more heads, but each key several times."""
    return x.repeat_interleave(groups, dim=2)


@pytest.mark.parametrize("arrange", [tile, lengthen, lengthen_each])
def test_other_arrangements_stay(arrange: Repeat) -> None:
    query, key, value = draw(2)
    inputs = (query if arrange is not lengthen_each else query[:, : key.shape[1]], key, value)
    module = Attention(arrange, 2)
    program = prepare(module, inputs)
    assert not is_grouped(program)
    torch.testing.assert_close(program.module()(*inputs), module(*inputs))


def test_keys_repeated_for_one_query_head() -> None:
    inputs = draw(2)
    program = prepare(Attention(repeat_kv, 2), (inputs[0][:, :1], *inputs[1:]))
    assert not is_grouped(program)


def test_what_the_registry_declines_stays() -> None:
    assert not group(Attention(repeat_kv, 2), draw(2, torch.float64))


def test_excluded_attention_stays() -> None:
    name = "aten.scaled_dot_product_attention.default"
    assert group(Attention(repeat_kv, 2), draw(2)) == 1
    assert not group(Attention(repeat_kv, 2), draw(2), exclude_ops=frozenset({name}))


DECODERS = ["llama-3.2-1b", "qwen3-0.6b", "phi-4-mini", "gemma-3-1b", "gemma-3-4b"]


@pytest.mark.parametrize("name", [*DECODERS, "qwen3.5-35b-a3b"])
def test_decoders_of_the_zoo(name: str) -> None:
    (preset,) = (preset for preset in PRESETS if preset.name == name)
    *_, (module, args, kwargs, shapes) = preset.make(small=True).values()
    assert_all_grouped(export(module, args, kwargs, dynamic_shapes=shapes))


def test_decoder_with_a_static_cache() -> None:
    module, args, kwargs, shapes = llama.model()
    assert_all_grouped(export(module, args, kwargs, dynamic_shapes=shapes))


def assert_all_grouped(program: ExportedProgram) -> None:
    calls = find_attention(prepare_program(program, default_registry(), Options()))
    assert calls
    for node in calls:
        query, key, value = (operand.meta["val"].shape[1] for operand in node.args[:3])
        assert node.kwargs.get("enable_gqa")
        assert key == value < query
