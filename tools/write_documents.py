"""Write the generated documents, or with --check say which are stale.

Everything here is derived from the registry, from what conformance recorded of it and from
plans of the examples, so the same sources and versions give the same bytes.
"""

import argparse
import contextlib
import dataclasses
import inspect
import json
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from mlx_coverage.analyze import capture, load
from mlx_coverage.analyze.contrast import Contrast
from mlx_coverage.analyze.model import CoverageReport, format_share
from mlx_coverage.analyze.op_page import OpPage
from mlx_coverage.analyze.standing import make_page
from mlx_coverage.analyze.summarize import summarize
from mlx_coverage.analyze.vocabulary import list_reasons
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.registry import default_registry
from mlx_coverage.report.html import render_html
from mlx_coverage.report.index import render_index
from mlx_coverage.report.op_page import render_op_page
from mlx_coverage.report.reasons import name_page, render_reason_index, render_reason_page
from mlx_coverage.report.schema import render_schema

ROOT = Path(__file__).resolve().parent.parent


@cache
def read_page() -> OpPage:
    """The op page: the registry beside what `make conformance` recorded."""
    record = ROOT / "reports" / "conformance.json"
    measured = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    return make_page(default_registry(), measured)


def summarize_op_set() -> str:
    """The README's table: entries, gaps, and where core ATen stands."""
    registry = default_registry()
    core = read_page().count(core=True)
    total = sum(core.values())
    mapped = total - core["gap"] - core["absent"]
    families = Counter(spec.family for spec in registry)
    rows = [
        ("entries, each an exact overload", len(registry)),
        ("of which kept whole, not decomposed", sum(spec.whole for spec in registry)),
        ("of which subgraph patterns", len(registry.patterns)),
        ("declared gaps, each with its reason", len(registry.gaps)),
        ("core ATen overloads (torch's tag) that are mapped", f"{mapped} of {total}"),
        ("core ATen overloads that are declared gaps", core["gap"]),
        ("core ATen overloads with neither (decomposed, or backward only)", core["absent"]),
    ]  # fmt: skip
    lines = ["| | |", "|---|---|", *(f"| {what} | {count} |" for what, count in rows), ""]
    per_family = ", ".join(f"{name} {count}" for name, count in sorted(families.items()))
    return "\n".join([*lines, f"Entries by family: {per_family}.", ""])


def show_example() -> str:
    """CONTRIBUTING's op: the source of the entry itself, so that it cannot drift."""
    from mlx_coverage.registry.ops import binary

    source = inspect.getsource(binary.logaddexp2)
    return (
        "This is how `aten.logaddexp2` was added, whole, in `registry/ops/binary.py`:\n\n"
        f"```python\n{source}```\n"
    )


# The examples of reports/models.md, as `mlx-coverage check` takes them.
MODELS = (
    "mlp.py", "resnet.py", "mobilenet.py", "unet.py", "vit.py", "bert.py", "gpt2.py", "llama.py",
    "llama.py::without_cache", "lstm.py", "two_methods.py", "fallback.py",
)  # fmt: skip


@cache
def check_example(name: str) -> CoverageReport:
    """What `mlx-coverage check examples/NAME` finds, without lines of installed packages."""
    with contextlib.chdir(ROOT), load.open_model(f"examples/{name}") as methods:
        programs = capture.export_methods(methods)
        planned = capture.plan_methods(programs, partial(MLXPartitioner, _plan_only=True))
        report = summarize(f"examples/{name}", planned, verified=False)
    return dataclasses.replace(report, files=tuple(file for file in report.files if file.own))


def name_model_page(name: str) -> str:
    """`models/llama-without_cache.html`, below build/reports/."""
    return f"models/{name.replace('.py', '').replace('::', '-')}.html"


def render_example(name: str) -> str:
    """The page of an example."""
    return render_html(check_example(name))


def index_reports() -> str:
    """build/reports/index.html: every example, and the other tables."""
    others = {
        "ops.html": "every op, what is declared of it and what was measured",
        "../../reports/models.md": "the table above as text",
        "../../reports/families.md": "the presets of the zoo: lowered, run and compared",
    }
    return render_index(
        "What runs on MLX",
        {name_model_page(name): check_example(name) for name in MODELS},
        others,
    )


def tabulate_models() -> str:
    """reports/models.md: what `check` says of every example."""
    lines = [
        "# Model families",
        "",
        "What `mlx-coverage check examples/NAME` says, from `tools/write_documents.py`. Their",
        "numerics, in float32 and bfloat16, are the tests of `tests/e2e`.",
        "",
        "| model | method | nodes | on MLX | partitions | falls back |",
        "|---|---|---|---|---|---|",
    ]
    for name in MODELS:
        for method in check_example(name).methods:
            reasons = [f"`{f.op}` x{f.count}: `{f.reason.slug}`" for f in method.findings]
            share = f"{format_share(method.delegated, method.nodes)} ({method.delegated})"
            lines.append(
                f"| `{name}` | {method.name} | {method.nodes} | {share} | {method.partitions} | "
                f"{', '.join(reasons) or 'nothing'} |"
            )
    return "\n".join([*lines, ""])


def write_section(name: str, marker: str, text: str) -> Callable[[], str]:
    """The text of a file with what stands between its markers replaced."""

    def write() -> str:
        old = (ROOT / name).read_text(encoding="utf-8")
        begin, end = f"<!-- {marker}:begin -->\n", f"<!-- {marker}:end -->"
        head, _, rest = old.partition(begin)
        return f"{head}{begin}{text}{end}{rest.partition(end)[2]}"

    return write


def make_documents() -> dict[str, Callable[[], str]]:
    """Path to a function that gives the whole text."""
    return {
        "README.md": write_section("README.md", "op-set", summarize_op_set()),
        "CONTRIBUTING.md": write_section("CONTRIBUTING.md", "example", show_example()),
        "docs/reasons.md": lambda: render_reason_index(list_reasons()),
        **{
            f"docs/reasons/{name_page(entry.slug)}": partial(render_reason_page, entry)
            for entry in list_reasons()
        },
        "docs/report.schema.json": render_schema,
        "docs/contrast.schema.json": partial(render_schema, Contrast),
        "reports/models.md": tabulate_models,
        "reports/ops.md": lambda: render_op_page(read_page(), "markdown"),
    }


def make_pages() -> dict[str, Callable[[], str]]:
    """The same for what is published and not committed."""
    pages = {name_model_page(name): partial(render_example, name) for name in MODELS}
    return {
        "index.html": index_reports,
        **pages,
        "ops.html": lambda: render_op_page(read_page(), "html"),
        "ops.json": lambda: render_op_page(read_page(), "json"),
    }


def main() -> int:
    """Write, or with --check compare what is committed; exit code 1 when something is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = []
    documents = make_documents()
    for path in sorted((ROOT / "docs" / "reasons").glob("*.md")):
        if f"docs/reasons/{path.name}" not in documents:
            # The page of a reason that is gone.
            stale.append(f"docs/reasons/{path.name}")
            if not check:
                path.unlink()
    for name, make in documents.items():
        path, text = ROOT / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for name, make in make_pages().items():
        page = ROOT / "build/reports" / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(make(), encoding="utf-8")
    for name in stale:
        done = "written" if (ROOT / name).exists() else "removed"
        print(f"{name}: {'stale: run make documents' if check else done}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
