"""The op that is named, and the remedy that is given."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from mlx_coverage.registry import default_registry, reasons
from mlx_coverage.registry.call import name_node
from mlx_coverage.registry.dtypes import ANY, FLOAT, INDEX
from mlx_coverage.registry.judge import Supported, Unsupported, judge_node
from mlx_coverage.registry.reasons import Reason
from mlx_coverage.registry.rules import propose_dtype

library = torch.library.Library("sentences", "FRAGMENT")
library.define("push(Tensor(a!) store, Tensor value) -> ()")
library.impl("push", lambda store, value: store.add_(value), "CompositeExplicitAutograd")
library.impl("push", lambda store, value: None, "Meta")
library.define("keep(Tensor boxes) -> Tensor")
library.impl("keep", lambda boxes: boxes[:1], "CPU")


@torch.library.register_fake("sentences::keep")
def _(boxes: Tensor) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), *boxes.shape[1:])


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("store", torch.zeros(3))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def judge_calls(function: Callable[..., Any], *inputs: Tensor) -> dict[str, Reason]:
    program = torch.export.export(Function(function), inputs).run_decompositions({})
    verdicts = {n: judge_node(n, default_registry()) for n in list_calls(program.graph.nodes)}
    return {name_node(n): v.primary for n, v in verdicts.items() if isinstance(v, Unsupported)}


def list_calls(nodes: Any) -> list[Node]:
    return [n for n in nodes if n.op == "call_function" and "getitem" not in str(n.target)]


def push(model: Any, x: Tensor) -> Tensor:
    torch.ops.sentences.push(model.store, x)
    result: Tensor = model.store * 2
    return result


def test_an_op_that_writes_into_its_argument_is_named_itself() -> None:
    found = judge_calls(push, torch.ones(3))
    reason = found["sentences.push.default"]
    assert reason.kind is reasons.MUTATION
    assert "`store`" in reason.text
    assert "branch" not in reason.kind.remedy


def test_sizes_that_a_custom_op_makes_of_data_are_the_reason() -> None:
    found = judge_calls(lambda model, x: torch.ops.sentences.keep(x), torch.ones(3, 4))
    assert found["sentences.keep.default"].kind is reasons.DATA_DEPENDENT


@pytest.mark.parametrize(
    "function",
    [lambda model, x, m: x[m], lambda model, x, m: x[:, m[:2]], lambda model, x, m: x.sin()[m] + 1],
)
def test_a_mask_as_an_index_depends_on_data(function: Callable[..., Any]) -> None:
    found = judge_calls(function, torch.ones(3, 2), torch.tensor([True, False, True]))
    assert found["aten.index.Tensor"].kind is reasons.DATA_DEPENDENT


def test_rrelu_outside_of_training_draws_nothing() -> None:
    table = torch.export.default_decompositions()
    for op, function in default_registry().decompositions.items():
        table[op] = function
    program = torch.export.export(nn.RReLU().eval(), (torch.randn(2, 3),))
    calls = list_calls(program.run_decompositions(table).graph.nodes)
    assert calls
    assert all(isinstance(judge_node(n, default_registry()), Supported) for n in calls)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.bool, torch.uint8])
def test_no_cast_is_advised_that_changes_the_meaning(dtype: torch.dtype) -> None:
    remedy = propose_dtype(dtype, FLOAT)
    assert remedy
    assert not remedy.startswith("Cast")


def test_a_cast_that_keeps_the_values_is_left_to_the_reason() -> None:
    assert propose_dtype(torch.uint16, ANY) == ""
    assert propose_dtype(torch.int8, INDEX) == ""
