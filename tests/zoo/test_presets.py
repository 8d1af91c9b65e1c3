"""The presets: sizes as published, no weights at full size, names that resolve."""

from pathlib import Path

import pytest
import torch
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.capture import export_methods, plan_methods
from mlx_coverage.analyze.cost import measure_node
from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.load import Exportable, open_model
from mlx_coverage.analyze.sweep import read_tasks
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry import default_registry
from mlx_coverage.zoo import PRESETS
from mlx_coverage.zoo.preset import merge

# Parameters of the published weights. Vision: `num_params` of torchvision 0.28's weights,
# where MobileNet V2 has one class (1281 parameters) less. Language: the checkpoints' tensors.
PARAMETERS = {
    "resnet-50": 25_557_032,
    "mobilenet-v2": 3_504_872 + 1_281,
    "mobilenet-v3-small": 2_542_856,
    "efficientnet-b0": 5_288_548,
    "swin-tiny": 28_288_354,
    "convnext-tiny": 28_589_128,
    "vit-base": 86_567_656,
    "phi-4-mini": 3_836_021_760,
    "llama-3.2-1b": 1_235_814_400,
}


@pytest.mark.parametrize("name", PRESETS)
def test_full_size_is_the_published_one_and_has_no_weights(name: str) -> None:
    if PRESETS[name].find_missing():
        pytest.skip("the extra zoo is not installed")
    modules = [(module, args) for module, args, _, _ in PRESETS[name].make(small=False).values()]
    tensors = [t for m, args in modules for t in (*m.buffers(), *pytree.tree_leaves(args))]
    parameters = {id(p): p for module, _ in modules for p in module.parameters()}
    assert all(t.is_meta for t in (*tensors, *parameters.values()))
    count = sum(p.numel() for p in parameters.values())
    assert count == PARAMETERS.get(name, count)
    # Smaller numbers than those of any published model mean that the small variant was built.
    assert count > 1_000_000


def test_the_list_for_sweep_names_every_preset() -> None:
    tasks = read_tasks(Path(__file__).parents[2] / "examples" / "zoo" / "models.toml")
    assert {task.name: task.model for task in tasks} == {
        name: f"zoo:{name}@small" for name in PRESETS
    }


def test_every_number_has_a_source() -> None:
    for preset in PRESETS.values():
        assert preset.published
        assert all(part.source for part in preset.published)


def test_small_variant_changes_numbers_and_keeps_the_rest() -> None:
    with open_model("zoo:gemma-3-1b@small") as methods:
        given = methods["forward"]
    assert isinstance(given, Exportable)
    config = given.module.model.config
    assert (config.num_hidden_layers, config.sliding_window) == (6, 8)
    assert set(config.layer_types) == {"sliding_attention", "full_attention"}
    assert config.query_pre_attn_scalar == 256
    assert config._attn_implementation == "sdpa"


def test_small_weights_are_the_same_each_time_and_hide_nothing() -> None:
    first, second = (PRESETS["resnet-50"].make(small=True)["forward"] for _ in range(2))
    pairs = zip(first[0].state_dict().items(), second[0].state_dict().items(), strict=True)
    for (name, tensor), (_, other) in pairs:
        assert torch.equal(tensor, other)
        if tensor.is_floating_point():
            assert tensor.unique().numel() > 1, f"{name} is constant"
    assert torch.equal(first[1][0], second[1][0])


@pytest.mark.parametrize("spec", ["zoo:", "zoo:llama", "zoo:gpt2@large", "zoo:gpt2@small@small"])
def test_unknown_preset(spec: str) -> None:
    with (
        pytest.raises(InputError, match=r"accepted: zoo:NAME.*llama-3\.2-1b.*whisper-tiny"),
        open_model(spec),
    ):
        pass


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_coverage.zoo.preset.find_spec", lambda name: None)
    with (
        pytest.raises(InputError, match=r"needs transformers; .*mlx-coverage\[zoo\]"),
        open_model("zoo:gpt2"),
    ):
        pass


def test_merge_goes_into_configurations_inside_configurations() -> None:
    old = {"text": {"layers": 2, "heads": 4}, "labels": 10}
    assert merge(old, {"text": {"layers": 1}}) == {"text": {"layers": 1, "heads": 4}, "labels": 10}
    assert old["text"] == {"layers": 2, "heads": 4}


@pytest.mark.parametrize("name", PRESETS)
def test_arithmetic_of_a_preset_is_modelled(name: str) -> None:
    if PRESETS[name].find_missing():
        pytest.skip("the extra zoo is not installed")
    with open_model(f"zoo:{name}@small") as methods:
        planned = plan_methods(export_methods(methods), MLXPartitioner)
    references = {p.spec.target: p.torch_function for p in default_registry().patterns}
    nodes = [node for plan in planned.plans.values() for node in plan.placements]
    costs = [measure_node(node, references) for node in nodes]
    assert sum(cost.flops is None for cost in costs) < 0.05 * len(nodes)
    assert sum(cost.flops or 0 for cost in costs) > 0
