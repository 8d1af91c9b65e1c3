"""The module tree of a method, with what is spent in each module; identical layers folded."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch._export.passes._node_metadata_hook import _EMPTY_NN_MODULE_STACK_KEY
from torch.fx import Node

from mlx_coverage.analyze.load import MODULE_PREFIX
from mlx_coverage.analyze.model import NONE, Figures, Module, Place

_STRICT_PATH = re.compile(r"\[['\"]?(\w+)['\"]?\]")
INDEX_IN_PATH = re.compile(r"(?<![^.])\d+(?![^.])")


@dataclass
class _Branch:
    path: str
    kind: str = ""
    own: Figures = field(default_factory=Figures)
    own_mlx: Figures = field(default_factory=Figures)
    children: list["_Branch"] = field(default_factory=list)


def list_modules(node: Node) -> list[tuple[str, str]]:
    """Path and class of the modules that a node was called in, outermost first."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    found = []
    for key, (path, kind) in stack.items():
        if key == _EMPTY_NN_MODULE_STACK_KEY:  # of a node that a pass made outside all modules
            continue
        # A strict export writes L['self'].layers[0]; a second call of a module has a number.
        cleaned = _STRICT_PATH.sub(r".\1", path.removeprefix("L['self']")).replace("._modules", "")
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        found.append((cleaned.split("@")[0].strip("."), name.removeprefix(MODULE_PREFIX)))
    return found


def build_tree(
    nodes: Iterable[tuple[Node, Figures, bool]],
) -> tuple[tuple[Module, ...], tuple[Place, ...], dict[str, int]]:
    """Rows of the tree, the places that nodes lie in, and the index of each place.

    Args:
        nodes: each with its cost, and whether it is delegated.
    """
    branches: dict[str, _Branch] = {"": _Branch("")}
    places: dict[str, int] = {}
    for node, figures, delegated in nodes:
        modules = list_modules(node)
        for path, kind in modules:
            branch = branches.setdefault(path, _Branch(path))
            branch.kind = branch.kind or kind
        path = modules[-1][0] if modules else ""
        places.setdefault(path, len(places))
        branch = branches[path]
        branch.own += figures
        if delegated:
            branch.own_mlx += figures
    for path, branch in branches.items():
        if path:
            branches[_find_parent(path, branches)].children.append(branch)
    rows: list[Module] = []
    found: dict[str, int] = {}
    _add_row([branches[""]], "", NONE, rows, found)
    return tuple(rows), tuple(Place(path, found[path]) for path in places), places


def _find_parent(path: str, branches: Mapping[str, _Branch]) -> str:
    # Containers such as ModuleList are never called, so they are not in the stack.
    while "." in path:
        path = path.rpartition(".")[0]
        if path in branches:
            return path
    return ""


def _add_row(
    alike: Sequence[_Branch], path: str, parent: int, rows: list[Module], found: dict[str, int]
) -> None:
    index = len(rows)
    for branch in alike:
        found[branch.path] = index
    total, mlx = map(_sum, zip(*map(_total, alike), strict=True))
    rows.append(Module(path, alike[0].kind, parent, len(alike), total, mlx))
    # The modules of one row have the same children in the same order.
    columns = list(zip(*(branch.children for branch in alike), strict=True))
    for name, group in _fold(alike[0], columns):
        _add_row(group, f"{path}.{name}".strip("."), index, rows, found)


def _fold(
    parent: _Branch, columns: Sequence[Sequence[_Branch]]
) -> Iterator[tuple[str, list[_Branch]]]:
    """Names and members of the rows below a row."""
    names = [column[0].path.removeprefix(parent.path).strip(".") for column in columns]
    patterns = [INDEX_IN_PATH.sub("*", name) for name in names]
    groups: dict[Any, list[int]] = {}
    for i, column in enumerate(columns):
        alike = (patterns[i], _fingerprint(column[0]))
        groups.setdefault(alike if "*" in patterns[i] else i, []).append(i)
    for members in groups.values():
        pattern = patterns[members[0]]
        whole = len(members) == patterns.count(pattern)
        if len(members) == 1 or (not whole and pattern.count("*") > 1):
            for i in members:
                yield names[i], list(columns[i])
            continue
        numbers = [int(INDEX_IN_PATH.findall(names[i])[0]) for i in members]
        label = "*" if whole else _format_ranges(numbers)
        yield (
            pattern if whole else pattern.replace("*", label),
            [branch for i in members for branch in columns[i]],
        )


def _fingerprint(branch: _Branch) -> Any:
    below = tuple((c.path.removeprefix(branch.path), _fingerprint(c)) for c in branch.children)
    return branch.kind, branch.own, branch.own_mlx, below


def _total(branch: _Branch) -> tuple[Figures, Figures]:
    below = [_total(child) for child in branch.children]
    return (
        _sum([branch.own, *(total for total, _ in below)]),
        _sum([branch.own_mlx, *(mlx for _, mlx in below)]),
    )


def _sum(figures: Iterable[Figures]) -> Figures:
    return sum(figures, Figures())


def _format_ranges(numbers: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
