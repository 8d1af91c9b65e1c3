"""Edge programs made by hand: any graph, without the cost of an export."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten
VALUE = torch.empty(4, 4, device="meta")


@dataclass(frozen=True)
class Step:
    """One op of a graph.

    Attributes:
        kind: `add` (supported), `mul` (not), `view`, `split` (supported, two results), or
            `full` (supported, without inputs).
        inputs: indices of earlier steps; the first index, 0, is the input of the graph.
    """

    kind: str
    inputs: tuple[int, ...]


def build(steps: Sequence[Step]) -> ExportedProgram:
    """A program with one input and every unread value as an output."""
    graph = Graph()
    values = [_place(graph.placeholder("x"))]
    for step in steps:
        inputs = [values[i] for i in step.inputs]
        values.append(_build_step(graph, step.kind, inputs))
    outputs = [node for node in graph.nodes if not node.users]
    graph.output(tuple(outputs))
    signature = ExportGraphSignature(
        [InputSpec(InputKind.USER_INPUT, TensorArgument("x"), None)],
        [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(n.name), None) for n in outputs],
    )
    return ExportedProgram(
        root=GraphModule({}, graph),
        graph=graph,
        graph_signature=signature,
        state_dict={},
        range_constraints={},
        module_call_graph=[],
    )


def _build_step(graph: Graph, kind: str, inputs: list[Node]) -> Node:
    first, last = inputs[0], inputs[-1]
    if kind == "split":
        parts = graph.call_function(aten.split_with_sizes.default, (first, [2, 2]))
        parts.meta["val"] = [VALUE, VALUE]
        halves = [_place(graph.call_function(operator.getitem, (parts, i))) for i in range(2)]
        return _place(graph.call_function(aten.add.Tensor, tuple(halves)))
    if kind == "full":
        return _place(graph.call_function(aten.full.default, ([4, 4], 1.0)))
    if kind == "view":
        return _place(graph.call_function(aten.view.default, (first, [4, 4])))
    target = aten.add.Tensor if kind == "add" else aten.mul.Tensor
    return _place(graph.call_function(target, (first, last)))


def _place(node: Node) -> Node:
    node.meta["val"] = VALUE
    return node
