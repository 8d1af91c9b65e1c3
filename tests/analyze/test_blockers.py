"""Blockers: what a plan would gain, on a U-Net that two kinds of op cut into 28 partitions."""

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze import blockers
from mlx_coverage.analyze.capture import Capture
from mlx_coverage.analyze.model import (
    CoverageReport,
    MethodReport,
    SearchExtent,
    Untried,
    from_json,
    to_json,
)
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.lowering.plan import PartitionPlan
from mlx_coverage.report import render_html, render_markdown, render_text
from tests.analyze.planning import make_plan

EXCLUDED = (torch.ops.aten.group_norm.default, torch.ops.aten.upsample_nearest2d.vec)
GROUP_NORM, UPSAMPLE = map(str, EXCLUDED)
CHANNELS = 4


class Residual(nn.Module):
    """Two group norms on the way, none beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(2, CHANNELS) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        found = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            found = convolution(nn.functional.silu(norm(found)))
        return x + found


class UNet(nn.Module):
    """The cut of executorch issue #22017: 25 group norms and 2 upsamplings in one chain."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(1, CHANNELS, 1)
        self.blocks = nn.ModuleList(Residual() for _ in range(12))
        self.steps = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 1, stride=stride) for stride in (2, 2, 1, 1)
        )
        self.norm = nn.GroupNorm(2, CHANNELS)
        self.exit = nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.entry(x)
        skips = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in (2, 4):
                skips.append(x)
                x = self.steps[len(skips) - 1](x)
            if number in (7, 9):
                x = nn.functional.interpolate(x, scale_factor=2.0)
                x = self.steps[1 + len(skips)](x) + skips.pop()
        return self.exit(self.norm(x))


@pytest.fixture(scope="module")
def plan() -> PartitionPlan:
    # ExecuTorch takes an upsampling apart that is not delegated; here it stays whole.
    return make_plan(UNet(), torch.ones(1, 1, 8, 8), exclude=EXCLUDED)


@pytest.fixture(scope="module")
def report(plan: PartitionPlan) -> CoverageReport:
    return summarize("unet.py", Capture({"forward": plan}))


@pytest.fixture(scope="module")
def method(report: CoverageReport) -> MethodReport:
    (method,) = report.methods
    return method


def test_unet_is_cut_into_28(report: CoverageReport, method: MethodReport) -> None:
    assert (method.fallback, method.partitions) == (27, 28)
    assert {(b.op, b.nodes) for b in method.blockers} == {(GROUP_NORM, 25), (UPSAMPLE, 2)}
    shown = render_text(report)
    assert "27 fallback nodes" in shown
    assert "28 partitions" in shown


def test_group_norm_comes_first(method: MethodReport) -> None:
    norm, upsample = method.blockers
    assert (norm.op, norm.slug, norm.partitions) == (GROUP_NORM, "plan/excluded", 3)
    assert (upsample.op, upsample.partitions) == (UPSAMPLE, 26)
    assert norm.partitions_saved == 25
    assert norm.gained.nodes == 25
    assert 0 < upsample.crossing_bytes_saved < norm.crossing_bytes_saved < method.crossing_bytes


def test_both_together_give_one_partition(report: CoverageReport, method: MethodReport) -> None:
    first, second = method.way
    assert (first.op, first.partitions) == (GROUP_NORM, 3)
    assert (second.op, second.partitions, second.crossing_bytes) == (UPSAMPLE, 1, 0)
    assert second.delegated == method.nodes
    assert second.gained == method.cpu


def test_terminal_says_what_would_help(report: CoverageReport) -> None:
    shown = render_text(report, width=160)
    gains = shown[shown.index("WHAT WOULD HELP MOST") :].splitlines()
    gain = f"  {GROUP_NORM} (plan/excluded): 25 nodes more on MLX, 31.0 kFLOP, 3 partitions"
    assert gains[1].startswith(gain)
    assert gains[3] == f"  both together ({GROUP_NORM}, {UPSAMPLE}): 100 % on MLX, 1 partition"


def test_whole_search_says_nothing(report: CoverageReport, method: MethodReport) -> None:
    assert method.search == SearchExtent(blockers.BUDGET, (), "complete")
    assert "search stopped" not in render_text(report)


@pytest.mark.parametrize(
    ("plans", "untried", "end", "left"),
    [
        (1, (Untried(UPSAMPLE, "plan/excluded", 2),), "budget", "combinations tried: none."),
        (2, (), "budget", "combinations tried: none."),
        (4, (), "budget", "combinations tried: up to 1 together."),
        (5, (), "complete", None),
    ],
)
def test_search_that_is_cut_says_so(
    plan: PartitionPlan,
    monkeypatch: pytest.MonkeyPatch,
    plans: int,
    untried: tuple[Untried, ...],
    end: str,
    left: str | None,
) -> None:
    """A plan made again holds as many nodes as the first; the two blockers make five of them."""
    budget = plans * len(plan.placements)
    monkeypatch.setattr(blockers, "BUDGET", budget)
    report = summarize("unet.py", Capture({"forward": plan}))
    assert from_json(to_json(report)) == report
    (method,) = report.methods
    assert (method.search.budget, method.search.untried) == (budget, untried)
    assert method.search.end == end
    assert len(method.blockers) == 2 - len(untried)
    pages = (render_text(report, width=500), render_markdown(report), render_html(report))
    for page in pages:
        assert (f"The search stopped after placing {budget} nodes" in page) == (left is not None)
        assert left is None or left in page.replace("<wbr>", "")
        assert ("not tried: aten.upsample" in page.replace("<wbr>", "")) == bool(untried)
