"""Example values for the dynamic sizes of an exported program."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, product
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.utils._sympy.functions import FloorDiv, Mod, PythonMod
from torch.utils._sympy.numbers import int_oo

# Unlikely to meet another size of a model by chance, and different for each symbol.
_INTERIOR = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43)
# Where the values wanted break a guard, others are tried: at how many steps from them, how many
# of each symbol but one, and how many combinations.
_REACH, _FEW, _TRIALS = 64, 10, 2_000


class Witnesses:
    """Assignments of the program's symbols: inside, at the low and near the high end.

    A decision about sizes that is the same at all of them is taken to hold in the range.
    There are more where a size is the same at those three, and need not be. All satisfy what
    export relied on, such as divisibility in a reshape or the order of two sizes in a slice:
    at other sizes the program means nothing. One without symbols has one, empty, assignment.
    """

    def __init__(self, program: ExportedProgram) -> None:
        symbols = sorted(_symbols(program), key=str)
        ranges = [program.range_constraints.get(symbol) for symbol in symbols]
        self._assignments = _assign(symbols, ranges, dict.fromkeys(symbols, 1))
        steps = dict.fromkeys(symbols, 1)
        guards = _list_guards(program, symbols)
        for equation in guards:
            if not isinstance(equation, sympy.Eq) or _holds(equation, self._assignments):
                continue
            for step in _list_divisors(equation):
                unknown = equation.free_symbols
                longer = {s: math.lcm(n, step) if s in unknown else n for s, n in steps.items()}
                assignments = _assign(symbols, ranges, longer)
                if _holds(equation, assignments):
                    steps, self._assignments = longer, assignments
                    break
        domain = _Domain(guards, steps, dict(zip(symbols, map(_limit, ranges), strict=True)))
        self._assignments = [domain.repair(assignment) for assignment in self._assignments]
        self._domain = domain
        for expression in sorted(_expressions(program), key=lambda e: (not e.is_symbol, str(e))):
            self._vary(expression, domain)

    def _vary(self, expression: sympy.Expr, domain: "_Domain") -> None:
        """Add an assignment if a size has one value only at those that there are."""
        values = {expression.xreplace(assignment) for assignment in self._assignments}
        if len(values) == 1:
            other = sympy.Ne(expression, values.pop())
            found = replace(domain, guards=[*domain.guards, other]).repair(self._assignments[0])
            if _holds(other, [found]):
                self._assignments.append(found)

    def __len__(self) -> int:
        return len(self._assignments)

    def rotate(self) -> "Witnesses":
        """The same assignments, another one first: recording must not depend on the order."""
        rotated = object.__new__(Witnesses)
        rotated._domain = self._domain
        rotated._assignments = self._assignments[1:] + self._assignments[:1]
        return rotated

    def choose(self, choice: Callable[[int, int | None], int]) -> "Witnesses":
        """One assignment: what `choice` makes of the bounds of each symbol.

        Where that breaks what export relied on, it is near values that do not.
        """
        limits = self._domain.limits.items()
        wanted = {symbol: sympy.Integer(choice(*bounds)) for symbol, bounds in limits}
        chosen = object.__new__(Witnesses)
        chosen._domain, chosen._assignments = self._domain, [self._domain.repair(wanted)]
        return chosen

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
    return set().union(*(expression.free_symbols for expression in _expressions(program)))


def _expressions(program: ExportedProgram) -> set[sympy.Expr]:
    """All dynamic sizes of the program, in terms of its symbols."""
    found = {size.node.shape_env.replace(size.node._expr) for size in _sizes(program)}
    return {expression for expression in found if expression.free_symbols}


def _sizes(program: ExportedProgram) -> Iterator[torch.SymInt]:
    for node in program.graph.nodes:
        for value in _values(node.meta.get("val")):
            sizes = value.shape if isinstance(value, torch.Tensor) else [value]
            yield from (size for size in sizes if isinstance(size, torch.SymInt))


def _list_guards(program: ExportedProgram, symbols: Sequence[sympy.Symbol]) -> list[sympy.Basic]:
    """What export takes to hold of the symbols, in the order in which it met it."""
    environments = dict.fromkeys(size.node.shape_env for size in _sizes(program))
    guards = [env.replace(guard.expr) for env in environments for guard in env.guards]
    known = set(symbols)
    return [guard for guard in dict.fromkeys(guards) if guard.free_symbols <= known]


_Assignment = dict[sympy.Symbol, sympy.Integer]


def _holds(guard: sympy.Basic, assignments: Iterable[_Assignment]) -> bool:
    try:
        return all(guard.xreplace(assignment) == sympy.true for assignment in assignments)
    except ZeroDivisionError:  # a quotient of a small size is a divisor
        return False


def _list_divisors(equation: sympy.Eq) -> list[int]:
    """The divisors of its integers, the smallest first: one of them is what must divide a size."""
    numbers = {abs(int(number)) for number in equation.atoms(sympy.Integer)}
    return sorted(set().union(*(sympy.divisors(number) for number in numbers)))


@dataclass(frozen=True)
class _Domain:
    """Where export says that the program means something.

    Attributes:
        guards: what must hold, in the order in which export met it.
        steps: what divides each symbol.
        limits: the bounds of each symbol.
    """

    guards: Sequence[sympy.Basic]
    steps: Mapping[sympy.Symbol, int]
    limits: Mapping[sympy.Symbol, tuple[int, int | None]]

    def repair(self, wanted: _Assignment) -> _Assignment:
        """The assignment, where it breaks a guard with near values that do not."""
        for position, guard in enumerate(self.guards):
            if not _holds(guard, [wanted]):
                before = self.guards[position::-1]
                tried = chain(
                    self._list_changes(wanted, guard.free_symbols),
                    self._list_changes(wanted, _list_related(guard, before)),
                )
                fitting = (c for c in tried if all(_holds(g, [c]) for g in before))
                wanted = next(fitting, wanted)
        return wanted

    def _list_changes(
        self, wanted: _Assignment, unknown: Collection[sympy.Symbol]
    ) -> Iterator[_Assignment]:
        # A divisor first, of which a few values do, so that its multiples are tried for each.
        divisors = set().union(*map(_list_divisor_symbols, self.guards))
        *few, last = sorted(unknown, key=lambda symbol: (symbol not in divisors, str(symbol)))
        rows = [islice(self._list_near(wanted, symbol), _FEW) for symbol in few]
        for values in islice(product(*rows, self._list_near(wanted, last)), _TRIALS):
            numbers = map(sympy.Integer, values)
            yield wanted | dict(zip((*few, last), numbers, strict=True))

    def _list_near(self, wanted: _Assignment, symbol: sympy.Symbol) -> Iterator[int]:
        """A few of its smallest values among those near the one that is wanted, nearest first."""
        value, step, (low, high) = int(wanted[symbol]), self.steps[symbol], self.limits[symbol]
        smallest = -(-low // step) * step
        for distance in range(0, step * _REACH, step):
            for near in dict.fromkeys((value + distance, value - distance, smallest + distance)):
                if low <= near and (high is None or near <= high):
                    yield near


def _list_related(guard: sympy.Basic, guards: Iterable[sympy.Basic]) -> set[sympy.Symbol]:
    """The symbols of the guards that share one with this guard."""
    shared = [g.free_symbols for g in guards if g.free_symbols & guard.free_symbols]
    return set().union(guard.free_symbols, *shared)


def _list_divisor_symbols(guard: sympy.Basic) -> set[sympy.Symbol]:
    quotients = guard.atoms(FloorDiv, Mod, PythonMod)
    return set().union(*(quotient.args[1].free_symbols for quotient in quotients))


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
    low, high = _limit(bounds)
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


def _limit(bounds: Any) -> tuple[int, int | None]:
    low = 2 if bounds is None or bounds.lower in (-int_oo, int_oo) else max(int(bounds.lower), 0)
    return low, None if bounds is None or bounds.upper == int_oo else int(bounds.upper)
