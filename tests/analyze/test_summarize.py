"""Counts, groups, folded layers and segments of a report; sources of nodes."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mlx_coverage.analyze.capture import export_methods, plan_methods
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import CoverageReport, ModulePath
from mlx_coverage.analyze.sources import Frame, locate_frames, parse_stack
from mlx_coverage.analyze.summarize import fold_modules, summarize
from mlx_coverage.lowering.partitioner import MLXPartitioner

make = partial(MLXPartitioner, _plan_only=True)


class Block(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x) + nn.functional.gelu(x)


class Stack(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def check(module: nn.Module, *args: Tensor, **options: object) -> CoverageReport:
    programs = export_methods({"forward": Exportable(module, args)})
    return summarize("model", plan_methods(programs, partial(make, **options)))


def test_identical_layers_are_folded() -> None:
    report = check(Stack(12), torch.ones(3), exclude_ops=["aten.sin.default"])
    (method,) = report.methods
    (finding,) = method.findings
    assert finding.op == "aten.sin.default"
    assert finding.count == 12
    assert finding.modules == (ModulePath("blocks.*", 12, 12),)
    assert finding.source.code == "return torch.sin(x) + nn.functional.gelu(x)"
    assert finding.source.provenance == "exact"


def test_every_figure_counts_the_same_nodes() -> None:
    (method,) = check(Stack(3), torch.ones(3), exclude_ops=["aten.sin.default"]).methods
    assert method.nodes == 9
    assert method.delegated == sum(op.delegated for op in method.ops)
    assert method.nodes == sum(op.nodes for op in method.ops)
    assert method.nodes == sum(segment.nodes for segment in method.segments)
    assert method.fallback == sum(finding.count for finding in method.findings)
    on_mlx = [segment for segment in method.segments if segment.device == "mlx"]
    assert len(on_mlx) == method.partitions
    assert [segment.partition for segment in on_mlx] == list(range(method.partitions))


def test_segments_alternate() -> None:
    (method,) = check(Stack(3), torch.ones(3), exclude_ops=["aten.sin.default"]).methods
    cpu = [segment.device == "cpu" for segment in method.segments]
    assert not any(a and b for a, b in pairwise(cpu))


@pytest.mark.parametrize(
    ("paths", "folded"),
    [
        ([""], [("", 1)]),
        (["layers.0.a", "layers.1.a", "layers.1.a"], [("layers.*.a", 2)]),
        (["layers.3.a"], [("layers.3.a", 1)]),
        (["a.0.b.1", "a.1.b.0"], [("a.*.b.*", 2)]),
        (["layer2.x", "layer3.x"], [("layer2.x", 1), ("layer3.x", 1)]),
        (["h.0", "h.1", "g"], [("h.*", 2), ("g", 1)]),
    ],
)
def test_fold(paths: list[str], folded: list[tuple[str, int]]) -> None:
    found = fold_modules(paths)
    assert [(m.path, m.instances) for m in found] == folded
    assert sum(m.nodes for m in found) == len(paths)


TORCH = str(Path(torch.__file__).parent / "nn/functional.py")
PACKAGE = "/env/lib/python3.11/site-packages/package/net.py"


@pytest.mark.parametrize(
    ("files", "place", "provenance", "via"),
    [
        (["/home/me/net.py"], "/home/me/net.py:1", "exact", None),
        (["/home/me/net.py", TORCH], "/home/me/net.py:1", "exact", None),
        (["/home/me/net.py", PACKAGE, TORCH], "/home/me/net.py:1", "inherited", "package/net.py:2"),
        ([PACKAGE, "/home/me/net.py"], "/home/me/net.py:2", "exact", None),
        ([PACKAGE, TORCH], "package/net.py:1", "inherited", None),
        ([TORCH], "", "none", None),
        (["<eval_with_key>.3"], "", "none", None),
        (["torch/fx/passes/no_such_pass.py"], "", "none", None),
        ([], "", "none", None),
    ],
)
def test_frames(files: list[str], place: str, provenance: str, via: str | None) -> None:
    source = locate_frames([Frame(file, i + 1, "code") for i, file in enumerate(files)])
    assert (source.place, source.provenance, source.via) == (place, provenance, via)


def test_stack_of_a_node() -> None:
    text = 'File "/a b/n.py", line 3, in forward\n    y = f(x)\n  File "m.py", line 4\nnonsense'
    assert parse_stack(text) == (Frame("/a b/n.py", 3, "y = f(x)"), Frame("m.py", 4, "nonsense"))
    assert parse_stack(None) == ()
