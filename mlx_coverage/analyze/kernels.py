"""Which fallback ops the installed ExecuTorch runtime cannot run, or computes otherwise.

`to_executorch` turns every op into its out variant, and the runtime looks that name up
when it loads a method: a missing kernel is found then, and no sooner. That a kernel gives
other results than torch is never found; those that were are named here (docs/findings).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import torch
from executorch.exir.delegate import executorch_call_delegate
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from executorch.exir.dialects.edge.op.api import SchemaKind, to_variant
from executorch.exir.operator.convert import is_inplace_variant, is_out_variant
from executorch.exir.passes.executorch_prim_ops_registry import _EXECUTORCH_SYM_OPS
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import Node

from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import Target, canonicalize
from mlx_coverage.registry.reasons import Reason
from mlx_coverage.registry.standins import is_standin, resolve_standin

# Control flow that ExecuTorch's emitter takes, and its calls of delegates.
_INSTRUCTIONS = frozenset(
    {
        *(torch.ops.higher_order.cond, torch.ops.higher_order.map_impl),
        *(torch.ops.higher_order.scan, executorch_call_delegate),
    }
)


def find_missing_kernels(targets: Iterable[Target]) -> dict[Target, Reason]:
    """The reason for each target that has no kernel.

    Args:
        targets: of fallback nodes. Functions on sizes, delegate calls and most control
            flow are instructions of the runtime and need none.

    Raises:
        ImportError: executorch was installed without its Python runtime.
    """
    targets = dict.fromkeys(targets)
    calls = [t for t in targets if _needs_kernel(t)]
    found: dict[Target, Reason] = {
        t: Reason(reasons.NO_KERNEL, f"ExecuTorch's runtime has no instruction for {t}")
        for t in targets
        if isinstance(t, HigherOrderOperator) and t not in _INSTRUCTIONS
    }
    for target in calls:
        name = _name_kernel(target)
        if is_standin(target):
            op = _join(resolve_standin(_get_overload(target)))
            text = (
                f"ExecuTorch takes no complex numbers in {op}: it runs in a delegate, or not at all"
            )
            found[target] = Reason(reasons.NO_KERNEL, text)
        elif name is None:
            text = (
                f"{_join(_get_overload(target))} has no out variant, which to_executorch asks for"
            )
            found[target] = Reason(reasons.NO_KERNEL, text)
        elif name not in _list_kernels():
            text = f"{name} is not among the kernels of the installed ExecuTorch runtime"
            found[target] = Reason(reasons.NO_KERNEL, text)
    return found


def find_wrong_kernels(nodes: Iterable[Node]) -> dict[Node, Reason]:
    """The reason for each fallback node whose kernel gives other results than torch.

    Args:
        nodes: of an edge program, with `val` metadata.
    """
    found: dict[Node, Reason] = {}
    for node in nodes:
        describe = _DEFECTS.get(canonicalize(node.target))
        text = describe(node) if describe is not None else None
        if text is not None:
            found[node] = Reason(reasons.WRONG_KERNEL, text)
    return found


def _describe_remainder(node: Node) -> str | None:
    dtype = node.meta["val"].dtype
    if dtype.is_floating_point or not dtype.is_signed:
        return None
    return "ExecuTorch's kernel gives -7 % 2 as -1, torch as 1: the sign is that of the dividend"


def _describe_nonzero(node: Node) -> str | None:
    # A single column is the same in both orders, and how many rows there are is right.
    sizes = torch.ops.aten.sym_size.int
    if node.meta["val"].shape[1] < 2 or all(user.target is sizes for user in node.users):
        return None
    return "ExecuTorch's kernel writes row by row what the program declares column by column"


_DEFECTS: Mapping[Target, Callable[[Node], str | None]] = {
    torch.ops.aten.nonzero.default: _describe_nonzero,
    torch.ops.aten.remainder.Scalar: _describe_remainder,
    torch.ops.aten.remainder.Tensor: _describe_remainder,
}


@cache
def _list_kernels() -> frozenset[str]:
    from executorch.runtime import Runtime

    return frozenset(Runtime.get().operator_registry.operator_names)


def _needs_kernel(target: Target) -> bool:
    return isinstance(target, (OpOverload, EdgeOpOverload)) and target not in _EXECUTORCH_SYM_OPS


def _name_kernel(target: Target) -> str | None:
    op = _get_overload(target)
    name, overload = op._schema.name, op._schema.overload_name
    if op.is_view and op.namespace == "aten":
        # Edge programs hold the copying form.
        op = getattr(getattr(torch.ops.aten, f"{name.partition('::')[2]}_copy"), op._overloadname)
    elif is_inplace_variant(name, overload) or is_out_variant(name, overload):
        return _join(op)
    try:
        return _join(to_variant(op, SchemaKind.out))
    except RuntimeError:
        return None


def _get_overload(target: Target) -> OpOverload:
    op = target._op if isinstance(target, EdgeOpOverload) else target
    assert isinstance(op, OpOverload)
    return op


def _join(op: OpOverload) -> str:
    return f"{op._schema.name}.{op._schema.overload_name}".removesuffix(".")
