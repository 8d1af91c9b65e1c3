"""The suite tested: planted faults are caught, and generators produce what they promise."""

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.dtypes import ANY, FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype, NonEmpty, OneOf, Range, Rank
from mlx_coverage.registry.samples import (
    Choice,
    Dim,
    Integer,
    Number,
    TensorList,
    draw,
    elementwise,
    tensor,
)
from mlx_coverage.registry.spec import OpSpec, Promotion
from tests.op_conformance.arguments import draw_argument
from tests.op_conformance.cases import Case, cases
from tests.op_conformance.checks import ConformanceError, run_inside
from tests.op_conformance.domain import list_case_dtypes, read_domain
from tests.op_conformance.faults import FAULTS, SOUND, two, unary
from tests.op_conformance.sampling import draw_examples
from tests.op_conformance.values import AVOIDABLE

aten = torch.ops.aten


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_caught(fault: str) -> None:
    spec, dtype = FAULTS[fault]
    with pytest.raises(ConformanceError):
        run_inside(spec, dtype, fault, examples=70, shrink=False)


@pytest.mark.parametrize("name", SOUND)
def test_sound_entry_passes(name: str) -> None:
    spec, dtype = SOUND[name]
    assert run_inside(spec, dtype, name, examples=70) >= 50


def test_failure_prints_code_that_shows_it() -> None:
    spec, dtype = FAULTS["sign"]
    with pytest.raises(ConformanceError) as caught:
        run_inside(spec, dtype, "snippet", examples=70)
    _, _, code = str(caught.value).partition("To see it, run:\n\n")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "snippet", "exec"), {})
    assert printed.getvalue().startswith("torch: tensor(")


SNIPPETS = [
    {"self": torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45]), "other": 2.5},
    {"self": torch.arange(6.0).reshape(2, 3).t(), "other": torch.tensor(True)},
    {"self": torch.tensor([[1, 2, 3]]).expand(4, 3), "other": math.inf},
    {"self": torch.ones(2, 0, 3, dtype=torch.uint8), "other": 1},
    {"self": torch.tensor(1.5, dtype=torch.bfloat16), "other": torch.ones(2, 4)[:, ::2]},
]


@pytest.mark.parametrize("arguments", SNIPPETS)
def test_snippet_holds_the_very_tensors(arguments: dict[str, Any]) -> None:
    overload = "Tensor" if isinstance(arguments["other"], torch.Tensor) else "Scalar"
    spec = default_registry().by_name[f"aten.mul.{overload}"]
    scope: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(Case(spec, arguments).print_snippet(), "snippet", "exec"), scope)
    for name, value in arguments.items():
        again = scope["arguments"][name]
        if not isinstance(value, torch.Tensor):
            assert again == value
            continue
        assert (again.dtype, again.shape, again.stride()) == (
            value.dtype,
            value.shape,
            value.stride(),
        )
        assert torch.equal(torch.signbit(again), torch.signbit(value))
        torch.testing.assert_close(again, value, rtol=0, atol=0, equal_nan=True)


def sample(spec: OpSpec, dtype: torch.dtype, count: int = 400) -> list[Case]:
    return draw_examples(cases(spec, dtype), "meta", count)


def operands(found: Sequence[Case]) -> list[torch.Tensor]:
    return [tensor for case in found for tensor in case.tensors()]


def test_float_values_cover_what_users_meet() -> None:
    tensors = operands(sample(unary(aten.exp.default, mx.exp), torch.float32))
    flat = torch.cat([t.reshape(-1) for t in tensors])
    tiny = torch.finfo(torch.float32).smallest_normal
    assert flat.isnan().any()
    assert (flat == math.inf).any()
    assert (flat == -math.inf).any()
    assert ((flat == 0) & flat.signbit()).any()
    assert ((flat != 0) & (flat.abs() < tiny)).any()
    assert (flat == torch.finfo(torch.float32).max).any()
    ordinary = [
        t for t in tensors if t.numel() > 3 and t.isfinite().all() and t.unique().numel() > 3
    ]
    assert len(ordinary) > len(tensors) // 4, "awkward values alone hide ordinary errors"


def test_shapes_and_layouts_cover_what_users_meet() -> None:
    tensors = operands(sample(unary(aten.exp.default, mx.exp), torch.float32))
    assert any(t.dim() == 0 for t in tensors)
    assert any(t.dim() == 4 for t in tensors)
    assert any(t.numel() > 60 for t in tensors)
    assert any(0 in t.shape for t in tensors)
    assert sum(0 in t.shape for t in tensors) < len(tensors) // 4
    assert any(not t.is_contiguous() for t in tensors)
    assert any(0 in t.stride() and t.numel() > 1 for t in tensors), "expanded"
    assert any(t.storage_offset() for t in tensors)
    images = [t for t in tensors if t.dim() == 4 and not t.is_contiguous()]
    assert any(t.is_contiguous(memory_format=torch.channels_last) for t in images)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.uint8])
def test_integers_reach_their_extremes(dtype: torch.dtype) -> None:
    spec = replace(unary(aten.neg.default, mx.negative), rules=(Dtype("self", ANY),))
    flat = torch.cat([t.reshape(-1) for t in operands(sample(spec, dtype))])
    assert {torch.iinfo(dtype).min, torch.iinfo(dtype).max} <= set(flat.tolist())


def test_named_dimensions_are_shared() -> None:
    samples = draw(
        self=tensor("*B", "N", "K"), other=tensor("*B", "K", "2*N+1"), groups={"*B": (0, 1)}
    )
    spec = OpSpec(aten.matmul.default, mx.matmul, (Dtype("self", FLOAT),), samples)
    found = sample(spec, torch.float32, 100)
    for case in found:
        left, right = case.arguments["self"].shape, case.arguments["other"].shape
        assert left[:-2] == right[:-2]
        assert left[-1] == right[-2]
        assert right[-1] == 2 * left[-2] + 1
    assert {len(case.arguments["self"].shape) for case in found} == {2, 3}


def test_broadcasting_drops_and_shrinks_dimensions() -> None:
    found = sample(two(aten.add.Tensor, mx.add), torch.float32)
    shapes = [tuple(t.shape for t in case.tensors()) for case in found]
    assert any(len(a) != len(b) for a, b in shapes)
    assert any(len(a) == len(b) and a != b for a, b in shapes)
    for a, b in shapes:
        torch.broadcast_shapes(a, b)


def test_promotion_mixes_dtypes() -> None:
    found = sample(two(aten.add.Tensor, mx.add), torch.float16)
    pairs = [tuple(t.dtype for t in case.tensors()) for case in found]
    assert sum(a == b for a, b in pairs) > len(pairs) // 3
    assert len(set(pairs)) > 4


def test_rules_bound_the_cases() -> None:
    samples = elementwise(dim=Dim(), keepdim=Choice((False, True)))
    rules = (Dtype("self", FLOAT), Rank("self", 2, 3), NonEmpty("self"), OneOf("keepdim", (True,)))
    for case in sample(OpSpec(aten.amax.default, mx.max, rules, samples), torch.float32, 200):
        operand = case.arguments["self"]
        assert operand.dim() in (2, 3)
        assert operand.numel()
        assert case.arguments["keepdim"] is True
        assert -operand.dim() <= case.arguments["dim"] < operand.dim()


def test_negative_dims_and_lists_appear() -> None:
    samples = draw(tensors=TensorList(("A", "B"), along="dim"), dim=Dim("tensors"))
    spec = OpSpec(aten.cat.default, mx.concatenate, (Dtype("tensors", FLOAT),), samples)
    found = sample(spec, torch.float32, 200)
    assert {case.arguments["dim"] for case in found} == {-2, -1, 0, 1}
    assert {len(case.arguments["tensors"]) for case in found} == {1, 2, 3, 4}
    for case in found:
        case.run_torch()


def test_scalars_have_other_categories_and_awkward_values() -> None:
    samples = elementwise(other=Number())
    spec = OpSpec(
        aten.add.Scalar, mx.add, (Dtype("self", ANY),), samples, promotion=Promotion.DEFAULT
    )
    kinds = {type(case.arguments["other"]) for case in sample(spec, torch.int32)}
    assert kinds == {int, float, bool}
    floats = [case.arguments["other"] for case in sample(spec, torch.float32)]
    assert any(math.isnan(value) for value in floats)
    assert any(math.isinf(value) for value in floats)


@pytest.mark.parametrize("name", AVOIDABLE)
def test_a_limitation_leaves_its_class_out(name: str) -> None:
    spec = two(aten.add.Tensor, mx.add)
    found = draw_examples(cases(spec, torch.float32, frozenset({name})), "avoids", 300)
    tensors = [t for t in operands(found) if t.dtype == torch.float32]
    flat = torch.cat([t.reshape(-1) for t in tensors])
    tiny = torch.finfo(torch.float32).smallest_normal
    present = {
        "nan": flat.isnan().any(),
        "inf": flat.isinf().any(),
        "negative_zero": ((flat == 0) & flat.signbit()).any(),
        "subnormal": ((flat != 0) & (flat.abs() < tiny)).any(),
        "zero_size": any(0 in t.shape for t in tensors),
        "rounding": (flat != flat.round()).any(),
        "overflow": (flat.isfinite() & (flat.abs() > 1e18)).any(),
    }
    assert not present[name]
    assert sum(map(bool, present.values())) > (0 if name == "rounding" else 4)


@dataclass(frozen=True)
class Unheard:
    argument: str = "self"


def test_unknown_generator_raises() -> None:
    with pytest.raises(TypeError, match="cannot interpret"):
        draw_argument(
            Unheard(), "self", type("Drawing", (), {"spec": unary(aten.exp.default, mx.exp)})
        )  # type: ignore[arg-type]


def test_unknown_rule_raises() -> None:
    with pytest.raises(TypeError, match="does not know the rule"):
        read_domain(OpSpec(aten.exp.default, mx.exp, (Unheard(),), elementwise()))


def test_entry_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="has no samples"):
        cases(OpSpec(aten.exp.default, mx.exp, (), None), torch.float32)


@pytest.mark.parametrize("spec", default_registry(), ids=lambda spec: spec.name)
def test_every_entry_has_samples_and_dtypes(spec: OpSpec) -> None:
    assert spec.samples is not None, f"{spec.name} has no samples: conformance cannot check it"
    assert list_case_dtypes(spec), f"{spec.name} accepts no dtype"


def test_samples_refused_by_a_rule_fail() -> None:
    alpha = Range("alpha", 3, 4)
    samples = elementwise(other=Integer(1, 2), alpha=Choice((2,)))
    spec = OpSpec(aten.add.Scalar, mx.add, (Dtype("self", FLOAT), alpha), samples)
    with pytest.raises(ConformanceError, match="samples draw what the rules refuse"):
        run_inside(spec, torch.float32, "refused", examples=20)
