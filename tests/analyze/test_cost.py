"""Products are counted as torch counts them, the rest by convention; what has no model is said."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.utils.flop_counter import FlopCounterMode

from mlx_coverage.analyze.cost import Cost, evaluate_size, list_symbols, measure_node
from mlx_coverage.lowering.plan import PartitionPlan
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import name_target
from mlx_coverage.registry.ops.fused import scaled_rms_norm
from tests.analyze.planning import make_plan

aten = torch.ops.aten
REFERENCES = {p.spec.target: p.torch_function for p in default_registry().patterns}


def measure(plan: PartitionPlan) -> dict[str, Cost]:
    """Cost by op; the modules below hold each op once."""
    return {name_target(n.target): measure_node(n, REFERENCES) for n in plan.placements}


class Mixed(nn.Module):
    """Every op that torch has a formula for, or is made of such, in the forms that we keep."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, groups=1, stride=2)
        self.transposed = nn.ConvTranspose2d(8, 4, 2)
        self.linear = nn.Linear(4, 6)

    def forward(self, x: Tensor, q: Tensor, k: Tensor) -> tuple[Tensor, ...]:
        pixels = self.transposed(self.convolution(x))
        attended = nn.functional.scaled_dot_product_attention(q, k, k, enable_gqa=True)
        last = self.linear(pixels.permute(0, 2, 3, 1))
        return (last, attended, q[0] @ q[0].mT, self.linear(q[0, 0, :, :4]))


def make_inputs() -> tuple[Tensor, ...]:
    return torch.ones(2, 3, 9, 9), torch.ones(1, 4, 5, 8), torch.ones(1, 2, 7, 8)


@pytest.mark.parametrize(
    "whole", [(), (aten.linear.default, aten.scaled_dot_product_attention.default)]
)
def test_sum_is_what_torch_counts(whole: tuple[torch._ops.OpOverload, ...]) -> None:
    module, inputs = Mixed(), make_inputs()
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        module.to("meta")(*(t.to("meta") for t in inputs))
    plan = make_plan(Mixed(), *inputs, whole=whole)
    assert {name_target(op) for op in whole} <= {name_target(n.target) for n in plan.placements}
    found = [measure_node(node, REFERENCES).products for node in plan.placements]
    assert sum(found) == counter.get_total_flops() > 0


class Elementwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return torch.cat([x.exp(), x.reshape(-1, 4)[None]], 1).T + (tokens + 1).max()


def test_pointwise_ops_count_what_they_write() -> None:
    costs = measure(make_plan(Elementwise(), torch.tensor([[1, 2, 3]])))
    assert costs["aten.exp.default"] == Cost(12, 48, 48)
    assert costs["aten.cat.default"] == Cost(0, 96, 96)
    assert costs["aten.max.default"].flops == 0  # of integers
    assert costs["aten.view.default"] == Cost(0, 0, 0)


class Families(nn.Module):
    """One op of each family that has no product in it."""

    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        flat = x.reshape(2, 48)
        return (
            aten._softmax(flat, 1, False),
            aten.native_layer_norm(flat, [48], None, None, 1e-5)[0],
            flat.sum(1),
            aten.max_pool2d_with_indices(x, [2, 2], [2, 2])[0],
            flat.cumsum(1),
            flat.sort(1).values,
            torch.scatter_add(flat, 1, index, flat[:, :4]),
            torch.fft.rfft(flat).real,
            torch.cdist(flat[None], flat[None]),
        )


def test_families_by_hand() -> None:
    index = torch.tensor([[0, 1, 2, 3]] * 2)
    kept = (aten._softmax.default, aten.native_layer_norm.default, aten._cdist_forward.default)
    plan = make_plan(Families(), torch.ones(2, 3, 4, 4), index, whole=kept)
    found = {name: cost.flops for name, cost in measure(plan).items()}
    n = 2 * 48
    assert found["aten._softmax.default"] == 5 * n  # maximum, difference, exp, sum, quotient
    # Mean 1, variance 4 (mean, difference, square, sum), difference, product; a row's quotient of
    # the mean, its epsilon and its root.
    assert found["aten.native_layer_norm.default"] == 7 * n + 3 * 2
    assert found["aten.sum.dim_IntList"] == n
    assert found["aten.max_pool2d_with_indices.default"] == 2 * 3 * 2 * 2 * 4
    assert found["aten.cumsum.default"] == n
    assert found["aten.sort.default"] == n * 6  # the logarithm of 48, rounded up
    assert found["aten.scatter_add.default"] == 2 * 4
    assert found["aten._fft_r2c.default"] == round(5 * n * math.log2(48) + 0.5)
    assert found["aten._cdist_forward.default"] == 3 * 2 * 2 * 48


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(x)


def test_arithmetic_without_a_model_is_said() -> None:
    cost = measure(make_plan(Inverse(), torch.eye(3)))["aten.linalg_inv_ex.default"]
    assert cost.flops is None
    assert (cost.figures.flops, cost.figures.unmodelled) == (0, 1)
    assert cost.figures.unmodelled_bytes == cost.written > 0


def test_rows_read_by_index_count_and_not_the_table() -> None:
    costs = measure(make_plan(Elementwise(), torch.tensor([[1, 2, 3]])))
    assert costs["aten.embedding.default"] == Cost(0, 48 + 3 * 8, 48)


class Scatter(nn.Module):
    def forward(self, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        moved = torch.index_put(x, (index,), x[:2])
        return moved, torch.index_put(moved, (index,), x[:2], accumulate=True)


def test_accumulating_scatter_is_arithmetic() -> None:
    plan = make_plan(Scatter(), torch.ones(3, 4), torch.tensor([0, 2]))
    scatters = [n for n in plan.placements if name_target(n.target) == "aten.index_put.default"]
    assert [measure_node(node, REFERENCES).flops for node in scatters] == [0, 8]


class Normed(nn.Module):
    def __init__(self, op: torch._ops.OpOverload) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.op(x, weight, 1e-6)


def test_pattern_costs_what_its_description_does() -> None:
    target = next(t for t, f in REFERENCES.items() if f is scaled_rms_norm)
    costs = measure(make_plan(Normed(target), torch.ones(2, 8), torch.ones(8), whole=[target]))
    cost = costs[name_target(target)]
    assert (cost.read, cost.written, cost.products) == (2 * 32 + 32, 64, 0)
    assert cost.flops == 4 * 16 + 2 * 2  # square, mean, two products; sum and root of a row


def test_pattern_of_products_counts_them() -> None:
    def project(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return (x * weight + eps) @ x.mT

    target = next(t for t, f in REFERENCES.items() if f is scaled_rms_norm)
    plan = make_plan(Normed(target), torch.ones(2, 8), torch.ones(8), whole=[target])
    (node,) = plan.placements
    assert measure_node(node, {target: project}).products == 2 * 2 * 8 * 2


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ x.mT


def test_symbolic_sizes_count_as_in_the_example() -> None:
    shapes = ({0: Dim("n", min=2, max=64)},)
    plan = make_plan(Product(), torch.ones(5, 3), dynamic_shapes=shapes)
    costs = measure(plan)
    assert costs["aten.mm.default"] == Cost(150, 2 * 60, 100, products=150)
    values = [node.meta.get("val") for node in plan.graph.nodes]
    assert [(hint.value, hint.basis) for hint in list_symbols(values)] == [(5, "example inputs")]
    tensor = next(v for v in values if isinstance(v, Tensor))
    assert [evaluate_size(size) for size in tensor.shape] == [5, 3]


class Selection(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0].exp()


def test_size_that_depends_on_data_counts_at_its_upper_bound() -> None:
    plan = make_plan(Selection(), torch.ones(4))
    costs = measure(plan)
    assert costs["aten.exp.default"].written == 4 * 4
    (hint,) = list_symbols(node.meta.get("val") for node in plan.graph.nodes)
    assert (hint.value, hint.basis) == (4, "upper bound")


class Projection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(256, 128)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return self.linear(x[keep])


def test_flops_of_kept_rows_are_those_of_all_rows() -> None:
    plan = make_plan(Projection(), torch.ones(100, 256), torch.ones(100, dtype=torch.bool))
    assert sum(cost.products for cost in measure(plan).values()) == 2 * 100 * 256 * 128


class Counted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.bincount(x) + 1


def test_size_without_any_bound_counts_as_no_less_than_one() -> None:
    plan = make_plan(Counted(), torch.ones(4, dtype=torch.int64))
    (hint,) = list_symbols(node.meta.get("val") for node in plan.graph.nodes)
    assert (hint.value, hint.basis) == (1, "lower bound")
