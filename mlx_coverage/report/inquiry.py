"""What is found of one op, as text and as JSON."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping

from mlx_coverage.analyze.inquiry import OpInquiry
from mlx_coverage.report.text import sanitize

_DECOMPOSERS: Mapping[str, str] = {
    "registry": "yes, as a plug-in declares",
    "composite": "yes, by its own CompositeImplicitAutograd kernel",
    "executorch": "yes, by the table that ExecuTorch lowers with",
    "torch": "torch has a decomposition, left out of the table that ExecuTorch lowers with",
    "none": "no, it stays one op",
}


def render_inquiry(inquiry: OpInquiry) -> str:
    """For people."""
    return "\n".join(_list_lines(inquiry)) + "\n"


def render_inquiry_json(inquiry: OpInquiry) -> str:
    """Fields in order of declaration."""
    return json.dumps(dataclasses.asdict(inquiry), indent=2, ensure_ascii=False) + "\n"


INQUIRY_RENDERERS: Mapping[str, Callable[[OpInquiry], str]] = {
    "full": render_inquiry,
    "json": render_inquiry_json,
}


def _list_lines(inquiry: OpInquiry) -> Iterator[str]:
    yield sanitize(inquiry.schema)
    entry = inquiry.entry
    if entry is None:
        yield "Registry: no entry"
    elif entry.gap is not None:
        yield f"Registry: a known gap: {sanitize(entry.gap)}"
    else:
        yield f"Registry: an entry of {sanitize(entry.family)}"
        yield from (f"  {sanitize(sentence)}" for sentence in entry.domain)
        yield from (f"  known difference: {sanitize(text)}" for text in entry.limitations)
    yield f"Decomposes: {_DECOMPOSERS[inquiry.decomposer]}"
    if inquiry.problem:
        yield f"Planned: no call; {sanitize(inquiry.problem)}"
        yield "  Check a model that calls it to see what becomes of its calls."
    else:
        yield f"Planned: {sanitize(inquiry.example)} becomes"
        for part in inquiry.parts:
            state = f"{part.delegated} of {part.nodes} on MLX"
            yield f"  {sanitize(part.op)}: {state}"
            yield from (f"    {sanitize(reason)}" for reason in part.reasons)
    yield from (f"In the way: {sanitize(obstacle)}" for obstacle in inquiry.obstacles)
    if inquiry.skeleton:
        yield "An entry would be declared by a plug-in (docs/custom-ops.md):"
        yield ""
        # Not wrapped, so that it can be copied.
        yield from (f"    {line}".rstrip() for line in inquiry.skeleton.splitlines())
