"""Damage programs and run what comes out, in processes of their own, because they may crash.

    python -m tests.runtime.fuzz SEED MUTATIONS [--functions | --containers] [--first NUMBER]

Every mutant must be refused cleanly or run within a time limit; one whose checksum was not
mended must, if it runs, give the original's results. With --functions the mutants are of programs
of one call, for every function that the runtime knows; with --containers they are `.pte` files,
well formed to ExecuTorch, that declare other values and data than the payload in them was made
for. Prints each mutant that ended its process, and counts: run, tried, crashed.
"""

import argparse
import mmap
import os
import random
import resource
import signal
import struct
import sys
import zlib
from dataclasses import replace
from typing import Any

from mlx_coverage import runtime
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import (
    Argument,
    ArrayRef,
    Call,
    DtypeRef,
    NumberRef,
    Program,
    Scalar,
)
from tests.runtime.pte import NumberValue, TensorValue, Value
from tests.runtime.targets import PROGRAMS, Target, list_function_targets

HEADER = struct.Struct("<8sIIIIQII")
BODY_SIZE_AT, CRC_AT = 24, 32
INTERESTING = (0, 1, 2, 3, 4, 8, 16, 127, 128, 255)
LARGEST_ARRAY = 1 << 24
TIME_LIMIT = 30  # seconds for one mutant

NUMBERS = (0, 1, -1, 2, 3, 7, 64, -(2**31), 2**31 - 1, 2**31 - 2, 2**30, 46341, 65536, 2**32,
           -(2**63), 2**63 - 1)  # fmt: skip
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, -1e300, float("inf"), -float("inf"),
         float("nan"), 2.0**63)  # fmt: skip
DTYPES = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 15, 27, 28, 29)
CONTAINER_DTYPES = (0, 1, 2, 3, 4, 5, 6, 7, 11, 15)  # that ExecuTorch's tensors may have
TEXTS = ("", "x", "causal", "affine", "mxfp4", "nvfp4", "set", "edge", "reflect", "ortho", "same",
         "right", "ij,jk->ik", "i...->...", "->", ",,", "ij->jj")  # fmt: skip


def mend(payload: bytes) -> bytes:
    """The payload with body size and checksum made right."""
    body = payload[HEADER.size :]
    if len(payload) < HEADER.size:
        return payload
    mended = bytearray(payload)
    struct.pack_into("<Q", mended, BODY_SIZE_AT, len(body))
    struct.pack_into("<I", mended, CRC_AT, zlib.crc32(body))
    return bytes(mended)


def damage_bytes(payload: bytes, source: random.Random) -> bytes:
    """A few bytes changed: bits, interesting values, whole numbers, copies of other parts."""
    mutant = bytearray(payload)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        at = source.randrange(len(mutant))
        kind = source.randrange(5)
        if kind == 0:
            mutant[at] ^= 1 << source.randrange(8)
        elif kind == 1:
            mutant[at] = source.choice(INTERESTING)
        elif kind == 2:
            size = source.choice((1, 2, 4, 8))
            value = source.choice((0, 1, 2**31 - 1, 2**31, 2**63, 2**64 - 1, 2**64 - 2))
            mutant[at : at + size] = value.to_bytes(8, "little")[:size]
            del mutant[len(payload) :]
        elif kind == 3:
            mutant[at] = source.randrange(256)
        else:
            other = source.randrange(len(mutant))
            size = min(source.randrange(1, 12), len(mutant) - max(at, other))
            mutant[at : at + size] = mutant[other : other + size]
    mutant.extend(payload[len(mutant) :])
    return bytes(mutant)


def damage_program(program: Program, source: random.Random) -> Program:
    """Arguments of one or two calls replaced by others, well formed and mostly senseless."""
    calls = list(program.calls)
    for _ in range(source.choice((1, 1, 1, 2))):
        at = source.randrange(len(calls))
        arguments = list(calls[at].arguments)
        if not arguments:
            continue
        place = source.randrange(len(arguments))
        arguments[place] = _damage(arguments[place], program, source)
        calls[at] = Call(calls[at].function, tuple(arguments), calls[at].results)
    return replace(program, calls=tuple(calls))


def _damage(value: Argument, program: Program, source: random.Random) -> Argument:
    if isinstance(value, tuple) and value and source.randrange(4):
        at = source.randrange(len(value))
        changes: tuple[tuple[Argument, ...], ...] = (
            (*value[:at], _damage(value[at], program, source), *value[at + 1 :]),
            (*value[:at], _damage(value[at], program, source), *value[at + 1 :]),
            value[:at] + value[at + 1 :],
            (*value, value[at]),
            value[::-1],
        )
        return source.choice(changes)
    number: Any = source.choice(NUMBERS)
    near = value + source.choice((-1, 1)) if type(value) is int and abs(value) < 2**62 else number
    of_its_kind: list[Any] = {
        int: [number, number, near],
        float: [source.choice(REALS)],
        str: [source.choice(TEXTS)],
        DtypeRef: [DtypeRef(source.choice(DTYPES))],
        Scalar: [Scalar(number, source.choice(DTYPES)), Scalar(source.choice(REALS), 6)],
    }.get(type(value), [])
    of_any: list[Any] = [
        *(None, True, number, source.choice(REALS), source.choice(TEXTS), ()),
        *((number,), (number, number), (number,) * 4, ((number, 1), (1, number))),
        ArrayRef(source.randrange(program.arrays)),
        NumberRef(source.randrange(program.numbers)) if program.numbers else number,
        DtypeRef(source.choice(DTYPES)),
        Scalar(number, source.choice(DTYPES)),
        (ArrayRef(source.randrange(program.arrays)),),
    ]
    return source.choice(of_its_kind if of_its_kind and source.randrange(3) else of_any)


def make_mutant(target: Target, source: random.Random) -> tuple[bytes, bool]:
    """The file with a damaged program, and whether its checksum was mended."""
    kind = source.randrange(8)
    if kind < 4:
        return target.replace(serialize(damage_program(target.program, source))), True
    mutant = damage_bytes(target.payload, source)
    if kind == 4:
        return target.replace(mutant), False
    return target.replace(mend(mutant)), True


def damage_container(target: Target, source: random.Random) -> Target:
    """A target whose `.pte` declares other inputs, outputs or named data."""
    inputs, outputs = (list(values) for values in target.types)
    data = dict(target.data)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        if data and not source.randrange(4):
            _damage_data(data, source)
            continue
        values = source.choice((inputs, outputs))
        at = source.randrange(len(values)) if values else 0
        kind = source.randrange(8) if values else 7
        if kind < 5:
            values[at] = _damage_value(values[at], source)
        elif kind == 5:
            del values[at]
        else:
            values.insert(at, _damage_value(source.choice((*inputs, *outputs)), source))
    return target.declare(inputs, outputs, data)


def _damage_data(data: dict[str, bytes], source: random.Random) -> None:
    key = source.choice(sorted(data))
    kept, other = data.pop(key), source.choice(sorted(data) or [key])
    changes = (
        kept[: source.randrange(len(kept) + 1)],
        kept + source.randbytes(source.randrange(1, 64)),
        source.randbytes(len(kept)),
        data.get(other, b""),
    )
    if source.randrange(5):
        data[key] = source.choice(changes)


def _damage_value(value: Value, source: random.Random) -> Value:
    if not isinstance(value, TensorValue) or not source.randrange(6):
        example = source.choice((True, 0, -1, 2**31, 2**62, 0.5, float("nan")))
        return source.choice((NumberValue(example), TensorValue(6, (2, 3))))
    sizes = list(value.sizes)
    at = source.randrange(len(sizes) + 1)
    kind = source.randrange(5)
    if kind == 0:
        return replace(value, dtype=source.choice(CONTAINER_DTYPES))
    if kind == 1:
        sizes.insert(at, source.choice((0, 1, 2, 7)))
        return TensorValue(value.dtype, sizes, dynamic=value.dynamic)
    if kind == 2 and sizes:
        del sizes[min(at, len(sizes) - 1)]
        return TensorValue(value.dtype, sizes, dynamic=value.dynamic)
    if kind == 3 and sizes:
        sizes[min(at, len(sizes) - 1)] = source.choice((0, 1, 2, 3, 5, 8, 40))
        return TensorValue(value.dtype, sizes, dynamic=value.dynamic)
    order = list(range(len(sizes)))
    if 0 not in sizes:  # torch's strides of an empty tensor abort ExecuTorch's binding
        source.shuffle(order)
    return replace(value, dim_order=order, dynamic=bool(source.randrange(2)))


def make_numbered(
    targets: list[Target], seed: int, number: int, containers: bool = False
) -> tuple[Target, bytes, bool]:
    """A mutant by its number, the same in every process: target, file, checksum mended or not."""
    source = random.Random(f"{seed}.{number}")
    target = targets[number % len(targets)]
    if containers:
        target = damage_container(target, source)
        return target, target.pte, True
    if source.randrange(16):
        return target, *make_mutant(target, source)
    cut = target.payload[: source.randrange(len(target.payload))]
    is_mended = source.randrange(2) == 1
    return target, target.build(mend(cut) if is_mended else cut), is_mended


def work(board: mmap.mmap, seed: int, count: int, functions: bool, containers: bool) -> None:
    """Run the mutants from the number on the board on, and keep the board current."""
    runtime.load()
    runtime.set_options(max_array_bytes=LARGEST_ARRAY)
    targets = list(list_function_targets()) if functions else [make() for make in PROGRAMS]
    first, ran = struct.unpack_from("<QQ", board)
    for number in range(first, count):
        struct.pack_into("<QQ", board, 0, number, ran)
        target, pte, is_mended = make_numbered(targets, seed, number, containers)
        signal.alarm(TIME_LIMIT)
        ran += target.run(pte, is_mended)
    signal.alarm(0)
    struct.pack_into("<QQ", board, 0, count, ran)


def main() -> None:
    """Run every mutant; a process that ends early is replaced by one that goes on behind it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seed", type=int)
    parser.add_argument("mutations", type=int)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--functions", action="store_true")
    kind.add_argument("--containers", action="store_true")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    board = mmap.mmap(-1, 16)
    struct.pack_into("<QQ", board, 0, options.first, 0)
    crashed = 0
    while True:
        child = os.fork()
        if child == 0:
            kinds = (options.functions, options.containers)
            work(board, options.seed, options.mutations, *kinds)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        number, ran = struct.unpack_from("<QQ", board)
        if status == 0:
            break
        if os.WIFEXITED(status):
            sys.exit("the mutants do not run: see above")  # an error of Python, of each anew
        crashed += 1
        print(f"mutant {number} ended with status {os.waitstatus_to_exitcode(status)}", flush=True)
        struct.pack_into("<QQ", board, 0, number + 1, ran)
    print(ran, options.mutations, crashed)


if __name__ == "__main__":
    main()
