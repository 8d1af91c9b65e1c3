"""Which nodes ExecuTorch's own MLX delegate takes: its partitioner is asked.

Its partitioner runs inside `to_edge_transform_and_lower`, with the passes and the
configuration that its documentation asks for. What it tags is delegated, and what its own
support check says of the rest is quoted. Only the last step, in which the delegate writes
its payload, is left out: it needs weights.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from graphlib import TopologicalSorter
from typing import Any

import torch
from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    to_edge_transform_and_lower,
)
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from mlx_coverage.analyze.capture import Capture
from mlx_coverage.analyze.failures import CaptureError, condense
from mlx_coverage.analyze.upstream.bindings import import_delegate
from mlx_coverage.lowering.backend import MLXCoveragePlanBackend
from mlx_coverage.lowering.graphs import isolate
from mlx_coverage.lowering.plan import (
    Delegated,
    Fallback,
    PartitionPlan,
    Placement,
    find_constants,
    find_ignored,
    is_counted,
)
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import Target, canonicalize, name_target
from mlx_coverage.registry.reasons import Reason

_TAG = "delegation_tag"
# `<function _add_handler at 0x7f...>` is a repr; `condense` takes the address.
_REPR = re.compile(r"<(?:function|class|bound method) '?([\w.<>]+?)'?>")


def plan_upstream(
    programs: Mapping[str, ExportedProgram],
    follow: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
) -> Capture:
    """The plans of ExecuTorch's own delegate; they hold no verdicts of ours.

    Args:
        programs: by method; left as they are. Weights may be absent.
        follow: gives a context for each stage, named in a few words.

    Raises:
        InputError: the delegate is not there.
        CaptureError: ExecuTorch, or the delegate, refuses a program.
    """
    with follow("loading ExecuTorch's own MLX delegate"):
        partitioner_class = import_delegate().MLXPartitioner
        from executorch.backends.mlx.passes import get_default_passes
    plans = {}
    for name, program in programs.items():
        observed = _Observed(partitioner_class())
        with follow(f"lowering {name} with ExecuTorch's own MLX delegate"):
            try:
                to_edge_transform_and_lower(
                    isolate(program),
                    transform_passes=get_default_passes(),
                    partitioner=[observed],
                    compile_config=EdgeCompileConfig(
                        _check_ir_validity=False, _skip_dim_order=True
                    ),
                )
            except Exception as error:
                kind = reasons.DECOMPOSITION_FAILED
                prefix = "with ExecuTorch's own MLX delegate: "
                raise CaptureError.from_error("edge", kind, error, prefix) from error
        plans[name] = observed.plan
    return Capture(plans)


def lower_upstream(programs: Mapping[str, ExportedProgram]) -> EdgeProgramManager:
    """The programs lowered with ExecuTorch's own MLX delegate, payload and all.

    Raises:
        InputError: the delegate is not there.
        Exception: whatever it or ExecuTorch raises.
    """
    partitioner_class = import_delegate().MLXPartitioner
    from executorch.backends.mlx.passes import get_default_passes

    return to_edge_transform_and_lower(
        {name: isolate(program) for name, program in programs.items()},
        transform_passes=get_default_passes(),
        partitioner=[partitioner_class()],
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
    )


class _Observed(Partitioner):
    """The delegate's partitioner; keeps what it decides, and spares it the payload."""

    plan: PartitionPlan

    def __init__(self, inner: Any) -> None:
        super().__init__()
        inner.delegation_spec = DelegationSpec(MLXCoveragePlanBackend.__name__, [])
        self._inner = inner

    def ops_to_not_decompose(
        self, ep: ExportedProgram
    ) -> tuple[list[OpOverload], Callable[[Node], bool] | None]:
        """The delegate's own."""
        kept: tuple[list[OpOverload], Callable[[Node], bool] | None]
        kept = self._inner.ops_to_not_decompose(ep)
        return kept

    def transform_for_pre_decomposition(self, exported_program: ExportedProgram) -> ExportedProgram:
        """The delegate's own."""
        prepared: ExportedProgram = self._inner.transform_for_pre_decomposition(exported_program)
        return prepared

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """The delegate's own; lowering then takes the graph apart, so its plan is a copy."""
        result: PartitionResult = self._inner.partition(exported_program)
        support = self._inner.supported_ops
        said = dict(getattr(support, "_unsupported_reason", {}))
        self.plan = read_plan(result.tagged_exported_program, said)
        return result


def read_plan(program: ExportedProgram, said: Mapping[Node, str]) -> PartitionPlan:
    """The plan that the tags of a partitioned edge program make, of a copy of its graph.

    Args:
        program: after the delegate's partitioner.
        said: why its support check declined a node.
    """
    graph = program.graph_module.graph
    numbers = _number_partitions(graph)
    ignored = find_ignored(graph)
    placements: dict[Node, Placement] = {}
    partitions: list[list[Node]] = [[] for _ in numbers]
    for node in graph.nodes:
        tag = node.meta.get(_TAG)
        if node.op == "call_function" and tag is not None:
            partitions[numbers[tag]].append(node)
        if is_counted(node) and node not in ignored:
            fallback = Fallback((Reason(reasons.UPSTREAM, _quote(node, said.get(node))),))
            placements[node] = fallback if tag is None else Delegated(numbers[tag])
    found = PartitionPlan(
        placements, partitions, {}, graph, find_constants(program), program.graph_signature
    ).copy()
    _restore_functional(node for members in found.partitions for node in members)
    return found


def _quote(node: Node, said: str | None) -> str:
    if said is None:
        return "its support check has nothing against the node, and its partitioner left it out"
    text = said.partition("Traceback (most recent call last)")[0]
    text = text.replace(str(node.target), name_target(canonicalize(node.target)))
    for source in node.all_input_nodes:
        text = text.replace(f" ({source.name})", "")  # says nothing to the user, and differs
    text = _REPR.sub(r"\1", condense(ValueError(text))).removesuffix(".")
    return f'its support check says: "{text}"'


def _number_partitions(graph: Graph) -> dict[str, int]:
    # In an order in which they can run, each partition being one node.
    groups: dict[Node, str | Node] = {
        node: node.meta.get(_TAG, node) if node.op == "call_function" else node
        for node in graph.nodes
    }
    order: TopologicalSorter[str | Node] = TopologicalSorter()
    for node, group in groups.items():
        order.add(group, *(groups[n] for n in node.all_input_nodes if groups[n] != group))
    tags = [group for group in order.static_order() if isinstance(group, str)]
    return {tag: number for number, tag in enumerate(tags)}


def _restore_functional(nodes: Iterable[Node]) -> None:
    # A pass of the delegate has `relu_` for `relu`, to reuse memory. The work is the same,
    # and under one name it can be compared.
    for node in nodes:
        node.target = find_functional(canonicalize(node.target))


def find_functional(target: Target) -> Target:
    """`aten.relu.default` for `aten.relu_.default`; any other op itself."""
    if not isinstance(target, OpOverload) or not target._schema.is_mutable:
        return target
    packet = getattr(torch.ops.aten, target._schema.name.partition("::")[2][:-1], None)
    if packet is None or target._overloadname not in packet.overloads():
        return target
    functional: OpOverload = getattr(packet, target._overloadname)
    return functional
