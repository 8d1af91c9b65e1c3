"""The report as SARIF 2.1.0 (OASIS Standard), for code scanning.

Section numbers are those of the standard.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from mlx_coverage.analyze.contrast import DISPUTED, Contrast
from mlx_coverage.analyze.model import CoverageReport, ReasonText, Source, Stage
from mlx_coverage.report.reasons import name_page
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.verdict import describe_outcome, describe_verdict, group_by_line

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
# Bases of relative paths (3.14.14); no URI, so that no path of this machine is disclosed.
_BASES = {
    "SRCROOT": "The folder in which mlx-coverage ran.",
    "SITEPACKAGES": "The folder of installed Python packages.",
}


def render_sarif(report: CoverageReport) -> str:
    """One run, one result per source line and reason, fingerprints that outlive moved lines."""
    return _write([_make_run(report, _list_fallback(report))])


def render_contrast_sarif(contrast: Contrast) -> str:
    """A run for each delegate; that of ExecuTorch's has its disputed claims as well."""
    runs = (
        _make_run(contrast.ours, _list_fallback(contrast.ours)),
        _make_run(contrast.theirs, [*_list_fallback(contrast.theirs), *_list_claims(contrast)]),
    )
    return _write(runs)


@dataclass(frozen=True)
class _Result:
    """What is said of a line of source for one reason.

    Attributes:
        reason: whose rule it comes under.
        text: the message.
        source: the line.
        op: of nodes without a line, which op they are.
        nodes: how many there are.
        modules: in which they lie.
        allowed: why comments in the source accept it; empty unless all of it is accepted.
        related: further lines that its cause reaches.
    """

    reason: ReasonText
    text: str
    source: Source
    op: str
    nodes: int
    modules: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    related: tuple[Source, ...] = ()


def _list_fallback(report: CoverageReport) -> Iterator[_Result]:
    for line in group_by_line(f for method in report.methods for f in method.findings):
        allowed = dict.fromkeys(f.allowed for f in line.findings)
        yield _Result(
            reason=line.findings[0].reason,
            text=line.describe(),
            source=line.source,
            op="" if line.source.file else line.findings[0].op,
            nodes=line.nodes,
            modules=tuple(
                dict.fromkeys(m.path for f in line.findings for m in f.modules if m.path)
            ),
            allowed=() if None in allowed else tuple(map(str, allowed)),
            related=tuple(dict.fromkeys(place for f in line.findings for place in f.lines)),
        )


def _list_claims(contrast: Contrast) -> Iterator[_Result]:
    groups: dict[tuple[str, Source, str], list[tuple[str, ReasonText, int]]] = {}
    for row in (row for method in contrast.methods for row in method.ops):
        for remark in row.disputed:
            for line in remark.lines:
                op = "" if line.source.file else row.op
                group = groups.setdefault((remark.reason.slug, line.source, op), [])
                group.append((row.op, remark.reason, line.nodes))
    for (_, source, op), members in groups.items():
        said = dict.fromkeys(f"{name}: {reason.sentence}" for name, reason, _ in members)
        text = f"{DISPUTED}: {'; '.join(said)}"
        yield _Result(members[0][1], text, source, op, sum(nodes for *_, nodes in members))


def _write(runs: Iterable[dict[str, Any]]) -> str:
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": list(runs)}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _make_run(report: CoverageReport, found: Iterable[_Result]) -> dict[str, Any]:
    found = list(found)
    packages = frozenset(file.file for file in report.files if not file.own)
    rules = _list_rules(found, report.failure)
    indices = {rule["id"]: index for index, rule in enumerate(rules)}
    results = [
        *_list_failures(report.failure, indices, packages),
        *_list_results(found, indices, packages),
    ]
    # Code scanning keeps what is of another delegate apart.
    target = "" if report.target == "mlx-coverage" else f"{report.target}/"
    return {
        "tool": {"driver": _describe_driver(report, rules)},
        "automationDetails": {"id": f"mlx-coverage/{target}{sanitize(report.model)}/"},
        "invocations": [_describe_invocation(report)],
        "originalUriBaseIds": {
            base: {"description": {"text": text}} for base, text in _BASES.items()
        },
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {"target": report.target, "verdict": describe_verdict(report, report)},
    }


def _describe_invocation(report: CoverageReport) -> dict[str, Any]:
    level = "warning" if report.failure is None else "error"
    headline, *remarks = describe_outcome(report)
    first = "note" if report.outcome == "lowers" else "error"
    notes = [
        {"level": rank, "message": {"text": sanitize(text)}}
        for rank, text in [(first, headline), *((level, remark) for remark in remarks)]
    ]
    return {
        "executionSuccessful": report.failure is None,
        "toolExecutionNotifications": notes,
    }


def _describe_driver(report: CoverageReport, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": "mlx-coverage",
        "version": report.versions.mlx_coverage,
        "properties": {
            "torch": report.versions.torch,
            "executorch": report.versions.executorch,
        },
        "rules": list(rules),
    }


def _list_rules(found: Sequence[_Result], failure: Stage | None) -> list[dict[str, Any]]:
    kinds = {result.reason.slug: result.reason for result in found}
    rules = {slug: _make_rule(slug, kind.title, kind.remedy) for slug, kind in kinds.items()}
    for refusal in failure.refusals if failure is not None else ():
        text = f"The model did not pass the stage {failure.name}." if failure else ""
        rules[refusal.slug] = _make_rule(refusal.slug, text, "")
    return [rules[slug] for slug in sorted(rules)]


def _make_rule(slug: str, title: str, remedy: str) -> dict[str, Any]:
    text = f"{remedy} More: mlx-coverage explain {slug}".strip()
    rule: dict[str, Any] = {
        "id": slug,
        "name": "".join(word.capitalize() for word in slug.replace("/", "-").split("-")),
        "shortDescription": {"text": title},
        "help": {"text": text},
        "defaultConfiguration": {"level": "warning"},
    }
    documentation = find_documentation(slug)
    return rule | ({"helpUri": documentation} if documentation else {})


def find_documentation(slug: str) -> str | None:
    """Address of a reason's page, below the documentation that the package declares.

    Only an installation knows where its documentation lies (`Project-URL` of its
    metadata), so no address is made up here.
    """
    try:
        urls = metadata("mlx-coverage").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    known = dict(url.split(", ", 1) for url in urls if ", " in url)
    base = known.get("Documentation")
    return f"{base.rstrip('/')}/reasons/{name_page(slug)}" if base else None


def _list_failures(
    failure: Stage | None, indices: Mapping[str, int], packages: frozenset[str]
) -> Iterator[dict[str, Any]]:
    for number, refusal in enumerate(failure.refusals if failure is not None else ()):
        slug, stage = refusal.slug, failure.name if failure is not None else ""
        yield {
            "ruleId": slug,
            "ruleIndex": indices[slug],
            "level": "error",
            "message": {"text": sanitize(f"{stage} failed: {refusal.sentence}")},
            **_locate(refusal.source, packages),
            "partialFingerprints": _fingerprint(slug, refusal.source, "", number),
        }


def _list_results(
    found: Sequence[_Result], indices: Mapping[str, int], packages: frozenset[str]
) -> Iterator[dict[str, Any]]:
    repeated: Counter[tuple[str, str | None, str]] = Counter()
    for result in sorted(found, key=lambda r: (r.source.file or "", r.source.line or 0)):
        slug = result.reason.slug
        # Equal lines of one file are told apart by their order.
        key = (slug, result.source.file, result.source.code)
        repeated[key] += 1
        logical = [{"fullyQualifiedName": sanitize(m), "kind": "module"} for m in result.modules]
        allowed = [{"kind": "inSource", "justification": sanitize(why)} for why in result.allowed]
        yield {
            "ruleId": slug,
            "ruleIndex": indices[slug],
            "level": "warning",
            "message": {"text": sanitize(result.text)},
            **_locate(result.source, packages, logical),
            **_relate(result.related, packages),
            "occurrenceCount": max(result.nodes, 1),
            "partialFingerprints": _fingerprint(slug, result.source, result.op, repeated[key]),
            **({"suppressions": allowed} if allowed else {}),
        }


def _locate(
    source: Source, packages: frozenset[str], logical: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if source.file is not None:
        location["physicalLocation"] = {
            "artifactLocation": _locate_file(source.file, source.file in packages),
            "region": {"startLine": source.line, "snippet": {"text": sanitize(source.code)}},
        }
    if logical:
        location["logicalLocations"] = list(logical)
    return {"locations": [location]} if location else {}


def _relate(places: Sequence[Source], packages: frozenset[str]) -> dict[str, Any]:
    """The further lines that a cause reaches (3.27.22)."""
    related = [location for place in places for location in _locate(place, packages)["locations"]]
    return {"relatedLocations": related} if related else {}


def _locate_file(file: str, package: bool) -> dict[str, str]:
    path = PurePath(file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    uri = quote(sanitize(path.as_posix()))
    return {"uri": uri, "uriBaseId": "SITEPACKAGES" if package else "SRCROOT"}


def _fingerprint(slug: str, source: Source, op: str, number: int) -> dict[str, str]:
    """What says that a result is the same one (3.27.17): no node name, no line number."""
    parts = (slug, source.file or "", source.code, op, str(number))
    digest = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()
    return {"reasonAtLine/v1": digest[:32]}
