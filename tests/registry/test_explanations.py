"""Every reason is explained, and every example shows what it says: the planner decides."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
import torch

from mlx_coverage.analyze import capture, load
from mlx_coverage.analyze.failures import CaptureError
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Fallback
from mlx_coverage.registry.explanations import EXPLANATIONS, explain
from mlx_coverage.registry.reasons import KINDS

EXAMPLES = {kind.slug: e.example for kind, e in EXPLANATIONS.items() if e.example}
BETTER = {slug: example for slug, example in EXAMPLES.items() if example.better}
# In company the view of the third would find a partition to join.
_SEPARATE = ("op/higher-order", "op/data-dependent-shape", "plan/only-neighbours-fall-back")
# What stops the whole model cannot share a program with others; control flow and sizes that
# depend on data do not come through ExecuTorch in one program, nor beside a refused op.
ALONE = [slug for slug in EXAMPLES if slug.startswith("export/") or slug in _SEPARATE]
PLANNED = [slug for slug in EXAMPLES if slug not in ALONE]


class Gallery(torch.nn.Module):
    """Each model on an input of its own: lowered together, they cost what one does."""

    def __init__(self, models: Mapping[str, torch.nn.Module]) -> None:
        super().__init__()
        self.models = torch.nn.ModuleDict(models)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(m(x) for m, x in zip(self.models.values(), inputs, strict=True))


def name_module(slug: str, better: bool) -> str:
    return slug.replace("/", "_") + "_better" * better


@pytest.fixture(scope="module")
def found() -> dict[str, set[str]]:
    """The reasons for which nodes fall back, by module."""
    models, inputs, shapes = {}, [], []
    for slug, example in EXAMPLES.items():
        for better in (False, True):
            if (slug not in BETTER) if better else (slug not in PLANNED):
                continue
            file: dict[str, object] = {}
            exec(example.write(better), file)
            models[name_module(slug, better)] = file["model"]
            inputs += file["example_inputs"]
            shapes.append(file["dynamic_shapes"][0] if example.dynamic else None)
    gallery = Exportable(Gallery(models), tuple(inputs), {}, {"inputs": tuple(shapes)})
    excluded = [
        op for example in EXAMPLES.values() for op in example.options.split()[1:]
    ]  # after --exclude
    make = partial(MLXPartitioner, exclude_ops=excluded, _plan_only=True)
    planned = capture.plan_methods(capture.export_methods({"forward": gallery}), make)
    reasons: dict[str, set[str]] = {name: set() for name in models}
    for node, placement in planned.plans["forward"].placements.items():
        if isinstance(placement, Fallback):
            path, _ = list(node.meta["nn_module_stack"].values())[-1]
            reasons[path.split(".")[-1]] |= {reason.slug for reason in placement.reasons}
    return reasons


def test_every_reason_is_explained() -> None:
    assert set(EXPLANATIONS) == set(KINDS)
    for kind in KINDS:
        known = explain(kind.slug)
        assert known is not None
        assert known[1].meaning.endswith(".")
    assert explain("op/no-such-reason") is None


@pytest.mark.parametrize("slug", PLANNED)
def test_example_shows_its_reason(found: dict[str, set[str]], slug: str) -> None:
    assert slug in found[name_module(slug, better=False)]


@pytest.mark.parametrize("slug", BETTER)
def test_better_form_runs_on_mlx(found: dict[str, set[str]], slug: str) -> None:
    assert found[name_module(slug, better=True)] == set()


@pytest.mark.parametrize("slug", ALONE)
def test_example_on_its_own(tmp_path: Path, slug: str) -> None:
    path = tmp_path / "model.py"
    path.write_text(EXAMPLES[slug].write())
    make = partial(MLXPartitioner, _plan_only=True)
    with load.open_model(str(path)) as methods:
        try:
            planned = capture.plan_methods(capture.export_methods(methods), make)
        except CaptureError as failure:
            slugs = {failure.kind.slug}
        else:
            placements = planned.plans["forward"].placements.values()
            slugs = {r.slug for p in placements if isinstance(p, Fallback) for r in p.reasons}
            slugs |= {planned.refused.kind.slug} if planned.refused else set()
    assert slug in slugs
