"""What would bring fallback nodes to the delegate: proposed, and tried on the program itself.

A candidate is applied by the partitioner, or to the model, which is exported again, so that the
program with it is decomposed, planned and lowered as any other. It counts as verified after it
ran, and gave what eager torch gives of the model as it was.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.candidates import (
    Candidate,
    Key,
    export_changed,
    join_replacements,
    list_candidates,
)
from mlx_coverage.analyze.capture import Capture, is_absent, lower_methods, plan_methods
from mlx_coverage.analyze.comparison import TOLERANCES
from mlx_coverage.analyze.failures import AttestationError, CaptureError, InputError, condense
from mlx_coverage.analyze.load import Exportable, Methods
from mlx_coverage.analyze.model import CoverageReport, Finding, Fix, format_count
from mlx_coverage.analyze.verification import Verified, verify_lowered
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Fallback, PartitionPlan, Rewrite
from mlx_coverage.registry.call import name_node
from mlx_coverage.runtime import NativeRuntimeError


class Make(Protocol):
    """Gives partitioners, all alike but for rewrites."""

    def __call__(self, *, _rewrites: tuple[Rewrite, ...] = ()) -> MLXPartitioner: ...


@dataclass
class Fixes:
    """What mends a method.

    Attributes:
        findings: the fixes, by what they mend; the verified ones first.
        summary: the gain of all verified ones together, or that nothing helps; empty where
            nothing falls back.
    """

    findings: dict[Key, tuple[Fix, ...]] = field(default_factory=dict)
    summary: str = ""


def find_fixes(
    methods: Methods, programs: Mapping[str, ExportedProgram], planned: Capture, make: Make
) -> dict[str, Fixes]:
    """The fixes of each method.

    A candidate that gives other numbers than eager torch is left out.

    Args:
        methods: the models, as they were opened.
        programs: the exported methods; left as they are.
        planned: their plans without a fix.
        make: gives the partitioner that the plans were made with.
    """
    fixes: dict[str, Fixes] = {}
    for name, program in programs.items():
        found: dict[Key, list[Fix]] = {}
        chosen: dict[Fix, Candidate] = {}
        plan, given = planned.plans[name], methods[name]
        trial = _Trial(name, given, program, plan, planned.refused is not None, make)
        for candidate in list_candidates(given, program, plan, make().registry):
            known = found.get(candidate.wanted, []) if candidate.wanted else []
            if any(fix.kind == candidate.kind for fix in known):
                continue
            for key, fix in trial.attempt(candidate):
                found.setdefault(key, []).append(fix)
                chosen[fix] = candidate
        for candidate in join_replacements(given, plan) if trial.refused else ():
            for key, fix in trial.attempt(candidate):
                found[key] = _prefer(fix, found.get(key, []))
                chosen[fix] = candidate
        sorted_fixes = {
            key: tuple(sorted(known, key=lambda fix: not fix.verified))
            for key, known in found.items()
        }
        first = dict.fromkeys(known[0] for known in sorted_fixes.values() if known[0].verified)
        summary = trial.summarize({fix: chosen[fix] for fix in first}, bool(found))
        fixes[name] = Fixes(sorted_fixes, summary)
    return fixes


def _prefer(joint: Fix, known: Sequence[Fix]) -> list[Fix]:
    """With the joint fix instead of its parts, where it is verified and they are not."""
    parts = [fix for fix in known if fix.kind == joint.kind]
    if not joint.verified or any(fix.verified for fix in parts):
        return list(known)
    return [joint, *(fix for fix in known if fix not in parts)]


def try_fixes(
    methods: Methods,
    programs: Mapping[str, ExportedProgram],
    planned: Capture,
    make: Make,
) -> tuple[dict[str, Fixes], tuple[str, ...]]:
    """`find_fixes`; when it breaks, none, and a sentence for the report, which stands."""
    try:
        return find_fixes(methods, programs, planned, make), ()
    except Exception as error:  # noqa: BLE001  (an optional part of the report)
        return {}, (f"fixes: {condense(error)}",)


def add_fixes(
    report: CoverageReport,
    fixes: Mapping[str, Fixes],
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
                replace(f, fixes=(*_list_known(f, known), *f.fixes)) for f in method.findings
            ),
        )
        for method in report.methods
        for known in [fixes.get(method.name, Fixes()).findings]
    )
    return replace(report, methods=methods, missing=(*report.missing, *missing))


def _list_known(finding: Finding, fixes: Mapping[Key, tuple[Fix, ...]]) -> Iterator[Fix]:
    """The fixes of the finding's ops, the verified ones first."""
    ops = dict.fromkeys([finding.op, *(count.op for count in finding.ops)])
    found = dict.fromkeys(fix for op in ops for fix in fixes.get((op, finding.reason.slug), ()))
    yield from sorted(found, key=lambda fix: not fix.verified)


@dataclass(frozen=True)
class _Trial:
    """One method, to try candidates on."""

    method: str
    given: Exportable | ExportedProgram
    program: ExportedProgram
    plan: PartitionPlan
    refused: bool
    make: Make

    def attempt(self, candidate: Candidate) -> Iterator[tuple[Key, Fix]]:
        """The fix that the candidate is, for everything that it mends."""
        try:
            program, make, planned = self._change([candidate])
        except CaptureError:
            return  # torch.export or ExecuTorch would refuse the program with it
        after = planned.plans[self.method]
        mended = _count_fallback(self.plan) - _count_fallback(after)
        if not mended or not self._helps(candidate, planned):
            return
        fix = Fix(
            candidate.title,
            candidate.change,
            verified=False,
            evidence="",
            kind=candidate.kind,
            gained=after.delegated - self.plan.delegated,
            partitions_saved=len(self.plan.partitions) - len(after.partitions),
        )
        effect = self._describe(after)
        try:
            if planned.refused is not None:
                raise planned.refused
            verified = self._run([candidate], program, make)
        except AttestationError:
            return  # proven wrong
        except (CaptureError, InputError, NativeRuntimeError) as failure:
            fix = replace(fix, evidence=f"{effect}; not run: {failure}")
        else:
            calls = format_count(verified.calls, "call")
            evidence = (
                f"{effect}; run in {calls}, the largest relative difference from eager torch is "
                f"{verified.error:.2g}"
            )
            fix = replace(fix, verified=True, evidence=evidence, error=verified.error)
        for key in mended:
            yield key, fix

    def _helps(self, candidate: Candidate, planned: Capture) -> bool:
        after = planned.plans[self.method]
        if planned.refused is not None and not self.refused:
            return False
        if candidate.rewrite is not None:
            return after.delegated > self.plan.delegated
        # Another program: it may need fewer nodes, but none beside those must fall back.
        return not _count_fallback(after) - _count_fallback(self.plan)

    def summarize(self, chosen: Mapping[Fix, Candidate], proposed: bool) -> str:
        """One sentence on all verified fixes together.

        Args:
            chosen: the fixes, and what they were made of.
            proposed: whether there are fixes that were not verified, either.
        """
        if not _count_fallback(self.plan):
            return ""
        if not chosen:
            return (
                "no fix was verified; what is proposed was not run"
                if proposed
                else "no fix was found: nothing that was tried brings a node to MLX"
            )
        candidates = list(dict.fromkeys(chosen.values()))
        count = format_count(len(candidates), "verified fix", "verified fixes")
        try:
            program, make, planned = self._change(candidates)
            if planned.refused is not None:
                raise planned.refused
            verified = self._run(candidates, program, make)
        except (AttestationError, CaptureError, InputError, NativeRuntimeError) as failure:
            return f"{count}; all together they do not hold ({condense(failure)})"
        after = planned.plans[self.method]
        partitions = format_count(len(after.partitions), "partition")
        return (
            f"{count}; with all of them {after.delegated} of "
            f"{format_count(len(after.placements), 'node')} on MLX instead of "
            f"{self.plan.delegated} of {len(self.plan.placements)}, {partitions} instead of "
            f"{len(self.plan.partitions)}; {verified}"
        )

    def _change(
        self, candidates: Sequence[Candidate]
    ) -> tuple[ExportedProgram, Callable[[], MLXPartitioner], Capture]:
        rewrites = tuple(c.rewrite for c in candidates if c.rewrite is not None)
        make = partial(self.make, _rewrites=rewrites)
        program = self.program
        if any(c.apply is not None for c in candidates):
            assert isinstance(self.given, Exportable)
            program = export_changed(self.given, candidates)
        return program, make, plan_methods({self.method: program}, make)

    def _run(
        self,
        candidates: Sequence[Candidate],
        program: ExportedProgram,
        make: Callable[[], MLXPartitioner],
    ) -> Verified:
        """How the changed program does against the model as it was, in eager torch."""
        tensors = [*program.state_dict.values(), *pytree.tree_leaves(program.constants)]
        if any(is_absent(tensor) for tensor in tensors if isinstance(tensor, torch.Tensor)):
            raise InputError("the model's weights are not there (meta tensors)")
        if any(getattr(v, "is_meta", False) for v in pytree.tree_leaves(program.example_inputs)):
            raise InputError("the example inputs have no values (meta tensors)")
        lowering = lower_methods({self.method: program}, make)
        if lowering.program is None:
            raise lowering.refusals[0]
        widths = (c.computed_in for c in candidates if c.computed_in is not None)
        least = max((TOLERANCES.get(dtype, 0.0) for dtype in widths), default=0.0)
        given, changed = {self.method: self.given}, {self.method: program}
        (verified,) = verify_lowered(lowering.program, given, changed, least)
        return verified

    def _describe(self, after: PartitionPlan) -> str:
        gained = after.delegated - self.plan.delegated
        fewer = _count_fallback(self.plan).total() - _count_fallback(after).total()
        effect = (
            f"{format_count(gained, 'more node')} on MLX"
            if gained > 0
            else f"{format_count(fewer, 'node')} fewer on the CPU"
        )
        partitions = format_count(len(after.partitions), "partition")
        return f"{effect}, {partitions} instead of {len(self.plan.partitions)}"


def _count_fallback(plan: PartitionPlan) -> Counter[Key]:
    return Counter(
        (name_node(node), placement.reasons[0].kind.slug)
        for node, placement in plan.placements.items()
        if isinstance(placement, Fallback)
    )
