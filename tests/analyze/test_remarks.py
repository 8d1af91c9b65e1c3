"""What is said of a model before any figure."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mlx_coverage.analyze.capture import export_methods
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.remarks import list_remarks


def remark(module: nn.Module, *args: Tensor, dynamic_shapes: Any = None) -> tuple[str, ...]:
    methods = {"forward": Exportable(module, args, {}, dynamic_shapes)}
    return list_remarks(methods, export_methods(methods))


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.RReLU())


def test_training_mode_is_said() -> None:
    (said,) = remark(make_model(), torch.ones(4, 8))
    assert said.startswith("The model is in training mode, call .eval()")
    assert "BatchNorm1d 1, Dropout 2, RReLU 3" in said
    assert remark(make_model().eval(), torch.ones(4, 8)) == ()


def test_parts_in_training_mode_are_named() -> None:
    model = nn.Sequential(*(make_model() for _ in range(3))).eval()
    model[1][2].train()
    (said,) = remark(model, torch.ones(4, 8))
    assert said.startswith("Parts of the model are in training mode")
    assert "Dropout 1.2" in said
    assert "BatchNorm1d" not in said


def test_a_model_that_computes_the_same_in_both_modes_needs_no_remark() -> None:
    assert remark(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), torch.ones(4, 8)) == ()


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


def test_own_code_that_reads_the_mode_is_seen() -> None:
    (said,) = remark(Functional(), torch.ones(4))
    assert "Functional" in said


def test_a_saved_program_tells_its_mode() -> None:
    program = torch.export.export(make_model(), (torch.ones(4, 8),))
    (said,) = list_remarks({"forward": program}, {"forward": program})
    assert said.startswith("The program was exported in training mode")


class Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x @ x.mT


@pytest.mark.parametrize(("high", "remarks"), [(None, 1), (64, 0)])
def test_a_size_without_an_upper_bound_is_said(high: int | None, remarks: int) -> None:
    shapes = ({0: Dim("n", min=2, max=high)},)
    said = remark(Product(), torch.ones(5, 3), dynamic_shapes=shapes)
    assert len(said) == remarks
    for text in said:
        assert "Dimension 0 of the input `x` has no upper bound" in text
        assert "its size in the example, 5" in text


class Experts(nn.Module):
    """As much of a transformers model as says how its experts are computed."""

    def __init__(self, chosen: str | None, able: bool = True) -> None:
        super().__init__()
        self.config = SimpleNamespace(_experts_implementation=chosen)
        self.able = able

    def _can_set_experts_implementation(self) -> bool:
        return self.able

    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.mark.parametrize(
    ("chosen", "able", "remarks"),
    [("grouped_mm", True, 1), ("eager", True, 1), ("batched_mm", True, 0), ("eager", False, 0)],
)
def test_experts_of_fixed_sizes_are_proposed(chosen: str, able: bool, remarks: int) -> None:
    methods = {"forward": Exportable(Experts(chosen, able), (torch.ones(3),), {}, None)}
    said = list_remarks(methods, {})  # also where the model does not export
    assert len(said) == remarks
    assert all('set_experts_implementation("batched_mm")' in text for text in said)
