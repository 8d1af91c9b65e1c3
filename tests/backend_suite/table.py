"""ExecuTorch's backend suite: a summary in reports/, and test by test in build/."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

HEAD = """\
# ExecuTorch's backend suite

The tests of `executorch/backends/test/suite`, as they are in the wheel, lowered with
`MLXPartitioner(min_partition_size=0)` and run in the ExecuTorch runtime on the MLX CPU
device. Tolerances are the suite's own (absolute 0.1, relative 0.04); the strict numeric
criterion is that of `tests/op_conformance`. `make backend-suite` writes this page and, with
every model, `build/backend_suite.md`.
"""

MEANINGS = {
    "delegated": "passes, every node on MLX",
    "in part": "passes, some nodes on MLX, the rest falls back for the reasons given",
    "undelegated": "passes without the delegate, for the reasons given",
    "refused": "not run: a node falls back, and the ExecuTorch runtime has no kernel for it",
    "not exported": "not run: torch refuses the model or its export, before any backend",
    "not written": "not run: ExecuTorch cannot write what the model returns, for any backend",
    "not run": "the suite skips it for every backend",
    "failed": "lowering, loading, running or comparing failed",
}


@dataclass(frozen=True)
class Result:
    """One model of one test.

    Attributes:
        outcome: name of the suite's `TestResult`, or `CRASH`, `NOT_RUN` or `NOT_WRITABLE`.
        delegated: number of nodes on MLX.
        fallback: ops that stay with ExecuTorch, and how many nodes of each.
        reasons: slugs of why, sorted.
        largest_error: absolute, over all outputs.
        message: first line of the error, if any; else the reasons in words.
    """

    outcome: str
    delegated: int = 0
    fallback: Mapping[str, int] = field(default_factory=dict)
    reasons: Sequence[str] = ()
    largest_error: float = 0.0
    message: str = ""

    @property
    def kind(self) -> str:
        """A key of `MEANINGS`."""
        if self.outcome == "SUCCESS":
            return "in part" if self.fallback else "delegated"
        if self.outcome == "SUCCESS_UNDELEGATED":
            return "undelegated"
        if self.outcome == "SKIPPED":
            return "refused" if self.fallback else "not exported"
        return {"NOT_RUN": "not run", "NOT_WRITABLE": "not written"}.get(self.outcome, "failed")


def render(rows: Mapping[str, Sequence[Result]], whole: bool = True) -> str:
    """The page.

    Args:
        rows: test id to what its models gave, in order.
        whole: whether to list every model, or only those that are not delegated whole.
    """
    kinds = Counter(result.kind for results in rows.values() for result in results)
    versions = ", ".join(f"{name} {version(name)}" for name in ("executorch", "torch", "mlx"))
    lines = [
        HEAD,
        f"Measured with {versions}.",
        "",
        "| outcome | models | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| {kind} | {kinds[kind]} | {MEANINGS[kind]} |" for kind in MEANINGS]
    lines += [
        "",
        "| test | outcome | nodes on MLX | largest error | fallback |",
        "|---|---|---|---|---|",
    ]
    for name, results in sorted(rows.items()):
        for result in results:
            if not whole and result.kind == "delegated":
                continue
            ops = ", ".join(f"`{op}` x{n}" for op, n in sorted(result.fallback.items()))
            why = ", ".join(f"`{slug}`" for slug in result.reasons)
            note = ": ".join(filter(None, (ops, why, _clean(result.message))))
            lines.append(
                f"| `{_clean(name)}` | {result.kind} | {result.delegated} | "
                f"{result.largest_error:.1e} | {note} |"
            )
    return "\n".join([*lines, ""])


def _clean(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
