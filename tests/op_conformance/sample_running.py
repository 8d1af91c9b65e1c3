"""Torch's samples through export, partitioner and runtime: many of one op in a program."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from executorch.exir import EdgeProgramManager, to_edge_transform_and_lower
from executorch.exir.backend.partitioner import PartitionResult
from executorch.runtime import Runtime
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Node

import mlx_coverage
import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.lowering.partitioner import INDEX
from mlx_coverage.lowering.plan import Fallback
from mlx_coverage.registry import reasons
from tests.op_conformance.criterion import MismatchError, compare
from tests.op_conformance.operator_samples import Sample

OK, IDENTITY, REFUSED, LIMITED = "ok", "identity", "refused", "limited"
UPSTREAM, WRONG, CRASH = "upstream", "wrong", "crash"
PACKAGE = str(Path(mlx_coverage.__file__).parent)


@dataclass(frozen=True)
class Outcome:
    """What became of one sample.

    Attributes:
        kind: `ok`; `identity` (the program holds no work); `refused`; `limited` (differs,
            and an entry of the op declares a limitation in that dtype); `upstream` (the
            program that torch and ExecuTorch make differs, run by torch); `wrong`; `crash`.
        slugs: for a refusal, the reasons' slugs.
        text: what differs, or what was raised.
    """

    kind: str
    slugs: tuple[str, ...] = ()
    text: str = ""


@dataclass
class Branch:
    """What the plan says of one result: how many nodes run on MLX, and why others do not."""

    delegated: int = 0
    slugs: set[str] = field(default_factory=set)


class ObservingPartitioner(MLXPartitioner):
    """The partitioner, noting where the nodes behind each result were placed."""

    def __init__(self) -> None:
        super().__init__(min_partition_size=0)
        self.branches: list[Branch] = []

    def partition(self, exported_program: ExportedProgram) -> PartitionResult:
        """As ever; fills `branches`, one for each user output."""
        result = super().partition(exported_program)
        places = list(self.plans[-1].placements.values())
        outputs = exported_program.graph.output_node().args[0]
        for spec, output in zip(
            exported_program.graph_signature.output_specs, outputs, strict=True
        ):
            if spec.kind is not OutputKind.USER_OUTPUT:
                continue
            branch = Branch()
            for node in _find_ancestors(output):
                placement = places[node.meta[INDEX]] if INDEX in node.meta else None
                if isinstance(placement, Fallback):
                    branch.slugs.add(placement.reasons[0].slug)
                else:
                    branch.delegated += placement is not None
            self.branches.append(branch)
        return result


def _find_ancestors(output: Node) -> set[Node]:
    found: set[Node] = set()
    pending = [output]
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return found


class Branches(torch.nn.Module):
    """Each sample as a branch of its own: its inputs, one call, its results."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        super().__init__()
        self._samples = samples

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        rest = iter(inputs)
        return [
            result
            for sample in self._samples
            for result in sample.call([next(rest) for _ in sample.tensors])
        ]


@dataclass
class Refusal(Exception):  # noqa: N818  (a verdict, not an error)
    """A stage before ours refuses the program."""

    slug: str
    text: str


def run_samples(
    samples: Sequence[Sample], announce: Callable[[Sequence[Sample]], None]
) -> dict[str, Outcome]:
    """Every sample through the whole flow, together where that works, else in halves.

    Args:
        samples: of one op, each of which eager torch takes and answers with a tensor.
        announce: told before each run in the ExecuTorch runtime, which may end the process.

    Returns:
        Sample name to what became of it.
    """
    if not samples:
        return {}
    try:
        return _run_together(samples, announce)
    except Refusal as refusal:
        if len(samples) == 1:
            return {samples[0].name: Outcome(REFUSED, (refusal.slug,), refusal.text)}
    except Exception as error:  # noqa: BLE001  (whatever is raised is the finding)
        if len(samples) == 1:
            return {samples[0].name: Outcome(CRASH, text=_say(error))}
    half = len(samples) // 2
    return {
        **run_samples(samples[:half], announce),
        **run_samples(samples[half:], announce),
    }


def run_raising(
    samples: Iterable[Sample], announce: Callable[[Sequence[Sample]], None]
) -> dict[str, Outcome]:
    """What becomes of calls that eager torch refuses.

    Returns:
        Sample name to `ok` (export, lowering or the runtime raises as well), `refused`, or
        `wrong`: the runtime answers where torch raises.
    """
    return {sample.name: _run_raising(sample, announce) for sample in samples}


def _run_raising(sample: Sample, announce: Callable[[Sequence[Sample]], None]) -> Outcome:
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            sample.call([mode.from_tensor(tensor) for tensor in sample.tensors])
    except Exception:  # noqa: BLE001  (export runs the same and would raise the same)
        return Outcome(OK)
    try:
        edge, branches = _lower([sample])
    except Exception:  # noqa: BLE001  (raised before anything runs, as it should be)
        return Outcome(OK)
    slugs = sorted(set().union(*(branch.slugs for branch in branches)))
    if slugs:
        return Outcome(REFUSED, tuple(slugs))
    announce([sample])
    try:
        _execute(bytes(edge.to_executorch().buffer), sample.tensors)
    except Exception:  # noqa: BLE001  (the runtime refuses)
        return Outcome(OK)
    text = "the runtime answers where torch raises"
    return Outcome(UPSTREAM if _run_undelegated(sample) is not None else WRONG, text=text)


def _run_together(
    samples: Sequence[Sample], announce: Callable[[Sequence[Sample]], None]
) -> dict[str, Outcome]:
    edge, branches = _lower(samples)
    outcomes: dict[str, Outcome] = {}
    for sample in samples:
        mine = [branches.pop(0) for _ in sample.run_torch()[0]]
        slugs = sorted(set().union(*(branch.slugs for branch in mine)))
        if slugs:
            outcomes[sample.name] = Outcome(REFUSED, tuple(slugs))
        elif not any(branch.delegated for branch in mine):
            outcomes[sample.name] = Outcome(IDENTITY)
    rest = [sample for sample in samples if sample.name not in outcomes]
    if len(rest) < len(samples):
        return {**outcomes, **run_samples(rest, announce)}
    file = _write(edge, samples)
    announce(samples)
    results = iter(_execute(file, _list_inputs(samples)))
    for sample in samples:
        expected = sample.run_torch()[0]
        actual = [next(results) for _ in expected]
        try:
            compare(sample.as_case(), actual, expected)
        except MismatchError as mismatch:
            known = "; ".join(dict.fromkeys(sample.list_limitations()))
            kind, text = (LIMITED, f"{mismatch} ({known})") if known else (WRONG, str(mismatch))
            if kind == WRONG and _differs_upstream(sample, expected):
                kind = UPSTREAM
            outcomes[sample.name] = Outcome(kind, text=text)
        else:
            outcomes[sample.name] = Outcome(OK)
    return outcomes


def _run_undelegated(sample: Sample) -> list[torch.Tensor] | None:
    """What torch makes of ExecuTorch's own edge program of a sample; None where it raises."""
    with torch.no_grad():
        try:
            edge = to_edge_transform_and_lower(_export([sample])).exported_program().module()
            return list(edge(*sample.tensors))
        except Exception:  # noqa: BLE001  (whatever it raises, it gives no result)
            return None


def _differs_upstream(sample: Sample, expected: list[torch.Tensor]) -> bool:
    found = _run_undelegated(sample)
    if found is None:
        return False
    try:
        compare(sample.as_case(), found, expected)
    except MismatchError:
        return True
    return False


def _export(samples: Sequence[Sample]) -> ExportedProgram:
    return torch.export.export(Branches(samples).eval(), tuple(_list_inputs(samples)))


def _list_inputs(samples: Sequence[Sample]) -> list[torch.Tensor]:
    return [tensor for sample in samples for tensor in sample.tensors]


def _lower(samples: Sequence[Sample]) -> tuple[EdgeProgramManager, list[Branch]]:
    partitioner = ObservingPartitioner()
    with torch.no_grad():
        try:
            program = _export(samples)
        except Exception as error:
            raise Refusal(reasons.EXPORT_FAILED.slug, _say(error)) from error
        try:
            edge = to_edge_transform_and_lower(program, partitioner=[partitioner])
        except Exception as error:
            if _is_ours(error) and _reaches_edge(program):
                raise
            raise Refusal(reasons.DECOMPOSITION_FAILED.slug, _say(error)) from error
    return edge, partitioner.branches


def _write(edge: EdgeProgramManager, samples: Sequence[Sample]) -> bytes:
    """The program's file, unless ExecuTorch cannot write it, delegated or not."""
    try:
        return bytes(edge.to_executorch().buffer)
    except Exception as error:
        if _is_ours(error) or _is_written_undelegated(samples):
            raise
        raise Refusal(reasons.INTERFACE.slug, _say(error)) from error


def _is_written_undelegated(samples: Sequence[Sample]) -> bool:
    with torch.no_grad():
        program = _export(samples)
        try:
            to_edge_transform_and_lower(program).to_executorch()
        except Exception:  # noqa: BLE001  (whatever it raises is not of our making)
            return False
    return True


def _execute(file: bytes, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    mlx_coverage.runtime.load()
    # A method reads the memory of its program, and its outputs are the method's memory.
    program = Runtime.get().load_program(file)
    method = program.load_method("forward")
    return [result.clone() for result in method.execute([*inputs])]


def _is_ours(error: BaseException) -> bool:
    """Whether the error went through this package."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.filename.startswith(PACKAGE) for frame in frames)


def _reaches_edge(program: ExportedProgram) -> bool:
    """Whether ExecuTorch takes the program without a partitioner."""
    try:
        to_edge_transform_and_lower(program)
    except Exception:  # noqa: BLE001  (whatever it raises is not of our making)
        return False
    return True


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}"
