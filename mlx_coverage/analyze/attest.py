"""Attestation: what the lowered program holds is what the plan said.

Nodes are matched by the position that the partitioner wrote into their metadata, which
ExecuTorch copies along; their names change.
"""

from collections import Counter
from collections.abc import Iterator, Mapping

from executorch.exir import EdgeProgramManager
from executorch.exir.lowered_backend_module import LoweredBackendModule
from torch.fx import GraphModule, Node

from mlx_coverage.analyze.failures import AttestationError
from mlx_coverage.lowering.backend import MLXCoverageBackend, MLXCoveragePlanBackend
from mlx_coverage.lowering.partitioner import INDEX
from mlx_coverage.lowering.plan import Delegated, PartitionPlan, find_ignored, is_counted
from mlx_coverage.registry.call import name_node

_BACKENDS = frozenset({MLXCoverageBackend.__name__, MLXCoveragePlanBackend.__name__})


def attest(plan: PartitionPlan, lowered: GraphModule, method: str = "forward") -> None:
    """Compare the plan of a method with the graph that ExecuTorch made of it.

    Raises:
        AttestationError: a node is inside a delegate and was not planned to be, or the
            other way round, or beside other nodes than planned.
    """
    planned: dict[int | None, int | None] = {
        index: placement.partition if isinstance(placement, Delegated) else None
        for index, placement in enumerate(plan.placements.values())
    }
    found: dict[int | None, int | None] = {}
    for number, nodes in enumerate(_list_delegates(lowered)):
        for node in nodes:
            index = node.meta.get(INDEX)
            if index not in planned:
                raise AttestationError(
                    f"{method}: {_name(node)} is inside delegate {number} and not in the plan"
                )
            found[index] = number
    _compare(planned, found, plan, method)
    for node in list_outside(lowered):
        if node.meta.get(INDEX) not in planned:
            raise AttestationError(f"{method}: {_name(node)} is not in the plan")


def attest_methods(plans: Mapping[str, PartitionPlan], lowered: EdgeProgramManager) -> None:
    """`attest` for each method."""
    for name, plan in plans.items():
        attest(plan, lowered.exported_program(name).graph_module, name)


def list_outside(lowered: GraphModule) -> list[Node]:
    """The counted nodes that stay with ExecuTorch, delegate calls not among them."""
    ignored = find_ignored(lowered.graph)
    return [
        node
        for node in lowered.graph.nodes
        if is_counted(node) and node not in ignored and find_delegate(lowered, node) is None
    ]


def list_inside(module: LoweredBackendModule) -> list[Node]:
    """The counted nodes inside a delegate."""
    graph = module.original_module.graph_module.graph
    ignored = find_ignored(graph)
    return [node for node in graph.nodes if is_counted(node) and node not in ignored]


def find_delegate(lowered: GraphModule, node: Node) -> LoweredBackendModule | None:
    """The lowered module that a delegate call of ours runs, or None for another node."""
    if getattr(node.target, "__name__", "") != "executorch_call_delegate":
        return None
    source = node.args[0]
    module = getattr(lowered, str(source.target)) if isinstance(source, Node) else None
    return module if getattr(module, "backend_id", None) in _BACKENDS else None


def _list_delegates(lowered: GraphModule) -> Iterator[list[Node]]:
    for node in lowered.graph.nodes:
        module = find_delegate(lowered, node)
        if module is not None:
            yield list_inside(module)


def _compare(
    planned: dict[int | None, int | None],
    found: dict[int | None, int | None],
    plan: PartitionPlan,
    method: str,
) -> None:
    nodes = list(plan.placements)
    for index, partition in planned.items():
        if (partition is None) == (index in found):
            assert index is not None
            expected, actual = ("fall back", "is") if partition is None else ("be", "is not")
            raise AttestationError(
                f"{method}: {_name(nodes[index])} was planned to {expected}"
                f"{'' if partition is None else ' delegated'} and {actual} inside a delegate"
            )
    pairs = Counter((planned[index], number) for index, number in found.items())
    partitions = {partition for partition, _ in pairs}
    if len(pairs) != len(partitions) or len(pairs) != len({number for _, number in pairs}):
        raise AttestationError(f"{method}: the delegates group the nodes otherwise than planned")


def _name(node: Node) -> str:
    return name_node(node)
