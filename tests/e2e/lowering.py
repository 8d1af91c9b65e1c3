"""From a model to a `.pte` and its numbers, the way that a user goes: public API only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from executorch.exir import EdgeProgramManager, ExecutorchProgramManager
from executorch.exir import to_edge_transform_and_lower as lower_edge
from executorch.exir.delegate import executorch_call_delegate as CALL_DELEGATE
from executorch.exir.lowered_backend_module import LoweredBackendModule, get_lowered_submodules
from executorch.runtime import Runtime
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.lowering.plan import PartitionPlan, find_ignored, is_counted
from mlx_coverage.registry.call import canonicalize, name_target

# A method: module, example arguments, keywords and dynamic shapes, as examples return it.
Method = tuple[nn.Module, tuple[Any, ...], dict[str, Any], Any]


@dataclass
class Lowered:
    """A program on its way: the edge program after delegation, and what comes of it."""

    edge: EdgeProgramManager
    plans: Mapping[str, PartitionPlan]

    @cached_property
    def program(self) -> ExecutorchProgramManager:
        """With ExecuTorch's default configuration."""
        return self.edge.to_executorch()

    @cached_property
    def pte(self) -> bytes:
        """The bytes of the file."""
        return bytes(self.program.buffer)

    def delegates(self, method: str = "forward") -> list[LoweredBackendModule]:
        """The partitions of a method that went to the delegate."""
        module = self.edge.exported_program(method).graph_module
        return [lowered for _, lowered, _ in get_lowered_submodules(module)]

    def fallbacks(self, method: str = "forward") -> list[str]:
        """Names of the ops that stay with ExecuTorch, in graph order."""
        graph = self.edge.exported_program(method).graph
        ignored = find_ignored(graph)
        return [
            name_target(canonicalize(node.target))
            for node in graph.nodes
            if is_counted(node) and node not in ignored and node.target is not CALL_DELEGATE
        ]

    def start(self, method: str = "forward") -> "Running":
        """The method in ExecuTorch's runtime, with fresh state."""
        mlx_coverage.runtime.load()
        # A program gives the same method again, so fresh state needs a fresh program.
        return Running(self, Runtime.get().load_program(self.pte).load_method(method))


@dataclass
class Running:
    """A loaded method; its state lives as long as this object."""

    lowered: Lowered  # ExecuTorch's binding reads the file's bytes without owning them
    method: Any

    def __call__(self, *inputs: Any) -> list[Any]:
        """Outputs of one call, copied out of ExecuTorch's memory."""
        results = self.method.execute(pytree.tree_leaves(inputs))
        return [r.clone() if isinstance(r, Tensor) else r for r in results]


def lower(model: nn.Module, *inputs: Any, dynamic_shapes: Any = None, **options: Any) -> Lowered:
    """Lower a module with one method; `options` are the partitioner's."""
    return lower_methods({"forward": (model, inputs, {}, dynamic_shapes)}, **options)


def lower_methods(methods: Mapping[str, Method], **options: Any) -> Lowered:
    """Lower one program of several methods."""
    programs = export(methods)
    partitioners = {name: MLXPartitioner(**options) for name in programs}
    edge = lower_edge(programs, partitioner={name: [p] for name, p in partitioners.items()})
    return Lowered(edge, {name: p.plans[-1] for name, p in partitioners.items()})


def export(methods: Mapping[str, Method]) -> dict[str, ExportedProgram]:
    """Each method as `torch.export` gives it."""
    return {
        name: torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
        for name, (module, args, kwargs, shapes) in methods.items()
    }


def run_eagerly(model: nn.Module, *inputs: Any) -> list[Any]:
    """What torch gives, as a flat list."""
    with torch.no_grad():
        results = pytree.tree_leaves(model(*inputs))
    return [r.clone() if isinstance(r, Tensor) else r for r in results]


def count_bytes(modules: Sequence[nn.Module]) -> int:
    """Size of all distinct parameters and buffers."""
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
