"""The partitioner: registry verdicts to delegation tags."""

from collections.abc import Callable, Iterable

from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec, Partitioner, PartitionResult
from executorch.exir.backend.utils import tag_constant_data
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.backend import (
    SHARED_BUFFER,
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
from mlx_coverage.lowering.state import MethodGroup, SharedBufferError, join_group
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.spec import Registry

# Key of a node's metadata: its position among the counted nodes of the plan.
INDEX = "mlx_coverage_index"


class MLXPartitioner(Partitioner):
    """Delegates to MLX what the registry supports.

    Use it with `executorch.exir.to_edge_transform_and_lower`; the default compile
    configuration is right. Methods that share a mutable buffer share the delegate's: lower
    them together, each with an `MLXPartitioner`.

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
        share_mutable_buffers: whether `to_executorch` will be given a
            `MemoryPlanningPass(share_mutable_buffers=True)`. Then ExecuTorch keeps the mutable
            buffers that several methods use; otherwise the delegate keeps them.
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
        share_mutable_buffers: bool = False,
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
        self._backend = MLXCoverageBackend.__name__
        self._group = MethodGroup()
        self.share_mutable_buffers = share_mutable_buffers
        self.plans: list[PartitionPlan] = []
        if _plan_only:
            self.record_nothing()

    def record_nothing(self) -> None:
        """Lower to empty delegates from now on: that needs no weights, and shows the plan."""
        self._backend = MLXCoveragePlanBackend.__name__

    def ops_to_not_decompose(
        self, ep: ExportedProgram
    ) -> tuple[list[OpOverload], Callable[[Node], bool] | None]:
        """The ops of the program that the delegate wants whole, every call of which it takes."""
        return list_kept(ep, self.registry, self.options), None

    def transform_for_pre_decomposition(self, exported_program: ExportedProgram) -> ExportedProgram:
        """Substitute patterns; decompose all but the calls of whole ops that the delegate takes."""
        self._group = join_group(exported_program)
        named = self._group.add(exported_program)
        prepared = prepare_program(named, self.registry, self.options)
        self._group.note(prepared)
        return prepared

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """Tag the nodes that the plan delegates, their constants and their buffers.

        Raises:
            SharedBufferError: a mutable buffer can be kept neither by the delegate nor, as
                things are set, by ExecuTorch.
        """
        self._group.is_complete = True
        shared = self._group.find_shared(exported_program.graph_signature)
        left = shared if self.share_mutable_buffers else frozenset()
        found = plan(exported_program, self.registry, self.options, shared, left)
        for index, node in enumerate(found.placements):
            node.meta[INDEX] = index  # survives lowering, where names do not
        for number, members in enumerate(found.partitions):
            for node in members:
                node.meta["delegation_tag"] = f"mlx_coverage_{number}"
        tag_constant_data(exported_program)
        held = self._tag_buffers(exported_program, found)
        self.plans.append(found.copy())
        named = name_registry(self.registry)
        tags = {
            f"mlx_coverage_{n}": DelegationSpec(self._backend, [named, *held.get(n, [])])
            for n in range(len(found.partitions))
        }
        return PartitionResult(tagged_exported_program=exported_program, partition_tags=tags)

    def _tag_buffers(
        self, program: ExportedProgram, found: PartitionPlan
    ) -> dict[int, list[CompileSpec]]:
        """Give mutable buffers to their partitions; returns what those share with others."""
        signature = program.graph_signature
        mutated = {*signature.buffers_to_mutate.values(), *found.shared}
        owned = find_owned_buffers(found)
        held: dict[int, list[CompileSpec]] = {}
        for node in program.graph.find_nodes(op="placeholder"):
            name = signature.inputs_to_buffers.get(node.name)
            if name not in mutated:
                continue
            node.meta.pop("delegation_tag", None)
            if node in owned:
                node.meta["delegation_tag"] = f"mlx_coverage_{owned[node]}"
                if name in found.shared:
                    spec = CompileSpec(SHARED_BUFFER, name.encode())
                    held.setdefault(owned[node], []).append(spec)
                continue
            if node.users:
                self._check_left(name, name in found.shared)
            # ExecuTorch stores no values that its mutable buffers start with unless told to.
            # Here values are fake, so that zeros are stored as well; those of a shared buffer
            # are not, or loading a method would reset it for the others.
            if name not in found.shared:
                node.meta["et_init_buffer"] = True
        return held

    def _check_left(self, name: str, is_shared: bool) -> None:
        """Refuse to leave a buffer to ExecuTorch that it would not keep."""
        if self._group.count < 2:
            return
        if not self.share_mutable_buffers:
            whose = "several methods use it" if is_shared else "the program has several methods"
            raise SharedBufferError(
                f"the mutable buffer {name!r} stays with ExecuTorch, because no single partition "
                f"reads and writes it, and {whose}: ExecuTorch keeps it only when told to; give "
                "MLXPartitioner share_mutable_buffers=True, and to_executorch an "
                "ExecutorchBackendConfig(memory_planning_pass="
                "MemoryPlanningPass(share_mutable_buffers=True))"
            )
        if is_shared and not self._group.starts_at_zero(name):
            raise SharedBufferError(
                f"several methods use the mutable buffer {name!r}, which starts at other values "
                "than zeros and would have to stay with ExecuTorch, because not every method "
                "reads and writes it in a single partition: ExecuTorch would reset it whenever a "
                "method is loaded; start it at zeros, or keep what reads and writes it on MLX"
            )
