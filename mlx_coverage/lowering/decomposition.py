"""What happens to an ATen program before ExecuTorch decomposes it.

Patterns are substituted; then exactly those calls of whole ops that the registry
declines are decomposed. ExecuTorch keeps an op for all of its calls or for none, so with
the declined ones gone the op can be kept for the rest.
"""

from collections.abc import Callable
from typing import Any

import torch
from executorch.exir.program._program import _default_decomposition_table
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from mlx_coverage.lowering.plan import Options, find_constants, is_excluded
from mlx_coverage.lowering.substitution import may_match, remove_assertions, substitute_patterns
from mlx_coverage.registry.call import canonicalize
from mlx_coverage.registry.judge import Unsupported, judge_node
from mlx_coverage.registry.spec import Registry


def prepare_program(
    program: ExportedProgram, registry: Registry, options: Options
) -> ExportedProgram:
    """A program in which every call of a whole op is one that the delegate takes.

    The argument is not changed; it is returned itself when there is nothing to do.
    """
    if not may_match(program, registry) and not _find_declined(program, registry, options):
        return program
    # Functionalised as ExecuTorch will do next, and a copy: the user's stays as it was.
    copy: ExportedProgram = program.run_decompositions({})
    remove_assertions(copy)
    changed = substitute_patterns(copy, registry, options)
    table = _default_decomposition_table()
    declined = _find_declined(copy, registry, options)
    for node in declined:
        _inline(copy.graph_module, node, _find_decomposition(node, table))
    if not changed and not declined:
        return program
    copy.graph_module.graph.lint()
    copy.graph_module.recompile()
    return copy


def _find_declined(program: ExportedProgram, registry: Registry, options: Options) -> list[Node]:
    constants = find_constants(program)
    declined = []
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        spec = registry.get(canonicalize(node.target))
        if spec is not None and spec.whole:
            verdict = judge_node(node, registry, constants)
            if isinstance(verdict, Unsupported) or is_excluded(node, options):
                declined.append(node)
    return declined


def _find_decomposition(
    node: Node, table: dict[OpOverload, Callable[..., Any]]
) -> Callable[..., Any] | None:
    target = node.target
    assert isinstance(target, OpOverload)
    if target in table:
        return table[target]
    if target._can_decompose():
        return target.decompose
    return None  # core: ExecuTorch keeps it whole and runs it by a kernel of its own


def _inline(module: GraphModule, node: Node, decomposition: Callable[..., Any] | None) -> None:
    if decomposition is None:
        return
    inputs = list(node.all_input_nodes)

    def run(*values: Any) -> Any:
        given = dict(zip(inputs, values, strict=True))
        args = torch.fx.node.map_arg(node.args, lambda n: given[n])
        kwargs = torch.fx.node.map_arg(node.kwargs, lambda n: given[n])
        return decomposition(*args, **kwargs)

    examples = [n.meta["val"] for n in inputs]
    body = make_fx(run, tracing_mode="real")(*examples)
    placed: dict[Node, Any] = {}
    with module.graph.inserting_before(node):
        for inner in body.graph.nodes:
            if inner.op == "placeholder":
                placed[inner] = inputs[len(placed)]
            elif inner.op == "output":
                node.replace_all_uses_with(placed[inner.args[0]])
            else:
                placed[inner] = module.graph.node_copy(inner, lambda n: placed[n])
                placed[inner].meta = {**node.meta, **inner.meta}
    module.graph.erase_node(node)
