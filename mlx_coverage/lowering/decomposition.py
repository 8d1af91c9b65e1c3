"""An ATen program decomposed as ExecuTorch would, and more exactly, before it does.

Ops that ExecuTorch could not decompose far enough are decomposed as torch does. Patterns
are substituted, and repeated heads of attention taken unrepeated; then exactly those calls
of whole ops that the registry declines are decomposed. ExecuTorch keeps an op for all of
its calls or for none, so with the declined ones gone the op can be kept for the rest. What
ExecuTorch would refuse to keep travels as an op of our own. What is left is decomposed by
ExecuTorch's own table, so that a plan can be made from here on, and ExecuTorch finds
nothing more to decompose.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import accumulate
from typing import Any

import torch
from executorch.exir.dialects._ops import ops as exir_ops
from executorch.exir.program._program import _default_decomposition_table
from torch._decomp import decomposition_table
from torch._export.utils import _detect_fake_mode_from_gm
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.complex_numbers import carry_complex_calls
from mlx_coverage.lowering.graphs import (
    drop_history,
    inline_graph,
    share_metadata,
    trace_call,
)
from mlx_coverage.lowering.grouping import group_queries
from mlx_coverage.lowering.layouts import lay_out
from mlx_coverage.lowering.lookups import look_up_parts
from mlx_coverage.lowering.numbers import keep_numbers
from mlx_coverage.lowering.pipeline import run_decompositions
from mlx_coverage.lowering.plan import Options, ask_exclusions, find_constants, is_excluded
from mlx_coverage.lowering.positions import flatten_positions
from mlx_coverage.lowering.promotion import promote_operands
from mlx_coverage.lowering.rewriting import rewrite_declined
from mlx_coverage.lowering.state import separate_new_values
from mlx_coverage.lowering.substitution import remove_assertions, substitute_patterns
from mlx_coverage.registry.call import canonicalize
from mlx_coverage.registry.judge import Supported, judge_node
from mlx_coverage.registry.spec import Registry
from mlx_coverage.registry.standins import define_standin, resolve_standin


def prepare_program(
    program: ExportedProgram, registry: Registry, options: Options
) -> ExportedProgram:
    """A decomposed program in which every call of a whole op is one that the delegate takes.

    The argument is not changed, nor will it be by what ExecuTorch does to the result.
    """
    return decompose_functional(functionalize(program, registry, options), registry, options)


def functionalize(
    program: ExportedProgram, registry: Registry, options: Options
) -> ExportedProgram:
    """The first half of `prepare_program`: as ExecuTorch will do next, and a copy."""
    program = _apply_declared(match_names(program), registry)
    early = _find_early(program, registry, _merge_table(registry))
    functional = run_decompositions(program, early)
    separate_new_values(functional)
    remove_assertions(functional)
    drop_history(functional.graph)
    share_metadata(functional)
    functional = lay_out(functional)
    ask_exclusions(functional.graph, options)
    return functional


def match_names(program: ExportedProgram) -> ExportedProgram:
    """The program with a signature that names its placeholders as its graph does.

    `copy.deepcopy` of a program renames those that are called like a Python builtin.
    """
    placeholders = program.graph.find_nodes(op="placeholder")
    pairs = zip(program.graph_signature.input_specs, placeholders, strict=True)
    renamed = {spec.arg.name: node.name for spec, node in pairs if spec.arg.name != node.name}
    if not renamed:
        return program
    program = copy.copy(program)
    program._graph_signature = copy.deepcopy(program.graph_signature)
    for old, new in renamed.items():
        program.graph_signature.replace_all_uses(old, new)
    return program


def decompose_functional(
    prepared: ExportedProgram, registry: Registry, options: Options
) -> ExportedProgram:
    """The second half: the program that `functionalize` gave is used up."""
    table = _merge_table(registry)
    group_queries(prepared, registry, options)
    substitute_patterns(prepared, registry, options)
    for node in _find_declined(prepared, registry, options):
        decomposition = _find_decomposition(node, table)
        if decomposition is not None:
            inline_graph(node, trace_call(node, decomposition))
    for node in _find_refused(prepared, registry, options):
        node.target = define_standin(node.target)
    kept = list_kept(prepared, registry, options)
    rest = {op: function for op, function in table.items() if op not in kept}
    prepared = run_decompositions(prepared, rest)
    share_metadata(prepared)
    if options.rewrites and rewrite_declined(prepared, registry, options, rest):
        for node in _find_refused(prepared, registry, options):
            node.target = define_standin(node.target)
        prepared = run_decompositions(prepared, {})  # names the outputs anew
    steps = (_slice_splits, flatten_positions, look_up_parts, keep_numbers)
    if any([step(prepared) for step in steps]):
        prepared = run_decompositions(prepared, rest)
    _resolve_declined(prepared, registry, options)
    promote_operands(prepared)
    carry_complex_calls(prepared)
    separate_new_values(prepared)
    forget_redefined_ops(prepared)
    return prepared


def forget_redefined_ops(program: ExportedProgram) -> None:
    """Have ExecuTorch look up anew each op of the program that was defined again since.

    It keeps edge ops by name: one whose definition was replaced, as a notebook's cell does
    when it is run again, would call into memory that torch has freed.
    """
    for target in {node.target for node in program.graph.nodes}:
        if isinstance(target, OpOverload):
            namespace, _, name = target._schema.name.partition("::")
            known = vars(getattr(exir_ops.edge, namespace))
            current = getattr(getattr(torch.ops, namespace), name, None)
            if name in known and known[name]._parent_overload_packet is not current:
                del known[name]


def _slice_splits(program: ExportedProgram) -> bool:
    """Write splits as slices where the first dimension is dynamic; whether there are any.

    ExecuTorch's check of dtypes takes the first part of such a list for the list, and by
    asking for its length fixes that dimension at the example's size.
    """
    op = torch.ops.aten.split_with_sizes.default
    found = [
        node
        for node in program.graph.find_nodes(op="call_function", target=op)
        if isinstance(node.meta["val"][0].shape[0], torch.SymInt)
    ]
    for node in found:
        inline_graph(node, trace_call(node, _slice_parts))
    return bool(found)


def _slice_parts(x: torch.Tensor, sizes: Sequence[Any], dim: int = 0) -> list[torch.Tensor]:
    # torch's own decomposition counts in the storage, which no edge op sees.
    return [
        torch.ops.aten.slice.Tensor(x, dim, end - size, end)
        for size, end in zip(sizes, accumulate(sizes), strict=True)
    ]


def _merge_table(registry: Registry) -> dict[Any, Callable[..., Any]]:
    return _read_table() | dict(registry.decompositions)


def _read_table() -> dict[Any, Callable[..., Any]]:
    """ExecuTorch's decompositions, composite ops among them."""
    names = torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd")
    return _collect_table(len(names))


@cache
def _collect_table(composites: int) -> dict[Any, Callable[..., Any]]:
    # As a plain dict: torch's own reads the dispatcher's registrations at each look-up, which
    # change only when a library is loaded.
    table: Any = _default_decomposition_table()
    return dict(table.materialize() if hasattr(table, "materialize") else table)


def _apply_declared(program: ExportedProgram, registry: Registry) -> ExportedProgram:
    """Decompose what the registry says how to, ops with an entry apart."""
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
    declared = {
        op: function
        for op, function in registry.decompositions.items()
        if registry.get(canonicalize(op)) is None
    }
    if not targets & declared.keys():
        return program
    decomposed = run_decompositions(program, declared)
    separate_new_values(decomposed)
    return decomposed


def list_preserved(kept: Iterable[OpOverload]) -> list[OpOverload]:
    """Those of the ops that ExecuTorch notes as kept: it forgets what it cannot decompose."""
    table = _read_table()
    return [op for op in kept if op in table]


def list_kept(program: ExportedProgram, registry: Registry, options: Options) -> list[OpOverload]:
    """The ops of a program that the delegate wants whole, every call of which it takes."""
    wanted: dict[OpOverload, bool] = {}
    for node, taken in _judge_whole(program, registry, options):
        target = canonicalize(node.target)
        if isinstance(target, OpOverload):
            wanted[target] = wanted.get(target, True) and taken
    return [target for target, taken in wanted.items() if taken]


def _judge_whole(
    program: ExportedProgram, registry: Registry, options: Options
) -> Iterator[tuple[Node, bool]]:
    """Each call of a whole op, and whether the delegate takes it."""
    constants = find_constants(program)
    for node in program.graph.nodes:
        if node.op == "call_function" and _is_whole(node.target, registry):
            verdict = judge_node(node, registry, constants)
            yield node, isinstance(verdict, Supported) and not is_excluded(node, options)


def _find_refused(program: ExportedProgram, registry: Registry, options: Options) -> list[Node]:
    """Calls that the delegate takes and ExecuTorch would not let pass to it."""
    table = _read_table()  # its own: it knows nothing of the registry's decompositions
    return [
        node
        for node, taken in _judge_whole(program, registry, options)
        if taken and _is_refused(node.target, table)
    ]


def _resolve_declined(program: ExportedProgram, registry: Registry, options: Options) -> None:
    """Have the calls of a stand-in that the delegate does not take be calls of the op again.

    ExecuTorch may have a kernel for the op; it has none for its stand-in, nor a way to write it.
    """
    for node, taken in _judge_whole(program, registry, options):
        if not taken and isinstance(node.target, OpOverload):
            node.target = resolve_standin(node.target)  # any other op is its own


def _is_refused(op: Any, table: Mapping[Any, Any]) -> bool:
    # Neither core nor decomposable: ExecuTorch lets such an op pass in our namespace only.
    return (
        isinstance(op, OpOverload)
        and op.namespace == "aten"
        and torch.Tag.core not in op.tags
        and op not in table
    )


def _is_whole(op: Any, registry: Registry) -> bool:
    spec = registry.get(canonicalize(op))
    return spec is not None and spec.whole


def _find_early(
    program: ExportedProgram, registry: Registry, table: Mapping[Any, Any]
) -> dict[OpOverload, Callable[..., Any]]:
    """Torch's decompositions of ops without an entry that ExecuTorch would refuse in the end.

    These are ops that torch decomposes and ExecuTorch does not (`ldexp`), and ops made of
    one, or of one that only our namespace makes pass (`special_exp2`, `std_mean`).
    """
    early: dict[OpOverload, Callable[..., Any]] = {}
    traced: set[tuple[OpOverload, str]] = set()

    def visit(node: Node) -> None:
        op = node.target
        if not isinstance(op, OpOverload) or registry.get(canonicalize(op)) is not None:
            return
        refused = _is_refused(op, table)
        if refused:
            decomposition = decomposition_table.get(op)
        else:
            decomposition = op.decompose if op._can_decompose() else table.get(op)
        key = (op, _describe_arguments(node))
        if key in traced or decomposition is None:
            return
        traced.add(key)
        if any(_is_batched(n.meta.get("val")) for n in node.all_input_nodes):
            return  # of what export traced under vmap, such as the masks of flex_attention
        body = trace_call(node, decomposition)
        inner = [n for n in body.nodes if n.op == "call_function"]
        for n in inner:
            visit(n)
        if refused:
            # Some are written in prims, or write into views: no use here.
            if all(getattr(n.target, "namespace", "") != "prims" for n in inner):
                early[op] = decomposition
        elif any(
            t in early or (_is_refused(t, table) and _is_whole(t, registry))
            for t in (n.target for n in inner)
        ):
            early[op] = table[op] if op in table else torch.export.default_decompositions()[op]

    mode = _detect_fake_mode_from_gm(program.graph_module)
    shape_env: Any = mode and mode.shape_env
    # What is traced here is only looked at: it must fix no dynamic size.
    with ExitStack() as scope:
        if shape_env is not None:
            scope.enter_context(shape_env.suppress_guards())
            scope.enter_context(shape_env.ignore_fresh_unbacked_symbols())
        for node in program.graph.nodes:
            if node.op == "call_function":
                visit(node)
    return early


def _is_batched(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and torch._C._functorch.is_batchedtensor(value)


def _describe_arguments(node: Node) -> str:
    """What a decomposition may branch on, sizes apart."""

    def describe(input_node: Node) -> Any:
        value = input_node.meta.get("val")
        return (value.dtype, value.dim()) if isinstance(value, torch.Tensor) else type(value)

    return repr(torch.fx.node.map_arg((node.args, node.kwargs), describe))


def _find_declined(program: ExportedProgram, registry: Registry, options: Options) -> list[Node]:
    return [node for node, taken in _judge_whole(program, registry, options) if not taken]


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
