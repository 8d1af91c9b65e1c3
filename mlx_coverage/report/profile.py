"""Profiles as text and JSON."""

from collections.abc import Iterator

from mlx_coverage.analyze.model import format_count, format_seconds, format_share, write_json
from mlx_coverage.analyze.timings import Profile
from mlx_coverage.report.text import sanitize

# Steps that the text shows; the JSON holds all.
_SHOWN = 20


def render_profile_text(profile: Profile) -> str:
    """The parts in order of execution, then the slowest steps inside the delegates."""
    return "\n".join(map(sanitize, _list_lines(profile))) + "\n"


def render_profile_json(profile: Profile) -> str:
    """The profile as JSON."""
    return write_json(profile)


def _list_lines(profile: Profile) -> Iterator[str]:
    yield (
        f"{profile.method}: {format_seconds(profile.seconds)} a call, median of "
        f"{format_count(profile.calls, 'call')}"
    )
    yield ""
    yield f"{'time':>9} {'share':>7}  on   part"
    for part in profile.parts:
        share = _share(part.seconds, profile.seconds)
        yield f"{format_seconds(part.seconds):>9} {share:>7}  {part.device:3}  {part.name}"
    if not profile.steps:
        return
    total = sum(step.seconds for step in profile.steps)
    yield ""
    yield "Inside the delegates, evaluated step by step, which takes longer than the whole:"
    yield f"{'time':>9} {'share':>7}  {'delegate':>8}  op, functions of MLX, module and line"
    for step in profile.steps[:_SHOWN]:
        functions = ", ".join(step.functions)
        place = " ".join(filter(None, (step.module, step.source.place)))
        yield (
            f"{format_seconds(step.seconds):>9} {_share(step.seconds, total):>7}  "
            f"{step.delegate:>8}  {step.op} ({functions}){f'  {place}' if place else ''}"
        )
    if len(profile.steps) > _SHOWN:
        yield f"and {format_count(len(profile.steps) - _SHOWN, 'further step')}"


def _share(part: float, whole: float) -> str:
    return format_share(round(part * 1e9), round(whole * 1e9))
