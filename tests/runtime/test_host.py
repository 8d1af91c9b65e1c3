"""The `host.*` rows against Python's own arithmetic."""

import math
import operator
from collections.abc import Callable

import pytest
import torch

from mlx_coverage import runtime
from mlx_coverage.lowering.program import ArrayRef, Call, Kind, NumberRef, Output
from mlx_coverage.registry.mx import keep_within
from mlx_coverage.runtime.functions import names
from tests.runtime.programs import INT64, load_program, make_program, tensor

Number = int | float

PYTHON: dict[str, Callable[..., Number]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "truediv": operator.truediv,
    "mod": operator.mod,
    "pow": operator.pow,
    "min": min,
    "max": max,
    "neg": operator.neg,
    "int": int,
    "float": float,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "where": lambda condition, a, b: a if condition else b,
    "within": keep_within,
}
INTS = (-7, -2, -1, 0, 1, 2, 3, 7, 2**62, -(2**63), 2**63 - 1)
FLOATS = (-7.5, -2.5, -0.5, 0.0, 0.5, 1.5, 2.5, 1e300, -3.0)


def operands(name: str) -> list[tuple[Number, ...]]:
    """Pairs of every kind for binary functions, single numbers for unary ones."""
    numbers = (*INTS, *FLOATS)
    if name == "within":
        return [(value, -2, 3) for value in INTS]
    if name == "where":
        return [(1, 2, 3), (0, 2, 3), (0.0, 2.5, 3)]
    if names()[f"host.{name}"] == 1:
        return [(n,) for n in numbers]
    return [(a, b) for a in numbers for b in numbers]


def compute(name: str, values: tuple[Number, ...]) -> Number | None:
    """Python's answer, or None where Python or 64 bits have none."""
    if name == "pow" and isinstance(values[1], int) and values[1] > 64:
        return None  # Python would take for ever
    try:
        value = PYTHON[name](*values)
    except (ArithmeticError, ValueError):
        return None
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return None
    return value


def run(name: str, values: tuple[Number, ...], kind: Kind) -> Number:
    """The runtime's answer."""
    program = make_program(
        inputs=[tensor(0, 1)],
        calls=[Call(f"host.{name}", values, (0,))],
        outputs=[Output(kind, 0)],
    )
    (value,) = load_program(program).execute(torch.ones(1))
    return value


def test_every_host_row_is_here():
    arithmetic = {n.removeprefix("host.") for n in names() if n.startswith("host.")}
    assert arithmetic == {*PYTHON, "size", "item"}


@pytest.mark.parametrize("name", PYTHON)
def test_row_equals_python(name: str):
    checked = 0
    cases = operands(name)
    for values in cases[::3] if len(cases) > 100 else cases:
        wanted = compute(name, values)
        if wanted is None:
            continue
        kind = Kind.FLOAT if isinstance(wanted, float) else Kind.INT
        came = run(name, values, kind)
        assert came == pytest.approx(wanted, rel=1e-15), values
        checked += 1
    assert checked > 2


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("add", (2**63 - 1, 1), "[host.add] the result does not fit in 64 bits."),
        ("mul", (2**62, 2), "[host.mul] the result does not fit in 64 bits."),
        ("neg", (-(2**63),), "[host.neg] the result does not fit in 64 bits."),
        ("floordiv", (-(2**63), -1), "[host.floordiv] the result does not fit in 64 bits."),
        ("pow", (3, 60), "[host.pow] the result does not fit in 64 bits."),
        ("floordiv", (1, 0), "[host.floordiv] division by zero."),
        ("mod", (1, 0.0), "[host.mod] division by zero."),
        ("truediv", (1, 0), "[host.truediv] division by zero."),
        ("pow", (0, -1), "[host.pow] division by zero."),
        ("int", (float("nan"),), "[host.int] the result does not fit in 64 bits."),
        ("round", (1e300,), "[host.round] the result does not fit in 64 bits."),
    ],
)
def test_errors(name: str, values: tuple[Number, ...], sentence: str):
    with pytest.raises(RuntimeError):
        run(name, values, Kind.INT)
    assert runtime.last_error() == sentence


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.tensor([-5]), Kind.INT),
        (torch.tensor([True]), Kind.INT),
        (torch.tensor([200], dtype=torch.uint8), Kind.INT),
        (torch.tensor(2.5), Kind.FLOAT),
        (torch.tensor(0.1, dtype=torch.float64), Kind.FLOAT),
        (torch.tensor(2.5, dtype=torch.bfloat16), Kind.FLOAT),
    ],
)
def test_item(value: torch.Tensor, kind: Kind):
    from mlx_coverage.registry.dtypes import SCALAR_TYPES

    program = make_program(
        inputs=[tensor(0, *value.shape, dtype=SCALAR_TYPES[value.dtype])],
        calls=[Call("host.item", (ArrayRef(0),), (0,))],
        outputs=[Output(kind, 0)],
    )
    assert load_program(program).execute(value) == [value.item()]


def test_size():
    program = make_program(
        inputs=[tensor(0, 2, 3, dtype=INT64)],
        calls=[
            Call("host.size", (ArrayRef(0), -1), (0,)),
            Call("host.add", (NumberRef(0), 1), (1,)),
        ],
        outputs=[Output(Kind.INT, 0), Output(Kind.INT, 1)],
    )
    assert load_program(program).execute(torch.zeros(2, 3, dtype=torch.int64)) == [3, 4]
