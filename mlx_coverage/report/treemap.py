"""The module tree as rectangles with areas in proportion to work."""

from collections.abc import Callable, Mapping
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
# A letter's width in pixels, and how much of the common width a narrow page has.
_LETTER, _NARROW = 7.3, 0.32

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
class Label:
    """A line of text in a cell; `narrow` where it fits on a narrow page, too."""

    text: str
    narrow: bool


@dataclass(frozen=True)
class Cell:
    """A module, or what it does beside its parts.

    Attributes:
        x, y, width, height: in percent of the drawing.
        texts: name and work, as far as there is room.
        title: everything about it.
        share: of the work that runs on MLX, in percent of the cell's width.
    """

    x: float
    y: float
    width: float
    height: float
    texts: tuple[Label, ...]
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
    name = next((name for name in names if _fits(name, box.width)), None)
    amounts = [f"{phrase(total)}, {format_share(total, everything)}"]
    if mlx != total:
        amounts.append(f"{format_share(mlx, total)} on MLX")
    lines = [name, *(amount for amount in amounts if _fits(amount, box.width))] if name else []
    return Cell(
        x=_percent(box.x, _ROOM.width),
        y=_percent(box.y, _ROOM.height),
        width=_percent(box.width, _ROOM.width),
        height=_percent(box.height, _ROOM.height),
        texts=tuple(
            Label(line, _fits(line, box.width * _NARROW))
            for line in lines[: int((box.height - 6) // 16)]
        ),
        title=f"{path}{end}: {', '.join(amounts)}",
        share=_percent(mlx, total),
    )


def _fits(text: str, width: float) -> bool:
    return 16 + _LETTER * len(text) <= width


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2)
