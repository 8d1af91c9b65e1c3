"""Write reports/families.md: the small variant of every preset, lowered and run.

Each is lowered in a process of its own, run in ExecuTorch's runtime and compared with
eager torch; what `check` plans is held against what the lowering delegates. Some presets
are planned at full size too. Results are kept under build/families and used again as long
as the package, the tool and the versions stay the same.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlx_coverage import zoo
from mlx_coverage.analyze.model import format_share
from mlx_coverage.lowering.plan import Fallback, PartitionPlan
from mlx_coverage.registry.call import canonicalize, name_target

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "families"
PAGE = ROOT / "reports" / "families.md"
PACKAGES = ("torch", "executorch", "mlx", "transformers", "diffusers")
TIMEOUT = 1800  # seconds for one family; the slowest take a minute or two

# Planned at full size as well; op counts are linear in the number of layers.
FULL = ("llama-3.2-1b",)
# Small, the other sizes of Qwen 3 are qwen3-0.6b: all numbers in which they differ are changed.
ALIKE = ("qwen3-1.7b", "qwen3-4b")
VARIANTS = (*(name + zoo.SMALL for name in zoo.PRESETS if name not in ALIKE), *FULL)

HEADER = """\
# Families

Every preset of `mlx_coverage.zoo`, written by `make families`. A small variant
(`NAME@small`: the published architecture, few layers, small widths, random weights) is
lowered with `MLXPartitioner`, run in ExecuTorch's runtime on MLX's CPU backend and compared
with eager torch, all in float32; what `check` plans for it is held against the delegates of
the lowered program. Full-size models have no weights and are planned only. Decoders see
their whole sequence at once; [models.md](models.md) has a decoder with a KV cache.

The error of a method is the largest difference of any output from eager torch, relative
to the largest magnitude in that output.

| family | `zoo:` | method | nodes | on MLX | partitions | error | falls back |
|---|---|---|---|---|---|---|---|
"""


def measure(variant: str) -> list[dict[str, Any]]:
    """Plan a preset and, if it is small, lower and run it; one row for each method."""
    from mlx_coverage.analyze import attest, capture, load
    from mlx_coverage.analyze.failures import AttestationError, CaptureError
    from mlx_coverage.cli import console
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    with console.quiet(), load.open_model(f"zoo:{variant}") as methods:
        try:
            programs = capture.export_methods(methods)
            planned = capture.plan_methods(programs, MLXPartitioner)
            rows = [describe(method, plan) for method, plan in planned.plans.items()]
            if planned.refused is not None:
                return [row | {"failure": planned.refused.describe()} for row in rows]
            if not variant.endswith(zoo.SMALL):
                return rows
            lowering = capture.lower_methods(programs, MLXPartitioner)
            attest.attest_methods(planned.plans, lowering.lowered)
        except CaptureError as failure:
            return [{"method": "all", "failure": failure.describe()}]
        except AttestationError as failure:
            return [{"method": "all", "failure": str(failure)}]
        program = bytes(lowering.lowered.to_executorch().buffer)
        return [row | compare(row["method"], program, methods, programs) for row in rows]


def describe(method: str, plan: PartitionPlan) -> dict[str, Any]:
    """The plan of a method in numbers: each finding is op, slug, sentence and count."""
    findings = Counter(
        (name_target(canonicalize(node.target)), first.kind.slug, first.text)
        for node, placement in plan.placements.items()
        if isinstance(placement, Fallback)
        for first in placement.reasons[:1]
    )
    return {
        "method": method,
        "nodes": len(plan.placements),
        "delegated": plan.delegated,
        "partitions": len(plan.partitions),
        "findings": [[*kind, count] for kind, count in findings.most_common()],
    }


def compare(method: str, pte: bytes, methods: Any, programs: Any) -> dict[str, Any]:
    """Run a method and measure it against eager torch."""
    from executorch.runtime import Runtime

    from mlx_coverage import runtime
    from mlx_coverage.analyze import comparison
    from mlx_coverage.analyze.failures import AttestationError, condense

    inputs, expected = comparison.run_eagerly(methods[method], programs[method])
    try:
        runtime.load()
        found = Runtime.get().load_program(pte).load_method(method).execute(inputs)
        return {"error": comparison.compare(method, found, expected)}
    except AttestationError as error:
        return {"failure": str(error)}
    except RuntimeError as error:
        return {"failure": f"does not run: {runtime.last_error() or condense(error)}"}


def measure_apart(variant: str) -> list[dict[str, Any]]:
    """`measure` in a process of its own: a crash or a hang is a row like any other."""
    command = [sys.executable, __file__, "--measure", variant]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return [{"method": "all", "failure": f"no result within {TIMEOUT} s"}]
    if done.returncode:
        return [{"method": "all", "failure": f"the process ended with {done.returncode}"}]
    # The last line: libraries print, too.
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def compute_key() -> str:
    """Changes with the package, this tool and the versions that results depend on."""
    digest = hashlib.sha256()
    for path in [*sorted((ROOT / "mlx_coverage").rglob("*.py")), Path(__file__)]:
        digest.update(path.read_bytes())
    digest.update(repr([version(package) for package in PACKAGES]).encode())
    return digest.hexdigest()


def read_cache(variant: str, key: str | None) -> list[dict[str, Any]] | None:
    """The rows of an earlier run, unless it was of another key; None accepts every key."""
    path = CACHE / f"{variant}.json"
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = stored["rows"]
    return rows if key in (None, stored["key"]) else None


def render(results: dict[str, list[dict[str, Any]]]) -> str:
    """The page."""
    lines = [render_row(variant, row) for variant, rows in results.items() for row in rows]
    key = compute_key()
    stale = [f"`{variant}`" for variant in results if read_cache(variant, key) is None]
    if stale:
        lines += [
            "",
            f"{len(stale)} of {len(results)} were measured with earlier sources of the package or "
            "of the tool, which may not have checked all of the above; `make families` measures "
            "them again.",
        ]
    missing = [f"`{variant}`" for variant in VARIANTS if variant not in results]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    return HEADER + "\n".join([*lines, "", *rank_blockers(results), *list_sources(), ""])


def render_row(variant: str, row: dict[str, Any]) -> str:
    """One method in the table."""
    cells = [zoo.PRESETS[variant.removesuffix(zoo.SMALL)].family, f"`{variant}`", row["method"]]
    if "nodes" in row:
        share = f"{format_share(row['delegated'], row['nodes'])} ({row['delegated']})"
        cells += [str(row["nodes"]), share, str(row["partitions"])]
    else:
        cells += ["", "", ""]
    kinds: Counter[tuple[str, str]] = Counter()
    for op, slug, _, count in row.get("findings", []):
        kinds[op, slug] += count
    fallback = ", ".join(f"`{op}` x{count}: `{slug}`" for (op, slug), count in kinds.items())
    cells.append(f"{row['error']:.1e}" if "error" in row else "")
    cells.append(row.get("failure") or fallback or "nothing")
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def rank_blockers(results: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What falls back in most families, first."""
    families: dict[tuple[str, str, str], set[str]] = {}
    nodes: Counter[tuple[str, str, str]] = Counter()
    for variant, rows in results.items():
        for row in rows:
            for op, slug, sentence, count in row.get("findings", []):
                families.setdefault((op, slug, sentence), set()).add(variant)
                nodes[op, slug, sentence] += count
    lines = ["## What falls back", ""]
    if not families:
        return [*lines, "Nothing.", ""]
    lines += ["| op | reason | nodes | presets |", "|---|---|---|---|"]
    for key in sorted(families, key=lambda k: (-len(families[k]), -nodes[k], k)):
        op, slug, sentence = key
        variants = ", ".join(sorted(families[key]))
        lines.append(f"| `{op}` | `{slug}`: {sentence} | {nodes[key]} | {variants} |")
    return [*lines, ""]


def list_sources() -> list[str]:
    """Where the numbers of the full-size presets come from."""
    lines = [
        "## Where the published numbers come from",
        "",
        "The numbers themselves stand beside these sources in `mlx_coverage/zoo`; what a",
        "source does not name is the default of its configuration class.",
        "",
        "| preset | sources |",
        "|---|---|",
    ]
    return lines + [
        f"| `{preset.name}` | {'; '.join(p.source for p in preset.published)} |"
        for preset in zoo.PRESETS.values()
    ]


def main() -> int:
    """Measure what is missing and write the page; exit code 1 when something fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as gpt2@small; default: all")
    parser.add_argument("--stale", action="store_true", help="use results of older sources too")
    parser.add_argument("--measure", metavar="NAME", help="print the rows of one as JSON")
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return 0
    names = args.names or list(VARIANTS)
    key = compute_key()
    todo = [n for n in names if read_cache(n, None if args.stale else key) is None]
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in todo:
        rows = measure_apart(name)
        text = json.dumps({"key": key, "rows": rows}, indent=1)
        (CACHE / f"{name}.json").write_text(text, encoding="utf-8")
        for row in rows:
            print(render_row(name, row), flush=True)
    found = {name: read_cache(name, None) for name in VARIANTS}
    results = {name: rows for name, rows in found.items() if rows is not None}
    PAGE.write_text(render(results), encoding="utf-8")
    failed = any("failure" in row for rows in results.values() for row in rows)
    return int(failed or len(results) < len(found))


if __name__ == "__main__":
    sys.exit(main())
