"""Delegated ops that MLX is known to be slow at, each with the number that says so."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from mlx_coverage.analyze.cost import evaluate_size
from mlx_coverage.analyze.estimates import SlowOp
from mlx_coverage.analyze.flops import name_op
from mlx_coverage.registry.call import bind, canonicalize, name_node

_HALVES = (torch.float16, torch.bfloat16)
_PRODUCTS = frozenset("mm bmm addmm baddbmm linear matmul".split())


@dataclass(frozen=True)
class _Case:
    """A kind of call.

    Attributes:
        applies: of the op's name and its arguments, whether a call is one.
        why: figure, machine and source.
        instead: what to use.
    """

    applies: Callable[[str, Mapping[str, Any]], bool]
    why: str
    instead: str


def _is_grouped(name: str, arguments: Mapping[str, Any]) -> bool:
    return name == "convolution" and arguments["groups"] > 1 and not arguments["transposed"]


def _is_transposed(name: str, arguments: Mapping[str, Any]) -> bool:
    return name == "convolution" and bool(arguments["transposed"])


def _is_half_product(name: str, arguments: Mapping[str, Any]) -> bool:
    operands = [v for v in arguments.values() if isinstance(v, Node)]
    if name not in _PRODUCTS or len(operands) < 2:
        return False
    value = operands[-2].meta["val"]  # a matrix product's first operand, a bias left out
    return value.dtype in _HALVES and prod(map(evaluate_size, value.shape[:-1])) > 1


# Measured on MLX 0.32.4's CPU build, Linux x86-64, torch 2.13 on one thread; public reports are
# of Metal. The shapes are those of the sentence.
_CASES = (
    _Case(
        _is_grouped,
        "convolutions with groups: 4.2 times the time of torch on a CPU (3 x 3, 64 channels of "
        "56 x 56, each its own group), 4.1 times that of torch's MPS on an M3 (1-d, 8 groups; "
        "github.com/ml-explore/mlx/issues/2180)",
        "for a short 1-d kernel, a sum of shifted products (2.3 times as fast as the grouped "
        "convolution on a CPU); otherwise a convolution without groups",
    ),
    _Case(
        _is_transposed,
        "transposed convolutions: 129 times the time of torch on a CPU (4 x 4, stride 2, 64 "
        "channels of 56 x 56), 1.8 times that of torch's MPS on an M3 (1-d, 256 groups; "
        "github.com/ml-explore/mlx/issues/2180)",
        "resampling and a convolution; where stride and kernel are equal, a convolution of one "
        "pixel and torch.nn.functional.pixel_shuffle give the same numbers",
    ),
    _Case(
        _is_half_product,
        "products of 16-bit numbers where MLX runs on a CPU: 66 times the time of torch "
        "(bfloat16, 1000 x 1000); on a GPU they are fast",
        "float32, or a GPU",
    ),
)


def find_slow(nodes: Iterable[Node]) -> tuple[SlowOp, ...]:
    """The slow ones among delegated nodes, by kind; the most frequent op of a kind names it."""
    found: dict[int, Counter[str]] = {}
    for node in nodes:
        target = canonicalize(node.target)
        if not isinstance(target, OpOverload):
            continue
        arguments = bind(target, node.args, node.kwargs)
        for number, case in enumerate(_CASES):
            if case.applies(name_op(target), arguments):
                found.setdefault(number, Counter())[name_node(node)] += 1
    return tuple(
        SlowOp(ops.most_common(1)[0][0], ops.total(), _CASES[n].why, _CASES[n].instead)
        for n, ops in sorted(found.items())
    )
