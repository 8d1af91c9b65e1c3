"""What fx nodes carry beside their meaning, kept small: it outweighs the graph itself."""

from typing import Any

from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental import proxy_tensor

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


def share_origin(node: Node, source: Node) -> None:
    """Let a node that was made for another say where it comes from in the other's words."""
    for key in _ORIGIN & node.meta.keys():
        if node.meta[key] == source.meta.get(key):
            node.meta[key] = source.meta[key]


def forget_traces() -> None:
    """Free the graph that `torch.export` traced before the one that it returned.

    torch remembers its nodes until the next trace, to name fake tensors that leaked.
    """
    proxy_tensor._FAKE_TENSOR_ID_TO_PROXY_MAP_FOR_EXPORT.clear()


def forget_erased(graph: Graph) -> None:
    """Free the nodes that were erased from a graph: fx keeps them for their names."""
    names = graph._graph_namespace._obj_to_name
    for node in [n for n in names if isinstance(n, Node) and n._erased]:
        del names[node]


def drop_history(graph: Graph) -> None:
    """Forget what torch notes for debugging: each pass copies it, and a plan reads none of it."""
    for node in graph.nodes:
        for key in _HISTORY & node.meta.keys():
            del node.meta[key]
