"""Comments in the user's source that accept what falls back: `# mlx-coverage: allow[slug] why`.

A comment behind code, or inside a statement of several lines, is about that statement; a
comment on a line of its own is about the statement that follows. Figures never change by a
comment: it keeps a finding out of gates and annotations, and the report shows it as allowed.
"""

import ast
import dataclasses
import io
import re
import tokenize
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_coverage.analyze.model import CoverageReport, Finding, MethodReport, Source, Suppression

_COMMENT = re.compile(
    r"#\s*mlx-coverage:\s*(?P<verb>\w+)?\s*(?:\[(?P<slugs>[^\]]*)\])?\s*(?P<why>.*)$"
)
_FORM = "write `# mlx-coverage: allow[slug] why`"


@dataclass(frozen=True)
class Pragma:
    """A comment, and the lines that it is about.

    Attributes:
        suppression: what it says; its problem is one of form.
        lines: numbers of the lines of the statement.
    """

    suppression: Suppression
    lines: range


def apply_suppressions(
    report: CoverageReport, files: Collection[str], slugs: Collection[str]
) -> CoverageReport:
    """Mark the findings that comments allow, and list the comments.

    Args:
        report: whose sources are read, relative to the working directory.
        files: to be read beside those that nodes come from, so that a comment without any
            effect is noticed.
        slugs: the vocabulary of reasons.
    """
    packages = {file.file for file in report.files if not file.own}
    named = {f.source.file for method in report.methods for f in method.findings}
    named |= {file.file for file in report.files} | set(files)
    wanted = sorted(name for name in named if name and name not in packages)
    pragmas = {file: read_pragmas(file, slugs) for file in wanted}
    used: set[Suppression] = set()
    methods = tuple(_apply(method, pragmas, used) for method in report.methods)
    listed = [_judge(pragma.suppression, used) for file in pragmas.values() for pragma in file]
    return dataclasses.replace(report, methods=methods, suppressions=tuple(listed))


def apply_to_both(
    ours: CoverageReport, theirs: CoverageReport, files: Collection[str], slugs: Collection[str]
) -> tuple[CoverageReport, CoverageReport]:
    """`apply_suppressions` for reports of one model: a comment need have its effect in one."""
    reports = [apply_suppressions(report, files, slugs) for report in (ours, theirs)]
    judged: dict[tuple[str, int], Suppression] = {}
    for comment in (comment for report in reports for comment in report.suppressions):
        place = (comment.file, comment.line)
        if judged.get(place) is None or not comment.problem:
            judged[place] = comment
    listed = tuple(judged.values())
    first, second = (dataclasses.replace(report, suppressions=listed) for report in reports)
    return first, second


def _judge(suppression: Suppression, used: set[Suppression]) -> Suppression:
    if suppression.problem or suppression in used:
        return suppression
    problem = "nothing falls back here for that reason; remove the comment"
    return dataclasses.replace(suppression, problem=problem)


def _apply(
    method: MethodReport, pragmas: Mapping[str, Sequence[Pragma]], used: set[Suppression]
) -> MethodReport:
    findings = tuple(_mark(finding, pragmas, used) for finding in method.findings)
    return dataclasses.replace(method, findings=findings)


def _mark(
    finding: Finding, pragmas: Mapping[str, Sequence[Pragma]], used: set[Suppression]
) -> Finding:
    places = (finding.source, *finding.lines)
    allowed = [_find_comment(place, finding.reason.slug, pragmas) for place in places]
    found = [comment for comment in allowed if comment is not None]
    used.update(found)
    # At the line where the cause enters, or at every line that it reaches.
    if allowed[0] is None and (len(places) == 1 or None in allowed[1:]):
        return finding
    return dataclasses.replace(finding, allowed=found[0].why)


def _find_comment(
    place: Source, slug: str, pragmas: Mapping[str, Sequence[Pragma]]
) -> Suppression | None:
    for pragma in pragmas.get(place.file or "", ()):
        suppression = pragma.suppression
        fits = not suppression.problem and slug in suppression.slugs
        if fits and place.line in pragma.lines:
            return suppression
    return None


def read_pragmas(file: str, slugs: Collection[str]) -> tuple[Pragma, ...]:
    """The comments of a Python file; none where it cannot be read or is not Python."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        statements = _list_statements(ast.parse(text))
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (OSError, ValueError, SyntaxError, tokenize.TokenError):
        return ()
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    found = []
    for token in comments:
        match = _COMMENT.match(token.string)
        if match is not None:
            line = token.start[0]
            alone = token.line.lstrip().startswith("#")
            suppression = _read(file, line, match, slugs)
            found.append(Pragma(suppression, _find_statement(statements, line, alone)))
    return tuple(found)


def _read(file: str, line: int, match: re.Match[str], slugs: Collection[str]) -> Suppression:
    names = tuple(name.strip() for name in (match["slugs"] or "").split(",") if name.strip())
    why = match["why"].strip()
    unknown = [name for name in names if name not in slugs]
    problem = ""
    if match["verb"] != "allow" or not names:
        problem = f"the comment is not understood; {_FORM}"
    elif unknown:
        problem = f"there is no reason {unknown[0]!r}; mlx-coverage explain lists them"
    elif not why:
        problem = f"the comment does not say why; {_FORM}"
    return Suppression(file, line, names, why, problem)


@dataclass(frozen=True)
class _Statement:
    """Lines of a simple statement, or of the head of one that has a body."""

    lines: range
    simple: bool


def _list_statements(tree: ast.Module) -> list[_Statement]:
    return sorted(_walk(tree), key=lambda statement: statement.lines.start)


def _walk(tree: ast.Module) -> Iterator[_Statement]:
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
            yield _Statement(range(node.lineno, max(end, node.lineno + 1)), not body)


def _find_statement(statements: Sequence[_Statement], line: int, alone: bool) -> range:
    # Between a head and its body, a comment on its own line is about what follows.
    holding = [s.lines for s in statements if line in s.lines and (s.simple or not alone)]
    if holding:
        return min(holding, key=len)
    following = [s.lines for s in statements if s.lines.start > line] if alone else []
    return following[0] if following else range(line, line + 1)
