"""Torch's operator samples against the registry: `python -m tests.op_conformance.nightly`.

Ops run in worker processes, a few dozen to a process; what ends a process is found by
running the samples that it was at one at a time. Results are kept by op in a folder, so
that a run can be continued with `--resume` and tabulated at any time.
"""

import argparse
import faulthandler
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.op_conformance.nightly_table import render

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "operator_samples"
TABLE = ROOT / "reports" / "operator_samples.md"
OPS_PER_WORKER = 40
SAMPLES_PER_PROGRAM = 40
SECONDS_PER_OP = 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tabulate; exit code 1 when a result is wrong or a process ended."""
    parser = argparse.ArgumentParser(prog="nightly", description=__doc__.partition("\n")[0])
    parser.add_argument("--cap", type=int, help="samples per op and dtype (default: all)")
    parser.add_argument("--ops", default="", help="pattern that an op's name must match")
    parser.add_argument("--resume", action="store_true", help="keep the results that are there")
    parser.add_argument("--seconds", type=float, help="start no further worker after so long")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where results are kept")
    parser.add_argument("--table", type=Path, default=TABLE, help="the Markdown file to write")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        for name in given.worker:
            measure(name, given.cap, given.folder)
        return 0
    given.folder.mkdir(parents=True, exist_ok=True)
    pending, count = _list_pending(given)
    start = time.monotonic()
    while pending and (given.seconds is None or time.monotonic() - start < given.seconds):
        batch, pending = pending[:OPS_PER_WORKER], pending[OPS_PER_WORKER:]
        _run_worker(batch, given)
        pending = [name for name in batch if not _path(given.folder, name).exists()] + pending
    results = [json.loads(p.read_text()) for p in sorted(given.folder.glob("*.json"))]
    given.table.write_text(render(results, count, whole=False), encoding="utf-8")
    given.folder.with_suffix(".md").write_text(render(results, count), encoding="utf-8")
    found: Counter[str] = Counter()
    for result in results:
        found.update(result["kinds"])
        found.update(result["raising"])
    print(dict(found), f"{len(pending)} ops not measured")
    return 1 if found["wrong"] or found["crash"] else 0


def _list_pending(given: argparse.Namespace) -> tuple[list[str], int]:
    """The ops to measure, and how many op_db has."""
    from tests.op_conformance.operator_samples import OPS

    names = [name for name in OPS if re.search(given.ops, name)]
    for name in names:
        for suffix in ("json", "fatal", "running") if not given.resume else ():
            _path(given.folder, name, suffix).unlink(missing_ok=True)
    return [name for name in names if not _path(given.folder, name).exists()], len(OPS)


def _path(folder: Path, name: str, suffix: str = "json") -> Path:
    return folder / f"{name}.{suffix}"


def _run_worker(names: Sequence[str], given: argparse.Namespace) -> None:
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--folder", str(given.folder)]
    command += ["--cap", str(given.cap)] if given.cap else []
    log = given.folder / "worker.log"
    with log.open("ab") as stream:
        ended = subprocess.run(
            [*command, "--worker", *names], cwd=ROOT, stdout=stream, stderr=stream
        )
    if ended.returncode == 0:
        return
    name = next(name for name in names if not _path(given.folder, name).exists())
    suspects = _path(given.folder, name, "running")
    if not suspects.exists():
        raise SystemExit(f"a worker ended before it ran {name}: see {log}")
    fatal = _path(given.folder, name, "fatal")
    known, running = _read(fatal), _read(suspects)
    suspects.unlink()
    text = f"the process ended with {ended.returncode}"
    if len(running) == 1:
        known[running[0]] = text
    elif known:
        known["op"] = text  # it ended outside a run, or ran out of time: nothing to narrow
    known["alone"] = "one sample to a program"
    fatal.write_text(json.dumps(known))


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else {}


def measure(name: str, cap: int | None, folder: Path) -> None:
    """Run one op's samples and write its result file.

    Args:
        name: key of `OPS`.
        cap: samples per dtype, and calls that must raise; None for all.
        folder: of the result files.
    """
    from mlx_coverage.registry import default_registry
    from tests.op_conformance import operator_samples, sample_running
    from tests.op_conformance.sample_running import CRASH, OK, REFUSED, Outcome

    default_registry()  # a mistake in an entry is no finding about an op
    faulthandler.dump_traceback_later(SECONDS_PER_OP, exit=True)
    op = operator_samples.OPS[name]
    fatal = _read(_path(folder, name, "fatal"))
    running = _path(folder, name, "running")

    running.write_text("[]")

    def announce(batch: Sequence[Any]) -> None:
        running.write_text(json.dumps([sample.name for sample in batch]))

    outcomes = {sample: Outcome(CRASH, text=text) for sample, text in fatal.items()}
    errors: dict[str, Outcome] = {}
    samples, targets = operator_samples.list_answered(op, cap)
    related = operator_samples.is_related(targets)
    if fatal:
        outcomes.pop("alone")
    if related and "op" not in fatal:
        rest = [sample for sample in samples if sample.name not in fatal]
        size = 1 if fatal else SAMPLES_PER_PROGRAM
        for i in range(0, len(rest), size):
            outcomes.update(sample_running.run_samples(rest[i : i + size], announce))
        raising = operator_samples.list_raising(op, cap)
        errors = sample_running.run_raising(
            [sample for sample in raising if sample.name not in fatal], announce
        )
    every = {**outcomes, **errors}
    result = {
        "op": name,
        "cap": cap,
        "aten": sorted(map(str, targets)),
        "related": related,
        "dtypes": list(dict.fromkeys(sample.partition("-")[0] for sample in outcomes)),
        "samples": len(samples),
        "kinds": Counter(outcome.kind for outcome in outcomes.values()),
        "raising": Counter(outcome.kind for outcome in errors.values()),
        "refusals": Counter(outcome.slugs[0] for outcome in every.values() if outcome.slugs),
        "texts": {n: o.text for n, o in every.items() if o.text and o.kind not in (OK, REFUSED)},
        "refused": {o.text: o.slugs[0] for o in every.values() if o.text and o.kind == REFUSED},
    }
    scratch = _path(folder, name, "tmp")
    scratch.write_text(json.dumps(result, indent=1))
    scratch.replace(_path(folder, name))
    running.unlink(missing_ok=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    sys.exit(main())
