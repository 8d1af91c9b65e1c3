"""Fallback ops without a kernel: what the report says is what the runtime does."""

from collections.abc import Callable

import pytest
import torch
from executorch.exir import to_edge
from executorch.exir.dialects._ops import ops as exir
from executorch.runtime import Runtime
from torch import Tensor, nn

from mlx_coverage.analyze.kernels import find_missing_kernels, find_wrong_kernels
from mlx_coverage.registry.reasons import NO_KERNEL, WRONG_KERNEL
from mlx_coverage.registry.standins import define_standin

aten = torch.ops.aten


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x)[0]


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x).view(-1).clone()


@pytest.mark.parametrize(("module", "loads"), [(Sorted(), False), (Sine(), True)])
def test_report_agrees_with_the_runtime(module: nn.Module, loads: bool) -> None:
    edge = to_edge(torch.export.export(module, (torch.ones(3),)))
    calls = [n.target for n in edge.exported_program().graph.nodes if n.op == "call_function"]
    missing = find_missing_kernels(calls)
    program = Runtime.get().load_program(edge.to_executorch().buffer)
    if loads:
        assert program.load_method("forward") is not None
        assert missing == {}
    else:
        with pytest.raises(RuntimeError):
            program.load_method("forward")
        assert list(missing) == [exir.edge.aten.sort.default]
        (reason,) = missing.values()
        assert reason.kind is NO_KERNEL
        assert "aten::sort.values" in reason.text


def test_stand_in_of_complex_numbers_has_no_kernel() -> None:
    (reason,) = find_missing_kernels([define_standin(aten.acos.default)]).values()
    assert (reason.kind, "complex numbers in aten::acos" in reason.text) == (NO_KERNEL, True)


def test_instructions_need_no_kernel() -> None:
    targets = [aten.sym_size.int, torch.sym_max, torch.ops.higher_order.cond, max]
    assert find_missing_kernels(targets) == {}


def test_views_are_looked_up_as_copies() -> None:
    targets = [aten.view.default, aten.permute.default, aten.slice.Tensor]
    assert find_missing_kernels(targets) == {}


def test_op_without_an_out_variant() -> None:
    @torch.library.custom_op("kernels_test::double", mutates_args=())
    def double(x: Tensor) -> Tensor:
        return x * 2

    op = torch.ops.kernels_test.double.default
    (reason,) = find_missing_kernels([op]).values()
    assert reason.text == "kernels_test::double has no out variant, which to_executorch asks for"


def test_control_flow_without_an_instruction_is_reported() -> None:
    flow = torch.ops.higher_order
    missing = find_missing_kernels([flow.cond, flow.while_loop])
    assert list(missing) == [flow.while_loop]


class Compute(nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


ODD = torch.tensor([[7, -7, 0], [-5, 5, 3]])


@pytest.mark.parametrize(
    ("function", "inputs", "wrong"),
    [
        (lambda x: x % 2, (ODD,), True),
        (lambda x: x % -2, (ODD.to(torch.int8),), True),
        (torch.remainder, (ODD, torch.full_like(ODD, 4)), True),
        (lambda x: x % 2, (ODD.to(torch.uint8),), False),
        (lambda x: x % 2, (ODD.float(),), False),
        (torch.nonzero, (ODD,), True),
        (lambda x: torch.nonzero(x).contiguous(), (ODD,), True),
        (torch.nonzero, (ODD[0],), False),
        (lambda x: x + torch.nonzero(x).shape[0], (ODD,), False),
    ],
)
def test_wrong_kernels_are_those_that_differ_from_torch(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], wrong: bool
) -> None:
    edge = to_edge(torch.export.export(Compute(function), inputs))
    calls = [n for n in edge.exported_program().graph.nodes if n.op == "call_function"]
    program = Runtime.get().load_program(edge.to_executorch().buffer)
    (found,) = program.load_method("forward").execute(inputs)
    assert torch.equal(found, function(*inputs)) is not wrong
    assert [r.kind for r in find_wrong_kernels(calls).values()] == [WRONG_KERNEL] * wrong
