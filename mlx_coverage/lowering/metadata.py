"""What fx nodes carry beside their meaning, kept small: it outweighs the graph itself."""

from typing import Any

from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule

_ORIGIN = frozenset({"stack_trace", "nn_module_stack", "torch_fn"})
_HISTORY = frozenset({"from_node", "original_aten", "seq_nr", "tensor_meta", "torch_fn"})


def share_metadata(program: ExportedProgram) -> None:
    """Let nodes that were called on the same lines and in the same modules say so once.

    Every node has texts of its own, a kilobyte and more, and few of them differ.
    """
    known: dict[Any, Any] = {}
    for module in program.graph_module.modules():
        if not isinstance(module, GraphModule):
            continue
        for node in module.graph.nodes:
            for key in _ORIGIN & node.meta.keys():
                value = node.meta[key]
                same = tuple(value.items()) if isinstance(value, dict) else value
                node.meta[key] = known.setdefault((key, same), value)


def drop_history(graph: Graph) -> None:
    """Forget what torch notes for debugging: each pass copies it, and a plan reads none of it."""
    for node in graph.nodes:
        for key in _HISTORY & node.meta.keys():
            del node.meta[key]
