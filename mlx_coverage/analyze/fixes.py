"""What would bring fallback nodes to the delegate: proposed, and tried on the program itself.

A candidate is applied by the partitioner, so that the program with it is decomposed, planned
and lowered as any other. It counts as verified after it ran, and gave what eager torch gives.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from executorch.exir import EdgeProgramManager
from torch._subclasses import FakeTensor
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.attest import attest_methods
from mlx_coverage.analyze.capture import Capture, lower_methods, plan_methods
from mlx_coverage.analyze.comparison import compare, run_eagerly
from mlx_coverage.analyze.failures import AttestationError, CaptureError, InputError, condense
from mlx_coverage.analyze.load import Methods
from mlx_coverage.analyze.model import CoverageReport, Fix, FixKind, format_count
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Fallback, PartitionPlan, Rewrite
from mlx_coverage.lowering.rewriting import CASTS, Cast, Decompose
from mlx_coverage.registry.call import canonicalize, name_target
from mlx_coverage.registry.dtypes import name_dtype
from mlx_coverage.registry.judge import Unsupported
from mlx_coverage.runtime import NativeRuntimeError

# Name of an op, and slug of the primary reason why it falls back.
Key = tuple[str, str]

# Runs a method of a lowered program on inputs, once.
Execute = Callable[[EdgeProgramManager, str, Sequence[Any]], Sequence[Any]]


class Make(Protocol):
    """Gives partitioners, all alike but for rewrites."""

    def __call__(self, *, _rewrites: tuple[Rewrite, ...] = ()) -> MLXPartitioner: ...


@dataclass(frozen=True)
class _Candidate:
    kind: FixKind
    rewrite: Rewrite
    title: str
    change: str
    computed_in: torch.dtype | None = None


def find_fixes(
    methods: Methods,
    programs: Mapping[str, ExportedProgram],
    planned: Capture,
    make: Make,
    execute: Execute,
) -> dict[str, dict[Key, tuple[Fix, ...]]]:
    """The fixes of each method, by what they mend; the verified ones first.

    A candidate that gives other numbers than eager torch is left out.

    Args:
        methods: the models, as they were opened.
        programs: the exported methods; left as they are.
        planned: their plans without a fix.
        make: gives the partitioner that the plans were made with.
        execute: runs a candidate.
    """
    fixes: dict[str, dict[Key, tuple[Fix, ...]]] = {}
    for name, program in programs.items():
        found: dict[Key, list[Fix]] = {}
        trial = _Trial(name, methods, program, planned.plans[name], make, execute)
        for candidate in _list_candidates(planned.plans[name]):
            for key, fix in trial.attempt(candidate):
                found.setdefault(key, []).append(fix)
        fixes[name] = {
            key: tuple(sorted(known, key=lambda fix: not fix.verified))
            for key, known in found.items()
        }
    return fixes


def try_fixes(
    methods: Methods,
    programs: Mapping[str, ExportedProgram],
    planned: Capture,
    make: Make,
    execute: Execute,
) -> tuple[dict[str, dict[Key, tuple[Fix, ...]]], tuple[str, ...]]:
    """`find_fixes`; when it breaks, none, and a sentence for the report, which stands."""
    try:
        return find_fixes(methods, programs, planned, make, execute), ()
    except Exception as error:  # noqa: BLE001  (an optional part of the report)
        return {}, (f"fixes: {condense(error)}",)


def add_fixes(
    report: CoverageReport,
    fixes: Mapping[str, Mapping[Key, tuple[Fix, ...]]],
    missing: tuple[str, ...] = (),
) -> CoverageReport:
    """The report with the fixes at the findings that they mend.

    Args:
        report: without them.
        fixes: of each method.
        missing: why there are none, where the search broke.
    """
    methods = tuple(
        replace(
            method,
            findings=tuple(
                replace(f, fixes=(*known.get((f.op, f.reason.slug), ()), *f.fixes))
                for f in method.findings
            ),
        )
        for method in report.methods
        for known in [fixes.get(method.name, {})]
    )
    return replace(report, methods=methods, missing=(*report.missing, *missing))


def _list_candidates(plan: PartitionPlan) -> Iterator[_Candidate]:
    """Each candidate once; whether it does anything is seen when it is tried."""
    seen: set[Any] = set()
    for node, verdict in plan.verdicts.items():
        if not isinstance(verdict, Unsupported):
            continue
        key = (name_target(canonicalize(node.target)), verdict.primary.slug)
        decompose = Decompose(key)
        if key not in seen and decompose.write(node, verdict) is not None:
            yield _Candidate(
                "decomposition",
                decompose,
                f"Decompose {key[0]} as torch does, into ops that MLX has; ExecuTorch keeps it.",
                "MLXPartitioner(fix_decompositions=True)",
            )
        seen.add(key)
        operands = pytree.tree_leaves([n.meta.get("val") for n in node.all_input_nodes])
        for dtype in {v.dtype for v in operands if isinstance(v, torch.Tensor)} & CASTS.keys():
            if dtype not in seen and Cast(dtype).write(node, verdict) is not None:
                seen.add(dtype)
                yield _describe_cast(Cast(dtype))


def _describe_cast(cast: Cast) -> _Candidate:
    wide, narrow = name_dtype(cast.dtype), name_dtype(cast.instead)
    return _Candidate(
        "cast",
        cast,
        f"Compute in {narrow} instead of {wide}.",
        f"x = x.to(torch.{narrow})  # and y.to(torch.{wide}) after, where {wide} is needed",
        cast.instead,
    )


@dataclass(frozen=True)
class _Trial:
    """One method, to try candidates on."""

    method: str
    methods: Methods
    program: ExportedProgram
    plan: PartitionPlan
    make: Make
    execute: Execute

    def attempt(self, candidate: _Candidate) -> Iterator[tuple[Key, Fix]]:
        """The fix that the candidate is, for everything that it mends."""

        def make() -> MLXPartitioner:
            return self.make(_rewrites=(candidate.rewrite,))

        programs = {self.method: self.program}
        try:
            planned = plan_methods(programs, make)
        except CaptureError:
            return  # ExecuTorch would refuse the program with it
        after = planned.plans[self.method]
        gained = after.delegated - self.plan.delegated
        mended = _count_fallback(self.plan) - _count_fallback(after)
        if planned.refused is not None or gained <= 0 or not mended:
            return
        fix = Fix(
            candidate.title,
            candidate.change,
            verified=False,
            evidence="",
            kind=candidate.kind,
            gained=gained,
            partitions_saved=len(self.plan.partitions) - len(after.partitions),
        )
        try:
            fix = self._verify(fix, candidate, make)
        except AttestationError:
            return  # proven wrong
        except (CaptureError, InputError, NativeRuntimeError) as failure:
            fix = replace(fix, evidence=f"{self._describe(fix)}; not run: {failure}")
        for key in mended:
            yield key, fix

    def _verify(self, fix: Fix, candidate: _Candidate, make: Callable[[], MLXPartitioner]) -> Fix:
        tensors = [*self.program.state_dict.values(), *pytree.tree_leaves(self.program.constants)]
        if any(
            t.is_meta or isinstance(t, FakeTensor) for t in tensors if isinstance(t, torch.Tensor)
        ):
            raise InputError("the model's weights are not there (meta tensors)")
        inputs, expected = run_eagerly(self.methods[self.method], self.program)
        if any(v.is_meta for v in (*inputs, *expected) if isinstance(v, torch.Tensor)):
            raise InputError("the example inputs have no values (meta tensors)")
        lowering = lower_methods({self.method: self.program}, make)
        attest_methods(lowering.plans, lowering.lowered)
        found = self.execute(lowering.lowered, self.method, inputs)
        error = compare(self.method, found, expected, candidate.computed_in)
        evidence = (
            f"{self._describe(fix)}; run on the example inputs, the largest relative "
            f"difference from eager torch is {error:.2g}"
        )
        return replace(fix, verified=True, evidence=evidence, error=error)

    def _describe(self, fix: Fix) -> str:
        before = len(self.plan.partitions)
        after = format_count(before - fix.partitions_saved, "partition")
        return f"{format_count(fix.gained, 'more node')} on MLX, {after} instead of {before}"


def _count_fallback(plan: PartitionPlan) -> Counter[Key]:
    return Counter(
        (name_target(canonicalize(node.target)), placement.reasons[0].kind.slug)
        for node, placement in plan.placements.items()
        if isinstance(placement, Fallback)
    )
