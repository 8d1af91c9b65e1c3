"""Mutate payloads and run what comes out; run as a process of its own, because it may crash.

    python -m tests.runtime.fuzz PROGRESS_FILE SEED MUTATIONS

Every mutant must be refused cleanly or run; one whose checksum was not mended must, if it
runs, give the original's results. The number of the current mutant is kept in PROGRESS_FILE.
"""

import random
import resource
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import torch

from mlx_coverage import runtime
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import (
    ArrayRef,
    Call,
    Constant,
    DtypeRef,
    NumberRef,
    Program,
    Scalar,
    State,
    Update,
)
from tests.runtime.programs import FLOAT32, INT32, Loaded, make_program, result, tensor, values_of
from tests.runtime.pte import Method, build_pte

HEADER = struct.Struct("<8sIIIIQII")
BODY_SIZE_AT, CRC_AT = 24, 32
INTERESTING = (0, 1, 2, 3, 4, 8, 16, 127, 128, 255)


class Target:
    """A program, its `.pte`, and what it gives."""

    def __init__(self, program: Program, *sizes: tuple[int, ...], data: dict[str, bytes]) -> None:
        self.payload = serialize(program)
        self.data = data
        self.types = values_of(program, *sizes)
        self.pte = self.build(self.payload)
        self.offset = self.pte.index(self.payload)
        generator = torch.Generator().manual_seed(0)
        self.inputs = [
            torch.randint(0, 3, i.dims, generator=generator, dtype=torch.int32)
            if i.dtype == INT32
            else torch.randn(i.dims, generator=generator)
            for i in program.inputs
        ]
        self.expected = Loaded(self.pte).execute(*self.inputs)

    def build(self, payload: bytes) -> bytes:
        return build_pte(Method(payload, *self.types), data=self.data)

    def replace(self, payload: bytes) -> bytes:
        """The `.pte` with another payload of the same size."""
        end = self.offset + len(payload)
        return self.pte[: self.offset] + payload + self.pte[end:]

    def run(self, pte: bytes, is_mended: bool) -> bool:
        """Whether the mutant ran; a crash ends the process."""
        try:
            outputs = Loaded(pte).execute(*self.inputs)
        except RuntimeError:
            return False
        if not is_mended:
            for output, wanted in zip(outputs, self.expected, strict=True):
                torch.testing.assert_close(output, wanted, rtol=0, atol=0, equal_nan=True)
        return True


def attention_target() -> Target:
    """State, attention, constants: a decoder's step."""
    program = make_program(
        inputs=[tensor(0, 1, 2, 1, 8), tensor(1, dtype=INT32)],
        constants=[Constant(2, "weight", FLOAT32, (8, 8))],
        states=[State(3, None, FLOAT32, (1, 2, 4, 8)), State(4, "start", FLOAT32, (1, 2, 4, 8))],
        calls=[
            Call("host.item", (ArrayRef(1),), (0,)),
            Call("host.add", (NumberRef(0), 1), (1,)),
            Call("matmul", (ArrayRef(0), ArrayRef(2)), (5,)),
            Call("fast.rope", (ArrayRef(5), 8, False, 1e4, 1.0, ArrayRef(1), None), (6,)),
            Call(
                "indexing.slice_update",
                (
                    *(ArrayRef(3), ArrayRef(6)),
                    *((0, 0, NumberRef(0), 0), (1, 2, NumberRef(1), 8), (1, 1, 1, 1)),
                ),
                (7,),
            ),
            Call(
                "fast.scaled_dot_product_attention",
                (ArrayRef(5), ArrayRef(7), ArrayRef(4), 0.35, None, None, False),
                (8,),
            ),
            Call("fast.rms_norm", (ArrayRef(8), None, 1e-5), (9,)),
            Call("multiply", (ArrayRef(9), Scalar(0.5, FLOAT32)), (10,)),
        ],
        outputs=[result(10)],
        updates=[Update(0, 7)],
    )
    data = {"weight": torch.eye(8).numpy().tobytes(), "start": bytes(4 * 64)}
    return Target(program, (1, 2, 1, 8), data=data)


def convolution_target() -> Target:
    """Convolution, padding, reductions, views."""
    program = make_program(
        inputs=[tensor(0, 1, 6, 6, 2), tensor(1, 4, 3, 3, 2)],
        calls=[
            Call("conv2d", (ArrayRef(0), ArrayRef(1), (1, 1), (1, 1), (1, 1), 1), (2,)),
            Call("pad", (ArrayRef(2), ((0, 0), (1, 1), (1, 1), (0, 0)), "constant", 0.0), (3,)),
            Call("as_strided", (ArrayRef(3), (3, 3, 4), (64, 8, 1), 2), (4,)),
            Call("max", (ArrayRef(4), (0, 1), True), (5,)),
            Call("reshape", (ArrayRef(5), (2, -1)), (6,)),
            Call("split", (ArrayRef(6), 2, 1), (7, 8)),
            Call("concatenate", ((ArrayRef(7), ArrayRef(8)), 0), (9,)),
            Call("transpose", (ArrayRef(9), (1, 0)), (10,)),
            Call("softmax", (ArrayRef(10), (1,), True), (11,)),
            Call("fft.rfft", (ArrayRef(11), None, -1, "backward"), (12,)),
            Call("abs", (ArrayRef(12),), (13,)),
        ],
        outputs=[result(13)],
    )
    return Target(program, (1, 3), data={})


def indexing_target() -> Target:
    """Gathers, scatters, sorting, creation, host arithmetic."""
    program = make_program(
        inputs=[tensor(0, 5, 4), tensor(1, 3, dtype=INT32)],
        calls=[
            Call("host.size", (ArrayRef(0), 1), (0,)),
            Call("host.mul", (NumberRef(0), 2), (1,)),
            Call("arange", (0, NumberRef(1), 2, DtypeRef(INT32)), (2,)),
            Call("array", ((1, NumberRef(0), 0), DtypeRef(INT32)), (3,)),
            Call("full", ((3, 4), 1.5, DtypeRef(FLOAT32)), (4,)),
            Call("indexing.scatter", (ArrayRef(0), (ArrayRef(1),), ArrayRef(4), "add"), (5,)),
            Call("indexing.gather", (ArrayRef(5), (ArrayRef(3), ArrayRef(1))), (6,)),
            Call("take", (ArrayRef(5), ArrayRef(1), 0), (7,)),
            Call("argsort", (ArrayRef(7), -1), (8,)),
            Call("take_along_axis", (ArrayRef(7), ArrayRef(8), -1), (9,)),
            Call("cumsum", (ArrayRef(9), 1, False, True, None), (10,)),
            Call("where", (True, ArrayRef(10), Scalar(0, INT32)), (11,)),
            Call("tile", (ArrayRef(6), (2, 1)), (12,)),
            Call("roll", (ArrayRef(12), 1, 1), (13,)),
            Call("topk", (ArrayRef(11), 2, -1), (14,)),
            Call("diagonal", (ArrayRef(11), 0, 0, 1), (15,)),
            Call("floor_divide", (ArrayRef(2), Scalar(2, INT32)), (16,)),
        ],
        outputs=[result(11), result(13), result(14), result(15), result(16, INT32)],
    )
    return Target(program, (3, 4), (2, 3), (3, 2), (3,), (4,), data={})


def mend(payload: bytes) -> bytes:
    """The payload with body size and checksum made right."""
    body = payload[HEADER.size :]
    if len(payload) < HEADER.size:
        return payload
    mended = bytearray(payload)
    struct.pack_into("<Q", mended, BODY_SIZE_AT, len(body))
    struct.pack_into("<I", mended, CRC_AT, zlib.crc32(body))
    return bytes(mended)


def mutate(payload: bytes, source: random.Random) -> bytes:
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


def generate(targets: list[Target], seed: int, count: int) -> Iterator[tuple[Target, bytes, bool]]:
    """All truncations of each target, then seeded mutations; the flag: checksum mended."""
    for target in targets:
        for size in range(len(target.payload)):
            cut = target.payload[:size]
            yield target, target.build(cut), False
            if size > HEADER.size:
                yield target, target.build(mend(cut)), True
    source = random.Random(seed)
    for number in range(count):
        target = targets[number % len(targets)]
        mutant = mutate(target.payload, source)
        is_mended = number % 4 != 0
        yield target, target.replace(mend(mutant) if is_mended else mutant), is_mended


def main() -> None:
    """Run every mutant; print how many ran and how many there were."""
    progress, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runtime.load()
    runtime.set_options(max_array_bytes=1 << 24)
    targets = [attention_target(), convolution_target(), indexing_target()]
    ran = total = 0
    with progress.open("w") as file:
        for number, (target, pte, is_mended) in enumerate(generate(targets, seed, count)):
            file.seek(0)
            file.write(f"{number:10}")
            file.flush()
            ran += target.run(pte, is_mended)
            total += 1
    print(ran, total)


if __name__ == "__main__":
    main()
