"""Small Programs for tests, and running them through the real ExecuTorch runtime."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import torch
from executorch.runtime import Runtime

from mlx_coverage import runtime
from mlx_coverage.lowering import functions
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import (
    ArrayRef,
    Call,
    Constant,
    DtypeRef,
    Input,
    Kind,
    Output,
    Program,
    State,
    Update,
)
from tests.runtime.pte import Method, NumberValue, TensorValue, Value, build_pte

FLOAT32 = 6
INT32 = 3
INT64 = 4


def make_program(
    inputs: Sequence[Input] = (),
    calls: Sequence[Call] = (),
    outputs: Sequence[Output] = (),
    constants: Sequence[Constant] = (),
    states: Sequence[State] = (),
    updates: Sequence[Update] = (),
) -> Program:
    """A Program whose numbers of slots follow from its parts."""
    tensors = [i.slot for i in inputs if i.kind is Kind.TENSOR]
    tensors += [c.slot for c in constants] + [s.slot for s in states]
    numbers = [i.slot for i in inputs if i.kind is not Kind.TENSOR]
    for call in calls:
        (numbers if call.on_host else tensors).extend(call.results)
    return Program(
        arrays=max(tensors, default=-1) + 1,
        numbers=max(numbers, default=-1) + 1,
        inputs=tuple(inputs),
        constants=tuple(constants),
        states=tuple(states),
        calls=tuple(calls),
        outputs=tuple(outputs),
        updates=tuple(updates),
    )


def tensor(slot: int, *dims: int, dtype: int = FLOAT32) -> Input:
    """A tensor input."""
    return Input(Kind.TENSOR, slot, dtype, dims)


def number(slot: int, kind: Kind = Kind.INT) -> Input:
    """A number input."""
    return Input(kind, slot)


def result(slot: int, dtype: int = FLOAT32) -> Output:
    """A tensor output."""
    return Output(Kind.TENSOR, slot, dtype)


class Loaded:
    """A loaded method; loading raises when the backend's `init` refuses."""

    def __init__(self, pte: bytes, method: str = "forward") -> None:
        runtime.load()
        # The method reads from the program's bytes, and does not keep them alive.
        self._program = Runtime.get().load_program(pte)
        self._method = self._program.load_method(method)

    def execute(self, *inputs: Any) -> list[Any]:
        """The outputs for these inputs."""
        return list(self._method.execute(list(inputs)))


def load_payload(
    payload: bytes,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    data: Mapping[str, bytes] | None = None,
) -> Loaded:
    """The loaded method of a `.pte` around one payload."""
    return Loaded(build_pte(Method(payload, inputs, outputs), data=data))


def values_of(
    program: Program, *output_sizes: Sequence[int], numbers: Sequence[int | float | bool] = ()
) -> tuple[list[Value], list[Value]]:
    """The ExecuTorch values of a program whose input sizes are static.

    A number that a method takes can only be the one that it was exported with: `numbers`.
    """
    sizes, given = iter(output_sizes), iter(numbers)
    examples = {Kind.INT: 0, Kind.FLOAT: 0.0, Kind.BOOL: False}

    def describe(item: Input | Output) -> Value:
        if item.kind is not Kind.TENSOR:
            is_input = isinstance(item, Input)
            return NumberValue(next(given) if is_input else examples[item.kind])
        dims = item.dims if isinstance(item, Input) else next(sizes)
        return TensorValue(item.dtype, dims)

    return [describe(i) for i in program.inputs], [describe(o) for o in program.outputs]


def load_program(
    program: Program,
    *output_sizes: Sequence[int],
    data: Mapping[str, bytes] | None = None,
    numbers: Sequence[int | float | bool] = (),
) -> Loaded:
    """The loaded method of a program; the sizes of its tensor outputs in order."""
    inputs, outputs = values_of(program, *output_sizes, numbers=numbers)
    return load_payload(serialize(program), inputs, outputs, data)


def record_call(name: str, arguments: Sequence[Any], expected: Sequence[mx.array]) -> Program:
    """A program of one call whose arrays are inputs and whose results are outputs."""
    inputs: list[Input] = []

    def encode(value: Any) -> Any:
        if isinstance(value, mx.array):
            inputs.append(tensor(len(inputs), *value.shape, dtype=code_of(value)))
            return ArrayRef(len(inputs) - 1)
        if isinstance(value, mx.Dtype):
            return DtypeRef(functions.encode_dtype(value))
        if isinstance(value, (list, tuple)):
            return tuple(encode(item) for item in value)
        return value

    encoded = tuple(encode(value) for value in arguments)
    results = tuple(range(len(inputs), len(inputs) + len(expected)))
    return make_program(
        inputs=inputs,
        calls=[Call(name, encoded, results)],
        outputs=[result(slot, code_of(a)) for slot, a in zip(results, expected, strict=True)],
    )


def code_of(array: mx.array) -> int:
    """The dtype's number in payloads."""
    return functions.encode_dtype(array.dtype)


_VIEWS = {mx.bfloat16: (mx.uint16, torch.bfloat16)}


def to_torch(array: mx.array) -> torch.Tensor:
    """A torch tensor with a copy of an array's values."""
    if array.dtype in _VIEWS:
        raw, dtype = _VIEWS[array.dtype]
        return to_torch(array.view(raw)).view(torch.int16).view(dtype)
    values = np.array(array, order="C")
    # numpy's strides of an array of no elements are 0, which ExecuTorch refuses.
    return torch.from_numpy(values).clone(memory_format=torch.contiguous_format)


def leaves(value: Any) -> list[Any]:
    """The arrays in a nest of lists and tuples, in order."""
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, mx.array) else []


@cache
def softmax_program() -> Program:
    """A small program with several families of functions, for tests that need any program."""
    return make_program(
        inputs=[tensor(0, 2, 3), tensor(1, 3, 4)],
        calls=[
            Call("matmul", (ArrayRef(0), ArrayRef(1)), (2,)),
            Call("softmax", (ArrayRef(2), (1,), False), (3,)),
        ],
        outputs=[result(3)],
    )


def add_program(name: str | None = "n", rows: int = 2) -> Program:
    """Adds its input to the state and returns it."""
    return make_program(
        inputs=[tensor(0, rows)],
        states=[State(1, "start", FLOAT32, (rows,), name)],
        calls=[Call("add", (ArrayRef(1), ArrayRef(0)), (2,))],
        outputs=[result(2)],
        updates=[Update(0, 2)],
    )


def read_program(name: str | None = "n") -> Program:
    """Returns the sum of its input and the state."""
    return make_program(
        inputs=[tensor(0, 2)],
        states=[State(1, "start", FLOAT32, (2,), name)],
        calls=[Call("add", (ArrayRef(1), ArrayRef(0)), (2,))],
        outputs=[result(2)],
    )
