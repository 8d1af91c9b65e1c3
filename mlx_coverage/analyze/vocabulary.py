"""The vocabulary of reasons, at length. Nothing here needs torch."""

from mlx_coverage.analyze.model import ReasonEntry
from mlx_coverage.registry.explanations import EXPLANATIONS
from mlx_coverage.registry.reasons import KINDS, ReasonKind


def list_reasons() -> tuple[ReasonEntry, ...]:
    """Every reason, in order of precedence: the first of a node's reasons is its primary one."""
    return tuple(map(_describe, KINDS))


def _describe(kind: ReasonKind) -> ReasonEntry:
    explanation = EXPLANATIONS[kind]
    example = explanation.example
    return ReasonEntry(
        slug=kind.slug,
        title=kind.title,
        meaning=explanation.meaning,
        remedy=kind.remedy,
        hint=explanation.hint,
        example=example.write() if example else "",
        better=example.write(better=True) if example and example.better else "",
        options=example.options if example else "",
    )
