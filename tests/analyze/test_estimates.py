"""Memory, bounds, slow ops and what-ifs of models that can be computed by hand."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mlx_coverage.analyze.capture import export_methods, plan_methods, write_methods
from mlx_coverage.analyze.execution import store
from mlx_coverage.analyze.load import Exportable, open_model
from mlx_coverage.analyze.machines import CHIPS, MACS, bound_time
from mlx_coverage.analyze.memory import measure_memory
from mlx_coverage.analyze.model import CoverageReport
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import PartitionPlan
from tests.analyze.planning import make_plan

M1 = next(chip for chip in CHIPS if chip.name == "M1")
M5 = next(chip for chip in CHIPS if chip.name == "M5")
EXAMPLES = Path(__file__).parents[2] / "examples"


def check(module: nn.Module, *args: Tensor, dynamic_shapes: object = None) -> CoverageReport:
    programs = export_methods(
        {"forward": Exportable(module.eval(), args, dynamic_shapes=dynamic_shapes)}
    )
    report = summarize("model", plan_methods(programs, MLXPartitioner))
    assert report.missing == ()
    return report


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(64, 256, bias=False)
        self.down = nn.Linear(256, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)))


def test_perceptron_by_hand() -> None:
    report = check(Perceptron(), torch.ones(8, 64))
    memory, (method,) = report.memory, report.methods
    weights = 2 * 64 * 256 * 4
    assert [(w.dtype, w.tensors, w.bytes) for w in memory.weights] == [("float32", 2, weights)]
    # The input, and two results of 8 x 256 while the second is made.
    assert memory.working_bytes == 8 * 64 * 4 + 2 * 8 * 256 * 4
    assert memory.upper_working_bytes is None
    assert memory.state_bytes == 0
    assert all(fit.fits for fit in memory.fits)
    speed = method.speed
    assert (speed.products, speed.others) == (2 * 2 * 8 * 64 * 256, 8 * 256)
    assert speed.moved_bytes == weights + 2 * 8 * 64 * 4
    bound = next(b for b in speed.bounds if b.chip == "M1")
    assert bound.seconds == pytest.approx(speed.moved_bytes / 68e9, rel=1e-3)
    assert bound.limit == "memory"
    assert method.step is None
    alone = [
        max((weights // 2 + 8 * 64 * 4 + 8 * 256 * 4) / 68e9, 2 * 8 * 64 * 256 / M1.flops),
        2 * 8 * 256 * 4 / 68e9,
    ]
    assert bound.unfused_seconds == pytest.approx(2 * alone[0] + alone[1], rel=1e-3)


def test_many_rows_are_bound_by_arithmetic() -> None:
    report = check(Perceptron(), torch.ones(4096, 64))
    bound = next(b for b in report.methods[0].speed.bounds if b.chip == "M1")
    flops = 2 * 2 * 4096 * 64 * 256 + 4096 * 256
    assert bound.limit == "arithmetic"
    assert bound.seconds == pytest.approx(flops / (8 * 128 * 2 * 1.278e9), rel=1e-3)


class Decoder(nn.Module):
    """A step of a generator: a table, a cache that is written and read whole, a product."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 32)
        self.head = nn.Linear(32, 1000, bias=False)
        self.register_buffer("cache", torch.zeros(1, 128, 32))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        self.cache.index_copy_(1, position, self.table(tokens))
        return self.head(torch.cumsum(self.cache, 1)[:, -1])


@pytest.mark.parametrize("length", [1, 5])
def test_step_of_a_generator_by_hand(length: int) -> None:
    args = torch.zeros(1, length, dtype=torch.int64), torch.arange(length)
    sizes = Dim("length", min=1, max=128)
    shapes = None if length == 1 else ({1: sizes}, {0: sizes})
    report = check(Decoder(), *args, dynamic_shapes=shapes)
    (method,) = report.methods
    assert report.memory.state_bytes == 128 * 32 * 4
    step = method.step
    assert step is not None
    assert step.tokens == 1
    head, row, cache, logits, inputs = 32 * 1000 * 4, 32 * 4, 128 * 32 * 4, 1000 * 4, 2 * 8
    assert step.moved_bytes == head + row + cache + logits + inputs
    bound = next(b for b in step.bounds if b.chip == "M1")
    assert bound.tokens_per_second == pytest.approx(68e9 / step.moved_bytes, rel=1e-3)
    assert all(b.tokens_per_second is None for b in method.speed.bounds)


class Chain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.reshape(-1).exp()
        return torch.cat([y.view(x.shape), x.sin()])


def test_largest_sizes_count() -> None:
    report = check(Chain(), torch.ones(4, 8), dynamic_shapes=({0: Dim("n", min=2, max=100)},))
    row = 8 * 4
    # The input, two rows of the same size, and their join of twice that.
    assert report.memory.working_bytes == 4 * 5 * row
    assert report.memory.upper_working_bytes == 100 * 5 * row


def test_unbounded_sizes_have_no_upper_working_set() -> None:
    report = check(Chain(), torch.ones(4, 8), dynamic_shapes=({0: Dim("n", min=2)},))
    assert report.memory.upper_working_bytes is None


def test_weight_of_two_methods_counts_once() -> None:
    plan = make_plan(Perceptron(), torch.ones(8, 64))
    both: Mapping[str, PartitionPlan] = {"a": plan, "b": plan}
    assert measure_memory(both).weight_bytes == measure_memory({"a": plan}).weight_bytes


@pytest.mark.parametrize("name", ["mlp", "llama", "lstm", "resnet"])
def test_size_of_the_file(name: str) -> None:
    with open_model(f"{EXAMPLES / name}.py") as methods:
        programs = export_methods(methods)
        planned = plan_methods(programs, MLXPartitioner)
        with store(write_methods(programs, MLXPartitioner)) as path:
            size = path.stat().st_size
    estimate = measure_memory(planned.plans).program_bytes
    assert estimate == pytest.approx(size, rel=0.05, abs=16 * 1024)


def test_packed_weights_count_as_packed() -> None:
    torchao = pytest.importorskip("torchao.quantization")
    granularity = pytest.importorskip("torchao.quantization.granularity")
    module = Perceptron().eval()
    torchao.quantize_(
        module,
        torchao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=granularity.PerGroup(32)),
    )
    programs = export_methods({"forward": Exportable(module, (torch.ones(8, 64),))})
    planned = plan_methods(programs, MLXPartitioner)
    memory = measure_memory(planned.plans)
    weights = {w.dtype: w.bytes for w in memory.weights}
    assert weights["int8"] == 2 * 64 * 256 // 2
    assert weights["float32"] == 2 * 64 * 256 // 32 * 8  # a scale and a bias for each group
    with store(write_methods(programs, MLXPartitioner)) as path:
        assert memory.program_bytes == pytest.approx(path.stat().st_size, rel=0.1)


def test_published_throughput_is_met() -> None:
    published = {"M1": 2.6, "M1 Pro": 5.2, "M1 Max": 10.4, "M1 Ultra": 21, "M2": 3.6}
    for chip in CHIPS:
        if chip.name in published:
            assert chip.flops / 1e12 == pytest.approx(published[chip.name], rel=0.03)
    assert len({chip.name for chip in CHIPS}) == len(CHIPS) == 18
    assert all(0.6 * 2**30 < mac.gpu_bytes / mac.gigabytes < 0.9 * 2**30 for mac in MACS)


def test_half_products_are_faster_where_a_chip_says_so() -> None:
    work = {"bfloat16": 10**12}
    assert bound_time(M1, 0, 0, work) == bound_time(M1, 0, 10**12, {})
    assert bound_time(M5, 0, 0, work) < bound_time(M5, 0, 10**12, {}) / 3


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.dense = nn.Conv2d(4, 4, 3)
        self.back = nn.ConvTranspose2d(4, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.dense(self.depthwise(x)))


def test_slow_ops_are_named_with_a_number() -> None:
    (method,) = check(Grouped(), torch.ones(1, 4, 9, 9)).methods
    assert [(s.op, s.nodes) for s in method.slow] == [("aten.convolution.default", 1)] * 2
    assert "groups" in method.slow[0].why
    assert "transposed" in method.slow[1].why
    (product,) = check(Perceptron().bfloat16(), torch.ones(8, 64).bfloat16()).methods[0].slow
    assert product.nodes == 2
    assert check(Perceptron(), torch.ones(8, 64)).methods[0].slow == ()


def test_bfloat16_halves_the_weights_and_keeps_the_placement() -> None:
    report = check(Perceptron(), torch.ones(8, 64))
    (what_if,) = report.what_ifs
    assert what_if.change == "bfloat16"
    assert what_if.total_bytes == report.memory.total_bytes // 2
    assert (what_if.delegated, what_if.partitions) == (report.delegated, report.partitions)
    half = check(Perceptron().bfloat16(), torch.ones(8, 64).bfloat16())
    assert half.what_ifs == ()
    assert half.memory.total_bytes == what_if.total_bytes


class Islands(nn.Module):
    """A large partition, a fallback, and a partition of one op that is not worth its crossing."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = torch.sin(x) * 2
        return torch.sort(torch.nn.functional.relu(torch.sort(x).values)).values


def test_options_that_lessen_what_crosses_are_found() -> None:
    programs = export_methods({"forward": Exportable(Islands(), (torch.ones(64),))})
    make = partial(MLXPartitioner, exclude_ops=["aten.sort.default"])
    report = summarize("model", plan_methods(programs, make))
    assert report.partitions == 2
    found = {what_if.change: what_if for what_if in report.what_ifs}
    least, excluded = found["min_partition_size=2"], found["--exclude aten.relu.default"]
    assert (least.partitions, least.delegated) == (1, report.delegated - 1)
    assert (excluded.partitions, excluded.delegated) == (1, report.delegated - 1)
    tried = summarize("model", plan_methods(programs, partial(make, min_partition_size=2)))
    assert (tried.partitions, tried.delegated) == (least.partitions, least.delegated)
