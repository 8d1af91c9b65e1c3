"""The op page's data: what the registry declares beside what conformance measured.

Like `analyze.model`, it needs neither torch nor mlx.
"""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from typing import Literal, get_args

Standing = Literal["full", "partial", "gap", "untested", "absent"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True)
class Measurement:
    """What conformance found for one entry in one environment.

    Attributes:
        environment: device and versions.
        examples: generated per dtype, at most.
        passed: dtypes in which the implementation gives torch's results.
        failed: dtypes in which it does not.
        lowered: dtypes in which a program of the op gives the same in the C++ runtime.
    """

    environment: str
    examples: int
    passed: tuple[str, ...]
    failed: tuple[str, ...]
    lowered: tuple[str, ...]


@dataclass(frozen=True)
class OpRow:
    """One overload.

    Attributes:
        op: ATen name.
        schema: torch's own.
        family: the file of `registry/ops`; empty where there is no entry.
        core: whether torch tags the overload as core ATen.
        standing: ``full``: measured equal to torch in every dtype listed, and no rule but
            on dtypes; ``partial``: measured, with further rules or known differences, or
            with dtypes that fail or were not measured; ``untested``: an entry, and no
            measurement of it as it is now; ``gap``: known and not mapped; ``absent``: a
            core overload that the registry does not name.
        dtypes: accepted; empty where no rule says.
        domain: one sentence per rule.
        limitations: known differences from torch.
        tolerance: override of the numeric criterion, or an empty text.
        reason: why there is no entry, or what keeps a measured one from being full.
        measurements: of the entry as it is now.
    """

    op: str
    schema: str
    family: str
    core: bool
    standing: Standing
    dtypes: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    tolerance: str = ""
    reason: str = ""
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class OpPage:
    """All overloads that the registry names and all that torch tags as core ATen, by name."""

    rows: tuple[OpRow, ...]

    @property
    def environments(self) -> tuple[str, ...]:
        """Where something was measured, sorted."""
        found = {m.environment for row in self.rows for m in row.measurements}
        return tuple(sorted(found))

    def count(self, *, core: bool) -> dict[Standing, int]:
        """Overloads by standing: of core ATen, or of all rows."""
        found = Counter(row.standing for row in self.rows if row.core or not core)
        return {standing: found[standing] for standing in STANDINGS}

    def to_json(self) -> str:
        """The page as JSON text: equal pages, equal bytes."""
        totals = {"core": self.count(core=True), "all": self.count(core=False)}
        data = {"totals": totals, "ops": [dataclasses.asdict(row) for row in self.rows]}
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
