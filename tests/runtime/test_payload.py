"""What the reader refuses, with which sentence."""

import re
import struct
import zlib
from typing import Any

import pytest
import torch

from mlx_coverage import runtime
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import (
    ArrayRef,
    Call,
    Constant,
    DtypeRef,
    Kind,
    NumberRef,
    Output,
    Program,
    State,
    Update,
)
from tests.runtime.programs import (
    FLOAT32,
    INT32,
    load_payload,
    load_program,
    make_program,
    number,
    result,
    softmax_program,
    tensor,
    values_of,
)
from tests.runtime.pte import TensorValue

HEADER = struct.Struct("<8sIIIIQII")


def refuse(payload: bytes, sentence: str, **more: Any) -> None:
    """Loading must fail with a sentence that matches."""
    inputs, outputs = values_of(softmax_program(), (2, 4))
    with pytest.raises(RuntimeError):
        load_payload(payload, inputs, outputs, **more)
    assert re.search(sentence, runtime.last_error()), runtime.last_error()


def with_header(**fields: int | bytes) -> bytes:
    """A good payload with some fields of its header replaced."""
    payload = serialize(softmax_program())
    names = ("magic", "format", "reserved", "mlx_min", "mlx_end", "size", "crc", "reserved2")
    values = dict(zip(names, HEADER.unpack(payload[: HEADER.size]), strict=True))
    return HEADER.pack(*(values | fields).values()) + payload[HEADER.size :]


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"", "expected a program of mlx-coverage, came 0"),
        (b"MLXCOVPG", "expected a program of mlx-coverage"),
        (with_header(magic=b"NOTMLXCV"), "expected a program of mlx-coverage"),
        (with_header(format=3), "format 3 came, this runtime reads format 2: update mlx-coverage"),
        (with_header(format=1), "format 1 came, this runtime reads format 2: lower"),
        (with_header(reserved=1), "reserved"),
        (with_header(reserved2=1), "reserved"),
        (with_header(size=1 << 63), "expected a body of 9223372036854775808 bytes"),
        (with_header(crc=1), "checksum"),
        (
            with_header(mlx_min=1_002_003, mlx_end=2_000_000),
            r"expected MLX from 1\.2\.3 to before 2\.0\.0, came 0\.",
        ),
        (with_header(mlx_min=0, mlx_end=1), "expected MLX"),
    ],
)
def test_header(payload: bytes, sentence: str):
    refuse(payload, sentence)


def seal(body: bytes) -> bytes:
    """A body under a right header."""
    return HEADER.pack(b"MLXCOVPG", 2, 0, 0, 1_000_000_000, len(body), zlib.crc32(body), 0) + body


def test_counts_are_not_believed():
    refuse(seal(struct.pack("<I", 0xFFFFFFFF)), "strings: 4294967295 do not fit in 0 bytes")
    slots = struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 0) + bytes(64)
    refuse(seal(slots), "4294967295 array and 0 number slots do not fit")


def test_bytes_after_the_body():
    body = serialize(softmax_program())[HEADER.size :]
    refuse(seal(body + b"x"), "1 bytes follow")


X = tensor(0, 2, 3)


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        (
            make_program([X], [Call("add", (ArrayRef(0), ArrayRef(1)), (1,))], [result(1)]),
            "slot 1 is read before it is written",
        ),
        (
            make_program([X], [Call("abs", (ArrayRef(0),), (0,))], [result(0)]),
            "slot 0 is written twice",
        ),
        (make_program([X], [Call("no_such", (), (1,))], [result(1)]), "'no_such' is not known"),
        (
            make_program([X], [Call("abs", (ArrayRef(0), 1), (1,))], [result(1)]),
            "'abs' takes 1 arguments here, the payload gives 2",
        ),
        (
            make_program([X], [Call("host.size", (ArrayRef(0), 0), (0, 1))], [result(0)]),
            "host.size: expected 1 result, came 2",
        ),
        (
            make_program(
                [X], [Call("reshape", (ArrayRef(0), (((((1,),),),),)), (1,))], [result(1)]
            ),
            "lists nest deeper than 4",
        ),
        (make_program([X], outputs=[result(7)]), "slot 7 is read before"),
        (make_program([tensor(0, -2)], outputs=[result(0)]), "size -2 of dimension 0"),
        (make_program([tensor(0, 1 << 40)], outputs=[result(0)]), "size 1099511627776"),
        (make_program([tensor(0, dtype=8)], outputs=[result(0)]), "dtype 8 is not known"),
        (make_program([tensor(0, *[1] * 17)], outputs=[result(0)]), "rank 17 is above 16"),
        (
            make_program(
                constants=[Constant(0, "w", FLOAT32, (1 << 30, 1 << 30, 1 << 30))],
                outputs=[result(0)],
            ),
            "size 1073741824 of dimension 2 is out of range",
        ),
        (
            make_program(constants=[Constant(0, "w", FLOAT32, (-1,))], outputs=[result(0)]),
            "size -1",
        ),
        (
            make_program([X], outputs=[result(0)], updates=[Update(0, 0)]),
            "state 0 does not exist or is updated twice",
        ),
        (
            make_program(
                [X],
                states=[State(1, None, FLOAT32, (2, 3))],
                outputs=[result(0)],
                updates=[Update(0, 0), Update(0, 0)],
            ),
            "updated twice",
        ),
    ],
)
def test_body(program: Program, sentence: str):
    refuse(serialize(program), sentence)


CONSTANT = make_program(constants=[Constant(0, "w", FLOAT32, (2,))], outputs=[result(0)])
STATE = make_program(states=[State(0, "w", FLOAT32, (2,))], outputs=[result(0)])


@pytest.mark.parametrize("program", [CONSTANT, STATE])
def test_named_data(program: Program):
    payload = serialize(program)
    refuse(payload, r"\[w\] is not in", data={"other": bytes(8)})
    refuse(payload, r"\[w\] expected 8 bytes of named data, came 4", data={"w": bytes(4)})
    refuse(payload, r"\[w\] expected 8 bytes of named data, came 12", data={"w": bytes(12)})


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (Call("sum", (ArrayRef(0), 7, False), (1,)), r"\[sum\].*axis"),
        (Call("sum", (ArrayRef(0), "x", False), (1,)), r"\[sum\] argument 1: expected a number"),
        (
            Call("take", (ArrayRef(0), 2, 0), (1,)),
            r"\[take\] expected an index of an axis of size 2",
        ),
        (
            Call("as_strided", (ArrayRef(0), (7,), (1,), 0), (1,)),
            r"\[as_strided\] expected a view inside the array's 6 elements",
        ),
        (
            Call("as_strided", (ArrayRef(0), (2,), (-1,), 0), (1,)),
            r"\[as_strided\] expected a view inside",
        ),
        (Call("zeros", ((-1,), DtypeRef(FLOAT32)), (1,)), r"\[zeros\] .*sizes from 0 up"),
        (
            Call("zeros", (((1 << 31) - 1,) * 4, DtypeRef(FLOAT32)), (1,)),
            r"\[zeros\] came to the shape .* above the limit",
        ),
        (Call("split", (ArrayRef(0), 2, 0), (1,)), r"\[split\] expected 1 parts, came 2"),
        (Call("array", (((1, 2), (3,)), DtypeRef(INT32)), (1,)), r"\[array\].*one length"),
        (
            Call("indexing.slice", (ArrayRef(0), (0,), (1,), (1,)), (1,)),
            r"\[indexing.slice\] argument 1: expected 2 ints",
        ),
        (
            Call("indexing.gather", (ArrayRef(0), (ArrayRef(0),)), (1,)),
            r"\[indexing.gather\] expected indices of an integer dtype",
        ),
        (Call("astype", (ArrayRef(0), 3), (1,)), r"\[astype\] argument 1: expected a dtype"),
        (
            Call("abs", ((ArrayRef(0),),), (1,)),
            r"\[abs\] argument 0: expected a number, came a list",
        ),
    ],
)
def test_arguments_that_do_not_fit(call: Call, sentence: str):
    method = load_program(make_program([X], [call], [result(1)]), (2, 3))
    with pytest.raises(RuntimeError):
        method.execute(torch.ones(2, 3))
    assert re.search(sentence, runtime.last_error()), runtime.last_error()


def test_inputs_and_outputs_that_do_not_fit():
    program = softmax_program()
    inputs, outputs = values_of(program, (2, 4))
    payload = serialize(program)

    def refuse_run(expected: str, *values: torch.Tensor, **types: Any) -> None:
        method = load_payload(payload, types.get("inputs", inputs), types.get("outputs", outputs))
        with pytest.raises(RuntimeError):
            method.execute(*values)
        assert re.search(expected, runtime.last_error()), runtime.last_error()

    a, b = torch.ones(2, 3), torch.ones(3, 4)
    refuse_run(
        r"\[input 0\] expected mlx.core.float32, came scalar type 3|\[input 0\] expected float32",
        *(a.int(), b),
        inputs=[TensorValue(INT32, (2, 3)), inputs[1]],
    )
    refuse_run(
        r"\[input 0\] expected size 2 in dimension 0, came 3",
        *(torch.ones(3, 3), b),
        inputs=[TensorValue(FLOAT32, (3, 3)), inputs[1]],
    )
    refuse_run(
        r"\[input 0\] expected 2 dimensions, came 1",
        *(torch.ones(6), b),
        inputs=[TensorValue(FLOAT32, (6,)), inputs[1]],
    )
    refuse_run(r"\[output 0\] expected scalar type 3", a, b, outputs=[TensorValue(INT32, (2, 4))])
    refuse_run(r"\[output 0\] the tensor cannot be", a, b, outputs=[TensorValue(FLOAT32, (2, 3))])
    refuse_run(r"expected 3 arguments, came 4", a, b, outputs=[*outputs, *outputs])


def test_new_state_must_fit():
    program = make_program(
        inputs=[X],
        states=[State(1, None, FLOAT32, (3, 2))],
        outputs=[result(0)],
        updates=[Update(0, 0)],
    )
    method = load_program(program, (2, 3))
    with pytest.raises(RuntimeError):
        method.execute(torch.ones(2, 3))
    assert re.search(r"\[state 0\] expected \(3,2\)", runtime.last_error())


def test_float_is_not_an_int_output():
    program = make_program(
        inputs=[X, number(0)],
        calls=[Call("host.truediv", (NumberRef(0), 2), (1,))],
        outputs=[Output(Kind.INT, 1)],
    )
    with pytest.raises(RuntimeError):
        load_program(program, numbers=(5,)).execute(torch.ones(2, 3), 5)
    assert runtime.last_error() == "[output 0] expected an int, came 2.5."
