"""A reader of payloads, written from docs/payload.md alone: the writer's counterpart."""

import struct
import zlib
from typing import Any

from mlx_coverage.lowering.program import (
    Argument,
    ArrayRef,
    Call,
    Constant,
    DtypeRef,
    Input,
    Kind,
    NumberRef,
    Output,
    Program,
    Scalar,
    State,
    Update,
)

HEADER = struct.Struct("<8sIIIIQII")


def read_payload(data: bytes) -> Program:
    """The program in a payload; every byte must be accounted for."""
    magic, version, zero, minimum, end, size, crc, zero_too = HEADER.unpack_from(data)
    body = data[HEADER.size :]
    assert (magic, version, zero, zero_too) == (b"MLXCOVPG", 2, 0, 0)
    assert minimum < end
    assert size == len(body)
    assert crc == zlib.crc32(body)
    reader = _Reader(body)
    program = reader.read_program()
    assert reader.position == len(body)
    return program


class _Reader:
    def __init__(self, body: bytes) -> None:
        self.body, self.position = body, 0

    def read_program(self) -> Program:
        strings = [self._bytes(self._u32()).decode() for _ in range(self._u32())]
        functions = [(strings[self._u32()], self._u32()) for _ in range(self._u32())]
        self.strings = strings
        arrays, numbers = self._u32(), self._u32()
        inputs = tuple(self._input() for _ in range(self._u32()))
        constants = tuple(
            Constant(self._u32(), strings[self._u32()], *self._type()) for _ in range(self._u32())
        )
        states = tuple(self._state() for _ in range(self._u32()))
        calls = tuple(self._call(functions) for _ in range(self._u32()))
        outputs = tuple(self._output() for _ in range(self._u32()))
        updates = tuple(Update(self._u32(), self._u32()) for _ in range(self._u32()))
        return Program(arrays, numbers, inputs, constants, states, calls, outputs, updates)

    def _input(self) -> Input:
        kind, slot = Kind(self._u8()), self._u32()
        return Input(kind, slot, *self._type()) if kind is Kind.TENSOR else Input(kind, slot)

    def _state(self) -> State:
        slot, key, name = self._u32(), self._key(), self._key()
        return State(slot, key, *self._type(), name)

    def _output(self) -> Output:
        kind, slot = Kind(self._u8()), self._u32()
        return Output(kind, slot, self._u8()) if kind is Kind.TENSOR else Output(kind, slot)

    def _call(self, functions: list[tuple[str, int]]) -> Call:
        name, arity = functions[self._u32()]
        results = tuple(self._u32() for _ in range(self._u32()))
        return Call(name, tuple(self._argument() for _ in range(arity)), results)

    def _argument(self) -> Argument:
        tag = self._u8()
        if tag == 9:
            return tuple(self._argument() for _ in range(self._u32()))
        if tag == 10:
            dtype, is_float = self._u8(), self._u8()
            return Scalar(self._unpack("d" if is_float else "q"), dtype)
        simple: dict[int, Any] = {
            0: lambda: None,
            1: lambda: False,
            2: lambda: True,
            3: lambda: self._unpack("q"),
            4: lambda: NumberRef(self._u32()),
            5: lambda: self._unpack("d"),
            6: lambda: self.strings[self._u32()],
            7: lambda: DtypeRef(self._u8()),
            8: lambda: ArrayRef(self._u32()),
        }
        argument: Argument = simple[tag]()
        return argument

    def _type(self) -> tuple[int, tuple[int, ...]]:
        dtype, rank = self._u8(), self._u32()
        return dtype, tuple(self._unpack("q") for _ in range(rank))

    def _key(self) -> str | None:
        index = self._u32()
        return None if index == 0xFFFFFFFF else self.strings[index]

    def _u8(self) -> int:
        return int(self._unpack("B"))

    def _u32(self) -> int:
        return int(self._unpack("I"))

    def _bytes(self, size: int) -> bytes:
        self.position += size
        return self.body[self.position - size : self.position]

    def _unpack(self, code: str) -> Any:
        layout = struct.Struct("<" + code)
        (value,) = layout.unpack(self._bytes(layout.size))
        return value
