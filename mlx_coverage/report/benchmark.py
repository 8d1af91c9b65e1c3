"""Benchmarks as a table, and as JSON."""

from collections.abc import Iterator

from mlx_coverage.analyze.model import format_bytes, format_seconds, write_json
from mlx_coverage.analyze.timings import REFERENCE, Benchmark, Measurement
from mlx_coverage.report.text import sanitize

_TITLE = 32


def render_benchmark_text(benchmark: Benchmark) -> str:
    """One line for each path, with its ratio to eager torch; below, what is missing, and how."""
    return "\n".join(map(sanitize, _list_lines(benchmark))) + "\n"


def render_benchmark_json(benchmark: Benchmark) -> str:
    """The benchmark as JSON, which `read_ratio` reads."""
    return write_json(benchmark)


def _list_lines(benchmark: Benchmark) -> Iterator[str]:
    yield f"{benchmark.model}, {benchmark.method}"
    yield f"{benchmark.machine}; {', '.join(benchmark.versions)}"
    yield ""
    measured = [m for m in benchmark.measurements if m.status == "measured"]
    reference = benchmark.find(REFERENCE) or (measured[0] if measured else None)
    base = reference.median if reference is not None else None
    beside = reference.title if reference is not None else "nothing"
    yield (
        f"{'':{_TITLE}} {'median':>9} {'quartiles':>19} {'ratio':>7} {'first':>9} {'memory':>10} "
        f"{'error':>8}"
    )
    yield from (_describe(measurement, base) for measurement in measured)
    yield ""
    yield (
        f"ratio: to {beside}; first: from loading to the first result; memory: rise of the peak; "
        "error: from eager torch, relative"
    )
    if benchmark.bound_seconds is not None and benchmark.bound_ratio is not None:
        yield (
            f"bound on {benchmark.chip}: {format_seconds(benchmark.bound_seconds)}; this delegate "
            f"takes {benchmark.bound_ratio:.2f} times that"
        )
    for status in ("missing", "failed"):
        for other in (m for m in benchmark.measurements if m.status == status):
            yield f"{status}: {other.title}: {other.note}"


def _describe(measurement: Measurement, base: float | None) -> str:
    low, median, high = measurement.low or 0.0, measurement.median or 0.0, measurement.high or 0.0
    spread = f"{format_seconds(low)} - {format_seconds(high)}"
    ratio = f"{median / base:.2f}x" if base else "n/a"
    error = "n/a" if measurement.error is None else f"{measurement.error:.1e}"
    first, memory = format_seconds(measurement.first or 0.0), measurement.peak_bytes or 0
    return (
        f"{measurement.title:{_TITLE}} {format_seconds(median):>9} {spread:>19} {ratio:>7} "
        f"{first:>9} {format_bytes(memory):>10} {error:>8}"
    )
