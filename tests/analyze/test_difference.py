"""What counts as the same finding in two reports, and what as new."""

import dataclasses
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_coverage.analyze.difference import (
    compare_reports,
    find_more_partitions,
    find_new_fallback,
)
from mlx_coverage.analyze.model import CoverageReport, Figures, Finding, ReasonText, Source
from mlx_coverage.report.difference import DIFFERENCE_RENDERERS
from tests.report.samples import HOSTILE, make_failure, make_report


def find(
    op: str = "aten.sin.default",
    file: str | None = "net.py",
    line: int = 1,
    code: str = "y = f(x)",
    count: int = 1,
    slug: str = "op/dtype",
    allowed: str | None = None,
) -> Finding:
    reason = ReasonText(slug, "title", "sentence", "remedy")
    source = Source(file, line, code, "exact")
    return Finding(op, Figures(count), reason, (), (), source, allowed=allowed)


def report(*findings: Finding, partitions: int = 1, name: str = "forward") -> CoverageReport:
    (method,) = make_report().methods
    method = dataclasses.replace(method, name=name, findings=findings, partitions=partitions)
    return dataclasses.replace(make_report(), methods=(method,))


def count_changes(old: Sequence[Finding], new: Sequence[Finding]) -> tuple[int, int]:
    (method,) = compare_reports(report(*old), report(*new)).methods
    return (
        sum(change.nodes for change in method.appeared),
        sum(change.nodes for change in method.disappeared),
    )


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ([find(line=3)], [find(line=90)], (0, 0)),
        ([find()], [find(file="renamed.py")], (0, 0)),
        ([find()], [find(code="y = f(x) + 1")], (0, 0)),
        ([find()], [find(file="other.py", code="z = g(x)")], (1, 1)),
        ([find()], [find(op="aten.cos.default")], (1, 1)),
        ([find()], [find(slug="op/rank")], (1, 1)),
        ([find(count=2)], [find(count=5)], (3, 0)),
        ([find(count=5)], [find(count=2)], (0, 3)),
        # One line of two is mended, and another file has a new one.
        ([find(), find(line=2, code="z = g(x)")], [find(), find(file="new.py", code="h")], (1, 1)),
        # The exact match comes first: the other line of the file is the new one.
        ([find(line=5)], [find(code="z = g(x)"), find(line=6)], (1, 0)),
        ([], [find(file=None, code="")], (1, 0)),
    ],
)
def test_what_is_the_same(old: list[Finding], new: list[Finding], changes: tuple[int, int]) -> None:
    assert count_changes(old, new) == changes


def test_exact_match_comes_first() -> None:
    (method,) = compare_reports(
        report(find(line=5)), report(find(code="z = g(x)"), find(line=6))
    ).methods
    assert [change.finding.source.code for change in method.appeared] == ["z = g(x)"]


FINDINGS = st.lists(
    st.builds(
        find,
        op=st.sampled_from(["aten.sin.default", "aten.cos.default"]),
        file=st.sampled_from(["a.py", "b.py", None]),
        line=st.integers(1, 3),
        code=st.sampled_from(["", "y = f(x)", "z = g(x)"]),
        count=st.integers(1, 3),
    ),
    max_size=5,
)


@given(old=FINDINGS, new=FINDINGS)
def test_nodes_add_up(old: list[Finding], new: list[Finding]) -> None:
    appeared, disappeared = count_changes(old, new)
    before, after = (sum(f.count for f in findings) for findings in (old, new))
    assert after - appeared == before - disappeared >= 0
    assert count_changes(new, new) == (0, 0)
    # Every op and reason that only one side has counts in full.
    for op in {f.op for f in old} ^ {f.op for f in new}:
        assert appeared + disappeared >= sum(f.count for f in [*old, *new] if f.op == op)


def test_gates() -> None:
    base = report(find())
    worse = report(find(), find(op="aten.tan.default", count=2), partitions=3)
    assert list(find_new_fallback(compare_reports(base, base))) == []
    (sentence,) = find_new_fallback(compare_reports(base, worse))
    assert sentence.startswith("2 new fallback nodes of aten.tan.default at net.py:1 (op/dtype")
    assert list(find_more_partitions(compare_reports(base, worse))) == [
        "forward has 3 partitions, 1 before"
    ]
    assert list(find_more_partitions(compare_reports(worse, base))) == []
    allowed = report(find(), find(op="aten.tan.default", allowed="why"))
    assert list(find_new_fallback(compare_reports(base, allowed))) == []


def test_model_that_no_longer_exports_and_methods_that_come_and_go() -> None:
    (sentence,) = find_new_fallback(compare_reports(report(), make_failure()))
    assert "no longer passes the stage export" in sentence
    assert list(find_new_fallback(compare_reports(make_failure(), make_failure()))) == []
    difference = compare_reports(report(find(), name="old"), report(find(), name="new"))
    assert [(m.name, m.old is None, m.new is None) for m in difference.methods] == [
        ("new", True, False), ("old", False, True),
    ]  # fmt: skip
    assert list(find_more_partitions(difference)) == []
    for render in DIFFERENCE_RENDERERS.values():
        assert render(difference)


@pytest.mark.parametrize("text", HOSTILE)
def test_comparisons_are_inert(text: str) -> None:
    base = make_report(text)
    (method,) = base.methods
    better = dataclasses.replace(base, methods=(dataclasses.replace(method, findings=()),))
    for name, render in DIFFERENCE_RENDERERS.items():
        shown = render(compare_reports(better, base)) + render(
            compare_reports(base, make_failure())
        )
        if name == "json":
            continue
        assert all(c.isprintable() or c == "\n" for c in shown)
    document = json.loads(DIFFERENCE_RENDERERS["json"](compare_reports(better, base)))
    assert document["methods"][0]["appeared"][0]["op"] == f"aten.{text}.default"
