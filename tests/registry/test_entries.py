"""Every entry of the registry: its names, its schema, its rules."""

import inspect
from collections import Counter
from collections.abc import Callable
from inspect import Parameter
from typing import Any

import pytest
import torch
from torch._ops import OpOverload

from mlx_coverage.registry import default_registry, rules
from mlx_coverage.registry.call import canonicalize, parameters
from mlx_coverage.registry.reasons import BY_SLUG
from mlx_coverage.registry.spec import Family, OpSpec, Registry

ENTRIES = list(default_registry())
ATEN = [spec for spec in ENTRIES if isinstance(spec.target, OpOverload)]


def own_parameters(implementation: Callable[..., Any]) -> dict[str, Parameter]:
    found = dict(inspect.signature(implementation).parameters)
    found.pop("result_dtype", None)  # given by evaluation, not by the schema
    return found


@pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)
def test_target_is_canonical(spec: OpSpec) -> None:
    assert canonicalize(spec.target) == spec.target


@pytest.mark.parametrize("spec", ATEN, ids=lambda spec: spec.name)
def test_parameters_are_the_schemas(spec: OpSpec) -> None:
    names = {name for name, _, _ in parameters(spec.target)}
    assert set(own_parameters(spec.implementation)) <= names


@pytest.mark.parametrize("spec", ATEN, ids=lambda spec: spec.name)
def test_defaults_are_the_schemas(spec: OpSpec) -> None:
    defaults = {name: default for name, _, default in parameters(spec.target)}
    for name, parameter in own_parameters(spec.implementation).items():
        if parameter.default is not Parameter.empty:
            expected = defaults[name]
            if isinstance(expected, list):
                expected, given = tuple(expected), tuple(parameter.default)
            else:
                given = parameter.default
            assert given == expected, f"{name} defaults to {given}, in the schema to {expected}"


@pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)
def test_rules_and_samples_name_arguments_of_the_schema(spec: OpSpec) -> None:
    names = {name for name, _, _ in parameters(spec.target)}
    named = {getattr(rule, "argument", None) for rule in spec.rules} - {None}
    named |= {n for rule in spec.rules for n in getattr(rule, "arguments", ())}
    named |= set(spec.samples.arguments) if spec.samples else set()
    assert named <= names


@pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)
def test_rules_describe_themselves(spec: OpSpec) -> None:
    for rule in spec.rules:
        text = rule.describe()
        assert text
        assert " at 0x" not in text


def test_functions_from_tensors_to_tensors_say_their_dtypes() -> None:
    tensors = {"Tensor", "List[Tensor]"}
    for spec in ATEN:
        schema = spec.target._schema
        takes, gives = ({str(a.type) for a in side} for side in (schema.arguments, schema.returns))
        if takes & tensors and gives & tensors:
            assert any(isinstance(rule, rules.Dtype) for rule in spec.rules), spec.name


def test_predicates_are_under_a_tenth() -> None:
    users = [s.name for s in ENTRIES if any(isinstance(r, rules.Predicate) for r in s.rules)]
    assert len(users) < len(ENTRIES) / 10, users


def test_targets_are_unique() -> None:
    registry = default_registry()
    targets = [spec.target for spec in registry] + [gap.target for gap in registry.gaps]
    assert [target for target, count in Counter(targets).items() if count > 1] == []


def test_a_target_declared_twice_raises() -> None:
    families = [Family("one"), Family("two")]
    for family in families:
        family.add(torch.ops.aten.cos.default, lambda self: self)
    with pytest.raises(ValueError, match="declared twice"):
        Registry(families)


def test_op_that_torch_lacks_has_no_entry() -> None:
    family = Family("named")
    family.op("aten::gone_by_now")(lambda self: self)
    family.op("aten::cos")(lambda self: self)
    assert [spec.target for spec in family.specs] == [torch.ops.aten.cos.default]


def test_gaps_have_a_reason() -> None:
    for gap in default_registry().gaps:
        assert gap.kind in BY_SLUG
        assert gap.why
        assert not gap.why.endswith(".")


@pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)
def test_limitations_and_tolerances_give_reasons(spec: OpSpec) -> None:
    for limitation in spec.limitations:
        assert limitation.what
        assert limitation.why
        assert limitation.device in (None, "cpu", "gpu")
    if spec.tolerance is not None:
        assert spec.tolerance.why


@pytest.mark.parametrize(
    "spec", [s for s in ATEN if s.promotion is not None], ids=lambda spec: spec.name
)
def test_promotion_is_torchs(spec: OpSpec) -> None:
    # Promotion applies to tensors and Scalars; an entry without either has no use for it.
    kinds = {str(argument.type) for argument in spec.target._schema.arguments}
    assert kinds & {"Tensor", "Optional[Tensor]", "List[Tensor]", "number", "Optional[number]"}
