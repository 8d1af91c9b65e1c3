"""A recorded MLX program: calls of `mlx.core` functions by name. Plain data.

`payload.py` writes it to bytes, `interpreter.py` runs it with `mlx.core`, and
`runtime/src` runs the bytes. The meaning of each field is in docs/payload.md.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

# Results of functions with this prefix are host numbers, not arrays.
HOST_PREFIX = "host."


class Kind(IntEnum):
    """What an input or output of a program is; the values are the payload's."""

    TENSOR = 0
    INT = 1
    FLOAT = 2
    BOOL = 3


@dataclass(frozen=True)
class ArrayRef:
    """The array in a slot."""

    slot: int


@dataclass(frozen=True)
class NumberRef:
    """The host number in a slot."""

    slot: int


@dataclass(frozen=True)
class DtypeRef:
    """An MLX dtype, by its `c10::ScalarType` number."""

    code: int


@dataclass(frozen=True)
class Scalar:
    """A 0-d array with a literal value, standing where MLX takes an array."""

    value: int | float
    dtype: int


Argument = (
    None | bool | int | float | str | ArrayRef | NumberRef | DtypeRef | Scalar
    | tuple["Argument", ...]
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call: function name, every argument in signature order, result slots."""

    function: str
    arguments: tuple[Argument, ...]
    results: tuple[int, ...]

    @property
    def on_host(self) -> bool:
        """Whether the result is a host number."""
        return self.function.startswith(HOST_PREFIX)

    def references(self) -> Iterator[ArrayRef | NumberRef]:
        """Every slot that the call reads."""
        yield from _references(self.arguments)


@dataclass(frozen=True)
class Input:
    """An input in call order; dtype and dims (-1 dynamic) for tensors."""

    kind: Kind
    slot: int
    dtype: int = 0
    dims: tuple[int, ...] = ()


@dataclass(frozen=True)
class Constant:
    """A weight: array slot and the key of its bytes in ExecuTorch's named data."""

    slot: int
    key: str
    dtype: int
    dims: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """A buffer that lives between calls; key None starts at zeros.

    Attributes:
        name: under which other delegates of the loaded program hold the same buffer.
    """

    slot: int
    key: str | None
    dtype: int
    dims: tuple[int, ...]
    name: str | None = None


@dataclass(frozen=True)
class Output:
    """An output in call order."""

    kind: Kind
    slot: int
    dtype: int = 0


@dataclass(frozen=True)
class Update:
    """After the call, state number `state` holds the array in `slot`."""

    state: int
    slot: int


@dataclass(frozen=True)
class Program:
    """Everything that a delegate runs, weights by reference.

    Attributes:
        arrays, numbers: how many slots of each kind.
    """

    arrays: int
    numbers: int
    inputs: tuple[Input, ...]
    constants: tuple[Constant, ...]
    states: tuple[State, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Output, ...]
    updates: tuple[Update, ...]

    def compact(self) -> "Program":
        """The same program without the slots that nothing fills, as folding leaves them."""
        filled = [item.slot for item in self.inputs if item.kind is Kind.TENSOR]
        counted = [item.slot for item in self.inputs if item.kind is not Kind.TENSOR]
        filled += [item.slot for item in self.constants] + [item.slot for item in self.states]
        for call in self.calls:
            (counted if call.on_host else filled).extend(call.results)
        arrays = {slot: place for place, slot in enumerate(sorted(filled))}
        numbers = {slot: place for place, slot in enumerate(sorted(counted))}

        def move(item: Any) -> Any:
            is_number = getattr(item, "kind", Kind.TENSOR) is not Kind.TENSOR
            return replace(item, slot=(numbers if is_number else arrays)[item.slot])

        return Program(
            arrays=len(arrays),
            numbers=len(numbers),
            inputs=tuple(map(move, self.inputs)),
            constants=tuple(map(move, self.constants)),
            states=tuple(map(move, self.states)),
            calls=tuple(
                Call(
                    call.function,
                    tuple(_move(argument, arrays, numbers) for argument in call.arguments),
                    tuple((numbers if call.on_host else arrays)[slot] for slot in call.results),
                )
                for call in self.calls
            ),
            outputs=tuple(map(move, self.outputs)),
            updates=tuple(map(move, self.updates)),
        )

    def __str__(self) -> str:
        lines = [f"inputs   {', '.join(_show_input(i) for i in self.inputs)}"]
        lines += [f"constant %{c.slot} = {c.key} {c.dims}" for c in self.constants]
        lines += [
            f"state    %{s.slot} = {s.key or 'zeros'} {s.dims} {s.name or ''}" for s in self.states
        ]
        for call in self.calls:
            mark = "$" if call.on_host else "%"
            results = ", ".join(f"{mark}{slot}" for slot in call.results)
            arguments = ", ".join(_show(a) for a in call.arguments)
            lines.append(f"{results} = {call.function}({arguments})")
        for output in self.outputs:
            lines.append(f"output   {'%' if output.kind is Kind.TENSOR else '$'}{output.slot}")
        lines += [f"state[{u.state}] = %{u.slot}" for u in self.updates]
        return "\n".join(lines)


def _move(value: Argument, arrays: Mapping[int, int], numbers: Mapping[int, int]) -> Argument:
    if isinstance(value, ArrayRef):
        return ArrayRef(arrays[value.slot])
    if isinstance(value, NumberRef):
        return NumberRef(numbers[value.slot])
    if isinstance(value, tuple):
        return tuple(_move(item, arrays, numbers) for item in value)
    return value


def _references(value: Argument) -> Iterator[ArrayRef | NumberRef]:
    if isinstance(value, (ArrayRef, NumberRef)):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _references(item)


def _show_input(value: Input) -> str:
    return f"%{value.slot} {value.dims}" if value.kind is Kind.TENSOR else f"${value.slot}"


def _show(value: Argument) -> str:
    if isinstance(value, ArrayRef):
        return f"%{value.slot}"
    if isinstance(value, NumberRef):
        return f"${value.slot}"
    if isinstance(value, DtypeRef):
        return f"dtype {value.code}"
    if isinstance(value, Scalar):
        return f"{value.value!r}:{value.dtype}"
    if isinstance(value, tuple):
        return f"[{', '.join(_show(item) for item in value)}]"
    return repr(value)
