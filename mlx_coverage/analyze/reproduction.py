"""A finding by itself: a model file of a few nodes that falls back for the same reason.

The node is cut out of the program with the metadata that it has there: shapes, strides,
dtypes, literal arguments, which operands are constants, which sizes are dynamic. Producers
and readers are added until the planner gives the same reason.
"""

import builtins
import math
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter
from keyword import iskeyword
from typing import Any

import torch
from torch._ops import HigherOrderOperator, OpOverload
from torch.fx import Node

from mlx_coverage.analyze import capture
from mlx_coverage.analyze.cost import evaluate_size
from mlx_coverage.analyze.custom_ops import STOCK_NAMESPACES
from mlx_coverage.analyze.failures import CaptureError, InputError
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Fallback, PartitionPlan
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import (
    Target,
    bind,
    canonicalize,
    name_node,
    name_target,
    parameters,
)
from mlx_coverage.registry.reasons import Reason

# Numbers of calls to try, the last one being the most that a file holds.
_CALLS = (1, 2, 4, 8, 15)
# Of all tensors together; larger ones are made without data.
_MOST_BYTES = 64 << 20
_RESERVED = frozenset({*dir(builtins), "self", "torch", "operator", "math"})


@dataclass(frozen=True)
class Origin:
    """Where a finding comes from.

    Attributes:
        model: as it was named on the command line.
        place: line of the source, or an empty text.
        defines: statements that register the model's custom ops; may be empty.
    """

    model: str
    place: str = ""
    defines: tuple[str, ...] = ()


def reproduce(plan: PartitionPlan, node: Node, origin: Origin) -> str:
    """The text of a model file in which the node's op falls back for its primary reason.

    Args:
        plan: of the whole model.
        node: a counted node of it that falls back.
        origin: said in the file.

    Raises:
        InputError: no part of at most 15 calls falls back for that reason.
    """
    placement = plan.placements[node]
    assert isinstance(placement, Fallback)
    reason, name = placement.reasons[0], name_node(node)
    tried: set[frozenset[Node]] = set()
    for limit in _CALLS:
        region = _grow(node, limit)
        if region in tried or not region:
            continue
        tried.add(region)
        piece = _Piece(plan, region)
        text = _write_file(piece, name, reason, origin)
        if _falls_back(text, name, reason):
            return text
    raise InputError(
        f"{name} does not fall back for {reason.kind.slug} in a part of at most "
        f"{_CALLS[-1]} calls; accepted: a finding whose reason shows without the whole model"
    )


def _grow(start: Node, limit: int) -> frozenset[Node]:
    """The calls nearest to a node, and the sizes that they need; empty where too many."""
    region: set[Node] = set()
    waiting = [start]
    while waiting and len(region) < limit:
        node = waiting.pop(0)
        added = _close(node) - region
        if node.op != "call_function" or (region and len(region) + len(added) > limit):
            continue
        region |= added
        waiting += [n for n in (*node.all_input_nodes, *node.users) if n not in region]
    return frozenset(region) if len(region) <= _CALLS[-1] else frozenset()


def _close(node: Node) -> set[Node]:
    # A size cannot be an input of its own without losing what it is the size of; a tuple
    # cannot be one at all.
    closed: set[Node] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current in closed or current.op != "call_function":
            continue
        closed.add(current)
        waiting += [n for n in current.all_input_nodes if not _is_tensor(n)]
    return closed


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


@dataclass
class _Piece:
    """Calls of a graph, and what they read."""

    plan: PartitionPlan
    region: frozenset[Node]
    calls: list[Node] = field(init=False)
    inputs: list[Node] = field(init=False)
    constants: list[Node] = field(init=False)

    def __post_init__(self) -> None:
        self.calls = [node for node in self.plan.graph.nodes if node in self.region]
        read = [n for call in self.calls for n in call.all_input_nodes if n not in self.region]
        outside = list(dict.fromkeys(read))
        self.constants = [n for n in outside if n in self.plan.constants]
        self.inputs = [n for n in outside if n not in self.plan.constants]

    @property
    def results(self) -> list[Node]:
        """What nothing inside reads."""
        return [node for node in self.calls if not self.region & node.users.keys()]


def _falls_back(text: str, name: str, reason: Reason) -> bool:
    scope: dict[str, Any] = {"__name__": "repro"}
    exec(compile(text, "repro", "exec"), scope)
    given = Exportable(
        scope["model"], scope["example_inputs"], dynamic_shapes=scope.get("dynamic_shapes")
    )
    make = partial(MLXPartitioner, exclude_ops=scope.get("excluded", ()))
    try:
        planned = capture.plan_methods(capture.export_methods({"forward": given}), make)
    except CaptureError:
        return False
    return any(
        name_node(node) == name
        and isinstance(placement, Fallback)
        and placement.reasons[0].kind is reason.kind
        and placement.reasons[0].culprit == reason.culprit
        for node, placement in planned.plans["forward"].placements.items()
    )


def _write_file(piece: _Piece, name: str, reason: Reason, origin: Origin) -> str:
    slug = reason.kind.slug
    names = _name_values((*piece.constants, *piece.inputs, *piece.calls))
    meta = _count_bytes((*piece.constants, *piece.inputs)) > _MOST_BYTES
    arguments = [names[node] for node in piece.inputs]
    where = origin.model + (f", {origin.place}" if origin.place else "")
    lines = [
        f'"""{name} stays with ExecuTorch: {slug}."""',
        "",
        f"# {_make_inert(reason.text)}",
        f"# Taken from {_make_inert(where)}. Run this file to see whether it is still so;",
        "# mlx-coverage check shows the finding.",
        "",
        *(f"import {module}" for module in _list_imports(piece.calls)),
        *_write_definitions(piece.calls, origin),
        "",
        "",
        "class Repro(torch.nn.Module):",
    ]
    if piece.constants:
        lines += ["    def __init__(self):", "        super().__init__()"]
        lines += [
            f'        self.register_buffer("{names[node]}", {_write_value(node, meta)})'
            for node in piece.constants
        ]
        lines += [""]
    lines += [f"    def forward({', '.join(['self', *arguments])}):"]
    scope = names | {node: f"self.{names[node]}" for node in piece.constants}
    lines += [f"        {names[node]} = {_write_call(node, scope)}" for node in piece.calls]
    lines += [f"        return {', '.join(names[node] for node in piece.results)}", "", ""]
    values = _write_tuple([_write_value(node, meta) for node in piece.inputs])
    lines += ["model = Repro()", f"example_inputs = {values}"]
    shapes = [_write_dynamic_sizes(node) for node in piece.inputs]
    options = ""
    if any(shape != "None" for shape in shapes):
        lines += [f"dynamic_shapes = {_write_tuple(shapes)}"]
        options += ", dynamic_shapes=dynamic_shapes"
    if reason.kind is reasons.EXCLUDED:
        lines += [f'excluded = ["{name}"]  # mlx-coverage check --exclude {name}']
        options += ", exclude_ops=excluded"
    lines += [
        "",
        'if __name__ == "__main__":',
        "    from mlx_coverage.testing import check_module",
        "",
        f"    report = check_module(model, example_inputs{options})",
        "    findings = [finding for method in report.methods for finding in method.findings]",
        "    reasons = [(f, reason) for f in findings for reason in (f.reason, *f.others)]",
        "    found = {(count.op, reason.slug) for f, reason in reasons for count in f.ops}",
        f'    expected = ("{name}", "{slug}")',
        '    assert expected in found, f"no longer so; found {sorted(found)}"',
        '    print("still so:", *expected)',
    ]
    return "\n".join(lines) + "\n"


def _name_values(nodes: Iterable[Node]) -> dict[Node, str]:
    """Names that tell what was called, rather than those of the whole program."""
    names: dict[Node, str] = {}
    repeated: Counter[str] = Counter()
    for node in nodes:
        target = canonicalize(node.target) if callable(node.target) else None
        if isinstance(target, OpOverload):
            base = target._schema.name.partition("::")[2].strip("_")
        else:
            base = str(getattr(target, "__name__", node.name))
        base = f"{base}_" if base in _RESERVED or iskeyword(base) else base
        repeated[base] += 1
        names[node] = f"{base}_{repeated[base]}" if repeated[base] > 1 else base
    return names


def _write_tuple(items: Sequence[str]) -> str:
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def _make_inert(text: str) -> str:
    # It ends up in a comment: nothing may begin a new line.
    return "".join(c if c.isprintable() else " " for c in text)


def _list_imports(calls: Iterable[Node]) -> list[str]:
    modules = {
        name_target(node.target).partition(".")[0]
        for node in calls
        if callable(node.target)
        and not isinstance(canonicalize(node.target), OpOverload)
        and node.target is not operator.getitem
    }
    return sorted({"torch"} | modules)


def _write_definitions(calls: Iterable[Node], origin: Origin) -> Iterator[str]:
    custom = dict.fromkeys(
        op._schema.name
        for op in (canonicalize(node.target) for node in calls)
        if isinstance(op, OpOverload) and op.namespace not in STOCK_NAMESPACES
    )
    for name in custom if origin.defines else ():
        namespace, _, base = name.partition("::")
        yield ""
        yield f'if not hasattr(torch.ops.{namespace}, "{base}"):'
        yield from (f"    {line}" if line else "" for line in origin.defines)


def _write_call(node: Node, names: Mapping[Node, str]) -> str:
    if node.target is operator.getitem:
        source, index = node.args
        return f"{_write_literal(source, names)}[{index}]"
    if isinstance(node.target, (HigherOrderOperator, str)):
        raise InputError(
            f"{node.target} has a graph of its own; accepted: findings of ops that are no "
            "control flow"
        )
    target = canonicalize(node.target)
    given = bind(target, node.args, node.kwargs)
    called = f"torch.ops.{target}" if isinstance(target, OpOverload) else name_target(target)
    return f"{called}({', '.join(_list_arguments(target, given, names))})"


def _list_arguments(
    target: Target, given: Mapping[str, Any], names: Mapping[Node, str]
) -> Iterator[str]:
    """Required arguments by position, the others by name where they are not the default."""
    for name, keyword_only, default in parameters(target):
        if name not in given:
            continue
        value = given[name]
        text = _write_literal(value, names)
        if type(value) is type(default) and text == _write_literal(default, names):
            continue
        required = default is Parameter.empty and not keyword_only
        yield text if required else f"{name}={text}"


def _write_literal(value: Any, names: Mapping[Node, str]) -> str:
    if isinstance(value, Node):
        return names[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_write_literal(item, names) for item in value)}]"
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return str(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _measure_sizes(sizes: Sequence[int | torch.SymInt]) -> tuple[int, ...]:
    # torch specialises sizes 0 and 1, which is the least that a data-dependent one can be.
    return tuple(s if isinstance(s, int) else max(evaluate_size(s), 2) for s in sizes)


def _write_value(node: Node, meta: bool) -> str:
    """The expression of an example of what a node gives; its values are arbitrary."""
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt):
        return str(_measure_sizes([value])[0])
    if not isinstance(value, torch.Tensor):
        return repr(value)
    shape, stride = _measure_sizes(value.shape), _measure_strides(value)
    options = f", dtype={value.dtype}" if value.dtype != torch.float32 else ""
    options += ', device="meta"' if meta else ""
    # Indices of value 0 are inside of any tensor.
    random = value.dtype.is_floating_point and value.dtype.itemsize > 1
    make = "rand" if random else "zeros"
    if stride == torch.empty(shape, device="meta").stride():
        return f"torch.{make}({', '.join(map(str, shape)) or '()'}{options})"
    length = 1 + sum((s - 1) * step for s, step in zip(shape, stride, strict=True))
    length = 0 if 0 in shape else length
    return f"torch.{make}({length}{options}).as_strided({shape}, {stride})"


def _measure_strides(value: torch.Tensor) -> tuple[int, ...]:
    """Strides at the example sizes; a symbolic one follows from the order of the dimensions."""
    shape, stride = _measure_sizes(value.shape), value.stride()
    if all(isinstance(step, int) for step in stride):
        return tuple(stride)
    found = [0] * len(shape)
    length = 1
    for dim in sorted(range(len(shape)), key=lambda d: (evaluate_size(stride[d]), -d)):
        if evaluate_size(stride[dim]):
            found[dim], length = length, length * max(shape[dim], 1)
    return tuple(found)


def _count_bytes(nodes: Iterable[Node]) -> int:
    values = (node.meta.get("val") for node in nodes)
    return sum(
        math.prod(_measure_sizes(v.shape)) * v.dtype.itemsize
        for v in values
        if isinstance(v, torch.Tensor)
    )


def _write_dynamic_sizes(node: Node) -> str:
    value = node.meta.get("val")
    if isinstance(value, torch.SymInt):
        return "torch.export.Dim.AUTO"
    if not isinstance(value, torch.Tensor):
        return "None"
    dynamic = [d for d, size in enumerate(value.shape) if isinstance(size, torch.SymInt)]
    entries = ", ".join(f"{dim}: torch.export.Dim.AUTO" for dim in dynamic)
    return f"{{{entries}}}" if dynamic else "None"
