"""Torch's operator samples: a summary in reports/, and op by op in build/."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

KINDS = {
    "ok": "the ExecuTorch runtime gives what eager torch gives, by the numeric criterion",
    "identity": "the program holds no work: its results are its inputs",
    "refused": "a node falls back, or export or ExecuTorch refuses, for the reason given",
    "limited": "another result, where an entry declares a known difference in that dtype",
    "upstream": "another result, which the program that torch and ExecuTorch make has already, "
    "run by torch without a delegate",
    "wrong": "another result than torch's",
    "crash": "lowering or the runtime raises, or the process ends",
}


def render(results: Sequence[Mapping[str, Any]], op_count: int, whole: bool = True) -> str:
    """The page.

    Args:
        results: as `nightly.measure` writes them, one for each op measured.
        op_count: number of ops in op_db.
        whole: whether to list every op, or only what does not give torch's result.
    """
    related = [result for result in results if result["related"]]
    totals, raising = _sum(related, "kinds"), _sum(related, "raising")
    versions = ", ".join(f"{n} {version(n)}" for n in ("torch", "executorch", "mlx"))
    lines = [
        "# Torch's operator samples",
        "",
        "Inputs written by the authors of torch: the sample, reference and error inputs of",
        "`torch.testing._internal.common_methods_invocations.op_db`, in float32, float16,",
        "bfloat16, int32, int64 and bool;",
        f"{_describe_bounds(results)}. Every sample goes through",
        "`torch.export`, `MLXPartitioner`, the payload and the C++ runtime on the MLX CPU device,",
        "many samples of an op in one program, and is compared with eager torch by the criterion",
        "of [ADR 3](../docs/adr/0003-numeric-criterion.md). Samples that eager torch refuses, and",
        "those without a dense tensor among their results, are left out; inputs are laid",
        "out contiguously, as ExecuTorch takes them. The last column holds the error inputs: `ok`",
        "where export, lowering or the runtime raises as torch does.",
        "",
        "Reproduce: `make conformance-samples`, for a part of the samples with "
        f"`ARGUMENTS='--cap 2'`. Measured with {versions}.",
        "",
        f"Measured: {len(results)} of {op_count} ops; {len(related)} of them make an ATen call",
        "that the registry names or ExecuTorch decomposes. `build/operator_samples.md`, which",
        "the command writes too, has them all one by one.",
        "",
        "| outcome | samples | error inputs | meaning |",
        "|---|---|---|---|",
        *(f"| {kind} | {totals[kind]} | {raising[kind]} | {KINDS[kind]} |" for kind in KINDS),
        "",
        "Refusals by reason: " + (_list(_sum(related, "refusals")) or "none") + ".",
        "",
        *_list_details(related, "texts", "Limited, upstream, wrong and crash"),
    ]
    return "\n".join([*lines, *(_list_all(related, results) if whole else [])])


def _list_all(
    related: Iterable[Mapping[str, Any]], results: Iterable[Mapping[str, Any]]
) -> list[str]:
    lines = [
        "## Op by op",
        "",
        f"| op | dtypes | samples | {' | '.join(KINDS)} | errors |",
        "|---|---|---|" + "---|" * len(KINDS) + "---|",
    ]
    for result in related:
        kinds = Counter(result["kinds"])
        cells = {kind: str(kinds[kind]) for kind in KINDS}
        cells["refused"] += f": {_list(result['refusals'])}" if result["refusals"] else ""
        lines.append(
            f"| `{result['op']}` | {', '.join(result['dtypes'])} | {sum(kinds.values())} | "
            f"{' | '.join(cells.values())} | {_list_raising(result['raising'])} |"
        )
    lines += ["", *_list_details(related, "refused", "Refused before the registry is asked")]
    rest = [result for result in results if not result["related"]]
    if rest:
        lines += ["## Ops that make no ATen call that the delegate may meet", ""]
        lines += [f"- `{r['op']}`: {', '.join(f'`{op}`' for op in r['aten'])}" for r in rest]
    return [*lines, ""]


def _describe_bounds(results: Sequence[Mapping[str, Any]]) -> str:
    caps = Counter(result["cap"] for result in results)
    if set(caps) <= {None}:
        return "all of them"
    words = [
        f"at most {cap} per op and dtype, evenly spaced over torch's, of {count} ops"
        for cap, count in sorted(item for item in caps.items() if item[0])
    ]
    return "; ".join([*words, *([f"all of {caps[None]} ops"] if caps[None] else [])])


def _sum(results: Iterable[Mapping[str, Any]], field: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result[field])
    return total


def _list(slugs: Mapping[str, int]) -> str:
    return ", ".join(f"`{slug}` x{count}" for slug, count in sorted(slugs.items()))


def _list_raising(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))


def _list_details(results: Iterable[Mapping[str, Any]], field: str, title: str) -> list[str]:
    lines = []
    for result in results:
        for what, text in list(result[field].items())[:6]:
            line = " ".join(f"{what}: {text}".split())[:240]
            lines.append(f"- `{result['op']}` {line}")
    return [f"## {title}", "", *lines, ""] if lines else []
