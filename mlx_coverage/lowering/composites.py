"""Ops that torch implements by other ops: which of them a decomposition table keeps.

torch patches each of half a thousand ops, for two dozen dispatch keys, whenever it retraces
a program: longer than tracing a small one takes. What it makes of an op is kept here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch._export import utils as export_utils
from torch._export.utils import _special_op_to_preserve_cia
from torch._ops import OpOverload
from torch._subclasses.fake_impls import op_implementations_dict
from torch.export.exported_program import (
    _override_composite_implicit_decomp,
    _split_decomp_table_to_cia_and_python_decomp,
)

Table = Mapping[Any, Callable[..., Any]]


def split_table(table: Table) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """What is to be done with each composite op, and the table of the other ops."""
    preservable = _list_preservable(count_composites())
    composite = {op: table.get(op, _special_op_to_preserve_cia) for op in preservable}
    composite |= {op: run for op, run in table.items() if op in composite}
    return composite, {op: run for op, run in table.items() if op not in composite}


def count_composites() -> int:
    """How many composite ops there are: it changes only when a library is loaded.

    Collecting them takes torch longer than a small program, so that it is done once for each.
    """
    return len(torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd"))


@cache
def _list_preservable(count: int) -> tuple[Any, ...]:
    with collect_once():
        composite, _ = _split_decomp_table_to_cia_and_python_decomp({})
    return tuple(composite)


@contextmanager
def collect_once() -> Iterator[None]:
    """Look for composite ops of C++ once: torch does so for each namespace of ops, in vain."""
    collect = export_utils._materialize_cpp_cia_ops
    collect()
    export_utils._materialize_cpp_cia_ops = lambda: None
    try:
        yield
    finally:
        export_utils._materialize_cpp_cia_ops = collect


@dataclass(frozen=True)
class _Patch:
    """Kernels of an op before and after torch patched it, and the fake rule that it added."""

    before: Mapping[Any, Any]
    after: Mapping[Any, Any]
    rule: Callable[..., Any]


_patches: dict[tuple[OpOverload, Callable[..., Any]], _Patch] = {}


@contextmanager
def override_composites(composite: Table) -> Iterator[None]:
    """Have composite ops do what the table says while they are traced.

    Args:
        composite: as `split_table` gives it.
    """
    kernels = {op: dict(op.py_kernels) for op in composite}
    known = {op: _patches.get((op, run)) for op, run in composite.items()}
    repeated = {op: p for op, p in known.items() if p is not None and p.before == kernels[op]}
    unknown = {op: run for op, run in composite.items() if op not in repeated}
    with _override_composite_implicit_decomp(unknown):
        for op, run in unknown.items():
            rule = op_implementations_dict[op]
            _patches[op, run] = _Patch(kernels[op], dict(op.py_kernels), rule)
        with _applying(repeated):
            yield


@contextmanager
def _applying(patches: Mapping[OpOverload, _Patch]) -> Iterator[None]:
    rules = {op: op_implementations_dict.get(op) for op in patches}
    for op, patch in patches.items():
        _set_kernels(op, patch.after)
        op_implementations_dict.setdefault(op, patch.rule)
    try:
        yield
    finally:
        for op, patch in patches.items():
            _set_kernels(op, patch.before)
            if rules[op] is None:
                del op_implementations_dict[op]


def _set_kernels(op: OpOverload, kernels: Mapping[Any, Any]) -> None:
    op.py_kernels.clear()
    op.py_kernels.update(kernels)
    op._dispatch_cache.clear()
