"""Attention over repeated keys and values, written as the grouped-query attention that it is.

Models repeat each head of keys and values for its group of query heads (`repeat_kv` of
transformers). torch's `enable_gqa` says the same of the heads as they are, and so does MLX's
kernel, which then reads each of them once.
"""

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.graphs import express
from mlx_coverage.lowering.plan import Options, is_excluded
from mlx_coverage.registry.judge import Supported, judge_node
from mlx_coverage.registry.spec import Registry

_aten = torch.ops.aten
_ATTENTION = _aten.scaled_dot_product_attention.default
_VIEWS = (_aten.view.default, _aten._unsafe_view.default)


def group_queries(program: ExportedProgram, registry: Registry, options: Options) -> int:
    """Take repeated heads unrepeated wherever the registry takes the call then.

    Args:
        program: functionalised, and the caller's own: its graph is changed.
        registry: by which the call is judged.
        options: an excluded call stays as it is.

    Returns:
        How many calls were changed.
    """
    graph = program.graph_module.graph
    calls = graph.find_nodes(op="call_function", target=_ATTENTION)
    count = sum(_group(node, registry) for node in calls if not is_excluded(node, options))
    if count:
        graph.eliminate_dead_code()
        graph.lint()
        program.graph_module.recompile()
    return count


def _group(node: Node, registry: Registry) -> bool:
    query, *repeated = node.args[:3]
    sources = [_find_unrepeated(operand) for operand in repeated]
    if None in sources or any(_count(operand) != _count(query) for operand in repeated):
        return False
    before = node.args, node.kwargs
    node.args = (query, *sources, *node.args[3:])
    node.kwargs = {**node.kwargs, "enable_gqa": True}
    if isinstance(judge_node(node, registry), Supported):
        return True
    node.args, node.kwargs = before
    return False


def _find_unrepeated(node: Any) -> Node | None:
    """`x`, where `node` is `x` with each head repeated for its neighbours."""
    source = _find_source(node, _aten.repeat_interleave.self_int)
    if source is None:
        return _find_expanded(node)
    *batch, _, length, size = _measure(source)
    found = _measure(node)
    return source if [*found[:-3], *found[-2:]] == [*batch, length, size] else None


def _find_expanded(node: Any) -> Node | None:
    """`x`, where `node` is `x[..., None, :, :].expand(...).reshape(...)` with more heads."""
    expanded = _find_source(node, *_VIEWS)
    if expanded is not None:
        expanded = _find_source(expanded, _aten.clone.default) or expanded
    unsqueezed = _find_source(expanded, _aten.expand.default)
    source = _find_source(unsqueezed, _aten.unsqueeze.default)
    if source is None:
        return None
    *batch, heads, length, size = _measure(source)
    groups = _measure(expanded)[-3]
    # Equal shapes leave no choice of how the elements were arranged.
    arranged = (
        _measure(unsqueezed) == [*batch, heads, 1, length, size]
        and _measure(expanded) == [*batch, heads, groups, length, size]
        and _measure(node) == [*batch, heads * groups, length, size]
    )
    return source if arranged else None


def _count(node: Any) -> list[Any]:
    """The sizes of the batch, and how many heads there are."""
    return _measure(node)[:-2]


def _find_source(node: Any, *targets: Any) -> Node | None:
    """The first operand of a call of one of the targets."""
    made = isinstance(node, Node) and node.op == "call_function" and node.target in targets
    return node.args[0] if made else None


def _measure(node: Any) -> list[Any]:
    return [express(size) for size in node.meta["val"].shape]
