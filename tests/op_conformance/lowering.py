"""Cases through partitioner, payload and the C++ runtime: many one-op branches, one program.

Lowering costs about half a second whatever the program holds, so a program holds one
branch per case: its own inputs, one call, its own outputs.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from executorch.exir import (
    EdgeProgramManager,
    ExecutorchProgramManager,
    to_edge_transform_and_lower,
)
from executorch.exir.delegate import executorch_call_delegate
from executorch.runtime import Runtime
from torch._ops import OpOverload
from torch.utils._pytree import tree_map_only

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.lowering.plan import Delegated, find_ignored, is_counted
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.spec import OpSpec
from tests.op_conformance.cases import Case, flatten
from tests.op_conformance.domain import list_followers


class Branches(torch.nn.Module):
    """Each case as a branch of its own; its tensors are inputs, the rest is baked in."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self._cases = cases
        for i, case in enumerate(cases):
            for name in case.constants:
                if flatten(case.arguments.get(name)):
                    self.register_buffer(f"case_{i}_{name}", case.arguments[name])

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The tensors that `forward` takes."""
        return tuple(tensor for case in self._cases for tensor in list_inputs(case))

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        rest = iter(inputs)
        results = []
        for i, case in enumerate(self._cases):
            arguments = {
                name: getattr(self, f"case_{i}_{name}")
                if name in case.constants and flatten(value)
                else tree_map_only(torch.Tensor, lambda _: next(rest), value)
                for name, value in case.arguments.items()
            }
            results += flatten(case.spec.target(**arguments))
        return results


@dataclass
class Lowered:
    """A program of branches on its way to numbers."""

    cases: Sequence[Case]
    edge: EdgeProgramManager
    partitioner: MLXPartitioner

    @property
    def delegates(self) -> int:
        """How many calls of a delegate the program makes."""
        return sum(
            n.target is executorch_call_delegate for n in self.edge.exported_program().graph.nodes
        )

    @property
    def fallbacks(self) -> list[str]:
        """Names of the ops that stay with ExecuTorch."""
        graph = self.edge.exported_program().graph
        ignored = find_ignored(graph)
        return [
            name_target(canonicalize(node.target))
            for node in graph.nodes
            if is_counted(node) and node not in ignored
            and node.target not in (executorch_call_delegate, operator.getitem)
        ]  # fmt: skip

    @property
    def placed(self) -> set[Any]:
        """The targets that the plan delegated."""
        (plan,) = self.partitioner.plans
        return {
            canonicalize(node.target)
            for node, placement in plan.placements.items()
            if isinstance(placement, Delegated)
        }

    @cached_property
    def program(self) -> ExecutorchProgramManager:
        """With ExecuTorch's default configuration."""
        return self.edge.to_executorch()

    @property
    def missing_kernels(self) -> set[str]:
        """Ops of the program that the ExecuTorch runtime has no kernel for."""
        mlx_coverage.runtime.load()
        (plan,) = self.program.executorch_program.execution_plan
        names = {f"{op.name}.{op.overload}".removesuffix(".") for op in plan.operators}
        return names - set(Runtime.get().operator_registry.operator_names)

    @cached_property
    def method(self) -> Any:
        """The program loaded into the ExecuTorch runtime."""
        mlx_coverage.runtime.load()
        return Runtime.get().load_program(bytes(self.program.buffer)).load_method("forward")

    def run(self, cases: Sequence[Case] | None = None) -> Iterator[tuple[Case, list[torch.Tensor]]]:
        """Each case (or these, at other sizes) with its results in the ExecuTorch runtime."""
        cases = self.cases if cases is None else cases
        outputs = iter(self.method.execute([*Branches(cases).inputs()]))
        for case in cases:
            count = len(flatten(case.run_torch()))
            # The runtime reuses the memory of its outputs.
            yield case, [next(outputs).clone() for _ in range(count)]


def lower(cases: Sequence[Case], others: Sequence[Case] | None = None) -> Lowered:
    """Lower a program of one branch per case, views alone included.

    Args:
        cases: the branches.
        others: the same at other sizes: what differs is symbolic.
    """
    module = Branches(cases).eval()
    inputs = module.inputs()
    shapes = None
    if others is not None:
        pairs = zip(inputs, Branches(others).inputs(), strict=True)
        shapes = (tuple(_mark_dims(one.shape, other.shape) for one, other in pairs),)
    partitioner = MLXPartitioner(min_partition_size=0)
    with torch.no_grad():
        program = torch.export.export(module, inputs, dynamic_shapes=shapes)
        edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
    return Lowered(cases, edge, partitioner)


def _mark_dims(shape: torch.Size, other: torch.Size) -> list[Any]:
    return [
        torch.export.Dim.STATIC if one == two else torch.export.Dim.AUTO(min=one, max=4 * two)
        for one, two in zip(shape, other, strict=True)
    ]


def list_inputs(case: Case) -> list[torch.Tensor]:
    """The tensors of a case that are not constants, in the order of its arguments."""
    return [
        tensor
        for name, value in case.arguments.items()
        if name not in case.constants
        for tensor in flatten(value)
    ]


def make_contiguous(case: Case) -> Case:
    """The case with its tensors laid out as an ExecuTorch input is by default."""
    return case.replace(**tree_map_only(torch.Tensor, lay_out, case.arguments))


def lay_out(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the strides of its shape, which are all that a program takes.

    `contiguous` leaves a tensor without elements as it is, and ExecuTorch ends the process on
    the strides that such a one may have.
    """
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def gives_tensors(spec: OpSpec) -> bool:
    """Whether a program can return what the entry does: a size is no output."""
    return isinstance(spec.target, OpOverload) and all(
        str(result.type) in ("Tensor", "List[Tensor]") for result in spec.target._schema.returns
    )


def is_mixed(case: Case) -> bool:
    """Whether operands differ in dtype: ExecuTorch's edge dialect refuses that for many ops."""
    followers = list_followers(case.spec)
    return len({t.dtype for name in followers for t in flatten(case.arguments[name])}) > 1
