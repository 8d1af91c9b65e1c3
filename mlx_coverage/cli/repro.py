"""`mlx-coverage repro`: a finding as a model file of its own, to be attached to a bug report."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_coverage.cli import console, exits
from mlx_coverage.cli.generation import open_model
from mlx_coverage.cli.partitioning import add_partitioner, configure_partitioner
from mlx_coverage.cli.settings import apply_settings
from mlx_coverage.report import check_writable, write_file
from mlx_coverage.report.anchors import PREFIX, name_findings
from mlx_coverage.report.text import sanitize

if TYPE_CHECKING:
    from mlx_coverage.analyze.model import CoverageReport, MethodReport

# Of the findings, in the sentence that refuses an unknown one.
_SHOWN = 5


def add_parser(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "repro",
        parents=[shared],
        help="write a finding as a small model file that shows it",
        description="Write a runnable file of at most 15 calls in which a finding of a model "
        "shows, with the arguments that it has there. MODEL alone lists its findings.",
    )
    parser.add_argument(
        "finding",
        metavar="FINDING",
        help="MODEL#ID: a model as check takes it, and the id of a finding as in the links of "
        "its HTML report; or MODEL#OP, such as model.py#aten.sort.default, for the op's first",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="default: stdout")
    add_partitioner(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Plan the model, cut the finding out and write it."""
    apply_settings(args)
    model, separator, wanted = args.finding.partition("#")
    if args.output:
        check_writable(Path(args.output))
    with console.quiet(), console.progress("loading torch and executorch"):
        from mlx_coverage.analyze import capture
        from mlx_coverage.analyze.reproduction import Origin, reproduce
        from mlx_coverage.analyze.summarize import summarize

    with console.quiet(), open_model(model) as methods:
        with console.progress(f"exporting {model}"):
            programs = capture.export_methods(methods)
        make = configure_partitioner(args)
        planned = capture.plan_methods(programs, make, console.progress)
        report = summarize(model, planned)
        if separator:
            method, number = _choose(report, wanted)
            plan = planned.plans[method.name]
            node = list(plan.placements)[_find_node(method, number, wanted)]
            place = method.findings[number].source.place
            with console.progress("looking for the smallest part that shows it"):
                text = reproduce(plan, node, Origin(model, place, _list_imports(model)))
        else:
            text = _list_findings(report)
    if args.output:
        write_file(Path(args.output), text)
        console.say(f"wrote {args.output}")
    else:
        console.emit(text)
    return exits.PASSED


def _choose(report: "CoverageReport", wanted: str) -> tuple["MethodReport", int]:
    known: list[str] = []
    parts: list[tuple[MethodReport, int]] = []
    for method in report.methods:
        anchors = name_findings(method)
        for number, (finding, anchor) in enumerate(zip(method.findings, anchors, strict=True)):
            if wanted in (anchor, anchor.removeprefix(PREFIX), finding.op):
                return method, number
            if any(count.op == wanted for count in finding.ops):
                parts.append((method, number))
            known.append(f"{anchor} ({finding.op})")
    if parts:
        return parts[0]
    from mlx_coverage.analyze.failures import InputError

    if not known:
        raise InputError(f"{report.model} has no findings, so there is no {wanted!r}")
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    raise InputError(
        f"{report.model} has no finding {wanted!r}; accepted: {', '.join(known[:_SHOWN])}{more}"
    )


def _find_node(method: "MethodReport", number: int, wanted: str) -> int:
    """The first node of a finding: of the op that was named, where it has several."""
    graph = method.graph
    members = [i for i, finding in enumerate(graph.finding) if finding == number]
    op = wanted if any(c.op == wanted for c in method.findings[number].ops) else None
    op = op or method.findings[number].op
    return next((i for i in members if method.ops[graph.op[i]].op == op), members[0])


def _list_findings(report: "CoverageReport") -> str:
    return "".join(
        f"{sanitize(report.model)}#{anchor}  {sanitize(finding.op)}  {finding.reason.slug}  "
        f"{sanitize(finding.source.place or 'unknown line')}\n"
        for method in report.methods
        for finding, anchor in zip(method.findings, name_findings(method), strict=True)
    )


def _list_imports(model: str) -> tuple[str, ...]:
    """The statements that register what the model's module registers."""
    path = model.partition("::")[0]
    if path.endswith(".py"):
        return ("import runpy", "", f"runpy.run_path({json.dumps(path)})")
    module, colon, _ = model.partition(":")
    return (f"import {module}",) if colon and module != "zoo" else ()
