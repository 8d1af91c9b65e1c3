"""The closed vocabulary of valid inputs: how the arguments of an op relate. Plain data.

A `Samples` names, for each ATen argument, how to draw it. Conformance interprets it
with Hypothesis; nothing here imports hypothesis, torch or mlx.

Dimensions are written as names: `Tensor("N", "K")` and `Tensor("K", "M")` share K.
A name with a star stands for any number of dimensions: `Tensor("*B", "K")`. Each
name is drawn once per example, from `Samples.sizes` or from 0 to 4.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Tensor:
    """A tensor with named dimensions.

    Attributes:
        dims: names; a plain int is a fixed size; an expression of names in Python's
            arithmetic (``"C//G"``, ``"H+2"``) is evaluated.
        dtype: None follows the case's dtype; otherwise a tuple of torch dtype names to
            draw from.
        optional: draw None as well.
        below: name of a dimension: integer values lie in [-size, size) or, when
            `negative` is False, in [0, size).
        negative: whether an index may be negative.
        unique: indices do not repeat along the last axis.
        sorted: values ascend along the last axis, NaN at its end.
        low, high: bounds of the values; None leaves all values, NaN and infinities included.
        matrix: what the square matrices of the last two axes are made to be: `regular`, far
            from singular, or `definite`, symmetric with positive eigenvalues.
    """

    dims: tuple[str | int, ...]
    dtype: tuple[str, ...] | None = None
    optional: bool = False
    below: str | None = None
    negative: bool = False
    unique: bool = False
    sorted: bool = False
    low: float | None = None
    high: float | None = None
    matrix: str | None = None


@dataclass(frozen=True)
class BroadcastTensor:
    """A tensor whose shape broadcasts with the named dimensions (some dims 1 or missing)."""

    dims: tuple[str | int, ...]
    dtype: tuple[str, ...] | None = None
    optional: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class TensorList:
    """A list of tensors alike but, where `along` is given, free in that dim argument's axis."""

    dims: tuple[str | int, ...]
    along: str | None = None
    least: int = 1
    most: int = 4


@dataclass(frozen=True)
class IndexList:
    """`index`'s list: int64 index tensors or None for leading dims of `of`.

    Where `masks` holds, sometimes one bool tensor of the sizes of some neighbouring dims instead.
    """

    of: str = "self"
    unique: bool = False
    masks: bool = False


@dataclass(frozen=True)
class IndexedTensor:
    """A tensor whose shape broadcasts to that of `of` at `indices`."""

    of: str = "self"
    indices: str = "indices"


@dataclass(frozen=True)
class Offsets:
    """`count` ascending positions in a dimension `size`; dtype of the tensor `like`, or int32.

    The first is 0 where `first` holds, the last is `size` where `last` holds; either may
    name a bool argument.
    """

    count: str
    size: str
    first: bool | str = True
    last: bool | str = False
    like: str | None = None


@dataclass(frozen=True)
class Dim:
    """One axis of the tensor `of`, negative ones included; 0 and -1 for a 0-d tensor."""

    of: str = "self"
    optional: bool = False
    extra: int = 0  # axes beyond the rank: 1 for unsqueeze


@dataclass(frozen=True)
class Dims:
    """A list of different axes of the tensor `of`, perhaps empty."""

    of: str = "self"
    optional: bool = False
    least: int = 0


@dataclass(frozen=True)
class Permutation:
    """A permutation of the axes of `of`, some written negative."""

    of: str = "self"


@dataclass(frozen=True)
class Reshape:
    """A shape with as many elements as `of`, perhaps with one -1."""

    of: str = "self"


@dataclass(frozen=True)
class Expand:
    """A shape to which `of` expands, -1 for kept dims."""

    of: str = "self"


@dataclass(frozen=True)
class Sizes:
    """A list of `count` sizes; `count` may name an argument or a starred name whose rank counts."""

    count: int | str
    low: int = 0
    high: int = 4


@dataclass(frozen=True)
class Shape:
    """The sizes of dimensions as a list of ints; names and expressions as in `Tensor`."""

    dims: tuple[str | int, ...]


@dataclass(frozen=True)
class Size:
    """One size as an int: a dimension's name or an expression of names, as in `Tensor`."""

    dim: str


@dataclass(frozen=True)
class SplitSizes:
    """Sizes that sum to the length of `of` along the argument `dim`."""

    of: str = "self"
    dim: str = "dim"


@dataclass(frozen=True)
class IndexInto:
    """An integer below the length of `of` along the argument `dim`, negative ones included."""

    of: str = "self"
    dim: str = "dim"
    beyond: int = 0  # how far past either end, where the op clamps
    optional: bool = False


@dataclass(frozen=True)
class Choice:
    """One of the values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Integer:
    """An integer in [low, high]."""

    low: int
    high: int


@dataclass(frozen=True)
class Number:
    """A Python scalar of the case's category (bool, int or float), bounded when given."""

    low: float | None = None
    high: float | None = None
    optional: bool = False


Argument = (
    Tensor | BroadcastTensor | TensorList | IndexList | IndexedTensor | Offsets | Dim | Dims
    | Permutation | Reshape | Expand | Sizes | Shape | Size | SplitSizes | IndexInto | Choice
    | Integer | Number
)  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """How to draw the arguments of one op.

    Attributes:
        arguments: ATen argument to generator, in drawing order; arguments that are not
            named keep their schema default.
        sizes: dimension name to inclusive bounds; default (0, 4).
        groups: bounds of the number of dimensions of starred names, or another starred
            name that has as many; default (0, 4).
    """

    arguments: Mapping[str, Argument]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, int] | str] = field(default_factory=dict)


def draw(
    sizes: Mapping[str, tuple[int, int]] | None = None,
    groups: Mapping[str, tuple[int, int] | str] | None = None,
    **arguments: Any,
) -> Samples:
    """`Samples` from keyword arguments, the usual way to write one."""
    return Samples(arguments, sizes or {}, groups or {})


def list_names(expression: str | int) -> list[str]:
    """The dimension names in an expression, each once."""
    if isinstance(expression, int) or expression.startswith("*"):
        return []
    names = [n.id for n in ast.walk(ast.parse(expression, mode="eval")) if isinstance(n, ast.Name)]
    return [name for name in dict.fromkeys(names) if name not in _FUNCTIONS]


def evaluate(expression: str, sizes: Mapping[str, int]) -> int:
    """The size that an expression of names stands for.

    Raises:
        ZeroDivisionError: it divides by a size of 0.
    """
    return int(eval(expression, {"__builtins__": {}, **_FUNCTIONS}, dict(sizes)))


_FUNCTIONS = {"min": min, "max": max}


def tensor(*dims: str | int, **options: Any) -> Tensor:
    """`Tensor` with its dimensions as positional arguments."""
    return Tensor(dims, **options)


def elementwise(**others: Any) -> Samples:
    """One tensor `self` of any shape, and other arguments by generator."""
    return draw(self=Tensor(("*S",)), **others)


# What an argument of this name and type, as torch writes it, is drawn from.
_DERIVED: dict[tuple[str, str], Argument] = {
    ("dim", "int"): Dim(),
    ("dim", "Optional[int]"): Dim(optional=True),
    ("dim", "List[int]"): Dims(),
    ("dim", "Optional[List[int]]"): Dims(optional=True),
    ("keepdim", "bool"): Choice((False, True)),
}


def complete(samples: Samples, parameters: Mapping[str, str]) -> Samples:
    """The samples with the arguments that follow from a schema: `dim` and `keepdim`.

    Args:
        samples: what the entry says; it goes before what is derived.
        parameters: the schema's arguments: name to type, as torch writes it.
    """
    derived = {name: _DERIVED.get((name, kind)) for name, kind in parameters.items()}
    new = {name: a for name, a in derived.items() if a and name not in samples.arguments}
    if not new or "self" not in samples.arguments:
        return samples
    # Behind the tensor that they index, and before what may be drawn along `dim`.
    tensor = {"self": samples.arguments["self"]}
    return replace(samples, arguments=tensor | new | dict(samples.arguments))


def binary(**others: Any) -> Samples:
    """`self` and `other`, shapes that broadcast."""
    return draw(self=BroadcastTensor(("*S",)), other=BroadcastTensor(("*S",)), **others)
