"""Example values for the dynamic sizes of an exported program."""

import math
from collections.abc import Iterable, Iterator
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
    All satisfy the equations that export relied on, such as divisibility in a reshape: at
    other sizes the program means nothing. One without symbols has one, empty, assignment.
    """

    def __init__(self, program: ExportedProgram) -> None:
        symbols = sorted(_symbols(program), key=str)
        ranges = [program.range_constraints.get(symbol) for symbol in symbols]
        self._assignments = _assign(symbols, ranges, dict.fromkeys(symbols, 1))
        steps = dict.fromkeys(symbols, 1)
        for equation in _equations(program):
            if _holds(equation, self._assignments):
                continue
            for step in _list_divisors(equation):
                unknown = equation.free_symbols
                longer = {s: math.lcm(n, step) if s in unknown else n for s, n in steps.items()}
                assignments = _assign(symbols, ranges, longer)
                if _holds(equation, assignments):
                    steps, self._assignments = longer, assignments
                    break

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
    for size in _sizes(program):
        found |= size.node.shape_env.replace(size.node._expr).free_symbols
    return found


def _sizes(program: ExportedProgram) -> Iterator[torch.SymInt]:
    for node in program.graph.nodes:
        for value in _values(node.meta.get("val")):
            sizes = value.shape if isinstance(value, torch.Tensor) else [value]
            yield from (size for size in sizes if isinstance(size, torch.SymInt))


def _equations(program: ExportedProgram) -> list[sympy.Eq]:
    """The equations between sizes that export guards on, in the order in which it met them."""
    environments = dict.fromkeys(size.node.shape_env for size in _sizes(program))
    guards = [env.replace(guard.expr) for env in environments for guard in env.guards]
    return [guard for guard in dict.fromkeys(guards) if isinstance(guard, sympy.Eq)]


_Assignment = dict[sympy.Symbol, sympy.Integer]


def _holds(equation: sympy.Eq, assignments: list[_Assignment]) -> bool:
    try:
        return all(equation.xreplace(assignment) == sympy.true for assignment in assignments)
    except ZeroDivisionError:  # a quotient of a small size is a divisor
        return False


def _list_divisors(equation: sympy.Eq) -> list[int]:
    """The divisors of its integers, the smallest first: one of them is what must divide a size."""
    numbers = {abs(int(number)) for number in equation.atoms(sympy.Integer)}
    return sorted(set().union(*(sympy.divisors(number) for number in numbers)))


def _assign(
    symbols: list[sympy.Symbol], ranges: list[Any], steps: dict[sympy.Symbol, int]
) -> list[_Assignment]:
    """Three assignments, each symbol a multiple of its step."""
    rows = [_choose(ranges[i], i, steps[symbol]) for i, symbol in enumerate(symbols)]
    return [
        {s: sympy.Integer(row[w]) for s, row in zip(symbols, rows, strict=True)}
        for w in range(3 if symbols else 1)
    ]


def _values(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _choose(bounds: Any, position: int, step: int) -> tuple[int, ...]:
    """Inside, low and high, as far as there are multiples of the step in the bounds."""
    low = 2 if bounds is None or bounds.lower in (-int_oo, int_oo) else max(int(bounds.lower), 0)
    high = None if bounds is None or bounds.upper == int_oo else int(bounds.upper)
    if step > 1 and high is not None and high // step < -(-low // step):
        step = 1  # no multiple lies between
    low, high = -(-low // step), high if high is None else high // step
    unbounded = high is None or high > 1 << 20
    interior = low + _INTERIOR[position % len(_INTERIOR)] + 50 * (position // len(_INTERIOR))
    if unbounded:
        chosen = interior, max(low, 2), 4 * interior + 1
    else:
        assert high is not None
        chosen = min(interior, (low + high + 1) // 2), min(max(low, 2), high), high
    return tuple(step * factor for factor in chosen)
