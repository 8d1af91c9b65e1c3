"""The edge dialect: ExecuTorch's own ops, as torch knows them now."""

import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from torch import Tensor, nn

from mlx_coverage import MLXPartitioner
from mlx_coverage.lowering.decomposition import prepare_program
from mlx_coverage.lowering.edge import convert_to_edge
from mlx_coverage.lowering.plan import Options
from mlx_coverage.registry import default_registry


def define(schema: str) -> None:
    """(Re)define `edge_test::twice`, as running a notebook's cell again does."""

    def twice(x: Tensor, *others: int) -> Tensor:
        return x * 2

    op = torch.library.custom_op("edge_test::twice", twice, mutates_args=(), schema=schema)
    op.register_fake(twice)


class Model(nn.Module):
    """Calls the op as it is now."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.edge_test.twice(x.sin()).cos()


@pytest.mark.parametrize("way", ["check", "lower"])
def test_an_op_that_was_defined_again_is_the_new_one(way: str) -> None:
    schemas = "(Tensor x) -> Tensor", "(Tensor x, int times=1) -> Tensor"
    for schema in schemas:
        define(schema)
        program = torch.export.export(Model(), (torch.ones(2),))
        if way == "check":
            prepared = prepare_program(program, default_registry(), Options())
            graph = convert_to_edge(prepared).graph
        else:
            edge = to_edge_transform_and_lower(
                program, partitioner=[MLXPartitioner(min_partition_size=3)]
            )
            graph = edge.exported_program().graph
        ops = [node.target for node in graph.nodes if "twice" in str(node.target)]
        assert [op._op for op in ops] == [torch.ops.edge_test.twice.default], schema
        assert str(ops[0]._schema).endswith(schema)
