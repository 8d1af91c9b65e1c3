"""A model checked from Python: `mlx_coverage.analyze(model, args)`, for scripts and notebooks.

>>> report = mlx_coverage.analyze(model, (torch.ones(1, 3, 224, 224),))  # doctest: +SKIP
>>> report.headline  # doctest: +SKIP
'Lowers as one delegate.'
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup, escape

from mlx_coverage.analyze.model import NONE, CoverageReport, Finding, to_json
from mlx_coverage.report.html import render_html
from mlx_coverage.report.text import render_text, sanitize
from mlx_coverage.report.verdict import describe_fit, describe_headline, describe_verdict
from mlx_coverage.report.views import name_segments

if TYPE_CHECKING:
    import networkx
    import pandas
    import torch
    from torch.export import ExportedProgram

# Findings that a notebook shows; `to_pandas` has all.
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Report(CoverageReport):
    """A `CoverageReport` that shows itself."""

    @classmethod
    def of(cls, report: CoverageReport) -> "Report":
        """The same report, such as one that `from_json` read."""
        fields = (field.name for field in dataclasses.fields(report) if field.init)
        return cls(**{name: getattr(report, name) for name in fields})

    @property
    def headline(self) -> str:
        """What becomes of the program, in one sentence."""
        return describe_headline(self)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What falls back, of all methods."""
        return tuple(finding for method in self.methods for finding in method.findings)

    def to_json(self) -> str:
        """As `check --json` writes it."""
        return to_json(self)

    def to_html(self) -> str:
        """The page that `check --html` writes."""
        return render_html(self)

    def to_pandas(self, of: Literal["findings", "nodes"] = "findings") -> "pandas.DataFrame":
        """A frame with a row for each finding, or each node.

        Args:
            of: ``findings``: the columns of `check --report csv:FILE`; ``nodes``: method, op,
                module, file, line, device, segment, result, flops (missing where there is no
                model), bytes, and the reason of what falls back.
        """
        import pandas

        if of == "findings":
            from mlx_coverage.report.csv import COLUMNS, list_rows

            return pandas.DataFrame(list_rows(self), columns=list(COLUMNS))
        rows = [row for method in self.methods for row in _list_nodes(method)]
        return pandas.DataFrame(rows, columns=list(_NODE_COLUMNS))

    def to_networkx(self, method: str | None = None) -> "networkx.DiGraph":
        """The graph of partitions and CPU islands of a method.

        Nodes are the segments by name, with ``device``, ``nodes``, ``flops`` and ``bytes``; edges
        have the ``bytes`` and ``tensors`` that cross. The graph's attribute ``critical_path`` is
        the path that moves most bytes, in its segments and between them.

        Args:
            method: by name; the first one by default.
        """
        import networkx

        found = next((m for m in self.methods if method in (None, m.name)), None)
        if found is None:
            names = ", ".join(m.name for m in self.methods) or "none, as no program was planned"
            raise ValueError(f"there is no method {method!r}; accepted: {names}")
        names_of = name_segments(found)
        graph = networkx.DiGraph()
        for name, segment in zip(names_of, found.segments, strict=True):
            figures = segment.figures
            graph.add_node(
                name, device=segment.device, nodes=figures.nodes, flops=figures.flops,
                bytes=figures.bytes,
            )  # fmt: skip
        for crossing in found.boundary:
            first, second = names_of[crossing.source], names_of[crossing.target]
            weight = crossing.bytes + found.segments[crossing.target].figures.bytes
            graph.add_edge(
                first, second, bytes=crossing.bytes, tensors=crossing.tensors, weight=weight
            )
        graph.graph["critical_path"] = networkx.dag_longest_path(graph, weight="weight")
        return graph

    def __str__(self) -> str:
        """What `check` prints."""
        return render_text(self)

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, what fits, and what falls back. Model strings are escaped."""
        parts = [
            Markup("<p><b>{}</b> {}</p>").format(self.headline, describe_verdict(self, self)),
            *(Markup("<p>{}</p>").format(sanitize(text)) for text in describe_fit(self)),
        ]
        rows = [
            Markup("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>").format(
                finding.count, sanitize(finding.op), sanitize(finding.reason.sentence),
                sanitize(finding.source.place),
            )
            for finding in self.findings[:_SHOWN]
        ]  # fmt: skip
        if rows:
            head = Markup("<tr><th>nodes</th><th>op</th><th>why</th><th>where</th></tr>")
            parts.append(Markup("<table>{}{}</table>").format(head, Markup().join(rows)))
        if len(self.findings) > _SHOWN:
            parts.append(escape(f"{len(self.findings) - _SHOWN} more; to_pandas() has all"))
        return str(Markup().join(parts))


_NODE_COLUMNS = (
    "method", "op", "module", "file", "line", "device", "segment", "result", "flops", "bytes",
    "reason",
)  # fmt: skip


def _list_nodes(method: Any) -> list[dict[str, Any]]:
    graph, names = method.graph, name_segments(method)
    rows = []
    for i, op in enumerate(graph.op):
        source, finding = method.sources[graph.source[i]], graph.finding[i]
        rows.append(
            {
                "method": method.name,
                "op": method.ops[op].op,
                "module": method.places[graph.place[i]].path,
                "file": source.file,
                "line": source.line,
                "device": method.segments[graph.segment[i]].device,
                "segment": names[graph.segment[i]],
                "result": graph.results[graph.result[i]],
                "flops": None if graph.flops[i] == NONE else graph.flops[i],
                "bytes": graph.bytes[i],
                "reason": None if finding == NONE else method.findings[finding].reason.slug,
            }
        )
    return rows


def analyze(
    model: "torch.nn.Module | ExportedProgram | str",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    exclude_ops: Sequence[Any] = (),
) -> Report:
    """The report that `mlx-coverage check` makes of a model. Weights may be on meta.

    Args:
        model: a module, in the mode (train or eval) that it is in; an `ExportedProgram`; or a
            model as the command line names one, such as ``zoo:llama-3.2-1b``.
        args: positional example inputs of a module.
        kwargs: its example inputs by name.
        dynamic_shapes: as `torch.export.export` takes them.
        exclude_ops: ops to keep off the delegate, as `MLXPartitioner` takes them.

    Raises:
        CaptureError: the model does not export.
        InputError: the name names no model.
        TypeError: example inputs are given with something else than a module.
    """
    import torch

    from mlx_coverage.analyze import capture, load
    from mlx_coverage.analyze.remarks import list_remarks
    from mlx_coverage.analyze.summarize import summarize
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    if not isinstance(model, torch.nn.Module) and (args or kwargs or dynamic_shapes):
        raise TypeError(f"example inputs belong to a module, not to {type(model).__name__}")
    make = partial(MLXPartitioner, exclude_ops=exclude_ops)
    with ExitStack() as stack:
        if isinstance(model, str):
            name, methods = model, stack.enter_context(load.open_model(model))
        elif isinstance(model, torch.nn.Module):
            given = load.Exportable(model, tuple(args), dict(kwargs or {}), dynamic_shapes)
            name, methods = type(model).__name__, {"forward": given}
        else:
            name, methods = type(model).__name__, {"forward": model}
        programs = capture.export_methods(methods)
        remarks = list_remarks(methods, programs)
        planned = capture.plan_methods(programs, make)
    return Report.of(summarize(name, planned, remarks=remarks))
