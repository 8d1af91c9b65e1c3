"""The report as one HTML file that needs nothing else: no network, and no JavaScript to be read.

Model strings are untrusted: jinja2 escapes every one, control characters are replaced, and
the page's own policy runs no script but ours.
"""

import dataclasses
import hashlib
import json
import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlx_coverage.analyze.contrast import DISPUTED, DISPUTED_MEANS, Contrast
from mlx_coverage.analyze.difference import Difference
from mlx_coverage.analyze.model import (
    NONE,
    Blocker,
    CoverageReport,
    Figures,
    Finding,
    Fix,
    MethodReport,
    Module,
    OpStatus,
    Source,
    format_bytes,
    format_count,
    format_flops,
    format_seconds,
    format_share,
)
from mlx_coverage.report.anchors import name_findings
from mlx_coverage.report.source_marks import MarkedFile, list_lines, list_shown_lines, mark_files
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.treemap import Cell, make_treemaps
from mlx_coverage.report.verdict import (
    describe_cut,
    describe_fit,
    describe_headline,
    describe_kernels,
    describe_reach,
    describe_refusals,
    describe_slow,
    describe_speed,
    describe_what_ifs,
)
from mlx_coverage.report.views import View, make_views, name_segments

_TEMPLATES = Path(__file__).parent / "templates"
# Longer tables are cut, which the page says; the JSON inside the page holds everything.
ROWS = 1000
# Of names such as `layers.0,3-5,8`, what follows the first four numbers, up to the last one.
_MANY_NUMBERS = re.compile(r"((?<![^.])(?:[\d-]+,){4})(?:[\d-]+,)+([\d-]+)")


def render_html(report: CoverageReport, difference: Difference | None = None) -> str:
    """The whole page.

    Args:
        report: to be shown.
        difference: of the report from its baseline, if there is one.
    """
    return _render(report, difference, None)


def render_contrast_html(contrast: Contrast) -> str:
    """The whole page of this package's delegate, with a section for ExecuTorch's beside it."""
    return _render(contrast.ours, None, contrast)


def _render(
    report: CoverageReport, difference: Difference | None, contrast: Contrast | None
) -> str:
    methods = [
        _MethodPage.make(f"m{number}", method, report)
        for number, method in enumerate(report.methods, 1)
    ]
    return make_page(
        "report.html.j2",
        "report.js",
        report=report,
        difference=difference,
        contrast=contrast,
        methods=methods,
        rows=ROWS,
        data=_embed(report, methods),
    )


def make_page(template: str, script: str | None = None, **context: Any) -> str:
    """A page with the one stylesheet, and a policy that lets nothing else run.

    Args:
        template: name of its file.
        script: name of the script's file, if there is one.
        context: what the template shows.
    """
    style, code = _read_asset("report.css"), _read_asset(script) if script else ""
    allowed = _hash(code) if code else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _make_environment()
        .get_template(template)
        .render(style=Markup(style), script=Markup(code), policy=Markup(policy), **context)
    )


@dataclass(frozen=True)
class _BlockerRow:
    """A blocker, its findings and what would mend them."""

    blocker: Blocker
    anchor: str
    sentence: str
    remedy: str
    fixes: tuple[Fix, ...]


@dataclass(frozen=True)
class _MethodPage:
    """What the template shows of a method beside the report itself.

    Attributes:
        key: prefix of its ids.
        segments: names of the segments.
        reads: bytes that each segment takes from other segments and the caller.
        anchors: id of each finding.
        blockers: with fixes.
        files: the source, marked.
        lines: where a line of source is shown: file and line to an id.
        depths: of the rows of the module tree.
        names: of the modules, below their parents.
        treemaps: cells by measure.
        views: of the graph.
        statuses: of the ops, by name.
    """

    key: str
    method: MethodReport
    segments: list[str]
    reads: list[int]
    anchors: list[str]
    blockers: list[_BlockerRow]
    files: list[MarkedFile]
    lines: dict[tuple[str, int], str]
    depths: list[int]
    names: list[str]
    treemaps: dict[str, list[Cell]]
    views: list[View]
    statuses: dict[str, OpStatus]

    @classmethod
    def make(cls, key: str, method: MethodReport, report: CoverageReport) -> "_MethodPage":
        anchors = name_findings(method)
        files = mark_files(method, report.files)
        reads = [0] * len(method.segments)
        for crossing in method.crossings:
            if crossing.target != NONE:
                reads[crossing.target] += crossing.bytes
        depths: list[int] = []
        for module in method.modules:
            depths.append(0 if module.parent == NONE else depths[module.parent] + 1)
        return cls(
            key=key,
            method=method,
            segments=name_segments(method),
            reads=reads,
            anchors=anchors,
            blockers=[_join_findings(b, method.findings, anchors) for b in method.blockers],
            files=files,
            lines={
                line: f"{key}-s{i}-L{number}"
                for line, (i, number) in list_shown_lines(files).items()
            },
            depths=depths,
            names=[_name_module(module, method) for module in method.modules],
            treemaps=make_treemaps(method),
            views=make_views(method),
            statuses={status.op: status for status in report.statuses},
        )

    def find_line(self, source: Source) -> str | None:
        """The id of the user's line, where the page shows it."""
        if source.file is None or source.line is None:
            return None
        return self.lines.get((source.file, source.line))

    def describe_end(self, segment: int, caller: str) -> str:
        """The name of a segment, or the caller's part."""
        return caller if segment == NONE else self.segments[segment]

    def list_makers(self, nodes: tuple[int, ...]) -> list[tuple[str, int]]:
        """The ops that made the values of a crossing, and how often."""
        graph, ops = self.method.graph, self.method.ops
        return Counter(ops[graph.op[node]].op for node in nodes).most_common()


def _name_module(module: Module, method: MethodReport) -> str:
    """Its path below that of its parent."""
    above = method.modules[module.parent].path if module.parent != NONE else ""
    below = module.path.removeprefix(f"{above}.") if above else module.path
    return _MANY_NUMBERS.sub(r"\1…,\2", below) or "the model"


def _join_findings(
    blocker: Blocker, findings: tuple[Finding, ...], anchors: list[str]
) -> _BlockerRow:
    own = [
        (finding, anchor)
        for finding, anchor in zip(findings, anchors, strict=True)
        if (finding.op, finding.reason.slug) == (blocker.op, blocker.slug)
    ]
    fixes = dict.fromkeys(fix for finding, _ in own for fix in finding.fixes)
    return _BlockerRow(
        blocker=blocker,
        anchor=own[0][1] if own else "",
        sentence=own[0][0].reason.sentence if own else "",
        remedy=own[0][0].reason.remedy if own else "",
        fixes=tuple(sorted(fixes, key=lambda fix: not fix.verified)),
    )


def _embed(report: CoverageReport, methods: list[_MethodPage]) -> Markup:
    """The report as JSON and the drawings, safe inside a script element."""
    document = {
        "report": dataclasses.asdict(report),
        "pages": [
            {
                "key": page.key,
                "anchors": page.anchors,
                "segments": page.segments,
                "lines": [
                    [page.lines[line] for line in list_lines(source) if line in page.lines]
                    for source in page.method.sources
                ],
                "views": [_pack_view(view) for view in page.views],
            }
            for page in methods
        ],
    }
    text = json.dumps(document, separators=(",", ":"))
    return Markup(re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", text))


def _pack_view(view: View) -> dict[str, Any]:
    return {
        "parent": view.parent,
        "label": view.label,
        "start": view.start,
        "end": view.end,
        "children": view.children,
        "x": view.drawing.x,
        "layer": view.drawing.layer,
        "edges": [
            (*edge, *bends) for edge, bends in zip(view.edges, view.drawing.bends, strict=True)
        ],
    }


@lru_cache(maxsize=1)
def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlx_coverage.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.filters["share"] = format_share
    environment.filters["count"] = format_count
    environment.filters["size"] = format_bytes
    environment.filters["flops"] = format_flops
    environment.filters["work"] = _format_work
    environment.filters["breakable"] = _allow_breaks
    environment.filters["prose"] = _mark_code
    environment.filters["lines"] = _keep_lines
    environment.filters["cut"] = describe_cut
    environment.filters["kernels"] = _list_kernels
    environment.filters["headline"] = describe_headline
    environment.filters["fit"] = describe_fit
    environment.filters["slow"] = describe_slow
    environment.filters["speed"] = describe_speed
    environment.filters["what_ifs"] = describe_what_ifs
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["seconds"] = format_seconds
    environment.filters["rate"] = _format_rate
    environment.filters["reach"] = describe_reach
    environment.filters["refusals"] = describe_refusals
    environment.filters["percent"] = _measure_bar
    environment.globals["NONE"] = NONE
    environment.globals["DISPUTED"] = DISPUTED
    environment.globals["DISPUTED_MEANS"] = DISPUTED_MEANS
    return environment


def _format_work(figures: Figures) -> str:
    """FLOPs, and whether the sum leaves nodes out."""
    if figures.unmodelled:
        return f"≥ {format_flops(figures.flops)}" if figures.flops else "not modelled"
    return format_flops(figures.flops)


def _list_kernels(report: CoverageReport) -> list[str]:
    said = (text for method in report.methods for text in describe_kernels(method, report))
    return list(dict.fromkeys(said))


def _format_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _measure_bar(part: int, whole: int) -> float:
    """The length of a bar in percent; what is not nothing can be seen."""
    if part in (0, whole):
        return 100.0 if part else 0.0
    return min(max(round(100 * part / whole, 1), 1.0), 99.0)


def _allow_breaks(name: str) -> Markup:
    """A dotted name or a path that may break after its dots and slashes."""
    return Markup("<wbr>").join(re.split(r"(?<=[./])", sanitize(name)))


def _mark_code(sentence: str) -> Markup:
    """A sentence in which `names` between backticks are set as code."""
    pieces = sanitize(sentence).split("`")
    if len(pieces) % 2 == 0:
        return Markup.escape(sanitize(sentence))
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if i % 2 else piece
        for i, piece in enumerate(pieces)
    )


def _keep_lines(code: str) -> Markup:
    """Several lines, each of which is untrusted."""
    return Markup("\n").join(map(sanitize, code.split("\n")))


def _clean(value: Any) -> Any:
    return sanitize(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read_asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    # The browser hashes what stands between the tags.
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
