"""Reports to render, without any model."""

from mlx_coverage.analyze.model import (
    CoverageReport,
    Finding,
    MethodReport,
    ModulePath,
    OpCount,
    ReasonText,
    Segment,
    Source,
    Stage,
    Versions,
)

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></script><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "' onmouseover='alert(1)",
    "\x1b[31mred\x1b[0m\x00\x07",
    "]]>&amp;&lt;!--",
    "‮override and \N{ZERO WIDTH SPACE}nothing",
)


def make_report(text: str = "plain") -> CoverageReport:
    """A report with every kind of part, `text` in each place that a model can fill."""
    source = Source(f"{text}.py", 12, f"y = f(x)  # {text}", "inherited", f"{text}/lib.py:3")
    reason = ReasonText(
        "op/dtype", "title", f"`self` is float64 in {text}; accepted: float32",
        "Cast the operand.", "self", text,
    )  # fmt: skip
    other = ReasonText("op/rank", "title", f"`self` of {text} has 9 dimensions", "Reshape.")
    finding = Finding(
        f"aten.{text}.default", 24, reason, (other,), (ModulePath(f"layers.*.{text}", 12, 24),),
        source,
    )  # fmt: skip
    ops = (OpCount(f"aten.{text}.default", 24, 0), OpCount("aten.add.Tensor", 75, 75))
    method = MethodReport(
        name=text,
        nodes=99,
        delegated=75,
        partitions=2,
        findings=(finding, Finding("aten.sin.default", 0, reason, (), (), Source())),
        ops=ops,
        segments=(Segment("mlx", 75, 0, ops[1:]), Segment("cpu", 24, None, ops[:1])),
    )
    return CoverageReport(
        model=f"{text}.py",
        stages=tuple(Stage(name, "ok") for name in ("import", "export", "edge", "plan")),  # type: ignore[arg-type]
        methods=(method,),
        verified=False,
        versions=Versions("0", "2", "1"),
    )


def make_failure(text: str = "plain") -> CoverageReport:
    """A report of a model that did not export."""
    source = Source(f"{text}.py", 3, f"if x.sum(): {text}", "exact")
    stages = (
        Stage("import", "ok"),
        Stage("export", "failed", f"Could not guard on {text}", source),
        Stage("edge", "not reached"),
        Stage("plan", "not reached"),
    )
    return CoverageReport(f"{text}.py", stages, (), False, Versions("0", "2", "1"))
