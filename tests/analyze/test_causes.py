"""What one cause keeps off the delegate is one finding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze.capture import Capture
from mlx_coverage.analyze.model import CoverageReport, Finding
from mlx_coverage.analyze.summarize import summarize
from tests.analyze.planning import make_plan


def summarize_plan(module: nn.Module, *args: Tensor, **options: Any) -> CoverageReport:
    return summarize("model", Capture({"forward": make_plan(module, *args, **options)}))


def list_findings(module: nn.Module, *args: Tensor, **options: Any) -> tuple[Finding, ...]:
    return summarize_plan(module, *args, **options).methods[0].findings


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


class Precise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        d = (x + 1).double()
        d = (d - d.mean(-1, keepdim=True)).tanh()
        return (d + 1e-12).sqrt().float() + x


def test_one_cast_to_double_is_one_finding() -> None:
    report = summarize_plan(Precise(), torch.ones(4, 8))
    (method,) = report.methods
    (finding,) = method.findings
    assert finding.op == "aten._to_copy.default"
    assert finding.count == method.fallback > 5
    assert finding.source.code == "d = (x + 1).double()"
    assert finding.reason.sentence.startswith(f"float64 since line {finding.source.line}, a cast;")
    assert "Leave the cast to float64 out" in finding.reason.remedy
    assert sum(count.nodes for count in finding.ops) == finding.count
    assert finding.ops[0].op == finding.op
    assert {place.code for place in finding.lines} == {
        "d = (d - d.mean(-1, keepdim=True)).tanh()",
        "return (d + 1e-12).sqrt().float() + x",
    }


def test_gain_is_that_of_the_cause() -> None:
    (method,) = summarize_plan(Precise(), torch.ones(4, 8)).methods
    (blocker,) = method.blockers
    assert blocker.gained == method.cpu
    assert blocker.partitions == 1
    assert blocker.nodes == method.fallback


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, dtype=torch.float64))
        self.register_buffer("table", torch.ones(8, dtype=torch.float64))


class Parameter(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).tanh().sum()


class Buffer(Weighted):
    def forward(self, x: Tensor) -> Tensor:
        return (x * self.table).tanh().sum()


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * torch.arange(8, dtype=torch.float64)).tanh().sum()


@pytest.mark.parametrize(
    ("module", "inputs", "what", "remedy"),
    [
        (Parameter(), torch.ones(8), "the parameter `weight`", "model.float()"),
        (Buffer(), torch.ones(8), "the buffer `table`", "model.float()"),
        (Constant(), torch.ones(8), "a constant", "dtype=torch.float32"),
        (
            Function(lambda x: x.tanh().exp().sum()),
            torch.ones(8, dtype=torch.float64), "the input", "Give the input as float32",
        ),
    ],
)  # fmt: skip
def test_the_sentence_says_by_what_it_enters(
    module: nn.Module, inputs: Tensor, what: str, remedy: str
) -> None:
    (finding,) = list_findings(module, inputs)
    assert what in finding.reason.sentence
    assert remedy in finding.reason.remedy


class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.double().tanh() * 2).float()


def test_identical_layers_share_a_finding() -> None:
    module = nn.Sequential(*(nn.Sequential(Layer()) for _ in range(6)))
    (finding,) = list_findings(module, torch.ones(3))
    assert finding.source.code == "return (x.double().tanh() * 2).float()"
    assert finding.modules[0].path == "*.*"
    assert finding.modules[0].instances == 6


class Apart(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        first = x.double().tanh().float()
        second = y.double().exp().float()
        return first, second


def test_unrelated_causes_stay_apart() -> None:
    findings = list_findings(Apart(), torch.ones(3), torch.ones(4))
    assert [f.source.code for f in findings] == [
        "first = x.double().tanh().float()",
        "second = y.double().exp().float()",
    ]


class Joined(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first = x.double().tanh()
        second = y.double().exp()
        return (first + second).float()


def test_causes_that_meet_name_every_line_at_which_they_enter() -> None:
    (finding,) = list_findings(Joined(), torch.ones(3), torch.ones(3))
    line = finding.source.line
    assert line is not None
    assert f"float64 since line {line} (and {line + 1})" in finding.reason.sentence


def test_complex_numbers_are_never_to_be_cast() -> None:
    function = Function(lambda x: torch.special.erf(x.real) + torch.cumprod(x * x, 0).abs())
    findings = list_findings(function, torch.ones(3, dtype=torch.complex128))
    remedies = [f.reason.remedy for f in findings if "complex128" in f.reason.sentence]
    assert remedies
    assert all("a cast drops the imaginary part" in remedy for remedy in remedies)


def test_a_view_belongs_to_what_it_stays_beside() -> None:
    function = Function(lambda x, keep: x[keep[:2]])
    mask = torch.tensor([True, False, True])
    (finding,) = list_findings(function, torch.ones(2, 3), mask)
    assert finding.op == "aten.index.Tensor"
    assert finding.reason.slug == "op/data-dependent-shape"
    assert "cast" not in finding.reason.remedy.lower()
    assert {count.op for count in finding.ops} == {"aten.index.Tensor", "aten.slice.Tensor"}
    assert [other.slug for other in finding.others] == ["plan/only-neighbours-fall-back"]


def test_views_alone_have_no_culprit() -> None:
    (finding,) = list_findings(Function(lambda x: x.view(2, 2)), torch.ones(4))
    assert finding.reason.culprit is None
    assert "beside" not in finding.reason.sentence
    assert "culprit" not in finding.reason.remedy
