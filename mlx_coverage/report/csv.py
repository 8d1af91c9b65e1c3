"""The findings as comma-separated values, one row each, for a spreadsheet or pandas."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from mlx_coverage.analyze.model import CoverageReport
from mlx_coverage.report.verdict import describe_fixes

COLUMNS = (
    "model", "method", "op", "nodes", "flops", "bytes", "reason", "sentence", "others", "modules",
    "file", "line", "code", "ops", "lines", "provenance", "via", "remedy", "fixes", "allowed",
)  # fmt: skip


def render_csv(report: CoverageReport) -> str:
    """A header, then the findings in the order of the report; lists are joined by spaces."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(list_rows(report))
    return text.getvalue()


def list_rows(report: CoverageReport) -> Iterator[dict[str, Any]]:
    """The findings, a value for each of `COLUMNS`."""
    for method in report.methods:
        for finding in method.findings:
            source, reason = finding.source, finding.reason
            yield {
                "model": report.model,
                "method": method.name,
                "op": finding.op,
                "nodes": finding.count,
                "flops": finding.figures.flops,
                "bytes": finding.figures.bytes,
                "reason": reason.slug,
                "sentence": reason.sentence,
                "others": " ".join(other.slug for other in finding.others),
                "modules": " ".join(module.path for module in finding.modules),
                "file": source.file,
                "line": source.line,
                "code": source.code,
                "ops": " ".join(f"{count.op}:{count.nodes}" for count in finding.ops),
                "lines": " ".join(place.place for place in finding.lines),
                "provenance": source.provenance,
                "via": source.via,
                "remedy": reason.remedy,
                "fixes": " ".join(describe_fixes(finding)),
                "allowed": finding.allowed,
            }
