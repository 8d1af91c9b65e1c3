"""A lowered program's results against eager torch's."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.func import functional_call
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.failures import AttestationError, InputError
from mlx_coverage.analyze.load import Exportable

# Largest difference, relative to the largest magnitude in eager torch's output. Rounding adds
# up over the layers of a model: 2^-24, 2^-11 and 2^-8 a step, times a few hundred. float64 is
# ExecuTorch's to compute, and some of its kernels do so in float32.
TOLERANCES = {
    **dict.fromkeys((torch.float32, torch.float64, torch.complex64), 1e-4),
    torch.float16: 1e-2,
    torch.bfloat16: 6e-2,
}


def run_eagerly(
    given: Exportable | ExportedProgram, program: ExportedProgram
) -> tuple[list[Any], list[Any]]:
    """The example inputs as the lowered program takes them, and what torch makes of them.

    ExecuTorch does not write into inputs: what the model writes there comes as an output,
    before the others. The example inputs and the buffers of the model stay as they are.

    Raises:
        InputError: the program was saved without example inputs.
    """
    if program.example_inputs is None:
        raise InputError(
            "--verify needs example inputs, and the .pt2 was saved without; leave it out, or name "
            "a Python file"
        )
    module = given.module if isinstance(given, Exportable) else program.module()
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad():
        args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, program.example_inputs)
        inputs = _flatten((args, kwargs))
        untouched = [i.clone() if isinstance(i, torch.Tensor) else i for i in inputs]
        outputs = functional_call(module, buffers, args, kwargs)
    written = [i for i in inputs if isinstance(i, torch.Tensor) and i._version]
    return untouched, [*written, *_flatten(outputs)]


def verify_results(
    method: str,
    execute: Callable[[list[Any]], list[Any]],
    given: Exportable | ExportedProgram,
    program: ExportedProgram,
) -> float:
    """The largest relative difference of a lowered method from eager torch.

    Args:
        method: its name.
        execute: runs the lowered method.
        given: what was exported.
        program: as exported.

    Raises:
        InputError: there are no example inputs, or torch's own results differ between calls.
        AttestationError: an output differs by more than its dtype explains.
    """
    inputs, expected = run_eagerly(given, program)
    found = execute(inputs)
    try:
        return compare(method, found, expected)
    except AttestationError:
        _refuse_random(method, expected, run_eagerly(given, program)[1])
        raise


def _refuse_random(method: str, first: Sequence[Any], second: Sequence[Any]) -> None:
    try:
        compare(method, first, second)
    except AttestationError as error:
        raise InputError(
            f"--verify cannot compare {method}: eager torch itself gives other numbers in each "
            "call; call model.eval() if dropout does it, or leave --verify out"
        ) from error


def compare(
    method: str,
    found: Sequence[Any],
    expected: Sequence[Any],
    computed_in: torch.dtype | None = None,
) -> float:
    """The largest relative difference of any output.

    Args:
        method: its name.
        found: outputs of the lowered program.
        expected: outputs of eager torch.
        computed_in: dtype of parts of the computation, where it is not that of the outputs.

    Raises:
        AttestationError: an output differs by more than its dtype explains.
    """
    if len(found) != len(expected):
        raise AttestationError(f"{method} gives {len(found)} outputs, torch {len(expected)}")
    pairs = zip(found, expected, strict=True)
    least = TOLERANCES.get(computed_in, 0.0) if computed_in is not None else 0.0
    return max(
        (_compare(f"{method}, output {i}", a, b, least) for i, (a, b) in enumerate(pairs)),
        default=0.0,
    )


def _compare(what: str, found: Any, expected: Any, least: float) -> float:
    if not isinstance(expected, torch.Tensor):
        if found != expected:
            raise AttestationError(f"{what} is {found!r}, torch's is {expected!r}")
        return 0.0
    if found.dtype != expected.dtype or found.shape != expected.shape:
        raise AttestationError(
            f"{what} is {found.dtype} {list(found.shape)}, "
            f"torch's is {expected.dtype} {list(expected.shape)}"
        )
    error = _measure(found, expected)
    tolerance = TOLERANCES.get(expected.dtype, 0.0)
    if expected.is_floating_point() or expected.is_complex():
        tolerance = max(tolerance, least)
    if not error <= tolerance:
        raise AttestationError(
            f"{what} differs from eager torch by {error:.2g}; tolerance: {tolerance:g}"
        )
    return error


def _measure(found: torch.Tensor, expected: torch.Tensor) -> float:
    # NaN and infinities must be in the same places; the rest is measured.
    a, b = found.double(), expected.double()
    special = ~(a.isfinite() & b.isfinite())
    if not torch.equal(a[special].nan_to_num(nan=7.0), b[special].nan_to_num(nan=7.0)):
        return float("inf")
    a, b = a[~special], b[~special]
    if a.numel() == 0:
        return 0.0
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))


def _flatten(values: Any) -> list[Any]:
    return list(pytree.tree_leaves(values))
