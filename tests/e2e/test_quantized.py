"""Models quantized by torchao: packed weights in the file, and eager torch's results."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim
from torchao.quantization import (
    Int8DynamicActivationIntxWeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    quantize_,
)
from torchao.quantization.granularity import PerAxis, PerGroup
from torchao.quantization.quant_primitives import MappingType

from examples import llama
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import Lowered, count_bytes, lower, lower_methods, run_eagerly

LENGTHS = (1, 5, 12)
CONFIG = llama.configure(layers=1, hidden=128)
SYMMETRIC, ASYMMETRIC = MappingType.SYMMETRIC, MappingType.ASYMMETRIC


def use(dtype: torch.dtype, granularity: Any, mapping: MappingType = SYMMETRIC) -> Any:
    """The weight-only configuration for weights of any width."""
    return IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity, mapping_type=mapping)


@dataclass(frozen=True)
class Scheme:
    """A way to quantize the decoder of `examples/`.

    Attributes:
        name, dtype: for the test's name; of what is not quantized.
        config: torchao's.
        ops: what must be delegated with the packed weights.
        bits: of each weight in the file.
        overhead: bytes of scales and zero points for each weight, at most.
    """

    name: str
    dtype: torch.dtype
    config: Any
    ops: set[str]
    bits: int
    overhead: float

    @property
    def kinds(self) -> tuple[type[nn.Module], ...]:
        """The modules that are quantized."""
        both = "quantized_embedding" in self.ops
        return (nn.Linear, nn.Embedding) if both else (nn.Linear,)


BOTH = {"quantized_linear", "quantized_embedding"}
SCHEMES = (
    Scheme("int4", torch.float32, use(torch.int4, PerGroup(32)), BOTH, 4, 8 / 32),
    Scheme("int4", torch.bfloat16, use(torch.int4, PerGroup(32)), BOTH, 4, 3 / 32),
    Scheme("int2", torch.float32, use(torch.int2, PerGroup(64), ASYMMETRIC), BOTH, 2, 8 / 64),
    Scheme("rows", torch.bfloat16, use(torch.int8, PerAxis(0)), BOTH, 8, 3 / 128),
    Scheme("int8", torch.float32, Int8WeightOnlyConfig(), {"scaled_int8_product"}, 8, 8 / 128),
)


@dataclass(frozen=True)
class Case:
    """The decoder, quantized and lowered; `eager` has buffers of its own."""

    scheme: Scheme

    @cached_property
    def lowered(self) -> Lowered:
        """With a dynamic length."""
        length = Dim("length", min=1, max=llama.MAX_LENGTH - 1)
        args = (torch.randint(0, 512, (1, 7)), torch.arange(7))
        method = (self.make(), args, {}, ({1: length}, {0: length}))
        return lower_methods({"forward": method})

    def make(self) -> nn.Module:
        """The same quantized weights at each call."""
        torch.manual_seed(0)
        decoder = llama.make_cached_decoder(CONFIG, self.scheme.dtype)
        kinds = self.scheme.kinds
        quantize_(decoder, self.scheme.config, lambda module, _: isinstance(module, kinds))
        return decoder


@pytest.fixture(
    scope="module", params=SCHEMES, ids=lambda s: f"{s.name}-{str(s.dtype).removeprefix('torch.')}"
)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_one_delegate_multiplies_packed_weights(case: Case) -> None:
    assert case.lowered.fallbacks() == []
    (delegate,) = case.lowered.delegates()
    called = list_ops(delegate.original_module.graph)
    assert case.scheme.ops <= called
    assert "dequantize_weight" not in called


def test_results_equal_eager(case: Case) -> None:
    run, eager, position = case.lowered.start(), case.make(), 0
    for length in LENGTHS:
        tokens = torch.randint(0, 512, (1, length))
        positions = torch.arange(position, position + length)
        assert_close(run(tokens, positions), run_eagerly(eager, tokens, positions))
        position += length


def test_file_holds_packed_weights(case: Case) -> None:
    decoder = llama.make_cached_decoder(CONFIG, case.scheme.dtype)
    chosen = [m for m in decoder.modules() if isinstance(m, case.scheme.kinds)]
    weights = sum(module.weight.numel() for module in chosen)
    rest = count_bytes([decoder]) - count_bytes(chosen)
    packed = weights * (case.scheme.bits / 8 + case.scheme.overhead)
    assert len(case.lowered.pte) < packed + rest + 100_000  # the rest of the file, padded


def list_ops(graph: torch.fx.Graph) -> set[str]:
    names = (str(node.target.name()) for node in graph.nodes if node.op == "call_function")
    return {name.partition("::")[2].partition(".")[0] for name in names}


def quantize(module: nn.Module, config: Any) -> nn.Module:
    torch.manual_seed(0)
    quantize_(module, config)
    return module.eval()


def test_no_rows_give_no_rows() -> None:
    module = quantize(nn.Linear(64, 5), use(torch.int4, PerGroup(32)))
    rows = Dim("rows", min=0, max=16)
    lowered = lower(module, torch.randn(4, 64), dynamic_shapes=({0: rows},))
    assert "quantized_linear" in list_ops(lowered.delegates()[0].original_module.graph)
    run = lowered.start()
    for count in (3, 0, 1):
        x = torch.randn(count, 64)
        assert_close(run(x), run_eagerly(module, x))


@pytest.mark.parametrize("bits", range(1, 9))
def test_every_width_is_packed(bits: int) -> None:
    weight_dtype = getattr(torch, f"int{bits}")
    module = quantize(nn.Linear(128, 64), use(weight_dtype, PerGroup(64)))
    x = torch.randn(3, 128)
    lowered = lower(module, x)
    assert lowered.fallbacks() == []
    assert "quantized_linear" in list_ops(lowered.delegates()[0].original_module.graph)
    stored = next(width for width in (2, 4, 8) if width >= bits)
    assert len(lowered.pte) < 128 * 64 * stored // 8 + 6_000  # scales and the rest of the file
    assert_close(lowered.start()(x), run_eagerly(module, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantized_activations_meet_packed_weights(dtype: torch.dtype) -> None:
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4, weight_granularity=PerGroup(32)
    )
    module = quantize(nn.Linear(128, 16).to(dtype), config)
    rows = Dim("rows", min=1, max=16)
    lowered = lower(module, torch.randn(4, 128, dtype=dtype), dynamic_shapes=({0: rows},))
    assert lowered.fallbacks() == []
    (delegate,) = lowered.delegates()
    assert "quantized_linear" in list_ops(delegate.original_module.graph)
    run = lowered.start()
    for count in (4, 1, 9):
        x = torch.randn(count, 128, dtype=dtype)
        assert_close(run(x), run_eagerly(module, x))


@pytest.mark.parametrize(
    ("columns", "granularity"),
    [(48, PerGroup(16)), (40, PerAxis(0))],  # no groups that MLX has
)
def test_other_groups_are_delegated_as_numbers(columns: int, granularity: Any) -> None:
    module = quantize(nn.Linear(columns, 5), use(torch.int8, granularity))
    x = torch.randn(3, columns)
    lowered = lower(module, x)
    assert lowered.fallbacks() == []
    assert "dequantize_weight" in list_ops(lowered.delegates()[0].original_module.graph)
    assert_close(lowered.start()(x), run_eagerly(module, x))
