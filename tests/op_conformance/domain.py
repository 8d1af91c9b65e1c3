"""What an entry's rules say about generation: bounds that keep every case inside."""

from dataclasses import dataclass, field
from typing import Any

import torch

from mlx_coverage.registry import rules
from mlx_coverage.registry.dtypes import ANY
from mlx_coverage.registry.samples import BroadcastTensor, IndexedTensor, Tensor, TensorList
from mlx_coverage.registry.spec import OpSpec

# Torch dtypes by the names that samples use.
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in [*ANY, torch.float64]}
ORDER = [
    torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint8, torch.bool, torch.float64, torch.complex64,
]  # fmt: skip


@dataclass
class Domain:
    """The rules of one entry, by argument.

    Attributes:
        dtypes, ranks, choices, ranges: argument to what it may be.
        results: dtypes of the result, None where no rule says.
        alike: groups of arguments that share a dtype.
        filled: arguments that have at least one element.
        constants: arguments that are constants of the program.
    """

    dtypes: dict[str, frozenset[torch.dtype]] = field(default_factory=dict)
    results: frozenset[torch.dtype] | None = None
    alike: list[tuple[str, ...]] = field(default_factory=list)
    ranks: dict[str, tuple[int, int]] = field(default_factory=dict)
    choices: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    ranges: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)


def read_domain(spec: OpSpec) -> Domain:
    """The domain of an entry.

    Raises:
        TypeError: a rule of a class that is not of the vocabulary.
    """
    domain = Domain()
    for rule in spec.rules:
        match rule:
            case rules.Dtype(argument, accepted):
                domain.dtypes[argument] = domain.dtypes.get(argument, accepted) & accepted
            case rules.ResultDtype(accepted):
                domain.results = accepted
            case rules.SameDtype(arguments):
                domain.alike.append(arguments)
            case rules.Rank(argument, low, high):
                domain.ranks[argument] = (low, 99 if high is None else high)
            case rules.OneOf(argument, accepted):
                domain.choices[argument] = accepted
            case rules.Range(argument, low, high):
                domain.ranges[argument] = (low, high)
            case rules.NonEmpty(argument):
                domain.filled.add(argument)
            case rules.Constant(argument):
                domain.constants.add(argument)
            case rules.Static() | rules.Predicate():
                pass
            case _:
                raise TypeError(f"{spec.name}: conformance does not know the rule {rule!r}")
    return domain


def list_case_dtypes(spec: OpSpec) -> list[torch.dtype | None]:
    """The dtypes that an entry is tested in; [None] where no argument follows one."""
    domain = read_domain(spec)
    followers = list_followers(spec)
    if followers:
        accepted = domain.dtypes.get(followers[0], ANY)
        for group in domain.alike:
            for name in group if followers[0] in group else ():
                accepted &= domain.dtypes.get(name, accepted)
    elif domain.results is not None:
        accepted = domain.results
    else:
        return [None]
    return [dtype for dtype in ORDER if dtype in accepted]


def list_followers(spec: OpSpec) -> list[str]:
    """The tensor arguments whose dtype is the case's, in drawing order."""
    return [
        name
        for name, generator in (spec.samples.arguments if spec.samples else {}).items()
        if isinstance(generator, (Tensor, BroadcastTensor, IndexedTensor, TensorList))
        and getattr(generator, "dtype", None) is None
    ]
