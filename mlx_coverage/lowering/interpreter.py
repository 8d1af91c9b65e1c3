"""Run a program with `mlx.core` itself: the oracle for the C++ runtime."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_coverage.lowering import functions
from mlx_coverage.lowering.program import (
    HOST_PREFIX,
    Argument,
    ArrayRef,
    Call,
    DtypeRef,
    Kind,
    NumberRef,
    Program,
    Scalar,
)
from mlx_coverage.registry.mx import import_mlx


def run_program(
    program: Program, inputs: Sequence[Any], constants: Mapping[int, Any], states: list[Any]
) -> list[Any]:
    """Execute a program.

    Args:
        program: as recorded.
        inputs: MLX arrays and ints, in call order.
        constants: MLX arrays by slot (equal bytes share a key, whatever their dtypes).
        states: current values of the states, replaced in place by the new ones.

    Returns:
        Arrays and numbers, in output order.
    """
    arrays: dict[int, Any] = {}
    numbers: dict[int, Any] = {}
    for declared, value in zip(program.inputs, inputs, strict=True):
        (arrays if declared.kind is Kind.TENSOR else numbers)[declared.slot] = value
    arrays |= constants
    arrays |= {s.slot: value for s, value in zip(program.states, states, strict=True)}
    for call in program.calls:
        run_call(call, arrays, numbers)
    for update in program.updates:
        states[update.state] = arrays[update.slot]
    return [
        (arrays if output.kind is Kind.TENSOR else numbers)[output.slot]
        for output in program.outputs
    ]


def run_call(call: Call, arrays: dict[int, Any], numbers: dict[int, Any]) -> None:
    """Execute one call; results go to `numbers` for `host.*` and to `arrays` otherwise."""
    values = [_resolve(argument, arrays, numbers) for argument in call.arguments]
    if call.on_host:
        numbers[call.results[0]] = _compute(call.function, values)
        return
    results = functions.call(call.function, values)
    if not isinstance(results, (list, tuple)):
        results = (results,)
    arrays.update(zip(call.results, results, strict=True))


def _compute(function: str, values: Sequence[Any]) -> Any:
    name = function.removeprefix(HOST_PREFIX)
    if name == "size":
        return values[0].shape[values[1]]
    if name == "item":
        return values[0].item()
    return functions.ARITHMETIC[name](*values)


def _resolve(argument: Argument, arrays: Mapping[int, Any], numbers: Mapping[int, Any]) -> Any:
    if isinstance(argument, ArrayRef):
        return arrays[argument.slot]
    if isinstance(argument, NumberRef):
        return numbers[argument.slot]
    if isinstance(argument, DtypeRef):
        return functions.decode_dtype(argument.code)
    if isinstance(argument, Scalar):
        return import_mlx().array(argument.value, functions.decode_dtype(argument.dtype))
    if isinstance(argument, tuple):
        return [_resolve(item, arrays, numbers) for item in argument]
    return argument
