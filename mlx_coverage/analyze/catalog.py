"""The registry in words, and the names of ops."""

from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch

from mlx_coverage.analyze.model import OpEntry
from mlx_coverage.registry.call import name_target
from mlx_coverage.registry.dtypes import list_dtypes
from mlx_coverage.registry.spec import Gap, Limitation, OpSpec, Registry


def list_ops(registry: Registry, pattern: str = "") -> tuple[OpEntry, ...]:
    """Entries and gaps whose name matches, sorted by name.

    Args:
        registry: to list.
        pattern: part of a name, or a pattern with `*` and `?`; empty for all.
    """
    entries = [*map(_describe, registry), *map(_describe_gap, registry.gaps)]
    return tuple(sorted((e for e in entries if _matches(e.op, pattern)), key=lambda e: e.op))


def is_known(name: str, registry: Registry) -> bool:
    """Whether torch has an overload of that name, or the registry an entry."""
    return _normalize(name) in {*_list_overloads(), *(spec.name for spec in registry)}


def find_similar(name: str, registry: Registry) -> list[str]:
    """Names much like it, at most three: its overloads, or entries of the registry."""
    wanted = _normalize(name)
    overloads = [known for known in _list_overloads() if known.startswith(f"{wanted}.")]
    return overloads[:3] or get_close_matches(wanted, [spec.name for spec in registry])


def _list_overloads() -> list[str]:
    # The dispatcher leaves the name of the default overload out.
    names = (name.replace("::", ".") for name in torch._C._dispatch_get_all_op_names())
    return [name if name.count(".") > 1 else f"{name}.default" for name in names]


def _normalize(name: str) -> str:
    return name.replace("::", ".").removeprefix("torch.ops.")


def _matches(name: str, pattern: str) -> bool:
    wanted = _normalize(pattern).lower()
    if any(c in wanted for c in "*?["):
        return fnmatchcase(name.lower(), wanted)
    return wanted in name.lower()


def _describe(spec: OpSpec) -> OpEntry:
    return OpEntry(
        op=spec.name,
        schema=spec.schema,
        family=spec.family,
        domain=tuple(rule.describe() for rule in spec.rules),
        limitations=tuple(map(describe_limitation, spec.limitations)),
    )


def describe_limitation(limitation: Limitation) -> str:
    """A known difference in one sentence, with its scope."""
    where = [list_dtypes(limitation.dtypes)] if limitation.dtypes else []
    where += [limitation.device] if limitation.device else []
    scope = f" ({', '.join(where)})" if where else ""
    return f"{limitation.what}{scope}: {limitation.why}"


def _describe_gap(gap: Gap) -> OpEntry:
    schema = str(gap.target._schema)
    return OpEntry(name_target(gap.target), schema, "", (), (), gap=gap.why)
