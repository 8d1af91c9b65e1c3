"""Program to payload bytes; the format is specified in docs/payload.md."""

import struct
import zlib
from collections.abc import Iterable
from typing import Any

from mlx_coverage.lowering.program import (
    Argument,
    ArrayRef,
    Call,
    DtypeRef,
    Kind,
    NumberRef,
    Program,
    Scalar,
)  # fmt: skip

MAGIC = b"MLXCOVPG"
FORMAT_VERSION = 2
# From the oldest MLX that the runtime compiles against to the first that may redefine functions.
MLX_MIN = 32_004
MLX_END = 1_000_000
NO_STRING = 0xFFFFFFFF
_HEADER = struct.Struct("<8sIIIIQII")


def serialize(program: Program) -> bytes:
    """The payload of a program: header with CRC, then the body."""
    body = _Writer().write_program(program)
    crc = zlib.crc32(body)
    return _HEADER.pack(MAGIC, FORMAT_VERSION, 0, MLX_MIN, MLX_END, len(body), crc, 0) + body


class _Writer:
    def __init__(self) -> None:
        self._out = bytearray()
        self._strings: dict[str, int] = {}
        self._functions: dict[tuple[str, int], int] = {}

    def write_program(self, program: Program) -> bytes:
        # The tables precede what refers to them, and are complete only after it.
        self._write_values(program)
        sections, self._out = self._out, bytearray()
        functions = [(self._string(name), arity) for name, arity in self._functions]
        self._pack("I", len(self._strings))
        for text in self._strings:
            data = text.encode()
            self._pack("I", len(data))
            self._out += data
        self._pack("I", len(functions))
        for index, arity in functions:
            self._pack("II", index, arity)
        return bytes(self._out + sections)

    def _write_values(self, program: Program) -> None:
        self._pack("II", program.arrays, program.numbers)
        self._pack("I", len(program.inputs))
        for item in program.inputs:
            self._pack("BI", item.kind, item.slot)
            if item.kind is Kind.TENSOR:
                self._type(item.dtype, item.dims)
        self._pack("I", len(program.constants))
        for constant in program.constants:
            self._pack("II", constant.slot, self._string(constant.key))
            self._type(constant.dtype, constant.dims)
        self._pack("I", len(program.states))
        for state in program.states:
            key, name = (
                NO_STRING if text is None else self._string(text)
                for text in (state.key, state.name)
            )
            self._pack("III", state.slot, key, name)
            self._type(state.dtype, state.dims)
        self._pack("I", len(program.calls))
        for call in program.calls:
            self._call(call)
        self._pack("I", len(program.outputs))
        for output in program.outputs:
            self._pack("BI", output.kind, output.slot)
            if output.kind is Kind.TENSOR:
                self._pack("B", output.dtype)
        self._pack("I", len(program.updates))
        for update in program.updates:
            self._pack("II", update.state, update.slot)

    def _call(self, call: Call) -> None:
        key = (call.function, len(call.arguments))
        function = self._functions.setdefault(key, len(self._functions))
        self._pack("II", function, len(call.results))
        self._pack(f"{len(call.results)}I", *call.results)
        self._arguments(call.arguments)

    def _arguments(self, values: Iterable[Argument]) -> None:
        for value in values:
            self._argument(value)

    def _argument(self, value: Argument) -> None:
        if value is None:
            self._pack("B", 0)
        elif isinstance(value, bool):
            self._pack("B", 2 if value else 1)
        elif isinstance(value, int):
            self._pack("Bq", 3, value)
        elif isinstance(value, NumberRef):
            self._pack("BI", 4, value.slot)
        elif isinstance(value, float):
            self._pack("Bd", 5, value)
        elif isinstance(value, str):
            self._pack("BI", 6, self._string(value))
        elif isinstance(value, DtypeRef):
            self._pack("BB", 7, value.code)
        elif isinstance(value, ArrayRef):
            self._pack("BI", 8, value.slot)
        elif isinstance(value, Scalar):
            is_float = isinstance(value.value, float)
            self._pack("BBB", 10, value.dtype, is_float)
            self._pack("d" if is_float else "q", value.value)
        else:
            self._pack("BI", 9, len(value))
            self._arguments(value)

    def _type(self, dtype: int, dims: tuple[int, ...]) -> None:
        self._pack(f"BI{len(dims)}q", dtype, len(dims), *dims)

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _pack(self, layout: str, *values: Any) -> None:
        self._out += struct.pack("<" + layout, *values)
