"""How far results are from eager torch's, and how much of that rounding explains."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.failures import DifferenceError

# Largest difference, relative to the largest magnitude in eager torch's output. Rounding adds
# up over the layers of a model: 2^-24, 2^-11 and 2^-8 a step, times a few hundred. float64 is
# ExecuTorch's to compute, and some of its kernels do so in float32.
TOLERANCES = {
    **dict.fromkeys((torch.float32, torch.float64, torch.complex64, torch.complex128), 1e-4),
    torch.float16: 1e-2,
    torch.bfloat16: 6e-2,
}


class CallError(DifferenceError):
    """A call whose result differs, or that the lowered program refuses and torch makes.

    Attributes:
        calls: the calls up to it, as method and inputs; the last is the one that differs.
        found: what it gave; None where it was refused.
    """

    def __init__(
        self,
        sentence: str,
        output: int | None,
        calls: Sequence[tuple[str, Sequence[Any]]],
        found: Sequence[Any] | None,
    ) -> None:
        super().__init__(sentence, output)
        self.calls = tuple(calls)
        self.found = found


def find_tolerances(programs: Mapping[str, ExportedProgram]) -> dict[str, list[float]]:
    """What the lowest precision inside the programs explains, for each output of each.

    An output that is computed in float32 beside a part in bfloat16 is held to float32, unless
    a program writes in place: a state may carry the rounding from anywhere to anywhere.
    """
    least = max(
        (_tolerate(n) for p in programs.values() for n in list_calls(p.graph_module)), default=0.0
    )
    if any(is_mutable(n) for p in programs.values() for n in list_calls(p.graph_module)):
        return {name: [least] * _count_outputs(p) for name, p in programs.items()}
    return {name: _tolerate_outputs(program) for name, program in programs.items()}


def compare(
    method: str,
    found: Sequence[Any],
    expected: Sequence[Any],
    tolerances: Sequence[float] | float = 0.0,
    explain: Callable[[int], float] = lambda output: 0.0,
) -> float:
    """The largest relative difference of any output.

    Args:
        method: its name.
        found: outputs of the lowered program.
        expected: outputs of eager torch.
        tolerances: of each output, or of all, where its dtype alone explains less.
        explain: of an output that differs by more, what else is to be tolerated.

    Raises:
        DifferenceError: an output differs by more.
    """
    if len(found) != len(expected):
        raise DifferenceError(f"{method} gives {len(found)} outputs, torch {len(expected)}")
    if isinstance(tolerances, float) or len(tolerances) != len(expected):
        # Inputs that the model writes into come as further outputs.
        least = tolerances if isinstance(tolerances, float) else max(tolerances, default=0.0)
        tolerances = [least] * len(expected)
    largest = 0.0
    for i, (a, b, least) in enumerate(zip(found, expected, tolerances, strict=True)):
        error = _compare(f"{method}, output {i}", i, a, b)
        tolerance = find_tolerance(b, least)
        if not error <= tolerance and not error <= (tolerance := max(tolerance, explain(i))):
            raise DifferenceError(
                f"{method}, output {i} differs from eager torch by {error:.2g}; "
                f"tolerance: {tolerance:.2g}",
                i,
            )
        largest = max(largest, error)
    return largest


def find_tolerance(expected: Any, least: float) -> float:
    """The tolerance of a value: at least `least` where it is a float, exact where it is not."""
    if not isinstance(expected, torch.Tensor):
        return 0.0
    rounded = expected.is_floating_point() or expected.is_complex()
    return max(TOLERANCES.get(expected.dtype, 0.0), least) if rounded else 0.0


def measure(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference relative to the largest magnitude in `expected`.

    Real and imaginary parts count alike, integers whole; infinite where NaN or infinities are
    elsewhere than in `expected`.
    """
    if expected.is_complex():
        found, expected = found.resolve_conj(), expected.resolve_conj()
        return measure(torch.view_as_real(found), torch.view_as_real(expected))
    if not expected.is_floating_point():
        return _measure_integers(found, expected)
    a, b = found.double(), expected.double()
    special = ~(a.isfinite() & b.isfinite())
    if not torch.equal(a[special].nan_to_num(nan=7.0), b[special].nan_to_num(nan=7.0)):
        return float("inf")
    a, b = a[~special], b[~special]
    if a.numel() == 0:
        return 0.0
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))


def _measure_integers(found: torch.Tensor, expected: torch.Tensor) -> float:
    # Floats would not tell 2^53 from its neighbour, and a difference of integers may overflow.
    if torch.equal(found, expected):
        return 0.0
    other = found != expected
    pairs = zip(found[other].tolist(), expected[other].tolist(), strict=True)
    largest = max(abs(int(b)) for b in (expected.min().item(), expected.max().item()))
    return max(abs(int(a) - int(b)) for a, b in pairs) / max(largest, 1)


def _compare(what: str, output: int, found: Any, expected: Any) -> float:
    if not isinstance(expected, torch.Tensor):
        if found != expected:
            raise DifferenceError(f"{what} is {found!r}, torch's is {expected!r}", output)
        return 0.0
    kind = getattr(found, "dtype", type(found)), list(getattr(found, "shape", ()))
    if kind != (expected.dtype, list(expected.shape)):
        raise DifferenceError(
            f"{what} is {kind[0]} {kind[1]}, torch's is {expected.dtype} {list(expected.shape)}",
            output,
        )
    return measure(found, expected)


def list_calls(module: torch.nn.Module) -> Iterable[Node]:
    """The calls of a graph and of the branches and bodies in it."""
    for part in module.modules():
        if isinstance(part, GraphModule):
            yield from (node for node in part.graph.nodes if node.op == "call_function")


def _tolerate(node: Node) -> float:
    values = pytree.tree_leaves(node.meta.get("val"))
    dtypes = (v.dtype for v in values if isinstance(v, torch.Tensor))
    return max((TOLERANCES.get(dtype, 0.0) for dtype in dtypes), default=0.0)


def is_mutable(node: Node) -> bool:
    """Whether a call writes into its arguments."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _count_outputs(program: ExportedProgram) -> int:
    return len(pytree.tree_leaves(program.graph.output_node().args[0]))


def _tolerate_outputs(program: ExportedProgram) -> list[float]:
    explained: dict[Node, float] = {}
    for node in program.graph.nodes:
        own = _tolerate(node) if node.op == "call_function" else 0.0
        if node.op == "get_attr":  # a branch or body
            part = getattr(program.graph_module, str(node.target), None)
            calls = list_calls(part) if isinstance(part, torch.nn.Module) else ()
            own = max(map(_tolerate, calls), default=0.0)
        explained[node] = max([own, *(explained[n] for n in node.all_input_nodes)])
    leaves = pytree.tree_leaves(program.graph.output_node().args[0])
    return [explained[leaf] if isinstance(leaf, Node) else 0.0 for leaf in leaves]
