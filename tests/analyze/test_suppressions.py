"""Comments that accept a fallback: which lines they are about, and what is wrong with them."""

import dataclasses
from pathlib import Path

import pytest

from mlx_coverage.analyze.model import CoverageReport, Source
from mlx_coverage.analyze.suppressions import apply_suppressions
from tests.report.samples import make_report

SLUGS = ("op/dtype", "op/rank")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(folder: Path, text: str, *lines: int) -> CoverageReport:
    """A report with an op/dtype finding at each line of a file, comments applied."""
    (folder / "net.py").write_text(text)
    report = make_report()
    (method,) = report.methods
    findings = tuple(
        dataclasses.replace(method.findings[0], source=Source("net.py", line)) for line in lines
    )
    methods = (dataclasses.replace(method, findings=findings),)
    return apply_suppressions(dataclasses.replace(report, methods=methods), ["net.py"], SLUGS)


def list_allowed(report: CoverageReport) -> list[str | None]:
    return [finding.allowed for finding in report.methods[0].findings]


@pytest.mark.parametrize(
    ("text", "line", "allowed"),
    [
        ("y = f(x)  # mlx-coverage: allow[op/dtype] exact sums", 1, "exact sums"),
        ("#mlx-coverage:allow[ op/rank , op/dtype ]why\ny = f(x)", 2, "why"),
        ("# mlx-coverage: allow[op/dtype] why\n# and more\n\ny = f(\n    x,\n)\nz = 1", 5, "why"),
        ("# mlx-coverage: allow[op/dtype] why\ny = f(x)\nz = g(x)", 3, None),
        ("y = f(\n    x,  # mlx-coverage: allow[op/dtype] why\n)", 1, "why"),
        ("if f(x):  # mlx-coverage: allow[op/dtype] why\n    y = g(x)", 1, "why"),
        ("if a:\n    # mlx-coverage: allow[op/dtype] why\n    y = f(x)", 3, "why"),
        ("if a:\n    # mlx-coverage: allow[op/dtype] why\n    y = f(x)", 1, None),
        ("if f(x):  # mlx-coverage: allow[op/dtype] why\n    y = g(x)", 2, None),
        ("y = f(x)  # mlx-coverage: allow[op/rank] another reason", 1, None),
        ("y = '# mlx-coverage: allow[op/dtype] a string'", 1, None),
        ("y = f(x)  # mlx-coverage: allow[op/dtype]", 1, None),
    ],
)  # fmt: skip
def test_which_lines_a_comment_is_about(
    folder: Path, text: str, line: int, allowed: str | None
) -> None:
    assert list_allowed(check(folder, text, line)) == [allowed]


@pytest.mark.parametrize(
    ("comment", "problem"),
    [
        ("allow[op/dtype] why", ""),
        ("allow[op/rank] why", "nothing falls back here"),
        ("allow[op/dtyp] why", "there is no reason 'op/dtyp'"),
        ("allow[op/dtype]", "does not say why"),
        ("allow why", "not understood"),
        ("ignore[op/dtype] why", "not understood"),
        ("allow[] why", "not understood"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, comment: str, problem: str) -> None:
    report = check(folder, f"y = f(x)  # mlx-coverage: {comment}", 1)
    (suppression,) = report.suppressions
    assert (suppression.file, suppression.line) == ("net.py", 1)
    assert bool(suppression.problem) == bool(problem)
    assert problem in suppression.problem


def test_figures_do_not_change(folder: Path) -> None:
    report = check(folder, "y = f(x)  # mlx-coverage: allow[op/dtype] why", 1)
    assert (report.nodes, report.delegated) == (99, 75)


def test_files_that_are_no_python_are_passed_over(folder: Path) -> None:
    assert check(folder, "def (:  # mlx-coverage: allow[op/dtype] why", 1).suppressions == ()
    (folder / "net.py").unlink()
    assert apply_suppressions(make_report(), ["net.py"], SLUGS).suppressions == ()


@pytest.mark.parametrize(
    ("commented", "allowed"), [((1,), True), ((2, 3), True), ((2,), False), ((), False)]
)
def test_a_cause_is_allowed_where_it_enters_or_at_every_line_that_it_reaches(
    folder: Path, commented: tuple[int, ...], allowed: bool
) -> None:
    comment = "  # mlx-coverage: allow[op/dtype] why"
    text = "\n".join(f"y = f(x){comment if n in commented else ''}" for n in (1, 2, 3))
    (folder / "net.py").write_text(text)
    report = make_report()
    (method,) = report.methods
    lines = tuple(Source("net.py", n) for n in (2, 3))
    finding = dataclasses.replace(method.findings[0], source=Source("net.py", 1), lines=lines)
    methods = (dataclasses.replace(method, findings=(finding,)),)
    marked = apply_suppressions(dataclasses.replace(report, methods=methods), ["net.py"], SLUGS)
    assert list_allowed(marked) == (["why"] if allowed else [None])
    assert not any(comment.problem for comment in marked.suppressions)
