"""An fx node, or a direct call, bound to its ATen schema: every argument by name.

Judging, lowering and conformance all start from a `Call`, so that they cannot read
the same node differently.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import Node

from mlx_coverage.registry.standins import resolve_standin

Target = OpOverload | Callable[..., Any]

# Edge ops whose functional ATen counterpart has another name; the rest lose `_copy`.
_DIM_ORDER_OPS: dict[str, OpOverload] = {
    "dim_order_ops::_to_dim_order_copy": torch.ops.aten._to_copy.default,
    "dim_order_ops::_clone_dim_order": torch.ops.aten.clone.default,
    "dim_order_ops::_empty_dim_order": torch.ops.aten.empty.memory_format,
}


@cache
def canonicalize(target: Target) -> Target:
    """The ATen overload that an edge op stands for: `view_copy` is `view`.

    Args:
        target: an `EdgeOpOverload`, an `OpOverload`, or a Python function on sizes.
    """
    overload = getattr(target, "_op", target) if not isinstance(target, OpOverload) else target
    if not isinstance(overload, OpOverload):
        return target
    overload = resolve_standin(overload)
    name = overload._schema.name
    if name in _DIM_ORDER_OPS:
        return _DIM_ORDER_OPS[name]
    namespace, _, base = name.partition("::")
    if namespace == "aten" and base.endswith("_copy") and base not in ("_to_copy", "index_copy"):
        packet = getattr(torch.ops.aten, base.removesuffix("_copy"), None)
        if packet is not None and overload._overloadname in packet.overloads():
            view: OpOverload = getattr(packet, overload._overloadname)
            return view
    return overload


# Calls that run another op: on copies of what it writes, or in order with other effects.
_WRAPPERS = frozenset({"auto_functionalized", "auto_functionalized_v2", "with_effects"})


def find_callee(node: Node) -> Target:
    """The op that a node is about: its target, or what a wrapper that export adds runs."""
    target = canonicalize(node.target)
    if isinstance(target, HigherOrderOperator) and target._name in _WRAPPERS:
        wrapped = (arg for arg in node.args[:2] if isinstance(arg, OpOverload))
        return next(wrapped, target)
    return target


def name_target(target: Target) -> str:
    """`aten.add.Tensor` for an overload, `operator.mul` for a function on sizes."""
    if isinstance(target, OpOverload):
        return str(target)
    module = getattr(target, "__module__", "").removeprefix("_")
    return f"{module}.{getattr(target, '__name__', repr(target))}"


def name_node(node: Node) -> str:
    """The name of the op that a node is about."""
    return name_target(find_callee(node))


@cache
def parameters(target: Target) -> tuple[tuple[str, bool, Any], ...]:
    """(name, keyword only, default or `Parameter.empty`) of each argument."""
    if isinstance(target, OpOverload):
        return tuple(
            (a.name, a.kwarg_only, a.default_value if a.has_default_value() else Parameter.empty)
            for a in target._schema.arguments
        )
    try:
        declared = signature(target).parameters.values()
    except ValueError:  # a builtin without a signature: arguments by position
        return tuple((name, False, Parameter.empty) for name in ("a", "b", "c"))
    return tuple((p.name, p.kind is Parameter.KEYWORD_ONLY, p.default) for p in declared)


@dataclass(frozen=True)
class Call:
    """A call with its arguments by ATen name, defaults filled in.

    Attributes:
        target: canonical ATen overload, or a Python function on sizes.
        arguments: name to value; tensors are (fake) tensors, sizes may be SymInt.
        results: the (fake) results, in schema order.
        constants: names of tensor arguments that are constants of the program.
        dynamic: names of arguments whose value comes from another node of the graph
            (a SymInt) rather than from the call itself.
    """

    target: Target
    arguments: Mapping[str, Any]
    results: tuple[Any, ...]
    constants: frozenset[str] = field(default=frozenset())
    dynamic: frozenset[str] = field(default=frozenset())

    @classmethod
    def from_node(cls, node: Node, constants: Collection[Node] = ()) -> "Call | None":
        """Bind a `call_function` node; None when an operand or result has no metadata.

        Args:
            node: of an ATen or edge graph.
            constants: the placeholder nodes that are parameters, buffers or constants.
        """
        target = canonicalize(node.target)
        raw = bind(target, node.args, node.kwargs)
        if "val" not in node.meta or any("val" not in n.meta for n in node.all_input_nodes):
            return None
        values = {name: _replace_nodes(value) for name, value in raw.items()}
        fixed, dynamic = set(), set()
        for name, value in raw.items():
            nodes = list(_nodes(value))
            tensors = [n for n in nodes if isinstance(n.meta["val"], torch.Tensor)]
            if tensors and all(n in constants for n in tensors):
                fixed.add(name)
            if len(tensors) < len(nodes):
                dynamic.add(name)
        return cls(
            target, MappingProxyType(values), _tuple(node.meta["val"]), frozenset(fixed),
            frozenset(dynamic),
        )  # fmt: skip

    @classmethod
    def from_values(
        cls,
        target: Target,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        results: Any,
        constants: Collection[str] = (),
    ) -> "Call":
        """Bind a direct call with real or fake tensors; `results` is what torch returned."""
        target = canonicalize(target)
        values = bind(target, args, kwargs)
        return cls(target, MappingProxyType(values), _tuple(results), frozenset(constants))

    def tensors(self, name: str | None = None) -> list[torch.Tensor]:
        """The tensors of one argument, or of all, in schema order; lists flattened."""
        values = self.arguments.values() if name is None else (self.arguments.get(name),)
        return [tensor for value in values for tensor in _tensors(value)]


def bind(target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by schema name with defaults filled in; edge-only keywords are dropped.

    Raises:
        TypeError: a required argument is missing or too many are given.
    """
    bound: dict[str, Any] = {}
    positional = list(args)
    for name, keyword_only, default in parameters(target):
        if positional and not keyword_only:
            bound[name] = positional.pop(0)
        elif name in kwargs:
            bound[name] = kwargs[name]
        elif default is not Parameter.empty:
            bound[name] = default
        elif isinstance(target, OpOverload):
            raise TypeError(f"{name_target(target)}: argument {name} is missing")
    if positional:
        raise TypeError(f"{name_target(target)}: {len(args)} positional arguments are too many")
    return bound


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _nodes(item)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _replace_nodes(value: Any) -> Any:
    if isinstance(value, Node):
        return value.meta["val"]
    if isinstance(value, (list, tuple)):
        return [_replace_nodes(item) for item in value]
    return value
