"""The programs that the fuzzer damages: every family of functions, state, numbers, sizes."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from mlx_coverage.lowering import functions
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
from tests.runtime.programs import (
    FLOAT32,
    INT32,
    Loaded,
    leaves,
    make_program,
    record_call,
    result,
    tensor,
    to_torch,
    values_of,
)
from tests.runtime.pte import Method, TensorValue, Value, build_pte
from tests.runtime.samples import SAMPLES


class Target:
    """A program, its `.pte`, and what it gives."""

    def __init__(
        self,
        program: Program,
        *sizes: tuple[int, ...],
        data: dict[str, bytes] | None = None,
        inputs: list[Any] | None = None,
    ) -> None:
        self.program = program
        self.payload = serialize(program)
        self.data = data or {}
        # A dynamic size is 4 here.
        fixed = tuple(
            replace(i, dims=tuple(4 if d < 0 else d for d in i.dims)) for i in program.inputs
        )
        self.types = values_of(replace(program, inputs=fixed), *sizes)
        self.pte = self.build(self.payload)
        self.offset = self.pte.index(self.payload)
        generator = torch.Generator().manual_seed(0)
        self.inputs: list[Any] = inputs or [
            torch.randint(0, 3, i.dims, generator=generator, dtype=torch.int32)
            if i.dtype == INT32
            else torch.randn(i.dims, generator=generator)
            for i in fixed
        ]
        self.expected = Loaded(self.pte).execute(*self.inputs)

    def build(self, payload: bytes) -> bytes:
        """The `.pte` around another payload."""
        return build_pte(Method(payload, *self.types), data=self.data)

    def replace(self, payload: bytes) -> bytes:
        """The same, faster for a payload of the same size."""
        if len(payload) != len(self.payload):
            return self.build(payload)
        end = self.offset + len(payload)
        return self.pte[: self.offset] + payload + self.pte[end:]

    def declare(
        self, inputs: list[Value], outputs: list[Value], data: dict[str, bytes]
    ) -> "Target":
        """The same payload in a `.pte` of other values and data, and inputs that fit them."""
        other = copy.copy(self)
        other.types, other.data = (inputs, outputs), data
        other.pte = other.build(self.payload)
        other.inputs = [_make_input(value) for value in inputs]
        return other

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


def _make_input(value: Value) -> Any:
    if not isinstance(value, TensorValue):
        return value.example
    order = list(value.dim_order or range(len(value.sizes)))
    laid = mx.ones([value.sizes[dim] for dim in order], functions.decode_dtype(value.dtype))
    return to_torch(laid).permute([order.index(dim) for dim in range(len(order))])


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
    """Convolutions, padding, views."""
    program = make_program(
        inputs=[tensor(0, 1, 6, 6, 2), tensor(1, 4, 3, 3, 2)],
        calls=[
            Call("conv2d", (ArrayRef(0), ArrayRef(1), (1, 1), (1, 1), (1, 1), 1), (2,)),
            Call("pad", (ArrayRef(2), ((0, 0), (1, 1), (1, 1), (0, 0)), "constant", 0.0), (3,)),
            Call(
                "conv_general",
                (ArrayRef(0), ArrayRef(1), (2, 1), ((1, 0), (0, 1)), (1, 1), (1, 2), 1, False),
                (4,),
            ),
            Call(
                "conv_transpose2d",
                (ArrayRef(0), ArrayRef(1), (2, 1), (1, 0), (1, 1), (1, 0), 1),
                (5,),
            ),
            Call("as_strided", (ArrayRef(3), (3, 3, 4), (64, 8, 1), 2), (6,)),
            Call("max", (ArrayRef(6), (0, 1), True), (7,)),
            Call("reshape", (ArrayRef(7), (2, -1)), (8,)),
            Call("transpose", (ArrayRef(8), (1, 0)), (9,)),
            Call("sum", (ArrayRef(4), (0, 1, 2), False), (10,)),
            Call("mean", (ArrayRef(5), (0, 1, 2), False), (11,)),
        ],
        outputs=[result(9), result(10), result(11)],
    )
    return Target(program, (2, 2), (4,), (4,))


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
    return Target(program, (3, 4), (2, 3), (3, 2), (3,), (4,))


def quantized_target() -> Target:
    """Packed weights: a product, experts, and quantization itself."""
    weights = mx.array(np.random.default_rng(0).normal(size=(2, 8, 64)).astype(np.float32))
    packed = mx.quantize(weights, 64, 4)
    codes = [functions.encode_dtype(part.dtype) for part in packed]
    data = {f"part{n}": np.array(part).tobytes() for n, part in enumerate(packed)}
    program = make_program(
        inputs=[tensor(0, 2, 64), tensor(1, 2, dtype=INT32)],
        constants=[
            Constant(2 + n, f"part{n}", code, part.shape)
            for n, (part, code) in enumerate(zip(packed, codes, strict=True))
        ],
        calls=[
            Call(
                "gather_qmm",
                (
                    *map(ArrayRef, (0, 2, 3, 4)),
                    None,
                    ArrayRef(1),
                    True,
                    64,
                    4,
                    "affine",
                    None,
                    False,
                ),
                (5,),
            ),
            Call("take", (ArrayRef(2), 1, 0), (6,)),
            Call("take", (ArrayRef(3), 1, 0), (7,)),
            Call("take", (ArrayRef(4), 1, 0), (8,)),
            Call("quantized_matmul", (*map(ArrayRef, (0, 6, 7, 8)), True, 64, 4, "affine"), (9,)),
            Call("dequantize", (*map(ArrayRef, (6, 7, 8)), 64, 4, "affine", None, None), (10,)),
            Call("quantize", (ArrayRef(0), 32, 8, "affine", None), (11, 12, 13)),
        ],
        outputs=[result(5), result(9), result(10), result(12)],
    )
    return Target(program, (2, 2, 8), (2, 8), (8, 64), (2, 2), data=data)


def spectrum_target() -> Target:
    """Transforms, their windows and norms."""
    program = make_program(
        inputs=[tensor(0, 2, 8), tensor(1, 32)],
        calls=[
            Call("fft.rfft", (ArrayRef(0), 6, 1, "ortho"), (2,)),
            Call("fft.irfft", (ArrayRef(2), 8, -1, "forward"), (3,)),
            Call("fft.fft2", (ArrayRef(0), (2, 4), (0, 1), "backward"), (4,)),
            Call("abs", (ArrayRef(4),), (5,)),
            Call("hanning", (8,), (6,)),
            Call(
                "fft.stft",
                (ArrayRef(1), 8, 4, 8, ArrayRef(6), True, "reflect", "backward", True),
                (7,),
            ),
            Call("abs", (ArrayRef(7),), (8,)),
            Call("fft.fftfreq", (6, 0.5), (9,)),
            Call("fft.fftshift", (ArrayRef(0), (1,)), (10,)),
        ],
        outputs=[result(3), result(5), result(8), result(9), result(10)],
    )
    frames = tuple(mx.fft.stft(mx.zeros(32), 8, 4, 8).shape)
    return Target(program, (2, 8), (2, 4), frames, (6,), (2, 8))


def reduction_target() -> Target:
    """Reductions, scans, sorts and norms over axes."""
    program = make_program(
        inputs=[tensor(0, 3, 4, 5), tensor(1, 5)],
        calls=[
            Call("var", (ArrayRef(0), (0, -1), True, 1), (2,)),
            Call("logsumexp", (ArrayRef(0), (1,), False), (3,)),
            Call("argmax", (ArrayRef(0), 1, False), (4,)),
            Call("sort", (ArrayRef(0), 2), (5,)),
            Call("partition", (ArrayRef(5), 2, -1), (6,)),
            Call("cumprod", (ArrayRef(6), 0, True, False, None), (7,)),
            Call("fast.layer_norm", (ArrayRef(7), ArrayRef(1), ArrayRef(1), 1e-5), (8,)),
            Call("softmax", (ArrayRef(8), (1, 2), True), (9,)),
            Call("searchsorted", (ArrayRef(1), ArrayRef(3), "left"), (10,)),
            Call("repeat", (ArrayRef(3), 2, 1), (11,)),
            Call("tril", (ArrayRef(9), -1), (12,)),
            Call("clip", (ArrayRef(12), 0.0, 0.5), (13,)),
            Call("linspace", (0.0, 1.0, 5, True, DtypeRef(FLOAT32)), (14,)),
        ],
        outputs=[result(2), result(11), result(13), result(14)],
    )
    return Target(program, (1, 4, 1), (3, 10), (3, 4, 5), (5,))


def size_target() -> Target:
    """Sizes computed on the host, and shapes made of them."""
    program = make_program(
        inputs=[tensor(0, -1, 4), tensor(1, dtype=INT32)],
        states=[State(2, None, FLOAT32, (4,))],
        calls=[
            Call("host.size", (ArrayRef(0), 0), (0,)),
            Call("host.item", (ArrayRef(1),), (1,)),
            Call("host.floordiv", (NumberRef(0), 2), (2,)),
            Call("host.pow", (NumberRef(2), 2), (3,)),
            Call("host.max", (NumberRef(3), 1), (4,)),
            Call("zeros", ((NumberRef(0), NumberRef(4)), DtypeRef(FLOAT32)), (3,)),
            Call("broadcast_to", (ArrayRef(2), (NumberRef(0), 4)), (4,)),
            Call("add", (ArrayRef(0), ArrayRef(4)), (5,)),
            Call("sum", (ArrayRef(5), (0,), False), (6,)),
            Call("unflatten", (ArrayRef(5), 0, (2, -1)), (7,)),
            Call("eye", (NumberRef(4), None, 0, DtypeRef(FLOAT32)), (8,)),
            Call("concatenate", ((ArrayRef(3), ArrayRef(5)), 1), (9,)),
        ],
        outputs=[result(7), result(8), result(9)],
        updates=[Update(0, 6)],
    )
    return Target(program, (2, 2, 4), (4, 4), (4, 8))


def parts_target() -> Target:
    """Many results, operands and products."""
    parts = tuple(range(2, 302))
    program = make_program(
        inputs=[tensor(0, 300, 2), tensor(1, 2, 2)],
        calls=[
            Call("split", (ArrayRef(0), 300, 0), parts),
            Call("concatenate", (tuple(map(ArrayRef, parts)), 1), (302,)),
            Call("einsum", ("ij,jk->ik", (ArrayRef(0), ArrayRef(1))), (303,)),
            Call("tensordot", (ArrayRef(303), ArrayRef(1), ((1,), (0,))), (304,)),
            Call("addmm", (ArrayRef(1), ArrayRef(1), ArrayRef(1), 1.0, 0.5), (305,)),
            Call("indexing.slice", (ArrayRef(304), (9, 1), (0, -1), (-3, -1)), (306,)),
            Call("kron", (ArrayRef(1), ArrayRef(1)), (307,)),
        ],
        outputs=[result(302), result(305), result(306), result(307)],
    )
    return Target(program, (1, 600), (2, 2), (3, 2), (4, 4))


PROGRAMS = (
    attention_target,
    convolution_target,
    indexing_target,
    quantized_target,
    spectrum_target,
    reduction_target,
    size_target,
    parts_target,
)


def list_function_targets() -> Iterator[Target]:
    """A program of one call for each sample of each function that runs here."""
    for name, samples in SAMPLES.items():
        for args, kwargs in samples:
            bound = list(functions.bind(name, args, kwargs).values())
            wanted = leaves(functions.find_function(name.strip())(*args, **kwargs))
            program = record_call(name, bound, wanted)
            inputs = [to_torch(array) for array in leaves(bound)]
            try:
                yield Target(program, *(a.shape for a in wanted), inputs=inputs)
            except RuntimeError:
                continue  # MLX has no kernel for it on this device
