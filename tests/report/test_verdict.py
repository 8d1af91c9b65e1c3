"""The one line that every format begins with, and the answers below it."""

from dataclasses import replace

import pytest

from mlx_coverage.analyze.estimates import Bound, Fit, Speed
from mlx_coverage.analyze.model import NONE, CoverageReport, Figures, MethodReport, Segment
from mlx_coverage.report import RENDERERS
from mlx_coverage.report.verdict import (
    describe_fit,
    describe_headline,
    describe_slow,
    describe_speed,
    describe_what_ifs,
)
from tests.report.samples import make_failure, make_report

LOWERED = replace(make_report().methods[0], kernels_missing=())
WHOLE = replace(
    LOWERED,
    segments=LOWERED.segments[:1],
    mlx=LOWERED.total,
    findings=(),
    crossings=(),
    graph=replace(LOWERED.graph, segment=(0,) * 99, finding=(NONE,) * 99),
)


def with_methods(*methods: MethodReport) -> CoverageReport:
    return replace(make_report(), methods=methods)


@pytest.mark.parametrize(
    ("report", "headline"),
    [
        (with_methods(WHOLE), "Lowers as one delegate."),
        (
            with_methods(WHOLE, replace(WHOLE, name="other")),
            "Lowers as one delegate for each of 2 methods.",
        ),
        (
            with_methods(LOWERED),
            "Lowers in 2 pieces, 1 of them on MLX: 2 lines keep it from one.",
        ),
        (
            with_methods(LOWERED, replace(WHOLE, name="other")),
            "Lowers in 3 pieces of 2 methods, 2 of them on MLX: 2 lines keep it from one for each "
            "of 2 methods.",
        ),
        (
            with_methods(replace(LOWERED, mlx=Figures(), partitions=0)),
            "Lowers, and nothing runs on MLX.",
        ),
        (
            with_methods(replace(WHOLE, total=Figures(), mlx=Figures())),
            "Lowers, and has no nodes to run.",
        ),
        (
            make_report(),
            "Lowers, and does not load: ExecuTorch has no kernel for aten.plain.default.",
        ),
        (
            with_methods(replace(LOWERED, kernels_wrong=("aten.fmod.Scalar",))),
            "Lowers, and gives other numbers than torch: ExecuTorch's kernel is wrong for "
            "aten.fmod.Scalar.",
        ),
        (make_failure(), "Does not lower: change this line: plain.py:3."),
    ],
)
def test_headline(report: CoverageReport, headline: str) -> None:
    assert describe_headline(report) == headline
    for form in ("full", "concise", "html", "markdown", "github", "junit", "sarif"):
        if form == "junit" and not report.methods:
            continue  # the failed stage is an error there, without properties
        said = " ".join(RENDERERS[form](report).replace("\\", "").split())
        assert headline in said.replace("&#39;", "'").replace("\\u0027", "'"), form


def test_a_missing_kernel_is_blamed_on_its_line() -> None:
    (method,) = make_report().methods
    finding = method.findings[0]
    reason = replace(finding.reason, slug="runtime/no-kernel")
    method = replace(method, findings=(replace(finding, others=(reason,)),))
    assert describe_headline(with_methods(method)).endswith("; change this line: plain.py:12.")


def test_what_fits_is_said() -> None:
    took, fits = describe_fit(make_report())
    assert took == (
        "weights 9.0 GiB (float32 8.0 GiB, int8 1.0 GiB); state 2.0 GiB; working set 1.0 GiB, at "
        "the largest sizes 4.0 GiB; .pte 9.0 GiB"
    )
    assert fits == "fits a Mac of 24 GB and more"
    memory = replace(make_report().memory, fits=(Fit("8 GB", 5, False),))
    assert list(describe_fit(replace(make_report(), memory=memory)))[1].startswith("fits no Mac")


def test_bounds_and_rates_are_said() -> None:
    assert list(describe_speed(make_report().methods[0])) == [
        "a call takes no less than 80 ms on M4",
        "a step of one token takes no less than 70 ms on M4 (14.3 tokens/s)",
    ]
    small = replace(LOWERED, step=None, speed=Speed(bounds=(Bound("M4", 1e-5, 2e-5, "memory"),)))
    (said,) = describe_speed(small)
    assert said == "a call has less work than the call itself costs, on every chip"
    measured = Speed(bounds=(Bound("M4", 0.1, 0.2, "memory", None, 0.15),))
    *_, expected = describe_speed(replace(small, speed=measured))
    assert expected.endswith("150 ms on M4")


def test_slow_ops_and_what_ifs_are_said() -> None:
    report = make_report()
    assert list(describe_slow(report.methods[0])) == [
        "aten.plain.default x3: slow: 2 times plain. Instead: another plain."
    ]
    assert list(describe_what_ifs(report)) == [
        "--exclude aten.plain.default: 7.0 GiB of memory instead of 15.0 GiB, 74 of 99 nodes on "
        "MLX, 1 partition, 0 B of crossings instead of 40 B"
    ]


def test_segments_decide_about_one_delegate() -> None:
    island = Segment("cpu", None, Figures(1), ())
    method = replace(WHOLE, segments=(island, WHOLE.segments[0]))
    assert describe_headline(with_methods(method)).startswith("Lowers in 2 pieces, 1 of them")
