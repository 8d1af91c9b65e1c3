"""A call replaced by the graph of a function."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import detect_fake_mode
from torch.fx import Graph, Node
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
