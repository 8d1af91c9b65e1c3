"""Composite ops are overridden as torch does it, each time alike, and then as they were."""

from typing import Any

import torch
from torch._subclasses.fake_impls import op_implementations_dict

from mlx_coverage.lowering.composites import override_composites, split_table

aten = torch.ops.aten
CPU = torch._C.DispatchKey.CPU


def read_state(table: dict[Any, Any]) -> list[dict[Any, Any]]:
    """The kernels of the ops, and the rules by which fake tensors compute them."""
    rules = {op: op_implementations_dict.get(op) for op in table}
    return [{op: dict(op.py_kernels) for op in table}, rules]


def test_ops_are_overridden_alike_each_time_and_restored() -> None:
    composite, _ = split_table({aten.linear.default: torch.nn.functional.linear})
    inside, after = [], []
    before = read_state(composite)
    for _ in range(2):
        with override_composites(composite):
            inside.append(read_state(composite))
        after.append(read_state(composite))
    assert inside[0] == inside[1]
    assert after[0] == after[1]
    assert after[0][0] == before[0]  # torch takes away the rules that were there before
    assert all(inside[0][0][op] != before[0][op] for op in composite)
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    assert all(inside[0][0][op][key] is run for op, run in composite.items())


def test_kernel_that_was_registered_meanwhile_is_kept() -> None:
    composite, _ = split_table({})
    with override_composites(composite):
        pass

    def run(*args: Any) -> None:
        raise AssertionError("is not called")

    aten.linear.default.py_kernels[CPU] = run
    try:
        with override_composites(composite):
            assert aten.linear.default.py_kernels[CPU] is run
        assert aten.linear.default.py_kernels[CPU] is run
    finally:
        del aten.linear.default.py_kernels[CPU]
