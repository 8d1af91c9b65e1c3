"""The status of every ATen overload: what the registry declares, and what was measured."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from executorch.exir.program._program import _default_decomposition_table
from torch._ops import OpOverload

from mlx_coverage.analyze.catalog import list_ops
from mlx_coverage.analyze.model import OpEntry
from mlx_coverage.analyze.op_page import Measurement, OpPage, OpRow, Standing
from mlx_coverage.registry import rules
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.dtypes import name_dtype
from mlx_coverage.registry.fingerprint import take_fingerprint
from mlx_coverage.registry.spec import OpSpec, Registry

# Rules that leave an op whole in the dtypes that they name.
_ON_DTYPES = (rules.Dtype, rules.ResultDtype, rules.SameDtype)


def list_core_ops() -> Iterator[OpOverload]:
    """Every overload that torch tags core ATen, by name."""
    for name in sorted(torch._C._dispatch_get_all_op_names()):
        namespace, _, rest = name.partition("::")
        if namespace != "aten":
            continue
        base, _, overload = rest.partition(".")
        op = getattr(getattr(torch.ops.aten, base), overload or "default")
        if torch.Tag.core in op.tags:
            yield op


def make_page(registry: Registry, measured: Mapping[str, Any]) -> OpPage:
    """The op page.

    Args:
        registry: what is declared.
        measured: what `make conformance` recorded: entry to environment to record. A record
            of another definition of the entry does not count.
    """
    core = {name_target(canonicalize(op)): op for op in list_core_ops()}
    entries = registry.by_name
    rows = []
    for entry in list_ops(registry):
        if entry.gap is not None:
            rows.append(_describe_gap(entry, entry.op in core))
        else:
            records = measured.get(entry.op, {})
            rows.append(_describe_entry(entry, entries[entry.op], entry.op in core, records))
    known = {row.op for row in rows}
    rows += [_describe_absent(name, op) for name, op in core.items() if name not in known]
    return OpPage(tuple(sorted(rows, key=lambda row: row.op)))


def _describe_gap(entry: OpEntry, core: bool) -> OpRow:
    return OpRow(entry.op, entry.schema, "", core, "gap", reason=entry.gap or "")


def _describe_absent(name: str, op: OpOverload) -> OpRow:
    if "backward" in name:
        why = "of training alone"
    elif op._schema.is_mutable:
        why = "writes into an argument: export replaces it by its functional overload"
    elif not any(isinstance(r.type, torch.TensorType) for r in op._schema.returns):
        why = "gives no tensor"
    elif op in _default_decomposition_table():
        why = "ExecuTorch decomposes it before the registry is asked"
    else:
        why = "no entry: it falls back"
    return OpRow(name, str(op._schema), "", True, "absent", reason=why)


def _describe_entry(entry: OpEntry, spec: OpSpec, core: bool, records: Mapping[str, Any]) -> OpRow:
    fingerprint = take_fingerprint(spec)
    measurements = tuple(
        _read(environment, record)
        for environment, record in sorted(records.items())
        if record["fingerprint"] == fingerprint and record.get("inside")
    )
    dtypes = list_dtypes(spec)
    standing, reason = _grade(spec, dtypes, measurements)
    tolerance = spec.tolerance
    return OpRow(
        op=entry.op,
        schema=entry.schema,
        family=entry.family,
        core=core,
        standing=standing,
        dtypes=dtypes,
        domain=entry.domain,
        limitations=entry.limitations,
        tolerance=(
            f"relative {tolerance.relative:g}, absolute {tolerance.absolute:g}: {tolerance.why}"
            if tolerance
            else ""
        ),
        reason=reason,
        measurements=measurements,
    )


def list_dtypes(spec: OpSpec) -> tuple[str, ...]:
    """Dtypes of the first operand that a rule is about, sorted; empty where none is."""
    by_argument = {r.argument: r.accepted for r in spec.rules if isinstance(r, rules.Dtype)}
    found = next(iter(by_argument.items()), None)
    if found is None:
        results = [r.accepted for r in spec.rules if isinstance(r, rules.ResultDtype)]
        return tuple(sorted(map(name_dtype, results[0]))) if results else ()
    first, accepted = found
    for rule in spec.rules:
        if isinstance(rule, rules.SameDtype) and first in rule.arguments:
            for name in rule.arguments:
                accepted &= by_argument.get(name, accepted)
    return tuple(sorted(map(name_dtype, accepted)))


def _read(environment: str, record: Mapping[str, Any]) -> Measurement:
    inside, lowered = record["inside"], record.get("lowered", {})
    return Measurement(
        environment=environment,
        examples=record["examples"],
        passed=tuple(dtype for dtype, outcome in inside.items() if outcome == "passed"),
        failed=tuple(dtype for dtype, outcome in inside.items() if outcome != "passed"),
        lowered=tuple(dtype for dtype, outcome in lowered.items() if outcome == "passed"),
    )


def _grade(
    spec: OpSpec, dtypes: tuple[str, ...], measurements: tuple[Measurement, ...]
) -> tuple[Standing, str]:
    if not measurements:
        return "untested", "no measurement of the entry as it is now"
    failed = sorted({dtype for m in measurements for dtype in m.failed})
    if failed:
        return "partial", f"conformance fails in {', '.join(failed)}"
    passed = {dtype for m in measurements for dtype in m.passed}
    missing = [dtype for dtype in dtypes if dtype not in passed]
    if missing:
        return "partial", f"not measured in {', '.join(missing)}"
    if spec.limitations:
        return "partial", "known differences"
    if not all(isinstance(rule, _ON_DTYPES) for rule in spec.rules):
        return "partial", "the domain is bounded"
    return "full", ""
