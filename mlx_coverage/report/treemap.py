"""The module tree as rectangles with areas in proportion to work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlx_coverage.analyze.model import (
    Figures,
    MethodReport,
    Module,
    format_bytes,
    format_count,
    format_flops,
    format_share,
)
from mlx_coverage.report.layout import Box, squarify

# Pixels at a common width of the page; cells are given in percent of them.
_ROOM = Box(0, 0, 1100, 380)
# A module whose rectangle is smaller is not divided further.
_LEAST = 2400.0
# A narrow page has so much of the common width, and its letters are smaller.
_NARROW = 0.36
# In pixels: a letter's width, a line's height, and the room around the text.
_LETTER, _LINE, _MARGIN = 7.3, 16, 7

MEASURES: Mapping[str, Callable[[Figures], int]] = {
    "FLOPs": lambda figures: figures.flops,
    "bytes": lambda figures: figures.bytes,
    "nodes": lambda figures: figures.nodes,
}
_FORMATS: Mapping[str, Callable[[int], str]] = {
    "FLOPs": format_flops,
    "bytes": format_bytes,
    "nodes": lambda number: format_count(number, "node"),
}


@dataclass(frozen=True)
class Cell:
    """A module, or what it does beside its parts.

    Attributes:
        x, y, width, height: in percent of the drawing.
        wide: lines of text, name and work, as far as there is room.
        narrow: the same on a narrow page.
        title: everything about it.
        share: of the work that runs on MLX, in percent of the cell's width.
    """

    x: float
    y: float
    width: float
    height: float
    wide: tuple[str, ...]
    narrow: tuple[str, ...]
    title: str
    share: float


def make_treemaps(method: MethodReport) -> dict[str, list[Cell]]:
    """The cells by measure; a measure of which the method has nothing is left out."""
    return {
        name: _fill(method.modules, measure, _FORMATS[name])
        for name, measure in MEASURES.items()
        if method.modules and measure(method.total)
    }


def _fill(
    modules: tuple[Module, ...], measure: Callable[[Figures], int], phrase: Callable[[int], str]
) -> list[Cell]:
    children: list[list[int]] = [[] for _ in modules]
    for i, module in enumerate(modules):
        if module.parent >= 0:
            children[module.parent].append(i)
    cells: list[Cell] = []
    everything = measure(modules[0].total)
    waiting = [(0, _ROOM)]
    while waiting:
        i, room = waiting.pop()
        module, parts = modules[i], [c for c in children[i] if measure(modules[c].total)]
        if not parts or room.width * room.height < _LEAST:
            total, mlx = measure(module.total), measure(module.mlx)
            cells.append(_describe(module, room, total, mlx, phrase, everything, whole=True))
            continue
        rest = module.total
        rest_mlx = module.mlx
        for part in parts:
            rest, rest_mlx = rest - modules[part].total, rest_mlx - modules[part].mlx
        values = [measure(modules[part].total) for part in parts]
        boxes = squarify([*values, max(measure(rest), 0)], room)
        waiting += zip(parts, boxes, strict=False)
        if measure(rest) > 0:
            own = measure(rest), measure(rest_mlx)
            cells.append(_describe(module, boxes[-1], *own, phrase, everything, whole=False))
    return cells


def _describe(
    module: Module,
    box: Box,
    total: int,
    mlx: int,
    phrase: Callable[[int], str],
    everything: int,
    whole: bool,
) -> Cell:
    times = f" ×{module.instances}" if module.instances > 1 else ""  # noqa: RUF001
    end = times if whole else f"{times}, itself"
    path = module.path or "the model"
    parts = path.split(".")
    names = [f"{'.'.join(parts[i:])}{end}" for i in range(len(parts))]
    amounts = [f"{phrase(total)}, {format_share(total, everything)}"]
    if mlx != total:
        amounts.append(f"{format_share(mlx, total)} on MLX")
    return Cell(
        x=_percent(box.x, _ROOM.width),
        y=_percent(box.y, _ROOM.height),
        width=_percent(box.width, _ROOM.width),
        height=_percent(box.height, _ROOM.height),
        wide=_choose(names, amounts, box.width, box.height),
        narrow=_choose(names, amounts, box.width * _NARROW, box.height),
        title=f"{path}{end}: {', '.join(amounts)}",
        share=_percent(mlx, total),
    )


def _choose(
    names: Sequence[str], amounts: Sequence[str], width: float, height: float
) -> tuple[str, ...]:
    """The longest name that fits, and beneath it what else fits."""
    letters = (width - 2 * _MARGIN) / _LETTER
    name = next((name for name in names if len(name) <= letters), None)
    if name is None:
        return ()
    lines = [name, *(amount for amount in amounts if len(amount) <= letters)]
    return tuple(lines[: max(int((height - _MARGIN) // _LINE), 0)])


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2)
