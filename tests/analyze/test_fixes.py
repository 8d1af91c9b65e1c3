"""Fixes: tried on the program, run by the native runtime, and compared with eager torch."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table

from mlx_coverage.analyze.capture import export_methods, lower_methods, plan_methods
from mlx_coverage.analyze.comparison import compare
from mlx_coverage.analyze.fixes import add_fixes, find_fixes, try_fixes
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import Fix
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.cli.execution import execute
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.report.text import render_text

MEAN = ("aten.mean.dim", "op/dtype")


class IntegerMean(nn.Module):
    """torch's decomposition casts first; the op as a whole takes floats alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, dtype=torch.float32).cos() + 1


class Doubles(nn.Module):
    """Two ops in float64 between two in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.cos().double().tanh().exp().float().sin()


class DoubleMatmul(nn.Module):
    """In float64 from its inputs to its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).tanh()


def find(module: nn.Module, *args: Tensor) -> dict[tuple[str, str], tuple[Fix, ...]]:
    methods = {"forward": Exportable(module, args)}
    programs = export_methods(methods)
    planned = plan_methods(programs, MLXPartitioner)
    return find_fixes(methods, programs, planned, MLXPartitioner, execute)["forward"]


INTEGERS = torch.tensor([[7, -3, 12, 5], [1, 0, -9, 4]])


def test_decomposition_is_verified() -> None:
    (fix,) = find(IntegerMean(), INTEGERS)[MEAN]
    assert (fix.kind, fix.verified) == ("decomposition", True)
    assert fix.gained == 3
    assert fix.error is not None
    assert fix.error < 1e-6


def test_partitioner_applies_decompositions() -> None:
    programs = export_methods({"forward": Exportable(IntegerMean(), (INTEGERS,))})
    lowering = lower_methods(programs, partial(MLXPartitioner, fix_decompositions=True))
    plan = lowering.plans["forward"]
    assert (len(plan.partitions), plan.delegated) == (1, len(plan.placements))
    found = execute(lowering.lowered, "forward", [INTEGERS])
    assert compare("forward", found, [IntegerMean()(INTEGERS)]) < 1e-6


def test_excluded_ops_are_not_decomposed() -> None:
    programs = export_methods({"forward": Exportable(IntegerMean(), (INTEGERS,))})
    make = partial(MLXPartitioner, exclude_ops=["aten.mean.dim"], fix_decompositions=True)
    ops = [str(node.target) for node in plan_methods(programs, make).plans["forward"].placements]
    assert any("mean" in op for op in ops)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_wrong_decomposition_is_not_shown(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    def decompose(self: Tensor, dim: list[int], keepdim: bool, *, dtype: torch.dtype) -> Tensor:
        return self.sum(dim, keepdim, dtype=dtype) * (factor / self.shape[dim[0]])

    def adapt(self: Tensor, dim: list[int], keepdim: bool = False, *, dtype: torch.dtype) -> Tensor:
        return decompose(self, dim, keepdim, dtype=dtype)

    monkeypatch.setitem(decomposition_table, torch.ops.aten.mean.dim, adapt)
    found = find(IntegerMean(), INTEGERS)
    assert [fix.verified for fix in found.get(MEAN, ())] == ([True] if factor == 1 else [])


def test_cast_of_a_stretch_is_verified() -> None:
    found = find(Doubles(), torch.tensor([[0.3, -2.0, 5.0]]))
    (fix,) = found["aten.tanh.default", "op/dtype"]
    assert (fix.kind, fix.verified) == ("cast", True)
    assert fix.partitions_saved == 1
    # The casts of the model cancel out with those of the fix.
    assert found["aten._to_copy.default", "op/dtype"] == (fix,)


def test_cast_at_inputs_and_outputs_is_verified_as_float32() -> None:
    found = find(DoubleMatmul(), torch.linspace(-2, 3, 8, dtype=torch.float64).view(2, 4))
    (fix,) = found["aten.tanh.default", "op/dtype"]
    assert fix.verified
    assert fix.error is not None
    assert 1e-10 < fix.error < 1e-4  # it is not computed in float64


def test_without_weights_a_fix_is_a_proposal() -> None:
    with torch.device("meta"):
        methods = {"forward": Exportable(DoubleMatmul(), (torch.ones(2, 4, dtype=torch.float64),))}
    programs = export_methods(methods)
    planned = plan_methods(programs, MLXPartitioner)
    fixes = find_fixes(methods, programs, planned, MLXPartitioner, execute)
    (fix,) = fixes["forward"]["aten.tanh.default", "op/dtype"]
    assert not fix.verified
    assert fix.error is None
    assert "meta tensors" in fix.evidence
    report = add_fixes(summarize("model", planned), fixes)
    assert "not verified" in render_text(report)


def test_search_that_breaks_leaves_the_report() -> None:
    methods = {"forward": Exportable(IntegerMean(), (INTEGERS,))}
    programs = export_methods(methods)
    planned = plan_methods(programs, MLXPartitioner)

    def run(lowered: object, method: str, inputs: object) -> list[Tensor]:
        raise KeyError("lost")

    report = add_fixes(
        summarize("model", planned), *try_fixes(methods, programs, planned, MLXPartitioner, run)
    )
    assert report.missing == ("fixes: KeyError: 'lost'",)
    assert report.methods[0].findings[0].fixes == ()
