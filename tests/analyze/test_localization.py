"""Faults planted in what is lowered: the verifier names the node, and whose fault is shown."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from mlx_coverage.analyze import localization
from mlx_coverage.analyze.capture import export_methods, write_methods
from mlx_coverage.analyze.execution import store
from mlx_coverage.analyze.failures import DifferenceError, ForeignDifferenceError
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.localization import tap
from mlx_coverage.analyze.verification import Verified, verify
from mlx_coverage.lowering import backend
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops import FAMILIES
from mlx_coverage.registry.spec import Registry

# What a fault makes of the result of an entry, given its first operand.
Fault = Callable[[Any, Any], Any]


class Chain(nn.Module):
    """Each op on a line of its own."""

    def forward(self, x: Tensor) -> Tensor:
        a = x.cos()
        b = a + x
        c = b.sigmoid()
        d = c * 2
        return d + x


class Running(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        kept = self.total.exp()
        return kept + x


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        scaled = x * 2
        return torch.fft.fft(scaled)


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        large = x + 2**53
        return large * 1


def plant(op: str, fault: Fault) -> Registry:
    """The registry with a fault in one entry."""

    def spoil(implementation: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(implementation)
        def spoiled(*args: Any, **kwargs: Any) -> Any:
            result = implementation(*args, **kwargs)
            return fault(result, next(iter([*args, *kwargs.values()])))

        return spoiled

    def change(spec: Any) -> Any:
        return replace(spec, implementation=spoil(spec.implementation)) if spec.name == op else spec

    families = [replace(f, specs=[change(spec) for spec in f.specs]) for f in FAMILIES]
    assert any(spec.name == op for family in families for spec in family.specs)
    return Registry(families)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verified]:
    """Lower a model with a fault in an entry, and hold it against eager torch."""

    def run(
        module: nn.Module,
        *args: Any,
        op: str | None = None,
        fault: Fault | None = None,
        shapes: Any = None,
    ) -> Verified:
        methods = {"forward": Exportable(module.eval(), args, {}, shapes)}
        make = MLXPartitioner
        if op is not None:
            registry = plant(op, fault)
            monkeypatch.setattr(backend, "default_registry", lambda: registry, raising=False)
            make = partial(MLXPartitioner, registry=registry)
        programs = export_methods(methods)
        with store(write_methods(programs, make)) as path:
            (verified,) = verify(methods, programs, path, make)
        return verified

    return run


def line_of(module: nn.Module, text: str) -> str:
    lines, first = inspect.getsourcelines(type(module))
    (number,) = (first + i for i, line in enumerate(lines) if text in line)
    return f"tests/analyze/test_localization.py:{number}"


FAULTS: dict[str, tuple[nn.Module, Tensor, str, Fault, str]] = {
    "everywhere": (
        *(Chain(), torch.rand(2, 8), "aten.sigmoid.default"),
        *(lambda out, x: out * 1.01, "c = b.sigmoid()"),
    ),
    "half precision": (
        *(Chain(), torch.rand(2, 8), "aten.sigmoid.default"),
        *(lambda out, x: mx.astype(mx.astype(out, mx.float16), out.dtype), "c = b.sigmoid()"),
    ),
    "another value": (
        *(Chain(), torch.rand(2, 8), "aten.cos.default"),
        *(lambda out, x: mx.where(x < -0.5, 0, out), "a = x.cos()"),
    ),
    "NaN elsewhere": (
        *(Chain(), torch.rand(2, 8), "aten.mul.Tensor"),
        *(lambda out, x: mx.where(x < 0.7, mx.nan, out), "d = c * 2"),
    ),
    "state from the second call on": (
        *(Running(), torch.full((3,), 0.75), "aten.exp.default"),
        *(lambda out, x: mx.where(x > 1, 0, out), "kept = self.total.exp()"),
    ),
    "integer off by one": (
        *(Counts(), torch.arange(4), "aten.mul.Tensor"),
        *(lambda out, x: out + 1, "return large * 1"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_node_is_named_and_the_fault_is_ours(
    check: Callable[..., Verified], name: str
) -> None:
    module, example, op, fault, line = FAULTS[name]
    with pytest.raises(DifferenceError) as failure:
        check(module, example, op=op, fault=fault)
    sentence = str(failure.value)
    assert f"it begins at {op} ({line_of(module, line)})" in sentence
    assert "ExecuTorch without a delegate computes what torch does" in sentence
    assert sentence.endswith("a defect of mlx-coverage, please report it")


def test_fault_in_one_size_is_located(check: Callable[..., Verified]) -> None:
    class Rows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.cos()
            return y.sum(0)

    # Padded to a row more, which is seen where the rows are the most.
    fault = lambda out, x: mx.where(mx.abs(out) > 9.5, 0, out)  # noqa: E731
    shapes = ({0: Dim("n", min=2, max=16)},)
    with pytest.raises(DifferenceError, match=r"\(call 6, x\.shape\[0\] = 16\)") as failure:
        check(Rows(), torch.full((4, 2), 0.25), op="aten.sum.dim_IntList", fault=fault,
              shapes=shapes)  # fmt: skip
    assert f"it begins at aten.sum.dim_IntList ({line_of(Rows(), 'y.sum(0)')})" in str(
        failure.value
    )


def test_op_that_executorch_does_not_run_is_tried_alone(check: Callable[..., Verified]) -> None:
    fault = lambda out, x: mx.conj(out)  # noqa: E731
    with pytest.raises(DifferenceError) as failure:
        check(Spectrum(), torch.randn(2, 8), op="aten._fft_r2c.default", fault=fault)
    assert line_of(Spectrum(), "torch.fft.fft") in str(failure.value)
    assert "the op alone, given torch's operands, differs on MLX" in str(failure.value)


def test_fault_that_is_not_shown_is_nobodys(
    check: Callable[..., Verified], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localization._Attribution, "_locate", lambda self: None)
    fault = lambda out, x: mx.conj(out)  # noqa: E731
    with pytest.raises(DifferenceError) as failure:
        check(Spectrum(), torch.randn(2, 8), op="aten._fft_r2c.default", fault=fault)
    assert "no node was found at which it begins" in str(failure.value)
    assert "whose fault it is was not shown" in str(failure.value)
    assert "defect" not in str(failure.value)


def test_fault_of_torch_export_is_said(check: Callable[..., Verified]) -> None:
    class Exported(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if torch.compiler.is_exporting() else x

    with pytest.raises(ForeignDifferenceError, match=r"the program of torch\.export in torch"):
        check(Exported(), torch.ones(3))


def test_right_program_passes(check: Callable[..., Verified]) -> None:
    shapes = ({0: Dim("n", min=0, max=16)},)
    verified = check(Chain(), torch.rand(2, 8), shapes=shapes)
    assert verified.calls == 8
    assert verified.error < 1e-6
    assert verified.remarks == []


def test_rounding_inside_is_tolerated(check: Callable[..., Verified]) -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
            self.net.bfloat16()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x.bfloat16()).float().flatten(1).softmax(1)

    verified = check(Rounded(), torch.randn(2, 3, 32, 32))
    assert verified.tolerance == 6e-2
    assert 1e-4 < verified.error < 6e-2


def test_tapped_program_gives_values_of_its_graph_and_keeps_its_state() -> None:
    model = Running()
    program = export(model, (torch.ones(3),)).run_decompositions({})
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    tapped = tap(program, nodes[:2])
    assert len(program.graph_signature.user_outputs) == 1
    for total in (1.0, 2.0):
        first, second = tapped.module()(torch.ones(3))
        assert torch.equal(first, torch.full((3,), total))
        assert torch.equal(second, first.exp())
