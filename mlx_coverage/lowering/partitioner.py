"""The partitioner: registry verdicts to delegation tags."""

from collections.abc import Callable, Iterable

from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from executorch.exir.backend.utils import tag_constant_data
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.backend import (
    MLXCoverageBackend,
    MLXCoveragePlanBackend,
    name_registry,
)
from mlx_coverage.lowering.decomposition import list_kept, prepare_program
from mlx_coverage.lowering.plan import (
    Options,
    PartitionPlan,
    Rewrite,
    find_owned_buffers,
    normalize_ops,
    plan,
)
from mlx_coverage.lowering.rewriting import Decompose
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.spec import Registry

# Key of a node's metadata: its position among the counted nodes of the plan.
INDEX = "mlx_coverage_index"


class MLXPartitioner(Partitioner):
    """Delegates to MLX what the registry supports.

    Use it with `executorch.exir.to_edge_transform_and_lower`; the default compile
    configuration is right.

    Args:
        exclude_ops: ops to keep off the delegate: names (``"aten.add.Tensor"``) or
            overloads (``torch.ops.aten.add.Tensor``).
        exclude_node: called once with each call of the functional ATen program, before it is
            decomposed; True keeps the call, and what it becomes, off the delegate. (After
            `to_edge` and in `to_backend` alone: with each call of the edge program.)
        min_partition_size: least number of computing nodes in a partition (views and
            sizes do not count). A partition that holds an op which was kept from
            decomposition is always placed, because nothing else can run that op.
        fix_decompositions: whether calls that the registry declines are decomposed as torch
            does, where it takes everything that they decompose into.
        registry: entries to go by; the package's own by default.

    Raises:
        TypeError: `exclude_ops` holds something else than names and overloads.
        ValueError: `min_partition_size` is negative.
    """

    def __init__(
        self,
        *,
        exclude_ops: Iterable[str | OpOverload] = (),
        exclude_node: Callable[[Node], bool] | None = None,
        min_partition_size: int = 1,
        fix_decompositions: bool = False,
        registry: Registry | None = None,
        _plan_only: bool = False,
        _rewrites: tuple[Rewrite, ...] = (),
    ) -> None:
        super().__init__()
        if min_partition_size < 0:
            raise ValueError(f"min_partition_size is {min_partition_size}; accepted: 0 or more")
        rewrites = (*((Decompose(),) if fix_decompositions else ()), *_rewrites)
        self.options = Options(
            normalize_ops(exclude_ops), exclude_node, min_partition_size, rewrites
        )
        self.registry = registry if registry is not None else default_registry()
        self._delegation = DelegationSpec(
            MLXCoverageBackend.__name__, [name_registry(self.registry)]
        )
        self._plan_only = False
        self.plans: list[PartitionPlan] = []
        if _plan_only:
            self.record_nothing()

    def record_nothing(self) -> None:
        """Lower to empty delegates from now on: that needs no weights, and shows the plan."""
        self._delegation = DelegationSpec(MLXCoveragePlanBackend.__name__, [])
        self._plan_only = True

    def ops_to_not_decompose(
        self, ep: ExportedProgram
    ) -> tuple[list[OpOverload], Callable[[Node], bool] | None]:
        """The ops of the program that the delegate wants whole, every call of which it takes."""
        return list_kept(ep, self.registry, self.options), None

    def transform_for_pre_decomposition(self, exported_program: ExportedProgram) -> ExportedProgram:
        """Substitute patterns; decompose all but the calls of whole ops that the delegate takes."""
        return prepare_program(exported_program, self.registry, self.options)

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """Tag the nodes that the plan delegates, their constants and their buffers."""
        found = plan(exported_program, self.registry, self.options)
        for index, node in enumerate(found.placements):
            node.meta[INDEX] = index  # survives lowering, where names do not
        tags: dict[str, DelegationSpec] = {}
        for number, members in enumerate(found.partitions):
            tag = f"mlx_coverage_{number}"
            tags[tag] = self._delegation
            for node in members:
                node.meta["delegation_tag"] = tag
        tag_constant_data(exported_program)
        for placeholder, number in find_owned_buffers(found).items():
            placeholder.meta["delegation_tag"] = f"mlx_coverage_{number}"
        _keep_initial_values(exported_program)
        self.plans.append(found.copy())
        return PartitionResult(tagged_exported_program=exported_program, partition_tags=tags)


def _keep_initial_values(program: ExportedProgram) -> None:
    """Have ExecuTorch store the values that its own mutated buffers start with.

    By default it stores none. Here values are fake, so that zeros are stored as well.
    """
    signature = program.graph_signature
    mutated = set(signature.buffers_to_mutate.values())
    for node in program.graph.nodes:
        is_mutated = signature.inputs_to_buffers.get(node.name) in mutated
        if is_mutated and "delegation_tag" not in node.meta:
            node.meta["et_init_buffer"] = True
