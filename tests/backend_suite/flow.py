"""The tester and the flow by which ExecuTorch's backend suite lowers to this delegate."""

from functools import partial
from typing import Any

import torch
from executorch.backends.test.harness import Tester
from executorch.backends.test.harness.stages import StageType, ToEdgeTransformAndLower
from executorch.backends.test.suite.flow import TestFlow

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.interface import find_unwritable
from mlx_coverage.lowering.plan import Fallback
from mlx_coverage.registry.reasons import Reason


class MLXCoverageTester(Tester):
    """Lowers with `MLXPartitioner`; the other stages are the suite's own.

    Partitions of views alone are placed as well (`min_partition_size=0`): by default such
    a program stays with ExecuTorch, and a suite of one-op programs would not reach them.
    """

    def __init__(self, module: torch.nn.Module, example_inputs: tuple[Any, ...]) -> None:
        self.partitioner = MLXPartitioner(min_partition_size=0)
        lower = partial(ToEdgeTransformAndLower, lambda: self.partitioner)
        stages = {**Tester.default_stage_classes(), StageType.TO_EDGE_TRANSFORM_AND_LOWER: lower}
        super().__init__(module, example_inputs, stages)

    def list_reasons(self) -> list[Reason]:
        """The primary reasons of all nodes that fell back, in graph order."""
        return [
            placement.reasons[0]
            for plan in self.partitioner.plans
            for placement in plan.placements.values()
            if isinstance(placement, Fallback)
        ]

    def find_unwritable(self) -> str | None:
        """Why ExecuTorch cannot write the model whichever backend runs it, or None."""
        exported = self.stages[StageType.EXPORT].artifact
        refusal = None if exported is None else find_unwritable(exported)
        return None if refusal is None else refusal.sentence


def make_flow(testers: list[MLXCoverageTester]) -> TestFlow:
    """The flow; each tester that the suite makes is appended to `testers`."""
    mlx_coverage.runtime.load()

    def make_tester(module: torch.nn.Module, inputs: tuple[Any, ...]) -> MLXCoverageTester:
        testers.append(MLXCoverageTester(module, inputs))
        return testers[-1]

    return TestFlow("mlx_coverage", backend="mlx_coverage", tester_factory=make_tester)
