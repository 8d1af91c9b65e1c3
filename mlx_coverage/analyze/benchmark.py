"""One method of a model through every path that is installed, timed in one run.

Each path runs in a process of its own, so that its peak memory is its own and a crash ends that
path alone. What is lowered is lowered beforehand in another process: only running counts.
"""

import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlx_coverage.analyze.machines import CHIPS
from mlx_coverage.analyze.timings import (
    KEYS,
    OURS,
    OURS_COMPILED,
    ROUTES,
    Benchmark,
    Measurement,
    Route,
    Status,
)

_WARM_UP = 3
# Seconds after which a path is called no more, once it has been called a few times.
_ENOUGH, _FEWEST = 10.0, 5
_LOWERED = ("portable", "xnnpack", "coreml", "upstream", OURS)
_INPUTS, _EXPECTED, _FACTS = "inputs.pt", "expected.pt", "facts.json"


def read_ratio(path: Path) -> float:
    """How many times its bound this delegate took, in a file that `bench --json` wrote.

    Raises:
        ValueError: the file is something else, or was not measured on a chip that has a bound.
    """
    try:
        ratio = json.loads(path.read_text(encoding="utf-8"))["bound_ratio"]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file that mlx-coverage bench --json wrote") from error
    if not isinstance(ratio, float):
        chips = ", ".join(chip.name for chip in CHIPS)
        raise ValueError(
            f"{path} has no ratio to a bound: it was not measured on a Mac with one of {chips}"
        )
    return ratio


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        model: as the command line names one, or a `.pte`.
        method: by name; None for `forward`, or the only one.
        repeat: timed calls at most.
        keys: of the paths.
    """

    model: str
    method: str | None = None
    repeat: int = 50
    keys: tuple[str, ...] = KEYS


def run_benchmark(request: Request, follow: Callable[[str], Any]) -> Benchmark:
    """Measure the paths one after another, each in a process of its own.

    Args:
        request: what.
        follow: gives a context for each path, named in a few words.

    Raises:
        InputError: the model cannot be prepared; the text is the process's last line.
    """
    from mlx_coverage.analyze.failures import InputError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with follow("exporting and lowering"):
            done = _spawn("prepare", request, folder)
        if not (folder / _FACTS).is_file():
            raise InputError(_read_reason(done))
        facts = json.loads((folder / _FACTS).read_text())
        found = []
        for route in ROUTES:
            if route.key not in request.keys:
                continue
            with follow(f"timing {route.title}"):
                found.append(_measure_apart(route, request, folder, facts))
    return _conclude(request, facts, found)


def _measure_apart(
    route: Route, request: Request, folder: Path, facts: Mapping[str, Any]
) -> Measurement:
    refusal = facts["refusals"].get(_find_file_key(route.key))
    missing = facts["missing"].get(route.key)
    if missing or refusal:
        status: Status = "missing" if missing else "failed"
        note = f"{missing}; {route.how}" if missing else refusal
        return Measurement(route.key, route.title, status, note)
    done = _spawn(route.key, request, folder)
    result = folder / f"{route.key}.json"
    if done.returncode == 0 and result.is_file():
        return Measurement(route.key, route.title, "measured", **json.loads(result.read_text()))
    return Measurement(route.key, route.title, "failed", _read_reason(done))


def _spawn(stage: str, request: Request, folder: Path) -> subprocess.CompletedProcess[str]:
    given = json.dumps(dataclasses.asdict(request))
    command = [sys.executable, "-W", "ignore", "-m", "mlx_coverage.analyze.benchmark"]
    return subprocess.run(
        [*command, stage, given, str(folder)], capture_output=True, text=True, check=False
    )


def _read_reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return f"the process was ended by signal {-done.returncode}"
    return lines[-1] if lines else f"the process ended with code {done.returncode}"


def _find_file_key(key: str) -> str:
    return OURS if key == OURS_COMPILED else key


def _conclude(
    request: Request, facts: Mapping[str, Any], found: Sequence[Measurement]
) -> Benchmark:
    times = [m.median for m in found if m.key in (OURS, OURS_COMPILED) and m.median is not None]
    bound = facts["bound_seconds"]
    return Benchmark(
        model=request.model,
        method=facts["method"],
        machine=facts["machine"],
        versions=tuple(facts["versions"]),
        measurements=tuple(found),
        chip=facts["chip"],
        bound_seconds=bound,
        bound_ratio=min(times) / bound if times and bound else None,
    )


# What follows runs in the processes.


def _prepare(request: Request, folder: Path) -> None:
    """Write inputs, eager results and lowered programs, and what is missing or refused."""
    facts: dict[str, Any] = {
        "method": request.method,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": [f"{name} {version(name)}" for name in ("torch", "executorch", "mlx")],
        "missing": {key: why for key in request.keys if (why := _find_missing(key, request))},
        "refusals": {},
        "chip": _find_chip(),
        "bound_seconds": None,
    }
    if request.model.endswith(".pte"):
        _prepare_file(request, folder, facts)
    else:
        _prepare_model(request, folder, facts)
    (folder / _FACTS).write_text(json.dumps(facts))


def _prepare_file(request: Request, folder: Path, facts: dict[str, Any]) -> None:
    import torch

    from mlx_coverage import runtime
    from mlx_coverage.analyze.program_file import choose_method, draw_inputs, read_program

    path = Path(request.model)
    method = choose_method(path, read_program(path), request.method)
    backends = set(method.backends)
    names = {"XnnpackBackend": "xnnpack", "CoreMLBackend": "coreml", "MLXBackend": "upstream"}
    ours = runtime.BACKEND_ID in backends
    key = OURS if ours else next((names[b] for b in backends if b in names), "portable")
    shutil.copy(path, folder / f"{key}.pte")
    torch.save(draw_inputs(method), folder / _INPUTS)
    kept = {key, OURS_COMPILED} if ours else {key}
    facts["method"] = method.name
    for other in request.keys:
        if other not in kept:
            facts["missing"].setdefault(other, "a .pte is lowered for one path; give the model")


def _prepare_model(request: Request, folder: Path, facts: dict[str, Any]) -> None:
    import torch
    from torch.utils import _pytree as pytree

    from mlx_coverage.analyze import capture, load
    from mlx_coverage.analyze.eager import Eager
    from mlx_coverage.analyze.failures import InputError, condense

    with load.open_model(request.model) as methods:
        name = _choose(methods, request.method)
        programs = capture.export_methods({name: methods[name]})
        if capture.lacks_weights(programs):
            raise InputError(f"{request.model} has no weights to run (meta tensors); load them")
        inputs = pytree.tree_leaves(programs[name].example_inputs)
        torch.save(inputs, folder / _INPUTS)
        torch.save(Eager({name: methods[name]}, programs)(name, inputs), folder / _EXPECTED)
        facts["method"] = name
        for key in _LOWERED:
            wanted = {key, OURS_COMPILED} if key == OURS else {key}
            if wanted.isdisjoint(request.keys) or key in facts["missing"]:
                continue
            try:
                program = _lower(key, programs, facts)
                with (folder / f"{key}.pte").open("wb") as file:
                    program.write_to_file(file)
            except Exception as error:  # noqa: BLE001  (of others' delegates: said in the table)
                facts["refusals"][key] = condense(error)


def _lower(key: str, programs: Mapping[str, Any], facts: dict[str, Any]) -> Any:
    from executorch.exir import to_edge_transform_and_lower

    from mlx_coverage.analyze import capture
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    if key == "portable":
        return capture.lower_undelegated(programs)
    if key == OURS:
        lowered = capture.lower_methods(programs, MLXPartitioner)
        if lowered.program is None:
            raise lowered.refusals[0]
        facts["bound_seconds"] = _bound(lowered.plans, facts["chip"])
        return lowered.program
    if key == "upstream":
        from mlx_coverage.analyze.upstream.planning import lower_upstream

        return capture.finish(lower_upstream(programs))
    return capture.finish(
        to_edge_transform_and_lower(dict(programs), partitioner=[_find_partitioner(key)()])
    )


def _find_partitioner(key: str) -> Any:
    if key == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return XnnpackPartitioner
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    return CoreMLPartitioner


def _bound(plans: Mapping[str, Any], chip: str | None) -> float | None:
    from mlx_coverage.analyze.capture import Capture
    from mlx_coverage.analyze.summarize import summarize

    (method,) = summarize("", Capture(plans)).methods
    bounds = {bound.chip: bound.seconds for bound in method.speed.bounds}
    return bounds.get(chip) if chip is not None else None


def _find_missing(key: str, request: Request) -> str:
    """Why a path is not there; empty where it is."""
    import torch
    from executorch.runtime import Runtime

    registered = Runtime.get().backend_registry.registered_backend_names
    backends = {"xnnpack": "XnnpackBackend", "coreml": "CoreMLBackend", "upstream": "MLXBackend"}
    if key in backends and backends[key] not in registered:
        return f"the installed executorch has no {backends[key]}"
    if key == "torch-mps" and not torch.backends.mps.is_available():
        return "torch has no MPS device here"
    if key == "torch-compile" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return "there is no C++ compiler"
    if key == "mlx-lm":
        if not request.model.startswith("zoo:"):
            return "it runs presets only"
        return "" if find_spec("mlx_lm") else "mlx-lm is not installed"
    return ""


def _choose(methods: Mapping[str, Any], wanted: str | None) -> str:
    from mlx_coverage.analyze.failures import InputError

    name = wanted or ("forward" if "forward" in methods else next(iter(methods)))
    if name not in methods or (wanted is None and name != "forward" and len(methods) > 1):
        raise InputError(f"the model has the methods {', '.join(methods)}; name one with --method")
    return name


def _measure(key: str, request: Request, folder: Path) -> None:
    """Time a path and write what was found."""
    import torch

    from mlx_coverage.analyze.routes import open_route

    inputs = torch.load(folder / _INPUTS, weights_only=True)
    method = json.loads((folder / _FACTS).read_text())["method"]
    with open_route(key, request.model, method, folder, inputs) as route:
        started = time.perf_counter()
        call = route.load()
        outputs = route.read(call())
        first = time.perf_counter() - started
        for _ in range(_WARM_UP):
            call()
        times = list(_time(call, request.repeat))
        peak = route.measure_growth()
    low, median, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    found = {
        "median": median, "low": low, "high": high, "first": first, "calls": len(times),
        "peak_bytes": peak, "error": _compare(outputs, folder),
    }  # fmt: skip
    (folder / f"{key}.json").write_text(json.dumps(found))


def _time(call: Callable[[], Any], repeat: int) -> Iterator[float]:
    end = time.perf_counter() + _ENOUGH
    for number in range(repeat):
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        yield now - start
        if now > end and number + 1 >= _FEWEST:
            return


def _compare(found: Sequence[Any], folder: Path) -> float | None:
    """The largest relative difference from eager torch; None where there is none."""
    import torch

    from mlx_coverage.analyze.comparison import measure

    if not (folder / _EXPECTED).is_file():
        return None
    expected = torch.load(folder / _EXPECTED, weights_only=True)
    pairs = list(zip(found, expected, strict=False))
    if len(found) != len(expected) or any(
        getattr(a, "shape", None) != getattr(b, "shape", None) for a, b in pairs
    ):
        return None
    return max((measure(a, b) for a, b in pairs if isinstance(b, torch.Tensor)), default=0.0)


def _find_chip() -> str | None:
    """The chip of this Mac, where its figures are published."""
    if sys.platform != "darwin":
        return None
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name = done.stdout.strip().removeprefix("Apple ")
    return name if name in {chip.name for chip in CHIPS} else None


def _run_stage(stage: str, given: str, folder: str) -> None:
    fields = json.loads(given)
    request = Request(**{**fields, "keys": tuple(fields["keys"])})
    if stage == "prepare":
        _prepare(request, Path(folder))
    else:
        _measure(stage, request, Path(folder))


if __name__ == "__main__":
    try:
        _run_stage(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001  (the last line is what the table says)
        from mlx_coverage.analyze.failures import condense

        sys.exit(condense(error))
