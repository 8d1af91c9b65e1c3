"""The registry in words."""

from fnmatch import fnmatchcase

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


def _matches(name: str, pattern: str) -> bool:
    wanted = pattern.replace("::", ".").removeprefix("torch.ops.").lower()
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
