"""Record MLX calls on symbolic arrays into a list of program calls."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_coverage.lowering import functions
from mlx_coverage.lowering.program import (
    Argument,
    ArrayRef,
    Call,
    DtypeRef,
    NumberRef,
    Scalar,
)
from mlx_coverage.lowering.symbols import Size, Traced
from mlx_coverage.registry.mx import import_mlx
from mlx_coverage.runtime.functions import names as runtime_functions


class RecordError(Exception):
    """An implementation did something that cannot be recorded: a defect of the entry."""


class Recorder:
    """Collects calls; the `mx` of implementations sends them here (`registry.mx.recording`).

    Equal calls are recorded once: MLX functions are pure.
    """

    def __init__(self, witnesses: int) -> None:
        """`witnesses`: how many example assignments of the dynamic sizes there are."""
        self.witnesses = witnesses
        self.calls: list[Call] = []
        self.constant_calls: set[int] = set()
        self.arrays: dict[int, Traced] = {}
        self.numbers = 0
        # MLX cannot know the example value of data: whoever records a node with a number for
        # its result sets it here.
        self.item_values: tuple[int, ...] | None = None
        self._slots = 0
        self._recorded: dict[tuple[str, Any], Any] = {}

    def add_array(self, values: Sequence[Any], constant: bool = False) -> Traced:
        """A new array slot with a lazy MLX array per witness."""
        traced = Traced(self, self._slots, tuple(values), constant)
        self.arrays[self._slots] = traced
        self._slots += 1
        return traced

    def add_number(self, values: Sequence[int]) -> Size:
        """A new number slot (a host integer given to the program) as a size."""
        slot = self.numbers
        self.numbers += 1
        return Size.create(self, tuple(values), lambda: slot)

    def record(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Append a call of `mlx.core.<name>` and return its symbolic result(s).

        Raises:
            RecordError: the function has no row in the runtime, or an argument cannot be
                recorded.
            Exception: whatever MLX raises on arguments that it refuses.
        """
        if name.startswith("host_"):
            return self._record_host(name.removeprefix("host_"), args)
        if name not in runtime_functions():
            raise RecordError(f"mlx.core.{name} has no row in runtime/src")
        bound = self._lift_scalars(name, functions.bind(name, args, kwargs))
        if name == "astype" and bound["a"].dtype == bound["dtype"]:
            return bound["a"]
        arguments = tuple(_encode(value) for value in bound.values())
        key = (name, _hashable(arguments))
        if key not in self._recorded:
            self._recorded[key] = self._append(name, bound, arguments)
        return self._recorded[key]

    def compute(self, name: str, operands: tuple[Any, ...]) -> Any:
        """Arithmetic on sizes; recorded when an operand is dynamic."""
        if not any(isinstance(value, Size) for value in operands):
            return functions.ARITHMETIC[name](*operands)
        rows = [[_select(value, w) for value in operands] for w in range(self.witnesses)]
        values = tuple(functions.ARITHMETIC[name](*row) for row in rows)
        return Size.create(self, values, lambda: self._number(f"host.{name}", operands))

    def measure(self, array: Traced, axis: int, values: tuple[int, ...]) -> Size:
        """The size of a dynamic axis."""
        return Size.create(self, values, lambda: self._number("host.size", (array, axis)))

    def _record_host(self, name: str, args: Sequence[Any]) -> Any:
        if name == "within":
            return self._bound(*args)
        if name != "item":
            return self.compute(name, tuple(args))
        slot = self._number("host.item", tuple(args))
        # A number that decides no size of a result may have any values that differ.
        values = self.item_values or tuple(range(1, self.witnesses + 1))
        return Size.create(self, values, lambda: slot)

    def _bound(self, value: int, low: int, high: int) -> int:
        # The value is known at run time alone: as an example, any that is taken.
        if not any(isinstance(item, Size) for item in (value, low, high)):
            return functions.ARITHMETIC["within"](value, low, high)
        rows = [[_select(n, w) for n in (value, low, high)] for w in range(self.witnesses)]
        values = tuple(max(least, min(number, most)) for number, least, most in rows)
        return Size.create(self, values, lambda: self._number("host.within", (value, low, high)))

    def _number(self, function: str, operands: tuple[Any, ...]) -> int:
        arguments = tuple(_encode(value) for value in operands)
        key = (function, _hashable(arguments))
        if key not in self._recorded:
            self.calls.append(Call(function, arguments, (self.numbers,)))
            self._recorded[key] = self.numbers
            self.numbers += 1
        slot: int = self._recorded[key]
        return slot

    def _lift_scalars(self, name: str, bound: dict[str, Any]) -> dict[str, Any]:
        # A Python number where MLX takes an array becomes one of MLX's weak dtype.
        places = [p for p, v in bound.items() if _is_number(v) and functions.takes_scalar(name, p)]
        if not places:
            return bound
        partner = next(
            (v for p, v in bound.items() if isinstance(v, Traced) and p != "condition"), None
        )
        for place in places:
            value = bound[place]
            dtype = bound.get("dtype") or _weak_dtype(value, partner)
            if isinstance(value, Size):
                bound[place] = self.record("array", (value, dtype), {})
            else:
                # numpy and MLX both read an int given for a float dtype as that float.
                number = int(value) if isinstance(value, bool) else value
                bound[place] = Scalar(number, functions.encode_dtype(dtype))
        return bound

    def _append(self, name: str, bound: dict[str, Any], arguments: tuple[Argument, ...]) -> Any:
        inputs = list(_leaves(list(bound.values())))
        constant = all(v.constant for v in inputs if isinstance(v, Traced))
        constant = constant and not any(isinstance(v, Size) for v in inputs)
        results = [_run(name, bound, witness) for witness in range(self.witnesses)]
        if isinstance(results[0], (list, tuple)):
            outputs: Any = tuple(self.add_array(v, constant) for v in zip(*results, strict=True))
            slots = tuple(traced.slot for traced in outputs)
        else:
            outputs = self.add_array(results, constant)
            slots = (outputs.slot,)
        if constant:
            self.constant_calls.add(len(self.calls))
        self.calls.append(Call(name, arguments, slots))
        return outputs


def _run(name: str, bound: Mapping[str, Any], witness: int) -> Any:
    return functions.call(name, [_select(value, witness) for value in bound.values()])


def _select(value: Any, witness: int) -> Any:
    if isinstance(value, Traced):
        return value.values[witness]
    if isinstance(value, Size):
        return value.witnesses[witness]
    if isinstance(value, Scalar):
        return import_mlx().array(value.value, functions.decode_dtype(value.dtype))
    if isinstance(value, (list, tuple)):
        return type(value)(_select(item, witness) for item in value)
    return value


def _encode(value: Any) -> Argument:
    if isinstance(value, Traced):
        return ArrayRef(value.slot)
    if isinstance(value, Size):
        return NumberRef(value.materialize())
    if value is None or isinstance(value, (bool, int, float, str, Scalar)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_encode(item) for item in value)
    mlx = import_mlx()
    if isinstance(value, mlx.Dtype):
        return DtypeRef(functions.encode_dtype(value))
    raise RecordError(f"an argument of type {type(value).__name__} cannot be recorded")


def _leaves(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _hashable(arguments: Any) -> Any:
    # 1, 1.0, True and -0.0 are equal in Python and different arguments.
    if isinstance(arguments, tuple):
        return tuple(_hashable(item) for item in arguments)
    return type(arguments), repr(arguments)


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float))


def _weak_dtype(value: Any, partner: Traced | None) -> Any:
    mlx = import_mlx()
    plain = int(value.witnesses[0]) if isinstance(value, Size) else value
    if partner is None:
        return mlx.array(plain).dtype
    # MLX's own promotion of a number beside an array; lazy, so nothing is computed.
    return mlx.add(mlx.zeros((), partner.dtype), plain).dtype
