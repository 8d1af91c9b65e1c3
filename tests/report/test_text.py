"""The report for a terminal."""

import dataclasses

import pytest

from mlx_coverage.analyze.model import Figures, Fix
from mlx_coverage.report import render_text
from tests.report.samples import HOSTILE, make_failure, make_report


@pytest.mark.parametrize("text", HOSTILE)
def test_no_escape_reaches_the_terminal(text: str) -> None:
    shown = render_text(make_report(text)) + render_text(make_failure(text))
    assert all(c.isprintable() or c == "\n" for c in shown)


@pytest.mark.parametrize("width", [60, 100, 160])
def test_lines_fit(width: int) -> None:
    assert all(len(line) <= width for line in render_text(make_report(), width=width).split("\n"))


def test_colour_is_asked_for() -> None:
    report = make_report()
    assert "\x1b" not in render_text(report)
    assert "\x1b" in render_text(report, color=True)


def test_ascii_terminals_get_ascii() -> None:
    assert render_text(make_report(), unicode=False).isascii()


def test_program_without_nodes_is_not_covered() -> None:
    report = make_report()
    empty = dataclasses.replace(
        report.methods[0],
        total=Figures(),
        mlx=Figures(),
        partitions=0,
        findings=(),
        ops=(),
        segments=(),
    )
    shown = render_text(dataclasses.replace(report, methods=(empty,)))
    assert "n/a" in shown
    assert "100 %" not in shown


def test_several_methods_are_summed() -> None:
    report = make_report()
    twice = (report.methods[0], dataclasses.replace(report.methods[0], name="second"))
    shown = render_text(dataclasses.replace(report, methods=twice))
    assert "second" in shown
    assert "150 of 198 nodes" in shown


def test_one_fallback_node_shows_in_the_bar() -> None:
    report = make_report()
    method = dataclasses.replace(report.methods[0], total=Figures(100_000), mlx=Figures(99_999))
    shown = render_text(dataclasses.replace(report, methods=(method,)))
    assert "99.9 %" in shown
    assert "░" in shown


def test_code_of_a_fix_is_printed_once() -> None:
    report = make_report()
    (method,) = report.methods
    change = "class New(nn.Module):\n    pass"
    fix = Fix("Replace a.", change, verified=True, evidence="run", kind="module")
    cast = Fix("Cast.", "x = x.half()", verified=True, evidence="run", kind="cast")
    findings = tuple(
        dataclasses.replace(method.findings[0], op=op, fixes=(fix, cast))
        for op in ("first", "second")
    )
    shown = render_text(
        dataclasses.replace(report, methods=(dataclasses.replace(method, findings=findings),))
    )
    assert shown.count("Replace a. (verified: run)") == 2
    assert shown.count("class New(nn.Module):") == shown.count("    pass\n") == 1
    assert shown.count("the code is at first above") == 1
    assert (shown.count("Cast. (verified: run)"), shown.count("x = x.half()")) == (2, 1)


@pytest.mark.parametrize(
    ("unmodelled", "said"),
    [(0, "\n0 FLOP · 25.0 % of"), (2, "\n25.0 % of 40 B moved · FLOPs of 2 nodes")],
)
def test_no_share_of_no_flops_is_printed(unmodelled: int, said: str) -> None:
    report = make_report()
    total, mlx = Figures(4, 0, 40, unmodelled), Figures(1, 0, 10)
    method = dataclasses.replace(report.methods[0], total=total, mlx=mlx)
    shown = render_text(dataclasses.replace(report, methods=(method,)))
    assert said in shown
    assert "n/a of" not in shown
