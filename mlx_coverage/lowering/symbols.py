"""What implementations see under the recorder: symbolic arrays and sizes.

Each carries one value per *witness*: an assignment of example values to the dynamic
sizes of the program. A dimension is dynamic exactly when its witnesses differ, and a
decision that its witnesses do not share cannot be made while recording.
"""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from mlx_coverage.lowering.recorder import Recorder

_T = TypeVar("_T")


class SpecializationError(Exception):
    """An implementation would freeze a dynamic size into the program."""


class Size(int):
    """A dynamic size: an int (of the first witness) that knows where it came from.

    Arithmetic is recorded; a comparison is answered when all witnesses agree.
    """

    witnesses: tuple[int, ...]
    recorder: "Recorder"
    materialize: Callable[[], int]  # the number slot, recorded on demand

    @classmethod
    def create(
        cls, recorder: "Recorder", witnesses: tuple[int, ...], materialize: Callable[[], int]
    ) -> "Size":
        """A size of `recorder` with one value per witness."""
        size = cls(witnesses[0])
        size.witnesses, size.recorder, size.materialize = witnesses, recorder, materialize
        return size

    def _binary(self, name: str, other: Any, reverse: bool = False) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        left, right = (other, self) if reverse else (self, other)
        return self.recorder.compute(name, (left, right))

    def __add__(self, other: Any) -> Any:
        return self._binary("add", other)

    def __radd__(self, other: Any) -> Any:
        return self._binary("add", other, reverse=True)

    def __sub__(self, other: Any) -> Any:
        return self._binary("sub", other)

    def __rsub__(self, other: Any) -> Any:
        return self._binary("sub", other, reverse=True)

    def __mul__(self, other: Any) -> Any:
        return self._binary("mul", other)

    def __rmul__(self, other: Any) -> Any:
        return self._binary("mul", other, reverse=True)

    def __floordiv__(self, other: Any) -> Any:
        return self._binary("floordiv", other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._binary("floordiv", other, reverse=True)

    def __mod__(self, other: Any) -> Any:
        return self._binary("mod", other)

    def __rmod__(self, other: Any) -> Any:
        return self._binary("mod", other, reverse=True)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return NotImplemented if modulus is not None else self._binary("pow", other)

    def __neg__(self) -> Any:
        return self.recorder.compute("neg", (self,))

    def _compare(self, function: Callable[[Any, Any], bool], other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        others = getattr(other, "witnesses", (other,) * len(self.witnesses))
        return agree([function(a, b) for a, b in zip(self.witnesses, others, strict=True)])

    def __eq__(self, other: Any) -> Any:
        return self._compare(operator.eq, other)

    def __ne__(self, other: Any) -> Any:
        return self._compare(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return self._compare(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._compare(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._compare(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._compare(operator.ge, other)

    def __bool__(self) -> bool:
        return agree([value != 0 for value in self.witnesses])

    def __hash__(self) -> int:
        return id(self)

    def _refuse(self, *_: Any) -> NoReturn:
        raise SpecializationError(f"a dynamic size {self.witnesses} was used as a constant")

    __int__ = __float__ = __truediv__ = __rtruediv__ = _refuse
    __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = __divmod__ = _refuse

    def __repr__(self) -> str:
        return f"Size{self.witnesses}"


class Traced:
    """A symbolic array: a slot of the program and a lazy MLX array per witness.

    `shape` holds ints, and `Size`s where the witnesses differ. MLX never computes the
    lazy arrays, so they cost no memory at any size.
    """

    __slots__ = ("constant", "recorder", "slot", "values")

    def __init__(
        self, recorder: "Recorder", slot: int, values: tuple[Any, ...], constant: bool
    ) -> None:
        self.recorder, self.slot, self.values, self.constant = recorder, slot, values, constant

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes, dynamic ones as `Size`."""
        shapes = [value.shape for value in self.values]
        return tuple(
            sizes[0] if len(set(sizes)) == 1 else self.recorder.measure(self, axis, sizes)
            for axis, sizes in enumerate(zip(*shapes, strict=True))
        )

    @property
    def dtype(self) -> Any:
        """MLX dtype."""
        return self.values[0].dtype

    @property
    def ndim(self) -> int:
        """Number of dimensions, always static."""
        return int(self.values[0].ndim)

    @property
    def size(self) -> int:
        """Number of elements."""
        total: int = 1
        for length in self.shape:
            total = total * length
        return total

    def astype(self, dtype: Any) -> Any:
        """The array in another dtype."""
        return self.recorder.record("astype", (self, dtype), {})

    def _call(self, name: str, *args: Any) -> Any:
        return self.recorder.record(name, args, {})

    def __add__(self, other: Any) -> Any:
        return self._call("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self._call("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self._call("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._call("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return self._call("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._call("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._call("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._call("divide", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._call("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._call("floor_divide", other, self)

    def __mod__(self, other: Any) -> Any:
        return self._call("remainder", self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._call("remainder", other, self)

    def __pow__(self, other: Any) -> Any:
        return self._call("power", self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._call("power", other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._call("matmul", self, other)

    def __and__(self, other: Any) -> Any:
        return self._call("bitwise_and", self, other)

    def __or__(self, other: Any) -> Any:
        return self._call("bitwise_or", self, other)

    def __xor__(self, other: Any) -> Any:
        return self._call("bitwise_xor", self, other)

    def __lshift__(self, other: Any) -> Any:
        return self._call("left_shift", self, other)

    def __rshift__(self, other: Any) -> Any:
        return self._call("right_shift", self, other)

    def __invert__(self) -> Any:
        is_bool = str(self.dtype) == "mlx.core.bool"
        return self._call("logical_not" if is_bool else "bitwise_invert", self)

    def __neg__(self) -> Any:
        return self._call("negative", self)

    def __abs__(self) -> Any:
        return self._call("abs", self)

    def __eq__(self, other: Any) -> Any:
        return self._call("equal", self, other)

    def __ne__(self, other: Any) -> Any:
        return self._call("not_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return self._call("less", self, other)

    def __le__(self, other: Any) -> Any:
        return self._call("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return self._call("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return self._call("greater_equal", self, other)

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        raise SpecializationError("an implementation branched on the values of an array")

    def __repr__(self) -> str:
        return f"Traced(%{self.slot}, {self.shape}, {self.dtype})"


def agree(answers: list[_T]) -> _T:
    """The answer that all witnesses share.

    Raises:
        SpecializationError: they differ, so recording would freeze a dynamic size.
    """
    if any(answer != answers[0] for answer in answers):
        raise SpecializationError("a comparison depends on the value of a dynamic size")
    return answers[0]
