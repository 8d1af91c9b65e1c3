"""What a `.pte` says of itself: methods, inputs, backends and fallback kernels. Nothing is run."""

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from executorch.exir import schema
from executorch.exir._serialize._flatbuffer_program import _flatbuffer_to_program
from executorch.exir._serialize._program import _get_extended_header

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.registry.dtypes import SCALAR_TYPES

_HEADER = 64
_IDENTIFIER = slice(4, 6)  # "ET", then two digits of the format's version
_DTYPES = {code: dtype for dtype, code in SCALAR_TYPES.items()} | {7: torch.float64}


@dataclass(frozen=True)
class Input:
    """One input of a method.

    Attributes:
        dtype: of a tensor; None for a number, a bool or None.
        shape: of a tensor, at its upper bounds where it is dynamic.
        dynamic: whether smaller shapes are accepted.
        value: of an input that is not a tensor: the only one that the program accepts.
        dim_order: of a tensor: its dimensions from the outermost in memory to the innermost.
    """

    dtype: torch.dtype | None
    shape: tuple[int, ...] = ()
    dynamic: bool = False
    value: Any = None
    dim_order: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.dtype is None:
            return repr(self.value)
        bound = ", or smaller" if self.dynamic else ""
        return f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}{bound}"


@dataclass(frozen=True)
class Method:
    """One method of a program file.

    Attributes:
        name: of the method.
        inputs: in order.
        backends: ids of the backends of its delegates, each once.
        kernels: ops that it runs by kernels of the ExecuTorch runtime.
    """

    name: str
    inputs: tuple[Input, ...]
    backends: tuple[str, ...]
    kernels: tuple[str, ...]


def read_program(path: Path) -> tuple[Method, ...]:
    """The methods of a `.pte`.

    Raises:
        InputError: the file is missing, or no ExecuTorch program.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; accepted: an ExecuTorch program (.pte)")
    if path.stat().st_size < _HEADER:
        raise InputError(f"{path} is no ExecuTorch program: it is too short; export it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[_IDENTIFIER] != b"ET":
            raise InputError(f"{path} is no ExecuTorch program; accepted: a .pte")
        header = _get_extended_header(data[:_HEADER])
        size = header.program_size if header is not None else len(data)
        try:
            program = _flatbuffer_to_program(data[:size])
            return tuple(_read_method(plan) for plan in program.execution_plan)
        except Exception as error:
            raise InputError(f"{path} is damaged; export it again") from error


def fingerprint(path: Path) -> str:
    """Names a program and its weights: a digest of all but the weights, which holds theirs."""
    with path.open("rb") as file:
        header = _get_extended_header(file.read(_HEADER))
        file.seek(0)
        data = file.read(header.program_size if header is not None else -1)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def choose_method(path: Path, methods: Sequence[Method], name: str | None) -> Method:
    """The method of that name; without one `forward`, or the only one.

    Raises:
        InputError: there is none, or several.
    """
    known = {method.name: method for method in methods}
    wanted = name or ("forward" if "forward" in known else next(iter(known), ""))
    if wanted not in known or (name is None and wanted != "forward" and len(known) > 1):
        what = f"has no method {name!r}" if name else "has several methods"
        raise InputError(f"{path} {what}; accepted: --method {' or '.join(known)}")
    return known[wanted]


def draw_inputs(method: Method) -> list[Any]:
    """Random inputs, the same each time: normally distributed floats, zeros and ones."""
    generator = torch.Generator().manual_seed(0)

    def draw(given: Input) -> Any:
        if given.dtype is None:
            return given.value
        if given.dtype.is_floating_point:
            return torch.randn(given.shape, generator=generator).to(given.dtype)
        # Zeros and ones are in range of any index, mask or token.
        return torch.randint(0, 2, given.shape, generator=generator).to(given.dtype)

    return [draw(given) for given in method.inputs]


def _read_method(plan: schema.ExecutionPlan) -> Method:
    return Method(
        name=plan.name,
        inputs=tuple(_read_input(plan.values[index].val) for index in plan.inputs),
        backends=tuple(dict.fromkeys(delegate.id for delegate in plan.delegates)),
        kernels=tuple(
            f"{op.name}.{op.overload}" if op.overload else op.name for op in plan.operators
        ),
    )


def _read_input(value: Any) -> Input:
    if isinstance(value, schema.Tensor):
        dynamic = value.shape_dynamism != schema.TensorShapeDynamism.STATIC
        dtype, order = _DTYPES[int(value.scalar_type)], tuple(value.dim_order)
        return Input(dtype, tuple(value.sizes), dynamic, dim_order=order)
    for field in ("int_val", "bool_val", "double_val", "string_val"):
        if hasattr(value, field):
            return Input(None, value=getattr(value, field))
    return Input(None)
