"""Graphs in the place of calls, and programs whose graphs may be changed."""

import copy
import operator
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import detect_fake_mode
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx


def trace_call(
    node: Node, function: Callable[..., Any], table: Mapping[Any, Callable[..., Any]] | None = None
) -> Graph:
    """What a function makes of the arguments of a call.

    Args:
        node: the call, its inputs with `val` metadata.
        function: takes what the call takes.
        table: decompositions of the calls that the function makes.

    Returns:
        A graph with a placeholder for each of the call's input nodes.
    """
    inputs = list(node.all_input_nodes)

    def run(*values: Any) -> Any:
        given = dict(zip(inputs, values, strict=True))
        # As a caller gives them: fx's own lists refuse the decompositions that write into them.
        return function(*_fill(node.args, given), **_fill(node.kwargs, given))

    # Some composites call another op where a gradient is wanted.
    examples = [v.detach() if isinstance(v := n.meta["val"], torch.Tensor) else v for n in inputs]
    # torch's Python decompositions of composites, as export runs them: dropout stays functional.
    # What it makes of no tensor, perhaps of a size alone, must be as fake as the call's result.
    mode = detect_fake_mode((examples, node.meta.get("val"))) or nullcontext()
    with mode, enable_python_dispatcher():
        traced = make_fx(run, decomposition_table=dict(table or {}), tracing_mode="real")
        return traced(*examples).graph


def _fill(value: Any, given: Mapping[Node, Any]) -> Any:
    if isinstance(value, Node):
        return given[value]
    if isinstance(value, dict):
        return {name: _fill(item, given) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        filled = [_fill(item, given) for item in value]
        return filled if isinstance(value, list) else tuple(filled)
    return value


def inline_graph(node: Node, body: Graph) -> None:
    """Put a graph in the place of a call.

    Args:
        node: the call; it is erased, and its metadata inherited.
        body: as `trace_call` gives it; with several results, a tuple of them, which the
            readers of the call take apart with `getitem`.
    """
    inputs = list(node.all_input_nodes)
    placed: dict[Node, Any] = {}
    result: Any = None
    with node.graph.inserting_before(node):
        for inner in body.nodes:
            if inner.op == "placeholder":
                placed[inner] = inputs[len(placed)]
            elif inner.op == "output":
                result = torch.fx.node.map_arg(inner.args[0], lambda n: placed[n])
            else:
                placed[inner] = node.graph.node_copy(inner, lambda n: placed[n])
                placed[inner].meta = {**node.meta, **inner.meta}
    if isinstance(result, Node):
        node.replace_all_uses_with(result)
    else:
        for user in list(node.users):
            user.replace_all_uses_with(result[user.args[1]])
            node.graph.erase_node(user)
    node.graph.erase_node(node)


def find_base(node: Node, same_dtype: bool = False) -> Node:
    """What a view is of, through views of views.

    Args:
        node: a view, or what is none.
        same_dtype: whether to stop at a view of elements of another dtype.
    """
    while True:
        call: Any = node.args[0] if node.target is operator.getitem else node
        if not isinstance(call.target, OpOverload) or not call.target.is_view:
            return node
        base = call.args[0]
        if same_dtype and base.meta["val"].dtype != node.meta["val"].dtype:
            return node
        node = base


def isolate(program: ExportedProgram, graph: Graph | None = None) -> ExportedProgram:
    """The same program with dictionaries of its own and, where one is given, a copy of a graph.

    Delegating a mutable buffer takes it out of the state dict, which ExecuTorch's
    decompositions share with the program that the user gave.
    """
    isolated = copy.copy(program)
    isolated._state_dict = {name: _detach(value) for name, value in program.state_dict.items()}
    isolated._constants = {name: _detach(value) for name, value in program.constants.items()}
    if graph is not None:
        own, copies = Graph(), dict[Node, Node]()
        own.output(own.graph_copy(graph, copies)).meta = dict(graph.output_node().meta)
        isolated._graph_module = GraphModule(program.graph_module, own)
        isolated._graph_module.meta = dict(program.graph_module.meta)
    return isolated


def _detach(value: Any) -> Any:
    # ExecuTorch copies them, which autograd's results refuse.
    return value.detach() if isinstance(value, torch.Tensor) and not value.is_leaf else value


def agree(found: Any, expected: Any) -> bool:
    """Whether two example values have the same dtypes, devices, sizes and strides."""
    if isinstance(found, torch.Tensor):
        if not isinstance(expected, torch.Tensor):
            return False
        return bool(describe(found) == describe(expected))
    if isinstance(found, (list, tuple)):
        return (
            isinstance(expected, (list, tuple))
            and len(found) == len(expected)
            and all(map(agree, found, expected))
        )
    return bool(express(found) == express(expected))


def describe(value: Any) -> Any:
    """Dtype, device, sizes, strides and offset of a tensor; another value as `express` gives it."""
    if not isinstance(value, torch.Tensor):
        return express(value)
    sizes = (*value.shape, *value.stride(), value.storage_offset())
    return value.dtype, value.device, value.dim(), *map(express, sizes)


def express(value: Any) -> Any:
    """What a size can be compared by: equality of symbolic sizes would be a guard."""
    symbolic = isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))
    return value.node.expr if symbolic else value


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
