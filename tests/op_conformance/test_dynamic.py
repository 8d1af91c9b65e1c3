"""Entries at symbolic sizes: lowered once, right at sizes that export never saw."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from hypothesis.errors import UnsatisfiedAssumption
from torch._ops import OpOverload
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlx_coverage import MLXPartitioner
from mlx_coverage.registry import default_registry, rules
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case, cases, flatten
from tests.op_conformance.checks import REFUSALS, ConformanceError, is_effective, is_inside
from tests.op_conformance.criterion import UNDEFINED, MismatchError, compare
from tests.op_conformance.domain import list_case_dtypes
from tests.op_conformance.growing import grow
from tests.op_conformance.lowering import (
    Lowered,
    gives_tensors,
    is_mixed,
    list_inputs,
    lower,
    make_contiguous,
)
from tests.op_conformance.outside import symbolize
from tests.op_conformance.sampling import draw_examples, measure

BRANCHES = 20
STEPS = (0, 1, 4)
Growth = tuple[Case, ...]  # one case at the sizes of each step

aten = torch.ops.aten


def resize(x: torch.Tensor, mode: str, **flags: Any) -> torch.Tensor:
    """A picture brought to its own width and height, exchanged."""
    size = (x.shape[1], x.shape[0])
    return torch.nn.functional.interpolate(x[None, None], size=size, mode=mode, **flags)


# Sizes that are arguments come from a tensor: no case of one op grows.
GIVEN_SIZES: dict[Any, Any] = {
    aten.expand.default: lambda x: x[:, :1].expand(3, -1, x.shape[1]),
    aten.full.default: lambda x: torch.full((x.shape[1], 2, x.shape[0]), 1.5),
    aten.native_group_norm.default: lambda x: aten.native_group_norm(
        x[None], None, None, 1, x.shape[0], x.shape[1], 1, 1e-5
    ),
    aten.scalar_tensor.default: lambda x: torch.scalar_tensor(x.shape[0], dtype=torch.int64),
    aten.slice.Tensor: lambda x: x[1 : x.shape[0] - 1, x.shape[1] - 2 :],
    aten.split_with_sizes.default: lambda x: x.split([2, x.shape[0] - 2]),
    aten.upsample_bicubic2d.vec: lambda x: resize(x, "bicubic"),
    aten.upsample_bilinear2d.vec: lambda x: resize(x, "bilinear", align_corners=True),
    aten.upsample_nearest2d.vec: lambda x: resize(x, "nearest"),
    aten._upsample_nearest_exact2d.vec: lambda x: resize(x, "nearest-exact"),
    aten.view.default: lambda x: x.view(x.shape[0] * x.shape[1]),
}

ENTRIES = [spec for spec in default_registry() if spec.samples is not None and gives_tensors(spec)]
BATCHES = [ENTRIES[i : i + BRANCHES] for i in range(0, len(ENTRIES), BRANCHES)]


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"{batch[0].name}..{batch[-1].name}")
def test_program_is_right_at_other_sizes(batch: Sequence[OpSpec]) -> None:
    chosen = {spec: choose_growing(spec) for spec in batch}
    missing = [
        spec.name
        for spec, found in chosen.items()
        if not (found or spec.target in {*GIVEN_SIZES, *UNDEFINED} or says_static(spec))
    ]
    assert not missing, f"neither tested at other sizes nor static by a rule: {missing}"
    failures = check_dynamic([found for found in chosen.values() if found])
    assert not failures, "\n\n".join(failures)


@pytest.mark.parametrize("target", GIVEN_SIZES, ids=str)
def test_sizes_that_are_arguments_are_right_at_other_sizes(target: OpOverload) -> None:
    module = Sized(GIVEN_SIZES[target])
    sizes = {
        0: torch.export.Dim("rows", min=4, max=64),
        1: torch.export.Dim("columns", min=3, max=64),
    }
    program = torch.export.export(module, (torch.randn(5, 6),), dynamic_shapes=((sizes,),))
    partitioner = MLXPartitioner(min_partition_size=0)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    lowered = Lowered((), edge, partitioner)
    assert target in lowered.placed
    assert (lowered.delegates, lowered.fallbacks) == (1, [])
    for shape in ((5, 6), (6, 7), (4, 3), (9, 16)):
        x = torch.randn(shape)
        for actual, expected in zip(lowered.method.execute([x]), module(x), strict=True):
            torch.testing.assert_close(actual, expected)


# Shapes: at export, which bounds what ExecuTorch takes, and others. Where they differ is dynamic.
DIVISIBLE: dict[str, tuple[Callable[[torch.Tensor], Any], list[tuple[int, ...]]]] = {
    "group_norm": (lambda x: functional.group_norm(x, 4), [(2, 20, 5), (2, 8, 3), (2, 12, 3)]),
    "fold": (lambda x: functional.fold(x, (4, 4), 2), [(3, 20, 9), (2, 8, 9), (3, 12, 9)]),
    "pixel_shuffle": (lambda x: functional.pixel_shuffle(x, 2), [(3, 20, 4, 5), (2, 8, 3, 3)]),
    "pixel_unshuffle": (lambda x: functional.pixel_unshuffle(x, 3), [(2, 3, 9, 15), (2, 2, 9, 6)]),
    "chunk": (lambda x: torch.stack(x.chunk(2, 1)), [(3, 14), (3, 6), (3, 10)]),
    "reshape": (lambda x: x.cos().reshape(-1, 4), [(7, 12), (7, 8), (4, 9)]),
}


@pytest.mark.parametrize("name", DIVISIBLE)
def test_sizes_that_must_be_divisible_lower(name: str) -> None:
    function, (shape, *others) = DIVISIBLE[name]
    module = Sized(function)
    dynamic = [i for i, sizes in enumerate(zip(shape, *others, strict=True)) if len(set(sizes)) > 1]
    sizes = dict.fromkeys(dynamic, torch.export.Dim.AUTO)
    program = torch.export.export(module, (torch.randn(shape),), dynamic_shapes=((sizes,),))
    partitioner = MLXPartitioner(min_partition_size=0)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    lowered = Lowered((), edge, partitioner)
    assert (lowered.delegates, lowered.fallbacks) == (1, [])
    for other in (shape, *others):
        x = torch.randn(other)
        for actual, expected in zip(lowered.method.execute([x]), module(x), strict=True):
            torch.testing.assert_close(actual, expected)


# Of several tensors: shapes at export, and others. What differs is dynamic.
RELATED: dict[str, tuple[Callable[..., Any], list[tuple[tuple[int, ...], ...]]]] = {
    "rows": (lambda x, y: x.view(y.shape[0], -1), [((12,), (4,)), ((30,), (5,)), ((64,), (8,))]),
    "rows of a matrix": (
        lambda x, y: x.cos().reshape(y.shape[0], -1),
        [((6, 4), (4,)), ((5, 6), (10,)), ((8, 2), (16,))],
    ),
    "rows and columns": (
        lambda x, y: x.view(y.shape[0], y.shape[1], -1),
        [((24,), (2, 3)), ((60,), (5, 3)), ((64,), (8, 2))],
    ),
    "a quotient": (
        lambda x, y: x.cos().view(x.numel() // y.numel(), y.numel()),
        [((12,), (2, 2)), ((24,), (3, 2)), ((60,), (5, 3))],
    ),
    "unflatten": (
        lambda x, y: x.unflatten(0, (-1, y.shape[0])),
        [((12, 3), (4,)), ((30, 3), (5,)), ((64, 2), (8,))],
    ),
    "slice": (lambda x, y: x[: y.shape[0]] + 1, [((6,), (5,)), ((7,), (2,)), ((40,), (40,))]),
    "pad or crop": (
        lambda x, y: functional.pad(x, (0, y.shape[0] - x.shape[1])),
        [((3, 4), (5,)), ((3, 6), (3,)), ((3, 5), (5,))],
    ),
    "pad to windows": (
        lambda x: functional.pad(x, (0, -x.shape[1] % 4)).view(x.shape[0], -1, 4),
        [((2, 5),), ((2, 8),), ((2, 11),)],
    ),
    "causal attention": (
        lambda q, k: functional.scaled_dot_product_attention(q, k, k, is_causal=True),
        [((1, 2, 4, 8), (1, 2, 4, 8)), ((1, 2, 3, 8), (1, 2, 7, 8)), ((1, 2, 6, 8), (1, 2, 2, 8))],
    ),
}


@pytest.mark.parametrize("name", RELATED)
def test_related_sizes_lower(name: str) -> None:
    function, shapes = RELATED[name]
    dynamic = [
        {i: torch.export.Dim.AUTO(max=64) for i, sizes in enumerate(zip(*each, strict=True))
         if len(set(sizes)) > 1}
        for each in zip(*shapes, strict=True)
    ]  # fmt: skip
    module = Sized(function)
    inputs = [tuple(map(torch.randn, given)) for given in shapes]
    program = torch.export.export(module, inputs[0], dynamic_shapes=(tuple(dynamic),))
    partitioner = MLXPartitioner(min_partition_size=0)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    lowered = Lowered((), edge, partitioner)
    assert (lowered.delegates, lowered.fallbacks) == (1, [])
    for given in inputs:
        results = lowered.method.execute(list(given))
        for actual, expected in zip(results, module(*given), strict=True):
            torch.testing.assert_close(actual, expected)


def test_a_size_for_a_fallback_alone_is_no_partition() -> None:
    # ExecuTorch fails on a delegate that gives numbers and no tensor.
    module = Sized(lambda x: functional.layer_norm(x, (x.shape[1],)))
    sizes = ({1: torch.export.Dim("columns", min=2, max=8)},)
    program = torch.export.export(module, (torch.randn(2, 8),), dynamic_shapes=(sizes,))
    partitioner = MLXPartitioner(min_partition_size=0)
    edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    lowered = Lowered((), edge, partitioner)
    assert lowered.delegates == 0
    x = torch.randn(2, 5)
    torch.testing.assert_close(lowered.method.execute([x])[0], module(x)[0])


class Sized(torch.nn.Module):
    """A function of tensors and their sizes, as a module that returns a tuple of tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = self.function(*tensors)
        return (results,) if isinstance(results, torch.Tensor) else tuple(results)


def says_static(spec: OpSpec) -> bool:
    """Whether a rule names an argument that must be static."""
    return any(isinstance(rule, rules.Static) and not rule.where for rule in spec.rules)


def choose_growing(spec: OpSpec) -> Growth | None:
    """The largest of a few cases that torch takes at all sizes, or None."""
    found = []
    for case in draw_examples(cases(spec, list_case_dtypes(spec)[0]), f"grow {spec.name}", 24):
        for bounded in (False, True):
            grown = grow_all(make_contiguous(case), bounded)
            if grown is not None:
                found.append(grown)
                break
    return max(found, key=lambda grown: (not is_mixed(grown[0]), measure(grown[0])), default=None)


def grow_all(case: Case, bounded: bool) -> Growth | None:
    """The case at the sizes of all steps; None where it does not grow, or leaves the domain."""
    try:
        grown = tuple(grow(case, step, bounded=bounded) for step in STEPS)
        results = [one.run_torch() for one in grown]
    except (*REFUSALS, UnsatisfiedAssumption):
        return None
    inside = all(is_inside(*p) and is_effective(*p) for p in zip(grown, results, strict=True))
    shapes = [[t.shape for t in list_inputs(one)] for one in grown]
    return grown if inside and shapes[0] != shapes[1] and holds_dynamic(grown, results) else None


def holds_dynamic(grown: Growth, results: Sequence[Any]) -> bool:
    """Whether the predicates hold as well where the sizes that grow are symbolic."""
    one, other = (tree_flatten(case.arguments) for case in grown[:2])
    values = [
        symbolize(a, b) if isinstance(a, torch.Tensor) and a.shape != b.shape else a
        for a, b in zip(one[0], other[0], strict=True)
    ]
    call = grown[0].replace(**tree_unflatten(values, one[1])).bind(results[0])
    predicates = [r for r in grown[0].spec.rules if isinstance(r, rules.Predicate)]
    return all(predicate.holds(call) for predicate in predicates)


def check_dynamic(chosen: Sequence[Growth]) -> list[str]:
    """Lower cases at symbolic sizes together, alone each where together they fail."""
    try:
        failures = _check_together(chosen)
    except Exception as error:  # noqa: BLE001  (whatever lowering raises is a failure)
        what = f"dynamic: {type(error).__name__}: {str(error).strip()[:300]}"
        failures = [str(ConformanceError(chosen[0][0], what))]
    if failures and len(chosen) > 1:
        half = len(chosen) // 2
        return check_dynamic(chosen[:half]) + check_dynamic(chosen[half:]) or failures
    return failures


def _check_together(chosen: Sequence[Growth]) -> list[str]:
    steps = list(zip(*chosen, strict=True))
    lowered = lower(steps[0], others=steps[1])
    if lowered.fallbacks or lowered.delegates != 1:
        what = f"dynamic: {lowered.delegates} delegates, fallback: {lowered.fallbacks}"
        return [str(ConformanceError(chosen[0][0], what))]
    failures = []
    for grown in steps:
        for case, actual in lowered.run(grown):
            try:
                compare(case, actual, flatten(case.run_torch()))
            except MismatchError as mismatch:
                failures.append(str(ConformanceError(case, f"dynamic: {mismatch}")))
    return failures
