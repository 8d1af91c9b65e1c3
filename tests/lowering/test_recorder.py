"""The recorder: what implementations do becomes calls, and sizes stay dynamic."""

from collections.abc import Callable
from typing import Any

import mlx.core as real
import pytest

from mlx_coverage.lowering.program import ArrayRef, Call, DtypeRef, NumberRef, Scalar
from mlx_coverage.lowering.recorder import Recorder, RecordError
from mlx_coverage.lowering.symbols import Size, SpecializationError, Traced
from mlx_coverage.registry.mx import mx, recording

FLOAT32 = 6
FLOAT16 = 5


def trace(function: Callable[..., Any], *shapes: Any, dtype: Any = real.float32) -> Recorder:
    """Record `function` on arrays; a shape is a tuple, or a list with one for each witness."""
    witnesses = max((len(s) for s in shapes if isinstance(s, list)), default=1)
    recorder = Recorder(witnesses)
    arrays = [
        recorder.add_array(
            [
                real.zeros(s, dtype)
                for s in (shape if isinstance(shape, list) else [shape] * witnesses)
            ]
        )
        for shape in shapes
    ]
    with recording(recorder):
        function(*arrays)
    return recorder


def test_call_has_every_argument_in_signature_order() -> None:
    (call,) = trace(lambda a: mx.sum(a, axis=1), (2, 3)).calls
    assert call == Call("sum", (ArrayRef(0), 1, False), (1,))


def test_operators_record_mlx_functions() -> None:
    recorder = trace(lambda a, b: -(a + b) * 2 / b, (2,), (2,))
    assert [c.function for c in recorder.calls] == ["add", "negative", "multiply", "divide"]


def test_number_beside_array_gets_mlx_dtype() -> None:
    (call,) = trace(lambda a: a * 0.5, (2,), dtype=real.float16).calls
    assert call.arguments == (ArrayRef(0), Scalar(0.5, FLOAT16))


def test_fused_function_keeps_its_name() -> None:
    (call,) = trace(lambda a: mx.fast.rms_norm(a, None, 1e-5), (2, 8)).calls
    assert call.function == "fast.rms_norm"


def test_several_results_have_a_slot_each() -> None:
    recorder = trace(lambda a: mx.split(a, 3, axis=1), (2, 6))
    assert recorder.calls[0].results == (1, 2, 3)
    assert recorder.arrays[3].shape == (2, 2)


def test_equal_calls_are_recorded_once() -> None:
    def function(a: Traced) -> Any:
        assert mx.exp(a) is mx.exp(a)
        return mx.exp(a) + mx.exp(a)

    assert [c.function for c in trace(function, (2,)).calls] == ["exp", "add"]


def test_equal_numbers_of_other_types_are_other_calls() -> None:
    recorder = trace(lambda a: (mx.clip(a, 0.0, 1.0), mx.clip(a, -0.0, 1.0)), (2,))
    assert len(recorder.calls) == 2


def test_astype_to_own_dtype_records_nothing() -> None:
    assert not trace(lambda a: a.astype(real.float32), (2,)).calls
    (call,) = trace(lambda a: a.astype(real.float16), (2,)).calls
    assert call.arguments == (ArrayRef(0), DtypeRef(FLOAT16))


def test_arrays_are_never_computed() -> None:
    recorder = trace(lambda a: mx.matmul(a, a), (1_000_000, 1_000_000))
    assert recorder.arrays[1].shape == (1_000_000, 1_000_000)


def test_mlx_refuses_in_its_own_words() -> None:
    with pytest.raises(ValueError, match=r"\[matmul\]"):
        trace(lambda a: mx.matmul(a, a), (2, 3))


def test_function_without_row_is_refused() -> None:
    with pytest.raises(RecordError, match="has no row"):
        trace(lambda a: mx.save("file", a), (2,))


def test_unknown_argument_is_refused() -> None:
    with pytest.raises(TypeError):
        trace(lambda a: mx.exp(a, base=2), (2,))


def test_dynamic_size_is_recorded_as_a_number() -> None:
    recorder = trace(lambda a: mx.reshape(a, (a.shape[0] * 2, -1)), [(3, 4), (5, 4)])
    size, double, reshape = recorder.calls
    assert size == Call("host.size", (ArrayRef(0), 0), (0,))
    assert double == Call("host.mul", (NumberRef(0), 2), (1,))
    assert reshape.arguments == (ArrayRef(0), (NumberRef(1), -1))
    assert [tuple(v.shape) for v in recorder.arrays[1].values] == [(6, 2), (10, 2)]


def test_static_size_stays_a_literal() -> None:
    (call,) = trace(lambda a: mx.reshape(a, (-1, a.shape[1] // 2)), [(3, 4), (5, 4)]).calls
    assert call.arguments == (ArrayRef(0), (-1, 2))


def test_unused_arithmetic_on_sizes_is_not_recorded() -> None:
    assert not trace(lambda a: a.shape[0] + 1, [(3,), (5,)]).calls


@pytest.mark.parametrize(
    "freeze",
    [
        lambda size: int(size),
        lambda size: float(size),
        lambda size: size / 2,
        lambda size: size == 3,
        lambda size: size > 4,
        lambda size: bool(size - 3),
    ],
    ids=["int", "float", "truediv", "equal", "greater", "bool"],
)
def test_frozen_size_is_detected(freeze: Callable[[Size], Any]) -> None:
    with pytest.raises(SpecializationError):
        trace(lambda a: freeze(a.shape[0]), [(3,), (5,)])


def test_comparison_that_holds_at_all_sizes_is_answered() -> None:
    def function(a: Traced) -> None:
        assert a.shape[0] > 2
        assert a.shape[0] != 4
        assert not a.shape[0] < 0

    trace(function, [(3,), (5,)])


def test_branch_on_values_is_detected() -> None:
    with pytest.raises(SpecializationError):
        trace(lambda a: 1 if a > 0 else 2, ())


def test_size_in_place_of_an_array_becomes_one() -> None:
    recorder = trace(lambda a: a * a.shape[0], [(3,), (5,)])
    assert [c.function for c in recorder.calls] == ["host.size", "array", "multiply"]


def test_calls_on_constants_are_marked() -> None:
    recorder = Recorder(1)
    weight = recorder.add_array([real.zeros((2, 3))], constant=True)
    x = recorder.add_array([real.zeros((2, 3))])
    with recording(recorder):
        mx.add(mx.exp(weight), x)
    assert recorder.constant_calls == {0}
