"""Find the registry's patterns in an ATen program and put their ops in place.

Works on a functionalised program, with torch's own subgraph matcher. A pattern's graph
comes from tracing its torch function as the user's model was traced, once per dtype.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch.export import ExportedProgram, export
from torch.fx import Graph, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.utils.matcher_utils import InternalMatch, SubgraphMatcher

from mlx_coverage.lowering.pipeline import run_decompositions
from mlx_coverage.lowering.plan import Options, find_constants, is_assertion, is_excluded
from mlx_coverage.registry.judge import Supported, judge_node
from mlx_coverage.registry.samples import Tensor as TensorSample
from mlx_coverage.registry.samples import evaluate, list_names
from mlx_coverage.registry.spec import Pattern, Registry

# Literals that no model holds, so that a parameter can be told from a constant.
_SENTINELS = {float: 0.6180339887498949, int: 999_983}


@dataclass(frozen=True)
class _Traced:
    """A pattern's graph for one dtype; every parameter, literals included, is a placeholder."""

    graph: Graph
    parameters: Mapping[str, Node]


def substitute_patterns(program: ExportedProgram, registry: Registry, options: Options) -> int:
    """Replace every match whose rules hold, in place; returns how many there were.

    Args:
        program: functionalised, and the caller's own: its graph is changed.
        registry: its patterns are tried in order.
        options: an excluded op is not substituted.
    """
    graph = program.graph_module.graph
    constants = find_constants(program)
    count = 0
    present = {node.target for node in graph.nodes if node.op == "call_function"}
    for pattern in registry.patterns:
        if pattern.anchor is not None and pattern.anchor not in present:
            continue
        if pattern.find is not None:
            for node in graph.find_nodes(op="call_function", target=pattern.anchor):
                values = pattern.find(node)
                if values is not None:
                    count += _replace(node, pattern, values, registry, constants, options)
            continue
        if not list_pattern_ops(pattern) <= present:
            continue
        for traced in (_trace(pattern, dtype) for dtype in _find_dtypes(graph)):
            matcher = SubgraphMatcher(traced.graph)
            for match in matcher.match(graph):
                count += _substitute(pattern, traced, match, registry, constants, options)
    if count:
        graph.eliminate_dead_code()
        graph.lint()
    return count


def remove_assertions(program: ExportedProgram) -> None:
    """Drop checks that export has guarded already: they would count as readers of a match."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and is_assertion(node) and not node.users:
            graph.erase_node(node)


@cache
def list_pattern_ops(pattern: Pattern) -> frozenset[Any]:
    """The ops that every match holds."""
    # Composite ops, casts among them, may be spelled otherwise before functionalisation.
    function, examples = _make_function(pattern, torch.float32)
    graph = make_fx(function, pre_dispatch=True)(*examples.values()).graph
    targets = (node.target for node in graph.nodes if node.op == "call_function")
    return frozenset(target for target in targets if not target._can_decompose())


def _find_dtypes(graph: Graph) -> list[torch.dtype]:
    # With no cast in it, the float32 graph is part of the others: it must come last.
    values = [node.meta.get("val") for node in graph.nodes]
    present = {value.dtype for value in values if isinstance(value, torch.Tensor)}
    return [d for d in (torch.bfloat16, torch.float16, torch.float32) if d in present]


def _make_function(
    pattern: Pattern, dtype: torch.dtype
) -> tuple[Callable[..., Any], dict[str, torch.Tensor]]:
    """The pattern as a function of its tensors alone, and examples of them by name."""
    examples = _draw_examples(pattern, dtype)
    literals = _literals(pattern)

    def function(*values: torch.Tensor) -> Any:
        given = dict(zip(examples, values, strict=True))
        return pattern.torch_function(**given, **literals)

    return function, examples


def _literals(pattern: Pattern) -> dict[str, float]:
    parameters = signature(pattern.torch_function).parameters.values()
    return {
        p.name: _SENTINELS[p.annotation] + index
        for index, p in enumerate(parameters)
        if p.annotation in _SENTINELS
    }


@cache
def _trace(pattern: Pattern, dtype: torch.dtype) -> _Traced:
    function, examples = _make_function(pattern, dtype)

    class Function(torch.nn.Module):
        def forward(self, *values: torch.Tensor) -> Any:
            return function(*values)

    program = export(Function(), tuple(examples.values()))
    program = run_decompositions(program, {})
    remove_assertions(program)
    graph = program.graph_module.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    parameters = dict(zip(examples, placeholders, strict=True))
    for name, sentinel in _literals(pattern).items():
        parameters[name] = _lift_literal(graph, name, sentinel)
    return _Traced(graph, parameters)


def _lift_literal(graph: Graph, name: str, sentinel: float) -> Node:
    # The matcher lets a placeholder of the pattern stand for any literal.
    with graph.inserting_before(next(iter(graph.nodes))):
        placeholder = graph.placeholder(name)
    for node in graph.nodes:
        if node.op == "call_function":
            node.args = tuple(placeholder if arg == sentinel else arg for arg in node.args)
    return placeholder


def _draw_examples(pattern: Pattern, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    assert pattern.spec.samples is not None
    arguments = pattern.spec.samples.arguments
    sizes: dict[str, int] = {}

    def shape(sample: TensorSample) -> list[int]:
        found: list[int] = []
        for dim in sample.dims:
            assert isinstance(dim, str)
            if dim.startswith("*"):
                found += [2, 3]
                continue
            for name in list_names(dim):
                sizes.setdefault(name, 5 + 2 * len(sizes))
            found.append(evaluate(dim, sizes))
        return found

    def choose_dtype(sample: TensorSample) -> torch.dtype:
        return dtype if sample.dtype is None else getattr(torch, sample.dtype[-1])

    return {
        name: torch.ones(shape(sample), dtype=choose_dtype(sample))
        for name, sample in arguments.items()
        if isinstance(sample, TensorSample)
    }


def _substitute(
    pattern: Pattern,
    traced: _Traced,
    match: InternalMatch,
    registry: Registry,
    constants: Collection[Node],
    options: Options,
) -> bool:
    values = {name: match.nodes_map[node] for name, node in traced.parameters.items()}
    (last,) = match.returning_nodes
    names = signature(pattern.torch_function).parameters
    given = tuple(values[name] for name in names)
    return _replace(last, pattern, given, registry, constants, options)


def _replace(
    last: Node,
    pattern: Pattern,
    values: tuple[Any, ...],
    registry: Registry,
    constants: Collection[Node],
    options: Options,
) -> bool:
    """Put the pattern's op in the place of the call that ends a match; whether it is taken."""
    graph = last.graph
    with graph.inserting_before(last):
        node = graph.call_function(pattern.spec.target, values)
    node.meta = dict(last.meta)
    verdict = judge_node(node, registry, constants)
    if not isinstance(verdict, Supported) or is_excluded(node, options):
        graph.erase_node(node)
        return False
    last.replace_all_uses_with(node)
    return True
