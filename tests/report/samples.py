"""Reports to render, without any model."""

from dataclasses import replace

from mlx_coverage.analyze.contrast import (
    Contrast,
    Line,
    MethodContrast,
    OpContrast,
    Remark,
    Share,
)
from mlx_coverage.analyze.estimates import (
    Bound,
    Fit,
    Memory,
    SlowOp,
    Speed,
    WeightBytes,
    WhatIf,
)
from mlx_coverage.analyze.model import (
    NONE,
    Blocker,
    Constants,
    CoverageReport,
    Crossing,
    Excerpt,
    Figures,
    Finding,
    Fix,
    Graph,
    MethodReport,
    Module,
    ModulePath,
    OpCount,
    OpStatus,
    Place,
    ReasonText,
    SearchExtent,
    Segment,
    SizeHint,
    Source,
    SourceFile,
    Stage,
    Step,
    Untried,
    Versions,
)

GIB = 2**30

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
    fix = Fix(f"Write {text}", f"y = g(x)  # {text}", verified=True, evidence=f"equal: {text}")
    finding = Finding(
        f"aten.{text}.default", Figures(24, 0, 960, 24, 480), reason, (other,),
        (ModulePath(f"layers.*.{text}", 12, 24),), source, (fix,),
    )  # fmt: skip
    ops = (OpCount("aten.add.Tensor", 75, 75), OpCount(f"aten.{text}.default", 24, 0))
    mlx, cpu = Figures(75, 9000, 3000, 15, 600), finding.figures
    nodes = range(99)
    graph = Graph(
        op=tuple(int(i >= 75) for i in nodes),
        place=tuple(i % 2 for i in nodes),
        source=tuple(int(i >= 75) for i in nodes),
        segment=tuple(int(i >= 75) for i in nodes),
        finding=tuple(0 if i >= 75 else NONE for i in nodes),
        result=(0,) * 99,
        flops=tuple(NONE if i >= 60 else 150 for i in nodes),
        bytes=(40,) * 99,
        results=("float32 [10]",),
        edges_from=tuple(range(98)),
        edges_to=tuple(range(1, 99)),
    )
    layers = (Figures(99, 9000, 3960, 39, 1080), mlx)
    method = MethodReport(
        name=text,
        total=mlx + cpu,
        mlx=mlx,
        partitions=1,
        findings=(finding, Finding("aten.sin.default", Figures(), reason, (), (), Source())),
        ops=ops,
        segments=(Segment("mlx", 0, mlx, ops[:1]), Segment("cpu", None, cpu, ops[1:])),
        crossings=(
            Crossing(NONE, 0, 1, 40, 0),
            Crossing(0, 1, 1, 40, 1, (74,)),
        ),
        modules=(
            Module("", f"{text}.Net", NONE, 1, *layers),
            Module(f"layers.*.{text}", f"{text}.Layer", 0, 2, *layers),
        ),
        places=(Place(f"layers.0.{text}", 1), Place(f"layers.1.{text}", 1)),
        sources=(Source(), source),
        graph=graph,
        blockers=(Blocker(f"aten.{text}.default", "op/dtype", 24, ("op/rank",), cpu, 1, 0, 40),),
        way=(Step(f"aten.{text}.default", "op/dtype", 99, cpu, 1, 0),),
        search=SearchExtent(100, (Untried(f"aten.{text}.default", "op/rank", 3),), "budget"),
        constants=Constants(3, 1200, 1200, 0, 80),
        sizes=(SizeHint("s77", 10),),
        kernels_missing=(f"aten.{text}.default",),
        speed=Speed(9 * GIB, 10**12, 10**9, 0, (Bound("M4", 0.08, 0.12, "memory"),)),
        step=Speed(8 * GIB, 10**10, 10**7, 1, (Bound("M4", 0.07, 0.1, "memory", 14.3),)),
        slow=(SlowOp(f"aten.{text}.default", 3, f"slow: 2 times {text}", f"another {text}"),),
    )
    return CoverageReport(
        model=f"{text}.py",
        stages=tuple(Stage(name, "ok") for name in ("import", "export", "edge", "plan")),  # type: ignore[arg-type]
        methods=(method,),
        verified=False,
        versions=Versions("0", "2", "1"),
        statuses=(
            OpStatus("aten.add.Tensor", "full"),
            OpStatus(f"aten.{text}.default", "partial", (f"differs for {text}",)),
        ),
        files=(SourceFile(f"{text}.py", True, (Excerpt(11, ("def f(x):", f"    {text}")),)),),
        missing=(f"source of {text}/lib.py: there is no such file",),
        memory=Memory(
            (WeightBytes("float32", 3, 8 * GIB), WeightBytes("int8", 1, GIB)),
            2 * GIB,
            GIB,
            4 * GIB,
            9 * GIB,
            (Fit("8 GB", 5 * GIB, False), Fit("24 GB", 18 * GIB, True)),
        ),
        what_ifs=(WhatIf(f"--exclude aten.{text}.default", 74, 1, 0, 7 * GIB),),
    )


def make_failure(text: str = "plain") -> CoverageReport:
    """A report of a model that did not export."""
    source = Source(f"{text}.py", 3, f"if x.sum(): {text}", "exact")
    stages = (
        Stage("import", "ok"),
        Stage("export", "failed", f"Could not guard on {text}", source, "export/export"),
        Stage("edge", "not reached"),
        Stage("plan", "not reached"),
    )
    return CoverageReport(f"{text}.py", stages, (), False, Versions("0", "2", "1"))


def make_contrast(text: str = "plain") -> Contrast:
    """Two delegates side by side, `text` in each place that a model can fill."""
    ours = make_report(text)
    (method,) = ours.methods
    finding = method.findings[0]
    quoted = ReasonText("upstream/unsupported", "title", f"its support check says: {text}", "")
    other = replace(method, findings=(replace(finding, reason=quoted),), blockers=(), way=())
    theirs = replace(
        ours,
        methods=(other,),
        statuses=(),
        target="executorch",
    )
    lines = (Line(finding.source, 20), Line(Source(), 4))
    rows = (
        OpContrast(
            finding.op,
            Share(24, 0, (Remark(finding.reason, 24, lines),)),
            Share(30, 6, (Remark(quoted, 24, lines),)),
            (Remark(finding.reason, 6, (Line(finding.source, 6),)),),
        ),
        OpContrast(f"aten.{text}.only", Share(), Share(1, 1)),
        OpContrast("aten.add.Tensor", Share(75, 75), Share(75, 75)),
    )
    side = MethodContrast(text, Share(99, 75), Share(106, 82), 1, 1, rows)
    return Contrast(ours, theirs, (side,))
