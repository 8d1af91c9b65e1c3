"""For test suites of models: check a module, and assert how much of it runs on MLX.

def test_encoder_stays_on_mlx():
    report = check_module(Encoder(), (torch.ones(1, 80, 3000),))
    assert_delegated(report, min=95)
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlx_coverage.analysis import Report, analyze
from mlx_coverage.analyze.model import CoverageReport, Finding, format_count
from mlx_coverage.report.verdict import describe_refusals, describe_verdict, group_by_line

if TYPE_CHECKING:
    import torch

# A failing assertion names the heaviest of them.
_SHOWN = 10


def check_module(
    module: "torch.nn.Module",
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    exclude_ops: Sequence[Any] = (),
) -> Report:
    """`mlx_coverage.analyze`, under the name that suits a test."""
    return analyze(module, args, kwargs, dynamic_shapes=dynamic_shapes, exclude_ops=exclude_ops)


def assert_delegated(
    report: CoverageReport, min: float = 100, *, allow: Collection[str] = ()
) -> None:
    """Fail unless the program lowers and enough of its nodes are on MLX.

    Args:
        report: of `check_module`, or read by `mlx_coverage.analyze.model.from_json`.
        min: the least share of nodes, in per cent, that counts as enough.
        allow: slugs of reasons, or names of ops, that may fall back: their nodes are left
            out of the share.

    Raises:
        AssertionError: it does not hold; the text names what falls back, and where. A
            program without nodes is not delegated.
        ValueError: `min` is no percentage.
    """
    if not 0 <= min <= 100:
        raise ValueError(f"min is {min}; accepted: a percentage, 0 to 100")
    refusals = [text for _, text in describe_refusals(report)]
    findings = [f for method in report.methods for f in method.findings]
    counted = [f for f in findings if _count_allowed(f, allow) < f.count]
    left_out = sum(_count_allowed(f, allow) for f in findings)
    nodes = report.nodes - left_out
    if not refusals and nodes and report.delegated * 100 >= min * nodes:
        return
    said = "; ".join(refusals) or describe_verdict(report, report)
    lines = [f"{report.model}: {said}; expected at least {min:g} %"]
    if left_out:
        lines[0] += f", {format_count(left_out, 'allowed node')} left out"
    groups = group_by_line(counted)
    lines += [
        f"  {group.source.place or 'unknown line'}: {group.slug} {group.describe()}"
        for group in groups[:_SHOWN]
    ]
    if len(groups) > _SHOWN:
        lines.append(f"  and {format_count(len(groups) - _SHOWN, 'more line')}")
    raise AssertionError("\n".join(lines))


def _count_allowed(finding: Finding, allow: Collection[str]) -> int:
    if finding.reason.slug in allow or (finding.op in allow and not finding.ops):
        return finding.count
    return sum(count.nodes for count in finding.ops if count.op in allow)


def check_entry(
    op: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Fail unless the registry takes a call of an op, and MLX gives what torch gives.

    The call is exported, lowered to one delegate and run by the native runtime, which is
    compiled at first use. Give calls from the whole domain that the entry declares. Tensors
    are made contiguous: ExecuTorch's runtime takes no others.

    Args:
        op: the overload, `torch.ops.mylib.myop.default`.
        args: of the call, in the order of the schema.
        kwargs: of the call, by name.
        rtol: as `torch.testing.assert_close` takes it; by default that of the dtype.
        atol: the same.

    Raises:
        AssertionError: the call is not delegated, or the results differ.
        NativeRuntimeError: the runtime cannot be had.
    """
    import torch
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime
    from torch.utils import _pytree as pytree

    from mlx_coverage import runtime
    from mlx_coverage.analyze.custom_ops import make_call
    from mlx_coverage.lowering.partitioner import MLXPartitioner

    given = pytree.tree_map_only(
        torch.Tensor, torch.Tensor.contiguous, (list(args), dict(kwargs or {}))
    )
    call = make_call(op, *given)
    assert_delegated(check_module(call.module, call.args))
    with torch.no_grad():
        expected = pytree.tree_leaves(call.module(*call.args))
    exported = torch.export.export(call.module, call.args)
    lowered = to_edge_transform_and_lower(exported, partitioner=[MLXPartitioner()])
    buffer = lowered.to_executorch().buffer
    runtime.load()
    method = Runtime.get().load_program(buffer).load_method("forward")
    torch.testing.assert_close(
        list(method.execute(list(call.args))), expected, rtol=rtol, atol=atol, equal_nan=True
    )
