"""Whole ops: a declined call is decomposed, an accepted one beside it stays whole."""

from collections.abc import Callable

import pytest
import torch
from executorch.exir import EdgeProgramManager, to_edge_transform_and_lower
from executorch.exir.lowered_backend_module import get_lowered_submodules
from executorch.runtime import Runtime
from torch import Tensor, nn

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.lowering.decomposition import prepare_program
from mlx_coverage.lowering.plan import Options
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.call import canonicalize, name_target
from tests.lowering.registries import make_whole_registry


class TwoNorms(nn.Module):
    """One norm of a rank that the entry takes, and one of a rank that it does not."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.accepted = norm(8)
        self.declined = norm(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.accepted(x)
        return self.declined(y.reshape(2, 3, 2, 2, 8))


def lower(model: nn.Module, *inputs: Tensor, **options: object) -> EdgeProgramManager:
    program = torch.export.export(model.eval(), inputs)
    partitioner = MLXPartitioner(registry=make_whole_registry(), _plan_only=True, **options)
    return to_edge_transform_and_lower(program, partitioner=[partitioner])


def names_inside(edge: EdgeProgramManager) -> list[str]:
    modules = get_lowered_submodules(edge.exported_program().graph_module)
    graphs = [lowered.original_module.graph for _, lowered, _ in modules]
    return [name for graph in graphs for name in list_names(graph)]


def names_outside(edge: EdgeProgramManager) -> list[str]:
    return list_names(edge.exported_program().graph)


def list_names(graph: torch.fx.Graph) -> list[str]:
    return [name_target(canonicalize(n.target)) for n in graph.nodes if n.op == "call_function"]


class Apply(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function", [lambda x: x + torch.arange(x.shape[0]), lambda x: torch.zeros(x.shape[0]) - x]
)
def test_dynamic_sizes_stay_dynamic(function: Callable[[Tensor], Tensor]) -> None:
    dynamic = ({0: torch.export.Dim("n", max=64)},)
    program = torch.export.export(Apply(function), (torch.ones(12),), dynamic_shapes=dynamic)
    prepared = prepare_program(program, default_registry(), Options())
    values = [node.meta.get("val") for node in prepared.graph.nodes]
    shapes = [value.shape for value in values if isinstance(value, Tensor)]
    assert shapes
    assert all(isinstance(size, torch.SymInt) for shape in shapes for size in shape)


NORMS = {"aten.rms_norm.default": nn.RMSNorm, "aten.layer_norm.default": nn.LayerNorm}


@pytest.mark.parametrize("name", NORMS)
def test_declined_norm_beside_accepted_one(name: str) -> None:
    edge = lower(TwoNorms(NORMS[name]), torch.randn(2, 3, 4, 8).reshape(6, 4, 8))
    assert names_inside(edge).count(name) == 1
    assert name not in names_outside(edge)
    assert len(names_outside(edge)) > 1  # what the declined one became


@pytest.mark.parametrize("name", NORMS)
def test_declined_for_its_dtype(name: str) -> None:
    model = TwoNorms(NORMS[name]).to(torch.bfloat16)
    edge = lower(model, torch.randn(6, 4, 8, dtype=torch.bfloat16))
    assert names_inside(edge) == []
    assert name not in names_outside(edge)


@pytest.mark.parametrize("name", NORMS)
def test_excluded_whole_op_is_decomposed(name: str) -> None:
    edge = lower(TwoNorms(NORMS[name]), torch.randn(6, 4, 8), exclude_ops=[name])
    assert names_inside(edge) == []
    assert name not in names_outside(edge)


def test_accepted_alone_stays_whole() -> None:
    edge = lower(nn.RMSNorm(8), torch.randn(4, 8))
    assert names_inside(edge) == ["aten.rms_norm.default"]


def test_the_users_program_is_not_changed() -> None:
    program = torch.export.export(TwoNorms(nn.RMSNorm).eval(), (torch.randn(6, 4, 8),))
    before = str(program)
    partitioner = MLXPartitioner(registry=make_whole_registry(), _plan_only=True)
    to_edge_transform_and_lower(program, partitioner=[partitioner])
    assert str(program) == before


class Hypotenuse(nn.Module):
    """An op that is neither core ATen nor decomposable, and that the registry has."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.hypot(x, y) + 1


def test_op_that_executorch_would_refuse_is_delegated() -> None:
    program = torch.export.export(Hypotenuse(), (torch.randn(3), torch.randn(3)))
    edge = to_edge_transform_and_lower(program, partitioner=[MLXPartitioner(_plan_only=True)])
    assert "aten.hypot.default" in names_inside(edge)
    assert "aten.hypot.default" not in names_outside(edge)
    assert "aten.hypot.default" in [str(n.target) for n in program.graph.nodes]


class Refused(nn.Module):
    """Ops that ExecuTorch refuses, or decomposes into one that it refuses."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return torch.special.exp2(x), torch.vander(y, 3), torch.ldexp(x, y), torch.std_mean(x)[0]


def test_decomposed_where_executorch_would_not() -> None:
    program = torch.export.export(Refused(), (torch.randn(3), torch.randn(3)))
    edge = to_edge_transform_and_lower(program, partitioner=[MLXPartitioner(_plan_only=True)])
    names = ("exp2.default", "cumprod.default", "pow.Tensor_Tensor", "var_mean.correction")
    assert {f"aten.{name}" for name in names} <= set(names_inside(edge))
    assert not [name for name in names_outside(edge) if name.startswith("aten.")]


class Counter(nn.Module):
    """A buffer that the delegate takes over."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        self.count += x
        return self.count * 2


def test_program_of_the_user_keeps_its_buffers() -> None:
    program = torch.export.export(Counter(), (torch.randn(3),))
    for _ in range(2):
        to_edge_transform_and_lower(program, partitioner=[MLXPartitioner(_plan_only=True)])
        assert list(program.state_dict) == ["count"]


@pytest.mark.parametrize(
    "loss", [nn.CosineEmbeddingLoss(margin=0.2), nn.HingeEmbeddingLoss()], ids=repr
)
def test_losses_that_start_from_an_empty_tensor(loss: nn.Module) -> None:
    tensors = torch.randn(3, 4), torch.randn(3, 4), torch.tensor([1, -1, 1])
    inputs = (
        tensors if isinstance(loss, nn.CosineEmbeddingLoss) else (tensors[0], tensors[1].sign())
    )
    program = torch.export.export(loss, inputs)
    edge = to_edge_transform_and_lower(program, partitioner=[MLXPartitioner(min_partition_size=0)])
    assert [name for name in names_outside(edge) if name.startswith("aten.")] == []
    mlx_coverage.runtime.load()
    buffer = edge.to_executorch().buffer  # which the program reads as long as it runs
    loaded = Runtime.get().load_program(buffer)
    method = loaded.load_method("forward")
    torch.testing.assert_close(method.execute(inputs)[0], loss(*inputs))


def test_an_empty_tensor_keeps_its_layout() -> None:
    decomposition = default_registry().decompositions[torch.ops.aten.empty_permuted.default]
    expected = torch.empty_permuted((2, 3, 4), (1, 2, 0), dtype=torch.int8)
    actual = decomposition((2, 3, 4), (1, 2, 0), dtype=torch.int8)
    assert (actual.shape, actual.stride(), actual.dtype) == (
        expected.shape,
        expected.stride(),
        expected.dtype,
    )
