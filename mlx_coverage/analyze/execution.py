"""Programs in ExecuTorch's runtime, its failures turned into one sentence."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mlx_coverage import runtime
from mlx_coverage.analyze.failures import CallError, InputError
from mlx_coverage.analyze.program_file import Method, read_program
from mlx_coverage.runtime.build import locate
from mlx_coverage.runtime.toolchain import find_toolchain

if TYPE_CHECKING:
    from executorch.exir import ExecutorchProgramManager

_MISSING_KERNEL = re.compile(r"Missing operator: (?:\[\d+\] )?(\S+)")
_FAILED_KERNEL = re.compile(r"KernelCall failed at instruction \S+ in operator (?P<op>\S+?):? ")
_FAILURE = re.compile(
    r"fail|attempted|expect|invalid|unable|cannot|not |out of|mismatch|unsupported|error",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"Check failed \((?P<what>.*)\): ?(?P<why>.*)$")
_LOG_LINE = re.compile(r"^(?:\w \S+ )?\[[\w.]+:\d+\] (?P<text>.+)$", re.MULTILINE)


def refuse_foreign(path: Path, methods: Sequence[Method]) -> None:
    """Refuse a program that was lowered for another backend.

    Raises:
        InputError: it has delegates, none of them ours.
    """
    backends = sorted({backend for method in methods for backend in method.backends})
    if backends and runtime.BACKEND_ID not in backends:
        raise InputError(
            f"{path} is lowered for {', '.join(backends)}; accepted: a program lowered with "
            f"MLXPartitioner ({runtime.BACKEND_ID}); export the model again with it"
        )


class Execution:
    """A method loaded for calls.

    Args:
        path: a program file.
        method: one of the methods that `read_program` found in it.
        beside: another method of the file, to share the loaded program and its state with.

    Attributes:
        inputs: what the method takes, in order.

    Raises:
        InputError: ExecuTorch does not load it.
        RuntimeUnavailable: our runtime cannot be had.
    """

    def __init__(self, path: Path, method: Method, beside: "Execution | None" = None) -> None:
        from executorch.runtime import Runtime

        self.inputs = method.inputs
        runtime.load(verbose=not locate(find_toolchain()).is_file())
        with _capture_native() as log:
            try:
                # A method does not keep its program alive.
                self._program: Any = beside._program if beside else Runtime.get().load_program(path)
                self._method = self._program.load_method(method.name)
            except RuntimeError as error:
                raise InputError(f"{path} does not load: {_explain(log(), error)}") from error

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Outputs of one call, copied out of the program's memory.

        Raises:
            CallError: the call failed.
            InputError: ExecuTorch's Python runtime cannot make it.
        """
        for number, given in enumerate(self.inputs):
            if not _is_common(given.dim_order):
                raise InputError(
                    f"input {number} was exported with its dimensions in memory in the order "
                    f"{given.dim_order}, and ExecuTorch's Python runtime takes contiguous and "
                    "channels-last tensors only; call .contiguous() on the example input"
                )
        with _capture_native() as log:
            try:
                outputs = self._method.execute(self.arrange(inputs))
            except RuntimeError as error:
                raise CallError(f"the call failed: {_explain(log(), error)}") from error
        return [o.clone() if isinstance(o, torch.Tensor) else o for o in outputs]

    def arrange(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs laid out in memory as the program was lowered for.

        ExecuTorch takes the data pointer and never looks at the strides: a transposed or
        channels-last tensor would be read as other numbers.
        """
        return [
            _lay_out(value, given.dim_order) if isinstance(value, torch.Tensor) else value
            for value, given in zip(inputs, self.inputs, strict=True)
        ]

    def call(self, inputs: list[Any]) -> Any:
        """One call of arranged inputs and nothing around it, to be timed."""
        return self._method.execute(inputs)


def load_methods(path: Path) -> dict[str, Execution]:
    """Every method of a program file, loaded from one program, with its fresh state.

    Raises:
        InputError: ExecuTorch does not load it.
        RuntimeUnavailable: our runtime cannot be had.
    """
    loaded: dict[str, Execution] = {}
    for method in read_program(path):
        beside = next(iter(loaded.values()), None)
        loaded[method.name] = Execution(path, method, beside)
    return loaded


@contextmanager
def store(program: "ExecutorchProgramManager") -> Iterator[Path]:
    """A program as a file that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.pte"
        with path.open("wb") as file:
            program.write_to_file(file)
        yield path


def _is_common(dim_order: tuple[int, ...]) -> bool:
    dims = range(len(dim_order))
    return dim_order == (*dims,) or dim_order == (0, *dims[2:], 1)


def _lay_out(tensor: torch.Tensor, dim_order: Sequence[int]) -> torch.Tensor:
    back = [dim_order.index(dim) for dim in range(len(dim_order))]
    return tensor.permute(tuple(dim_order)).contiguous().permute(back)


def _explain(log: str, error: Exception) -> str:
    missing = sorted(set(_MISSING_KERNEL.findall(log)))
    if missing:
        return f"the ExecuTorch runtime has no kernel for {', '.join(missing)}"
    kernel = _FAILED_KERNEL.search(log)
    ours = "" if kernel else runtime.last_error()  # it may be that of an earlier call
    if ours:
        return ours.strip()
    lines = [line.strip() for line in _LOG_LINE.findall(log)]
    # What fails says so first; warnings before it and the numbers of arguments after it do not.
    line = next(filter(_FAILURE.search, lines), lines[0] if lines else str(error))
    condition = _CONDITION.match(line)
    said = (condition["why"] or condition["what"]) if condition else line
    return f"{kernel['op']}: {said}" if kernel else said


@contextmanager
def _capture_native() -> Iterator[Callable[[], str]]:
    """Keep what C++ writes to stderr off the terminal; the yielded function reads it."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as log:

        def read() -> str:
            log.seek(0)
            return log.read().decode(errors="replace")

        os.dup2(log.fileno(), 2)
        try:
            yield read
        finally:
            os.dup2(saved, 2)
            os.close(saved)
