"""Ids of findings: permalinks of the page, and what `mlx-coverage repro` takes."""

import hashlib
from collections import Counter

from mlx_coverage.analyze.model import MethodReport

PREFIX = "finding-"


def name_findings(method: MethodReport) -> list[str]:
    """An id for each finding that neither line numbers nor node names change."""
    repeated: Counter[str] = Counter()
    anchors = []
    for finding in method.findings:
        source = finding.source
        parts = (method.name, finding.op, finding.reason.slug, source.file or "", source.code)
        digest = hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:10]
        repeated[digest] += 1
        number = f"-{repeated[digest]}" if repeated[digest] > 1 else ""
        anchors.append(f"{PREFIX}{digest}{number}")
    return anchors
