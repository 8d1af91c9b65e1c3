"""From a model to its plan, and to its lowered program.

`lower_methods` asks torch's and ExecuTorch's public pipeline, to the end: what `export` writes.
`plan_methods` asks the same of edge programs that are made sooner, with a backend that records
nothing; wherever anything is refused or unusual on the way, it asks `lower_methods`. So a refusal
is always ExecuTorch's own, and `check` says what `export` does.
"""

import gc
import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    ExecutorchBackendConfig,
    ExecutorchProgramManager,
    to_edge_transform_and_lower,
)
from executorch.exir.passes.init_mutable_pass import InitializedMutableBufferPass
from executorch.exir.passes.memory_planning_pass import MemoryPlanningPass
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
)
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from mlx_coverage.analyze.attest import attest_methods
from mlx_coverage.analyze.failures import CaptureError, InputError, condense
from mlx_coverage.analyze.interface import Interface, list_refusals
from mlx_coverage.analyze.load import Exportable, Methods
from mlx_coverage.analyze.refusals import explain_refused, explain_unfinished, list_regions
from mlx_coverage.analyze.sources import locate_error
from mlx_coverage.lowering.decomposition import list_preserved, match_names
from mlx_coverage.lowering.graphs import isolate, share_metadata
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.pipeline import (
    convert_to_edge,
    defer_code,
    forget_pending,
    forget_traces,
    recall_delegates,
)
from mlx_coverage.lowering.plan import PartitionPlan, plan
from mlx_coverage.lowering.state import SharedBufferError
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import name_target

_log = logging.getLogger(__name__)
# Bytes of absent weights beside the delegates up to which ExecuTorch is asked to write a program
# of zeros: it holds each of them twice.
_MOST_ABSENT = 2**29
_UNTRACEABLE = (DataDependentOutputException, DynamicOutputShapeException)
_CAUSE = re.compile(r"Caused by: \((?P<place>[^()]+)\)")


@dataclass(frozen=True)
class Capture:
    """A model that reached the plan.

    Attributes:
        plans: the partition plan of each method.
        refusals: why ExecuTorch does not lower the program, or does not write it: the plans then
            say what would be delegated if it did.
    """

    plans: Mapping[str, PartitionPlan]
    refusals: tuple[CaptureError, ...] = ()

    @property
    def refused(self) -> CaptureError | None:
        """The first refusal."""
        return next(iter(self.refusals), None)


@dataclass(frozen=True)
class Lowering(Capture):
    """A model as ExecuTorch lowers it.

    Attributes:
        lowered: the program with its delegates; None where it does not lower.
        program: the program as it is written to a file; None where it is refused.
    """

    lowered: EdgeProgramManager | None = field(default=None, kw_only=True)
    program: ExecutorchProgramManager | None = field(default=None, kw_only=True)


def export_methods(methods: Methods, strict: bool = False) -> dict[str, ExportedProgram]:
    """Export each method; an `ExportedProgram` stays as it is.

    Args:
        methods: of the model.
        strict: whether to export strictly from the start, rather than where the default fails.

    Raises:
        CaptureError: torch.export, or the model's own code, raises.
    """
    programs: dict[str, ExportedProgram] = {}
    for name, value in methods.items():
        if isinstance(value, ExportedProgram):
            programs[name] = match_names(value)
        else:
            programs[name] = _export(name, value, len(methods), strict)
            forget_traces()
            share_metadata(programs[name])
    return programs


def _export(name: str, given: Exportable, count: int, strict: bool) -> ExportedProgram:
    printed, graph = io.StringIO(), ""
    try:
        with redirect_stderr(printed):
            program = _call_export(given, strict=True) if strict else _export_by_default(given)
    except (Exception, SystemExit) as error:
        graph = f"{getattr(error, 'partial_fx_graph', '')}\n"
        prefix = f"method {name}: " if count > 1 else ""
        tried = "" if strict else " (strict export fails, too)"
        sentence = f"{prefix}{_explain_export(error) or condense(error)}{tried}"
        source = locate_error(error)
        raise CaptureError("export", reasons.EXPORT_FAILED, sentence, source) from error
    finally:
        # What the model prints is the user's; the half-built graph that torch prints is noise.
        sys.stderr.write(printed.getvalue().replace(graph, "") if graph else printed.getvalue())
    return program


def _export_by_default(given: Exportable) -> ExportedProgram:
    """As torch.export does by default; strictly where that fails, or gives what cannot run.

    Raises:
        Exception: what the default way raised, where the strict one fails as well.
    """
    strict: ExportedProgram | None = None
    try:
        with defer_code():
            program = _call_export(given, strict=False)
        if any(map(_is_traced, program.constants.values())):
            raise RuntimeError("torch.export left tensors in the program that hold no values")
        if _is_functional(program):
            return program
        raise RuntimeError("torch cannot functionalise the exported model")
    except (Exception, SystemExit):
        with suppress(Exception, SystemExit), redirect_stderr(io.StringIO()):
            strict = _call_export(given, strict=True)
        if strict is None or any(map(_is_traced, strict.constants.values())):
            raise
    sys.stderr.write("mlx-coverage: exported with strict=True, as torch.export's default fails\n")
    return strict


def _is_functional(program: ExportedProgram) -> bool:
    """Whether torch can take the writes out of the program: not those into a lifted constant.

    transformers' caches are attributes that the default way of export lifts.
    """
    kinds = {spec.kind for spec in program.graph_signature.input_specs}
    written = any(
        isinstance(node.target, OpOverload) and node.target._schema.is_mutable
        for node in program.graph.nodes
    )
    if InputKind.CONSTANT_TENSOR not in kinds or not written:
        return True
    try:
        program.run_decompositions({})
    except Exception:  # noqa: BLE001  (torch says it in many ways)
        forget_pending(program)
        return False
    return True


def _call_export(given: Exportable, strict: bool) -> ExportedProgram:
    return torch.export.export(
        given.module, given.args, given.kwargs, dynamic_shapes=given.dynamic_shapes, strict=strict
    )


def _is_traced(value: Any) -> bool:
    """A tensor that a transform of torch.func, or tracing itself, left among the constants."""
    return isinstance(value, FunctionalTensor) or (
        isinstance(value, torch.Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value)
    )


def _explain_export(error: BaseException) -> str | None:
    """What torch says in an op's name or in its own terms alone."""
    if isinstance(error, _UNTRACEABLE):
        return (
            f"torch.export cannot trace {name_target(error.func)}, whose result depends on the "
            "values of its inputs; compute it outside of the model"
        )
    if isinstance(error, GuardOnDataDependentSymNode):
        place = _CAUSE.search(str(error))
        return (
            "torch.export cannot follow a branch on the values of a tensor"
            f"{f' ({place[1]})' if place else ''}; select with torch.where, or leave it out of the "
            "model"
        )
    return None


def plan_methods(
    programs: MutableMapping[str, ExportedProgram],
    make: Callable[[], MLXPartitioner],
    follow: Callable[[str], AbstractContextManager[None]] = lambda stage: nullcontext(),
    again: Callable[[str], ExportedProgram] | None = None,
) -> Capture:
    """What `lower_methods` finds, sooner where ExecuTorch has no objection.

    Args:
        programs: by method; left as they are, unless there is `again`.
        make: gives the partitioner of a method.
        follow: gives a context for each stage, named in a few words.
        again: gives the program of a method anew. Where there is one, programs are taken out
            and freed one after another: a graph weighs hundreds of megabytes at full size.

    Raises:
        AttestationError: as `lower_methods`.
    """

    def make_planner() -> MLXPartitioner:
        partitioner = make()
        partitioner.record_nothing()
        return partitioner

    names = list(programs)
    found = _plan_quickly(programs, make_planner, follow, again is None)
    gc.collect()
    if found is not None:
        return found
    with follow("asking ExecuTorch's own pipeline"):
        given = programs if again is None else {name: again(name) for name in names}
        return lower_methods(given, make_planner)


def _plan_quickly(
    programs: MutableMapping[str, ExportedProgram],
    make: Callable[[], MLXPartitioner],
    follow: Callable[[str], AbstractContextManager[None]],
    keep: bool,
) -> Capture | None:
    """The same lowering from edge programs made by the shortcut; None with any objection."""
    partitioners: dict[str, MLXPartitioner] = {}
    edges: dict[str, ExportedProgram] = {}
    interfaces: dict[str, Interface] = {}
    for name in list(programs):
        partitioner = partitioners[name] = make()
        interfaces[name] = Interface.from_program(programs[name])
        try:
            with follow(f"decomposing {name}"), defer_code():
                program = programs[name] if keep else programs.pop(name)
                prepared = partitioner.transform_for_pre_decomposition(program)
                del program
            gc.collect()  # a graph is made of cycles
            with follow(f"converting {name} to ExecuTorch's edge dialect"), defer_code():
                kept = list_preserved(partitioner.ops_to_not_decompose(prepared)[0])
                edge = convert_to_edge(prepared, kept)
                del prepared
        except Exception:  # noqa: BLE001  (the public pipeline says what is wrong, or ours)
            _log.debug("%s takes the public pipeline", name, exc_info=True)
            return None
        if edge is None:
            return None
        edges[name] = edge
    lenient = EdgeCompileConfig(_check_ir_validity=False)
    with follow("planning"), defer_code():
        try:
            lowered = EdgeProgramManager(edges, None, lenient).to_backend(dict(partitioners))
        except Exception:  # noqa: BLE001
            _log.debug("the public pipeline is asked", exc_info=True)
            return None
        del edges
        found = _conclude(partitioners, lowered, interfaces, quick=True)
        del lowered
    # The lowered program is not kept: it weighs what the plan does.
    return None if found.refusals else Capture(found.plans)


def lower_methods(
    programs: Mapping[str, ExportedProgram],
    make: Callable[[], MLXPartitioner],
    constants: Mapping[str, Any] | None = None,
) -> Lowering:
    """Lower the programs with partitioners from `make`, up to ExecuTorch's finished program.

    Args:
        programs: by method; left as they are.
        make: gives the partitioner of a method.
        constants: values that further methods return, by their names.

    Returns:
        Where ExecuTorch refuses the program, the refusals, and plans of what it would delegate.

    Raises:
        AttestationError: delegates hold other nodes than planned: a defect of ours.
    """
    partitioners = {name: make() for name in programs}
    try:
        try:
            lowered = _lower(programs, partitioners, EdgeCompileConfig())
        except SharedBufferError:
            partitioners = {name: make() for name in programs}
            for partitioner in partitioners.values():
                partitioner.share_mutable_buffers = True  # as `finish` has ExecuTorch do
            lowered = _lower(programs, partitioners, EdgeCompileConfig())
    except Exception as error:  # noqa: BLE001  (ExecuTorch's refusals have no type of their own)
        return _explain(programs, make, error)
    interfaces = {name: Interface.from_program(program) for name, program in programs.items()}
    return _conclude(partitioners, lowered, interfaces, constants=constants)


def _lower(
    programs: Mapping[str, ExportedProgram],
    partitioners: Mapping[str, MLXPartitioner],
    config: EdgeCompileConfig,
) -> EdgeProgramManager:
    for program in programs.values():
        forget_pending(program)
    return to_edge_transform_and_lower(
        dict(programs),
        partitioner={name: [partitioner] for name, partitioner in partitioners.items()},
        compile_config=config,
    )


def _conclude(
    partitioners: Mapping[str, MLXPartitioner],
    lowered: EdgeProgramManager,
    interfaces: Mapping[str, Interface],
    quick: bool = False,
    constants: Mapping[str, Any] | None = None,
) -> Lowering:
    """Hold a lowered program against its plans, and have ExecuTorch finish it."""
    plans = {name: partitioner.plans[-1] for name, partitioner in partitioners.items()}
    attest_methods(plans, lowered)
    for name in plans if quick else ():
        recall_delegates(lowered.exported_program(name).graph_module)
    refusals = [
        refusal
        for name, interface in interfaces.items()
        for refusal in list_refusals(interface, lowered.exported_program(name))
    ]
    refusals += [refusal for plan in plans.values() for refusal in list_regions(plan.graph)]
    program = None
    if not refusals and _count_absent(lowered) <= _MOST_ABSENT:
        try:
            program = finish(lowered, constants)
        except Exception as error:  # noqa: BLE001  (to_executorch raises untyped errors)
            refusals += explain_unfinished(error, plans)
    return Lowering(plans, tuple(refusals), lowered=lowered, program=program)


def _explain(
    programs: Mapping[str, ExportedProgram], make: Callable[[], MLXPartitioner], error: Exception
) -> Lowering:
    """The refusals of each method, one after another, and plans of what remains."""
    plans: dict[str, PartitionPlan] = {}
    refusals: list[CaptureError] = []
    for name, program in programs.items():
        partitioner = make()
        try:
            _lower({name: program}, {name: partitioner}, EdgeCompileConfig())
        except Exception as own:  # noqa: BLE001
            plans[name] = _plan_rest(name, program, make)
            refusals += explain_refused(own, name, program, plans[name])
        else:
            plans[name] = partitioner.plans[-1]
    if isinstance(error, SharedBufferError):
        refusals = [CaptureError("edge", reasons.SHARED_BUFFER, str(error))]
    elif not refusals:  # each of them lowers alone
        refusals = [CaptureError.from_error("edge", reasons.DECOMPOSITION_FAILED, error)]
    once = {(r.stage, r.sentence, r.source): r for r in refusals}
    return Lowering(plans, tuple(once.values()), lowered=None, program=None)


def _plan_rest(
    name: str, program: ExportedProgram, make: Callable[[], MLXPartitioner]
) -> PartitionPlan:
    """The plan of a program that ExecuTorch refuses: without its checks, or of an earlier form."""
    partitioner = make()
    try:
        config = EdgeCompileConfig(_check_ir_validity=False)
        _lower({name: program}, {name: partitioner}, config)
        return partitioner.plans[-1]
    except Exception:  # noqa: BLE001  (the error that matters is known)
        pass
    steps = (partitioner.transform_for_pre_decomposition, lambda p: p.run_decompositions({}))
    for step in steps:
        try:
            prepared = step(program)
            break
        except Exception:  # noqa: BLE001
            continue
    else:
        prepared = program
    return plan(prepared, partitioner.registry, partitioner.options).copy()


def finish(
    lowered: EdgeProgramManager, constants: Mapping[str, Any] | None = None
) -> ExecutorchProgramManager:
    """The program of a lowered model, as it is written to a file.

    Args:
        lowered: left as it is.
        constants: values that further methods return, by their names.

    Raises:
        Exception: whatever ExecuTorch raises when it cannot write the program.
    """
    programs = {}
    for name in lowered.methods:
        program = lowered.exported_program(name)
        programs[name] = copied = isolate(program, program.graph)
        _fill_absent(copied)
    lenient = EdgeCompileConfig(_check_ir_validity=False)
    manager = EdgeProgramManager(programs, dict(constants or {}), lenient)
    # Buffers that stay with ExecuTorch lose their initial values without this pass. Those that
    # methods share start at zeros: loading a method would reset them to what is stored.
    signatures = [program.graph_signature for program in programs.values()]
    holders = Counter(b for signature in signatures for b in signature.inputs_to_buffers.values())
    mutated = {b for signature in signatures for b in signature.buffers_to_mutate.values()}
    names = [
        name
        for signature in signatures
        for name, buffer in signature.inputs_to_buffers.items()
        if buffer in mutated and holders[buffer] == 1
    ]
    shares = bool(mutated) and len(signatures) > 1
    config = ExecutorchBackendConfig(
        passes=[InitializedMutableBufferPass(names)] if names else [],
        memory_planning_pass=MemoryPlanningPass(share_mutable_buffers=shares),
    )
    return manager.to_executorch(config)


def _count_absent(lowered: EdgeProgramManager) -> int:
    """Bytes of the weights that are not there and that no delegate took."""
    programs = (lowered.exported_program(name) for name in lowered.methods)
    held = (t for p in programs for t in (*p.state_dict.values(), *p.constants.values()))
    return sum(t.nbytes for t in held if isinstance(t, torch.Tensor) and is_absent(t))


def _fill_absent(program: ExportedProgram) -> None:
    """Zeros for weights that are not there and that no delegate took."""
    for held in (program.state_dict, program.constants):
        for name, tensor in held.items():
            if isinstance(tensor, torch.Tensor) and is_absent(tensor):
                held[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)


def write_methods(
    programs: Mapping[str, ExportedProgram], make: Callable[[], MLXPartitioner]
) -> ExecutorchProgramManager:
    """The finished program of `lower_methods`.

    Raises:
        CaptureError: ExecuTorch refuses it.
    """
    lowering = lower_methods(programs, make)
    if lowering.program is None:
        raise lowering.refusals[0]
    return lowering.program


def lower_attested(
    programs: Mapping[str, ExportedProgram], planned: Capture, make: Callable[[], MLXPartitioner]
) -> ExecutorchProgramManager:
    """Lower once more, with the backend that records, and hold the result against the plan.

    Raises:
        InputError: the model has no weights to lower.
        CaptureError: ExecuTorch refuses the program.
        AttestationError: the two differ.
    """
    if lacks_weights(programs):
        raise InputError(
            "--verify lowers in full, and the model's weights are not there (meta tensors); "
            "leave it out, or load the weights"
        )
    lowering = lower_methods(programs, make)
    if lowering.program is None or lowering.lowered is None:
        raise lowering.refusals[0]
    attest_methods(planned.plans, lowering.lowered)
    return lowering.program


def lower_undelegated(programs: Mapping[str, ExportedProgram]) -> ExecutorchProgramManager:
    """The programs as ExecuTorch writes them with no partitioner.

    Raises:
        CaptureError: it refuses them.
    """
    try:
        return finish(to_edge_transform_and_lower(dict(programs)))
    except Exception as error:
        raise CaptureError.from_error("edge", reasons.DECOMPOSITION_FAILED, error) from error


def lacks_weights(programs: Mapping[str, ExportedProgram]) -> bool:
    """Whether a program was exported without the values of its weights."""
    return any(map(is_absent, (t for p in programs.values() for t in p.state_dict.values())))


def is_absent(tensor: torch.Tensor) -> bool:
    """Whether a tensor is there without its values."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)
