"""Fixes: tried on the program, run by the native runtime, and compared with eager torch."""

import gc
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._decomp import decomposition_table

from mlx_coverage.analyze import equivalents
from mlx_coverage.analyze.capture import export_methods, lower_methods, plan_methods
from mlx_coverage.analyze.comparison import compare
from mlx_coverage.analyze.equivalents import EQUIVALENTS, list_exchanges
from mlx_coverage.analyze.execution import load_methods, store
from mlx_coverage.analyze.fixes import Fixes, add_fixes, find_fixes, try_fixes
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import Fix
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.lowering import backend
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry import reasons
from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.ops import FAMILIES
from mlx_coverage.registry.rules import Dtype, Predicate
from mlx_coverage.registry.spec import Family, Registry
from mlx_coverage.report.text import render_text
from tests.analyze import fixable

FILTER = ("aten.convolution.default", "op/dynamic-argument")
SMOOTHING = ("aten._upsample_bilinear2d_aa.default", "op/no-entry")
WITHOUT_SMOOTHING = Registry(
    [
        replace(family, specs=[spec for spec in family.specs if spec.name != SMOOTHING[0]])
        for family in FAMILIES
    ]
)
MEAN = ("aten.mean.dim", "op/dtype")
FLOATS_ALONE = Registry(
    [
        replace(
            family,
            specs=[
                replace(spec, rules=(*spec.rules, Dtype("self", FLOAT)))
                if spec.name == MEAN[0]
                else spec
                for spec in family.specs
            ],
        )
        for family in FAMILIES
    ]
)


class IntegerMean(nn.Module):
    """torch's decomposition casts first."""

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


def find(
    module: nn.Module, *args: Tensor, shapes: Any = None, registry: Registry | None = None
) -> dict[tuple[str, str], tuple[Fix, ...]]:
    return search(module, *args, shapes=shapes, registry=registry).findings


def search(
    module: nn.Module, *args: Tensor, shapes: Any = None, registry: Registry | None = None
) -> Fixes:
    methods = {"forward": Exportable(module.eval(), args, {}, shapes)}
    make = partial(MLXPartitioner, registry=registry)
    programs = export_methods(methods)
    planned = plan_methods(programs, make)
    return find_fixes(methods, programs, planned, make)["forward"]


INTEGERS = torch.tensor([[7, -3, 12, 5], [1, 0, -9, 4]])


def test_decomposition_is_verified() -> None:
    (fix,) = find(IntegerMean(), INTEGERS, registry=FLOATS_ALONE)[MEAN]
    assert (fix.kind, fix.verified) == ("decomposition", True)
    assert fix.gained == 3
    assert fix.error is not None
    assert fix.error < 1e-6


def test_partitioner_applies_decompositions() -> None:
    programs = export_methods({"forward": Exportable(IntegerMean(), (INTEGERS,))})
    lowering = lower_methods(
        programs, partial(MLXPartitioner, registry=FLOATS_ALONE, fix_decompositions=True)
    )
    plan = lowering.plans["forward"]
    assert (len(plan.partitions), plan.delegated) == (1, len(plan.placements))
    with store(lowering.program) as path:
        found = load_methods(path)["forward"]([INTEGERS])
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
    found = find(IntegerMean(), INTEGERS, registry=FLOATS_ALONE)
    assert [fix.verified for fix in found.get(MEAN, ())] == ([True] if factor == 1 else [])


def test_line_without_its_cast_is_verified() -> None:
    model = Doubles()
    before = model(torch.ones(1)).dtype, Doubles.forward.__code__
    gc.freeze()  # as the command line does before it opens a model
    found = search(model, torch.tensor([[0.3, -2.0, 5.0]]))
    (fix,) = found.findings["aten.tanh.default", "op/dtype"]
    assert (fix.kind, fix.verified) == ("cast", True)
    assert fix.partitions_saved == 1
    assert fix.title.startswith("Delete `.double()` (tests/analyze/test_fixes.py:")
    old, new = fix.change.splitlines()
    assert old == "- return x.cos().double().tanh().exp().float().sin()"
    assert new == "+ return x.cos().tanh().exp().float().sin()"
    assert found.findings["aten._to_copy.default", "op/dtype"] == (fix,)
    # The code is the user's again.
    assert (model(torch.ones(1)).dtype, Doubles.forward.__code__) == before


def test_cast_of_integers_is_narrowed_and_not_deleted() -> None:
    class Ratio(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.to(torch.float64).cos().float()

    (fix,) = find(Ratio(), INTEGERS)["aten.cos.default", "op/dtype"]
    assert fix.verified
    assert fix.change.splitlines()[1] == "+ return x.float().cos().float()"


def test_cast_in_a_library_is_tried_in_the_graph() -> None:
    scope: dict[str, Any] = {"nn": nn}
    exec("class Model(nn.Module):\n  def forward(self, x): return x.double().tanh().float()", scope)
    (fix,) = find(scope["Model"](), torch.ones(3))["aten.tanh.default", "op/dtype"]
    assert fix.verified
    assert fix.title == "Compute in float32 instead of float64."


def test_all_fixes_are_tried_together() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.doubles = Doubles()

        def forward(self, x: Tensor) -> Tensor:
            return self.doubles(x.float()) + x.mean(1, keepdim=True, dtype=torch.float32)

    found = search(Wide(), INTEGERS, registry=FLOATS_ALONE)
    assert {fix.kind for fixes in found.findings.values() for fix in fixes} == {
        "cast",
        "decomposition",
    }
    assert "2 verified fixes; with all of them" in found.summary
    assert "1 partition instead of" in found.summary
    assert "verified forward: " in found.summary


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU()), ""),
        (fixable.Stuck(), "no fix was found: nothing that was tried brings a node to MLX"),
    ],
)
def test_nothing_found_is_said(model: nn.Module, says: str) -> None:
    found = search(model, torch.randn(3, 4))
    assert found.findings == {}
    assert found.summary == says


def test_cast_at_inputs_and_outputs_is_verified_as_float32() -> None:
    found = find(DoubleMatmul(), torch.linspace(-2, 3, 8, dtype=torch.float64).view(2, 4))
    (fix,) = found["aten.tanh.default", "op/dtype"]
    assert fix.verified
    assert fix.error is not None
    assert 1e-10 < fix.error < 1e-4  # it is not computed in float64


@pytest.mark.parametrize("named", [True, False])
def test_static_dimension_is_verified_and_the_others_stay_dynamic(named: bool) -> None:
    shapes = fixable.FILTERED if named else tuple(fixable.FILTERED.values())
    (fix,) = find(fixable.Filter(), torch.randn(2, 6), shapes=shapes)[FILTER]
    assert (fix.kind, fix.verified, fix.partitions_saved) == ("static", True, 1)
    assert fix.change == 'dynamic_shapes["x"][1] = Dim.STATIC  # always 6'


def test_sizes_that_depend_on_data_cannot_be_made_static() -> None:
    class Kept(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            kept = torch.nonzero(x).shape[0]
            torch._check(kept < 9)
            return nn.functional.conv1d(x[None], torch.ones(kept)[None, None])

    assert FILTER not in find(Kept(), torch.ones(4))


def test_overload_is_verified() -> None:
    (fix,) = find(fixable.Smoother(), torch.randn(1, 2, 16, 12), registry=WITHOUT_SMOOTHING)[
        SMOOTHING
    ]
    assert (fix.kind, fix.verified, fix.gained) == ("overload", True, 1)
    assert "aten._upsample_bilinear2d_aa.vec(input, output_size" in fix.change


def test_overload_that_lacks_an_argument_is_not_tried() -> None:
    class Scaled(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return fixable.aten._upsample_bilinear2d_aa.default(image, [5, 6], False, 0.3, 0.5)

    assert find(Scaled(), torch.randn(1, 2, 16, 12), registry=WITHOUT_SMOOTHING) == {}


MODULES = {
    "aten._trilinear.default": (fixable.Gate, (torch.randn(3, 4), torch.randn(3, 6))),
    "aten.embedding_renorm.default": (fixable.Lookup, (torch.randint(10, (2, 5)),)),
}


@pytest.mark.parametrize("op", MODULES)
def test_equivalent_module_is_verified(op: str) -> None:
    kind, args = MODULES[op]
    model = kind()
    before = {name: type(module) for name, module in model.named_modules()}
    found = find(model, *args)
    (fix,) = next(fixes for (name, _), fixes in found.items() if name == op)
    assert (fix.kind, fix.verified) == ("module", True)
    assert fix.error is not None
    assert fix.error < 1e-6
    # The user's model is as it was.
    assert {name: type(module) for name, module in model.named_modules()} == before


@pytest.mark.parametrize("kind", EQUIVALENTS, ids=lambda kind: kind.__name__)
def test_shown_code_makes_the_equivalent(kind: type[nn.Module]) -> None:
    """What the report prints is code that a user can paste."""
    given = {nn.Bilinear: (4, 6, 5), nn.Embedding: (10, 4, 0, 0.5)}[kind]
    old = kind(*given).eval()
    inputs = {
        nn.Bilinear: (torch.randn(2, 3, 4), torch.randn(2, 3, 6)),
        nn.Embedding: (torch.randint(10, (2, 5)),),
    }[kind]
    (exchange,) = list_exchanges(old, frozenset({""}))
    scope: dict[str, Any] = {"nn": nn, "F": nn.functional, "Tensor": Tensor}
    exec(exchange.code, scope)
    new = scope[EQUIVALENTS[kind].__name__](old)
    torch.testing.assert_close(new(*inputs), old(*inputs))


def test_module_that_is_not_equivalent_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_rows(old: nn.Embedding) -> nn.Embedding:
        """With other rows."""
        return nn.Embedding(old.num_embeddings, old.embedding_dim)

    monkeypatch.setattr(equivalents, "EQUIVALENTS", {nn.Embedding: forget_rows})
    assert find(fixable.Lookup(), torch.randint(10, (2, 5))) == {}


def test_modules_in_training_are_left_alone() -> None:
    assert list(list_exchanges(nn.Bilinear(2, 2, 2), frozenset({""}))) == []


def test_modules_that_are_refused_apart_are_verified_together() -> None:
    model = fixable.Both()
    before = {name: type(module) for name, module in model.named_modules()}
    found = find(model, torch.randn(3, 4), torch.randn(3, 6), torch.randint(10, (3,)))
    (fix,) = found["aten._trilinear.default", "op/no-entry"]
    (renorm,) = (known for (op, _), known in found.items() if op == "aten.embedding_renorm.default")
    assert renorm == (fix,)
    assert (fix.kind, fix.verified) == ("module", True)
    assert fix.title.startswith("Replace gate.mix: ")
    assert "Replace lookup.table: " in fix.title
    assert "class BilinearAsLinear" in fix.change
    assert "def cut_rows" in fix.change
    assert {name: type(module) for name, module in model.named_modules()} == before


def test_program_that_is_refused_all_the_same_is_not_verified() -> None:
    class Gamma(nn.Module):
        """No module to be replaced, and outside core ATen."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.lgamma(x)

    gate = fixable.Gate()
    gate.head.append(Gamma())
    found = find(gate, torch.randn(3, 4), torch.randn(3, 6))
    (fix,) = found["aten._trilinear.default", "op/no-entry"]
    assert not fix.verified
    assert "not run: ExecuTorch refuses ops outside core ATen" in fix.evidence


@torch.library.custom_op("fixable::tail", mutates_args=())
def tail(x: Tensor) -> Tensor:
    return x.flatten()[x.numel() // 2 :].clone()


tail.register_fake(lambda x: x.new_empty(x.numel() - x.numel() // 2))


class Tail(nn.Module):
    """Its op has an entry for row-major operands only, and its input is not."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.fixable.tail.default(x).sin()


@pytest.mark.parametrize("factor", [1, 2])
def test_contiguous_is_verified_or_not_shown(monkeypatch: pytest.MonkeyPatch, factor: int) -> None:
    family = Family("layouts")
    family.add(
        torch.ops.fixable.tail.default,
        lambda x: mx.multiply(mx.split(mx.reshape(x, (-1,)), 2)[1], factor),
        rules=[Predicate(lambda call: call.arguments["x"].is_contiguous(), reasons.LAYOUT, "")],
    )
    registry = Registry([*FAMILIES, family])
    monkeypatch.setattr(backend, "default_registry", lambda: registry)
    x = torch.randn(2, 4, 3, 5).to(memory_format=torch.channels_last)
    found = find(Tail(), x, registry=registry).get(("fixable.tail.default", "op/layout"), ())
    assert [(fix.kind, fix.verified, fix.gained) for fix in found] == (
        [("contiguous", True, 2)] if factor == 1 else []
    )


def test_without_weights_a_fix_is_a_proposal() -> None:
    with torch.device("meta"):
        methods = {"forward": Exportable(DoubleMatmul(), (torch.ones(2, 4, dtype=torch.float64),))}
    programs = export_methods(methods)
    planned = plan_methods(programs, MLXPartitioner)
    fixes = find_fixes(methods, programs, planned, MLXPartitioner)
    (fix,) = fixes["forward"].findings["aten.tanh.default", "op/dtype"]
    assert not fix.verified
    assert fix.error is None
    assert "meta tensors" in fix.evidence
    report = add_fixes(summarize("model", planned), fixes)
    assert "not verified" in render_text(report)


def test_search_that_breaks_leaves_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"forward": Exportable(IntegerMean(), (INTEGERS,))}
    make = partial(MLXPartitioner, registry=FLOATS_ALONE)
    programs = export_methods(methods)
    planned = plan_methods(programs, make)

    def lose(*args: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("mlx_coverage.analyze.fixes.verify_lowered", lose)
    found = try_fixes(methods, programs, planned, make)
    report = add_fixes(summarize("model", planned), *found)
    assert report.missing == ("fixes: KeyError: 'lost'",)
    assert report.methods[0].findings[0].fixes == ()
