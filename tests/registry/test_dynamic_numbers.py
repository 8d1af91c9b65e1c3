"""A dynamic size is an operand like any int; a dynamic float or bool is refused."""

import torch
from torch import Tensor, nn

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.judge import Supported, Unsupported, judge_node


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cos() * (x.shape[0] / 2)


def test_dynamic_float_is_refused_with_its_reason() -> None:
    shapes = ({0: torch.export.Dim("n", min=2, max=9)},)
    program = torch.export.export(Scaled(), (torch.randn(4),), dynamic_shapes=shapes)
    nodes = {str(node.target): node for node in program.graph.nodes}
    registry = default_registry()
    assert isinstance(judge_node(nodes["aten.cos.default"], registry), Supported)
    verdict = judge_node(nodes["aten.mul.Tensor"], registry)
    assert isinstance(verdict, Unsupported)
    assert verdict.primary.slug == "op/dynamic-argument"
    assert verdict.primary.argument == "other"
