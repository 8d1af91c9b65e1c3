"""Ops of our own that stand for ATen ops which ExecuTorch would refuse.

ExecuTorch lets an op pass that is core ATen, that it can decompose, or that is in a
namespace other than `aten`. An op that the registry supports and that is neither core
nor decomposable travels as its stand-in: same name and schema, in this namespace.
"""

from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload

NAMESPACE = "mlx_coverage_aten"


@cache
def define_standin(op: OpOverload) -> OpOverload:
    """The stand-in of an ATen overload; its meaning on every device is the op itself."""
    name, parenthesis, signature = str(op._schema).removeprefix("aten::").partition("(")
    qualified = f"{NAMESPACE}::{name}"
    torch.library.define(qualified, parenthesis + signature)
    torch.library.impl(qualified, "CompositeExplicitAutograd", op)
    packet = getattr(getattr(torch.ops, NAMESPACE), name.partition(".")[0])
    overload: OpOverload = getattr(packet, op._overloadname)
    return overload


def is_standin(op: Any) -> bool:
    """Whether an ATen or edge overload is a stand-in."""
    return getattr(op, "namespace", None) == NAMESPACE


def resolve_standin(op: OpOverload) -> OpOverload:
    """The ATen overload that a stand-in stands for; any other op itself."""
    if op.namespace != NAMESPACE:
        return op
    packet = getattr(torch.ops.aten, op._schema.name.partition("::")[2])
    original: OpOverload = getattr(packet, op._overloadname)
    return original
