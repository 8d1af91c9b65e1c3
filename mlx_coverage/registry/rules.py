"""The closed vocabulary of domain rules.

A rule is data: it prints as documentation (`describe`), fails with one sentence
(`check`), and conformance reads its fields to generate cases inside and just
outside the domain. Sizes may be symbolic: a rule never guards on a SymInt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import Call
from mlx_coverage.registry.dtypes import list_dtypes, name_dtype
from mlx_coverage.registry.reasons import Reason, ReasonKind


class Rule(Protocol):
    """What every rule of the vocabulary offers."""

    def check(self, call: Call) -> Iterator[Reason]:
        """Yield a reason for each violation; nothing when the call is inside."""
        ...

    def describe(self) -> str:
        """The rule in words, for the op page."""
        ...


@dataclass(frozen=True)
class Dtype:
    """The tensors of `argument` have a dtype of `accepted`."""

    argument: str
    accepted: frozenset[torch.dtype]

    def check(self, call: Call) -> Iterator[Reason]:
        for dtype in dict.fromkeys(t.dtype for t in call.tensors(self.argument)):
            if dtype not in self.accepted:
                yield Reason(
                    reasons.DTYPE,
                    f"`{self.argument}` is {name_dtype(dtype)}; "
                    f"accepted: {list_dtypes(self.accepted)}",
                    self.argument,
                    advice=propose_dtype(dtype, self.accepted),
                )

    def describe(self) -> str:
        return f"{self.argument}: {list_dtypes(self.accepted)}"


@dataclass(frozen=True)
class ResultDtype:
    """Every tensor result has a dtype of `accepted` (for casts and creation ops)."""

    accepted: frozenset[torch.dtype]

    def check(self, call: Call) -> Iterator[Reason]:
        for result in call.results:
            if isinstance(result, torch.Tensor) and result.dtype not in self.accepted:
                yield Reason(
                    reasons.DTYPE,
                    f"the result is {name_dtype(result.dtype)}; "
                    f"accepted: {list_dtypes(self.accepted)}",
                    advice=propose_dtype(result.dtype, self.accepted),
                )

    def describe(self) -> str:
        return f"result: {list_dtypes(self.accepted)}"


@dataclass(frozen=True)
class SameDtype:
    """The tensors of all `arguments` that are given share one dtype."""

    arguments: tuple[str, ...]

    def check(self, call: Call) -> Iterator[Reason]:
        found = [(name, t.dtype) for name in self.arguments for t in call.tensors(name)]
        for name, dtype in found[1:]:
            if dtype != found[0][1]:
                yield Reason(
                    reasons.MIXED_DTYPE,
                    f"`{name}` is {name_dtype(dtype)} and `{found[0][0]}` is "
                    f"{name_dtype(found[0][1])}; accepted: the same dtype",
                    name,
                    advice=propose_dtype(dtype, frozenset({found[0][1]})),
                )
                return

    def describe(self) -> str:
        return f"{', '.join(self.arguments)} share a dtype"


@dataclass(frozen=True)
class Rank:
    """The tensors of `argument` have `low` to `high` dimensions (`high` None: no bound)."""

    argument: str
    low: int
    high: int | None = None

    def check(self, call: Call) -> Iterator[Reason]:
        for tensor in call.tensors(self.argument):
            if tensor.dim() < self.low or (self.high is not None and tensor.dim() > self.high):
                yield Reason(
                    reasons.RANK,
                    f"`{self.argument}` has {tensor.dim()} dimensions; accepted: {self._range()}",
                    self.argument,
                )
                return

    def describe(self) -> str:
        return f"{self.argument} has {self._range()} dimensions"

    def _range(self) -> str:
        if self.high is None:
            return f"{self.low} or more"
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Static:
    """`argument` is known at export: no symbolic size in its value or its tensor's shape.

    Attributes:
        argument: a tensor, a number or a list.
        first: the first dimension of a tensor that must be static.
        where: a flag; the rule holds of calls in which it is true.
    """

    argument: str
    first: int = 0
    where: str | None = None

    def check(self, call: Call) -> Iterator[Reason]:
        value = call.arguments.get(self.argument)
        value = list(value.shape[self.first :]) if isinstance(value, torch.Tensor) else value
        if _is_symbolic(value) and (self.where is None or call.arguments[self.where]):
            condition = f" and `{self.where}` is True" if self.where else ""
            yield Reason(
                reasons.DYNAMIC_ARGUMENT,
                f"`{self.argument}` depends on a dynamic size{condition}; accepted: a static one",
                self.argument,
            )

    def describe(self) -> str:
        condition = f" where {self.where} is true" if self.where else ""
        return f"{self.argument} is static{condition}"


@dataclass(frozen=True)
class OneOf:
    """The value of `argument` is one of `accepted`; `remedy` says more than to use one."""

    argument: str
    accepted: tuple[Any, ...]
    remedy: str = ""

    def check(self, call: Call) -> Iterator[Reason]:
        value = call.arguments.get(self.argument)
        if _is_symbolic(value):
            yield from Static(self.argument).check(call)
        elif not any(_same(value, choice) for choice in self.accepted):
            yield Reason(
                reasons.ARGUMENT_VALUE,
                f"`{self.argument}` is {_show(value)}; accepted: {self._choices()}",
                self.argument,
                advice=self.remedy,
            )

    def describe(self) -> str:
        return f"{self.argument} is {self._choices()}"

    def _choices(self) -> str:
        return " or ".join(_show(choice) for choice in self.accepted)


@dataclass(frozen=True)
class Range:
    """The number(s) of `argument` lie in [low, high]; None is accepted, None bounds are open."""

    argument: str
    low: float | None = None
    high: float | None = None

    def check(self, call: Call) -> Iterator[Reason]:
        value = call.arguments.get(self.argument)
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if number is None:
                continue
            if _is_symbolic(number):
                yield from Static(self.argument).check(call)
                return
            if (self.low is not None and not number >= self.low) or (
                self.high is not None and not number <= self.high
            ):
                yield Reason(
                    reasons.ARGUMENT_VALUE,
                    f"`{self.argument}` is {_show(value)}; accepted: {self._bounds()}",
                    self.argument,
                )
                return

    def describe(self) -> str:
        return f"{self.argument} is {self._bounds()}"

    def _bounds(self) -> str:
        if self.low is None:
            return f"at most {self.high}"
        return f"at least {self.low}" if self.high is None else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class NonEmpty:
    """The tensors of `argument` have at least one element."""

    argument: str

    def check(self, call: Call) -> Iterator[Reason]:
        for tensor in call.tensors(self.argument):
            if any(isinstance(size, int) and size == 0 for size in tensor.shape):
                yield Reason(
                    reasons.ZERO_SIZE,
                    f"`{self.argument}` has shape {tuple(tensor.shape)}; "
                    "accepted: at least one element",
                    self.argument,
                )
                return

    def describe(self) -> str:
        return f"{self.argument} is not empty"


@dataclass(frozen=True)
class Constant:
    """The tensor of `argument` is a parameter, buffer or constant of the program."""

    argument: str

    def check(self, call: Call) -> Iterator[Reason]:
        if call.tensors(self.argument) and self.argument not in call.constants:
            yield Reason(
                reasons.CONSTANT_OPERAND,
                f"`{self.argument}` is computed; accepted: a constant of the program",
                self.argument,
            )

    def describe(self) -> str:
        return f"{self.argument} is a constant"


@dataclass(frozen=True)
class Predicate:
    """The escape hatch: `holds(call)` decides, `text` says what is accepted.

    Counted by a test: under a tenth of all entries may use one.
    """

    holds: Callable[[Call], bool]
    reason: ReasonKind
    text: str
    argument: str | None = None

    def check(self, call: Call) -> Iterator[Reason]:
        if not self.holds(call):
            yield Reason(self.reason, f"accepted: {self.text}", self.argument)

    def describe(self) -> str:
        return self.text


def propose_dtype(dtype: torch.dtype, accepted: frozenset[torch.dtype]) -> str:
    """What to do about a dtype that an op does not take; empty where a cast keeps the meaning."""
    if dtype.is_complex and not any(other.is_complex for other in accepted):
        return (
            "Write the op in terms of the real and imaginary parts, `x.real` and `x.imag`: a cast "
            "drops the imaginary part."
        )
    if dtype == torch.bool:
        return (
            "Select with torch.where(mask, a, b): a cast makes the numbers 0 and 1 of a mask, "
            "which mean something else as an index or as a mask of attention."
        )
    if not dtype.is_floating_point and all(other.is_floating_point for other in accepted):
        name = name_dtype(dtype)
        return (
            "Compute in float32, and round the result back where whole numbers are wanted: "
            f"op(x.float()).round().to(torch.{name})."
        )
    if dtype == torch.float64:
        return "Compute in float32: leave out what makes it float64."
    return ""


def _is_symbolic(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return any(_is_symbolic(size) for size in value.shape)
    if isinstance(value, (list, tuple)):
        return any(_is_symbolic(item) for item in value)
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def _same(value: Any, choice: Any) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(choice, (list, tuple)):
        return list(value) == list(choice)
    # 0 == False in Python, and not in a schema.
    return value is choice or (type(value) is type(choice) and bool(value == choice))


def _show(value: Any) -> str:
    if isinstance(value, torch.dtype):
        return name_dtype(value)
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(list(value)) if isinstance(value, tuple) else repr(value)
