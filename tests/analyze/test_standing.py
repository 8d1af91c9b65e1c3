"""Standings: what is declared beside what was measured."""

from typing import Any

from mlx_coverage.analyze.op_page import OpPage, OpRow
from mlx_coverage.analyze.standing import list_core_ops, list_dtypes, make_page
from mlx_coverage.registry import default_registry
from mlx_coverage.registry.fingerprint import take_fingerprint

REGISTRY = default_registry()
FULL, BOUNDED = "aten.sinh.default", "aten.avg_pool2d.default"


def record(name: str, outcome: str = "passed", **changes: Any) -> dict[str, Any]:
    spec = REGISTRY.by_name[name]
    inside = dict.fromkeys(list_dtypes(spec), outcome)
    found = {"fingerprint": take_fingerprint(spec), "inside": inside, "examples": 70, **changes}
    return {name: {"CPU": found}}


def find(page: OpPage, name: str) -> OpRow:
    return next(row for row in page.rows if row.op == name)


def test_every_core_overload_has_one_row() -> None:
    page = make_page(REGISTRY, {})
    assert sum(page.count(core=True).values()) == len(list(list_core_ops()))
    assert page.count(core=False)["gap"] == len(REGISTRY.gaps)
    assert page.count(core=False)["untested"] == len(REGISTRY)
    assert all(row.reason for row in page.rows if row.standing == "absent")


def test_measured_without_bounds_is_full() -> None:
    assert find(make_page(REGISTRY, record(FULL)), FULL).standing == "full"


def test_bounded_failing_or_half_measured_is_partial() -> None:
    assert find(make_page(REGISTRY, record(BOUNDED)), BOUNDED).standing == "partial"
    failing = find(make_page(REGISTRY, record(FULL, "failed")), FULL)
    assert (failing.standing, "float32" in failing.reason) == ("partial", True)
    half = record(FULL, inside={"float32": "passed"})
    assert "not measured in" in find(make_page(REGISTRY, half), FULL).reason


def test_a_changed_entry_is_untested() -> None:
    row = find(make_page(REGISTRY, record(FULL, fingerprint="another")), FULL)
    assert (row.standing, row.measurements) == ("untested", ())
