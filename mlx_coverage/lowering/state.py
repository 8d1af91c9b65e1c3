"""Mutable buffers: what is written to them, and which methods of a program hold the same one.

A method is lowered by itself, a buffer belongs to the program: it must go by one name in all
methods, be no constant of a method that only reads it, and have one owner.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from weakref import ReferenceType, ref

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx import Node

from mlx_coverage.lowering.weights import Weight

aten = torch.ops.aten
_WRITES = (OutputKind.BUFFER_MUTATION,)


class SharedBufferError(Exception):
    """Methods share a buffer that neither the delegate nor ExecuTorch can keep for them all.

    Attributes:
        node: the placeholder of the buffer in the method that was being partitioned.
    """

    def __init__(self, sentence: str, node: Node) -> None:
        super().__init__(sentence)
        self.node = node


def separate_new_values(program: ExportedProgram) -> None:
    """Have each mutated buffer's new value be a copy into that buffer where it was another value.

    ExecuTorch writes new values back one after another, so that a new value which is another
    buffer, or a view of one, may be overwritten before it is read. Such a value, one that is
    returned or written twice, and one of a buffer that is never read belong to no partition.
    The graph and the signature are changed in place.
    """
    graph, signature = program.graph_module.graph, program.graph_signature
    output = graph.output_node()
    results = list(output.args[0])  # type: ignore[arg-type]
    count = Counter(results)
    placeholders = {node.name: node for node in graph.find_nodes(op="placeholder")}
    buffers = {b: placeholders[name] for name, b in signature.inputs_to_buffers.items()}
    for index, spec in enumerate(signature.output_specs):
        value = results[index]
        if spec.kind not in _WRITES or not isinstance(value, Node):
            continue
        assert spec.target is not None
        buffer = buffers[spec.target]
        if count[value] == 1 and buffer.users and _find_base(value).op == "call_function":
            continue
        if value is buffer and count[value] == 1:
            continue  # written with what it held
        with graph.inserting_before(output):
            written = graph.call_function(aten.copy.default, (buffer, value))
        written.meta = {**value.meta, "val": buffer.meta["val"].clone()}
        results[index] = written
        spec.arg = TensorArgument(name=written.name)
    output.args = (tuple(results),)


def _find_base(node: Node) -> Node:
    while isinstance(node.target, OpOverload) and node.target.is_view:
        node = node.args[0]  # type: ignore[assignment]
    return node
