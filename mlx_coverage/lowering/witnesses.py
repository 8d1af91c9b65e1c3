"""Example values for the dynamic sizes of an exported program."""

from collections.abc import Iterable
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.numbers import int_oo

# Unlikely to meet another size of a model by chance, and different for each symbol.
_INTERIOR = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43)


class Witnesses:
    """Three assignments of the program's symbols: inside, at the low and near the high end.

    A decision about sizes that is the same at all three is taken to hold in the range.
    A program without symbols has one, empty, assignment.
    """

    def __init__(self, program: ExportedProgram) -> None:
        symbols = sorted(_symbols(program), key=str)
        ranges = program.range_constraints
        rows = [_choose(s, ranges.get(s), i) for i, s in enumerate(symbols)]
        self._assignments: list[dict[sympy.Symbol, sympy.Integer]] = [
            {s: sympy.Integer(row[w]) for s, row in zip(symbols, rows, strict=True)}
            for w in range(3 if symbols else 1)
        ]

    def __len__(self) -> int:
        return len(self._assignments)

    def rotate(self) -> "Witnesses":
        """The same assignments, another one first: recording must not depend on the order."""
        rotated = object.__new__(Witnesses)
        rotated._assignments = self._assignments[1:] + self._assignments[:1]
        return rotated

    def evaluate(self, size: Any) -> tuple[int, ...]:
        """The value of an int or SymInt under each assignment."""
        if not isinstance(size, torch.SymInt):
            return (int(size),) * len(self)
        expression = size.node.shape_env.replace(size.node._expr)
        return tuple(int(expression.xreplace(a)) for a in self._assignments)

    def evaluate_shape(self, shape: Iterable[Any]) -> list[tuple[int, ...]]:
        """The shape under each assignment."""
        columns = [self.evaluate(size) for size in shape]
        return [tuple(column[w] for column in columns) for w in range(len(self))]


def _symbols(program: ExportedProgram) -> set[sympy.Symbol]:
    found: set[sympy.Symbol] = set()
    for node in program.graph.nodes:
        for value in _values(node.meta.get("val")):
            sizes = value.shape if isinstance(value, torch.Tensor) else [value]
            for size in sizes:
                if isinstance(size, torch.SymInt):
                    found |= size.node.shape_env.replace(size.node._expr).free_symbols
    return found


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _choose(symbol: sympy.Symbol, bounds: Any, position: int) -> tuple[int, int, int]:
    low = 2 if bounds is None or bounds.lower in (-int_oo, int_oo) else max(int(bounds.lower), 0)
    high = None if bounds is None or bounds.upper == int_oo else int(bounds.upper)
    unbounded = high is None or high > 1 << 20
    interior = low + _INTERIOR[position % len(_INTERIOR)] + 50 * (position // len(_INTERIOR))
    if unbounded:
        return interior, max(low, 2), 4 * interior + 1
    assert high is not None
    return min(interior, (low + high + 1) // 2), min(max(low, 2), high), high
