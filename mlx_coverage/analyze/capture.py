"""From a model to its plan, and to its lowered program.

A plan is made of the program as ExecuTorch's default configuration would hand it to the
partitioner: ExecuTorch's decompositions and passes, computing only what they change. Weights
may be absent (meta tensors). That lowering comes to the same plan is tested for every
example and family, and `verify` holds a user's own model against it.
"""

import gc
import io
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower
from torch._export.verifier import SpecViolationError
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature, InputKind
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from mlx_coverage.analyze.failures import AttestationError, CaptureError, condense
from mlx_coverage.analyze.interface import Interface, find_refusal
from mlx_coverage.analyze.load import Exportable, Methods
from mlx_coverage.analyze.model import Source
from mlx_coverage.analyze.sources import is_ours, locate_error, locate_node
from mlx_coverage.lowering.codegen import defer_code
from mlx_coverage.lowering.decomposition import (
    decompose_functional,
    functionalize,
    list_preserved,
    match_names,
)
from mlx_coverage.lowering.edge import RefusedFunctionError, check_validity, convert_to_edge
from mlx_coverage.lowering.metadata import drop_history, forget_traces, share_metadata
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Fallback, PartitionPlan, find_owned_buffers, plan
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import canonicalize, name_target

_NOT_CORE = re.compile(r"Operator torch\._ops\.(?P<op>\S+) is not in Core ATen opset")
_NOT_TAKEN = "was not decomposed or delegated"
_UNTRACEABLE = (DataDependentOutputException, DynamicOutputShapeException)
_CAUSE = re.compile(r"Caused by: \((?P<place>[^()]+)\)")
# Whose branches and bodies ExecuTorch's passes convert.
_CONVERTED = frozenset(
    {
        *(torch.ops.higher_order.cond, torch.ops.higher_order.while_loop),
        *(torch.ops.higher_order.map_impl, torch.ops.higher_order.scan),
    }
)
_INSTEAD = {
    "flex_attention": "call torch.nn.functional.scaled_dot_product_attention with an attn_mask",
}
_MISPLACED = re.compile(r"Input spec name \S+ does not match node name")


@dataclass(frozen=True)
class Capture:
    """A model that reached the plan.

    Attributes:
        plans: the partition plan of each method.
        refused: set when ExecuTorch refuses the program in its default configuration
            because of ops outside core ATen, or of what it takes and returns: the plan then
            says what would be delegated if it did not.
    """

    plans: Mapping[str, PartitionPlan]
    refused: CaptureError | None = None


@dataclass(frozen=True)
class Lowering(Capture):
    """A model that ExecuTorch lowered.

    Attributes:
        lowered: the program that ExecuTorch made of it.
    """

    lowered: EdgeProgramManager = field(kw_only=True)


def export_methods(methods: Methods) -> dict[str, ExportedProgram]:
    """Export each method; an `ExportedProgram` stays as it is.

    Raises:
        CaptureError: torch.export, or the model's own code, raises.
    """
    programs: dict[str, ExportedProgram] = {}
    for name, value in methods.items():
        if isinstance(value, ExportedProgram):
            programs[name] = match_names(value)
        else:
            programs[name] = _export(name, value, len(methods))
            forget_traces()
            share_metadata(programs[name])
    return programs


def _export(name: str, given: Exportable, count: int) -> ExportedProgram:
    printed, graph = io.StringIO(), ""
    try:
        with redirect_stderr(printed):
            program = _export_strictly_or_not(given)
    except (Exception, SystemExit) as error:
        graph = f"{getattr(error, 'partial_fx_graph', '')}\n"
        prefix = f"method {name}: " if count > 1 else ""
        sentence = f"{prefix}{_explain_export(error) or condense(error)} (strict export fails, too)"
        source = locate_error(error)
        raise CaptureError("export", reasons.EXPORT_FAILED, sentence, source) from error
    finally:
        # What the model prints is the user's; the half-built graph that torch prints is noise.
        sys.stderr.write(printed.getvalue().replace(graph, "") if graph else printed.getvalue())
    return program


def _export_strictly_or_not(given: Exportable) -> ExportedProgram:
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
        return program
    except (Exception, SystemExit):
        with suppress(Exception, SystemExit), redirect_stderr(io.StringIO()):
            strict = _call_export(given, strict=True)
        if strict is None or any(map(_is_traced, strict.constants.values())):
            raise
    sys.stderr.write("mlx-coverage: exported with strict=True, as torch.export's default fails\n")
    return strict


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
    """Plan the programs as partitioners from `make` would, without lowering them.

    Args:
        programs: by method; left as they are, unless there is `again`.
        make: gives the partitioner of a method.
        follow: gives a context for each stage, named in a few words.
        again: gives the program of a method anew. Where there is one, programs are taken out
            and freed one after another: a graph weighs hundreds of megabytes at full size.

    Raises:
        CaptureError: ExecuTorch would refuse the program for another reason than an op
            outside core ATen.
    """
    plans: dict[str, PartitionPlan] = {}
    refusals: list[CaptureError | None] = []
    refused = False
    for name in list(programs):
        partitioner = make()
        interface = Interface.from_program(programs[name])
        try:
            with follow(f"decomposing {name}"), defer_code():
                prepared, whole = _decompose(name, programs, partitioner, again is None)
            with follow(f"converting {name} to ExecuTorch's edge dialect"), defer_code():
                edge = convert_to_edge(prepared)
                refused |= _is_refused(edge, whole)
        except RefusedFunctionError as error:
            raise _refuse_function(error) from error
        except Exception as error:
            if is_ours(error):
                # Ours drives ExecuTorch's passes: a program that its own pipeline refuses
                # as well is no defect of ours, and raises here.
                left = {name: again(name) if again else programs[name]}
                lower_methods(left, make)
                raise _edge_failure(error, left) from error
            raise _edge_failure(error, {}) from error
        with follow(f"planning {name}"):
            plans[name] = plan(edge, partitioner.registry, partitioner.options)
        kept = _list_kept(plans[name])
        region = _find_region(plans[name].graph)
        refusals.append(
            _refuse_region(region)
            if region is not None
            else find_refusal(interface, _leaves_tensors(plans[name]), kept)
        )
    return Capture(plans, _refuse(plans) if refused else next(filter(None, refusals), None))


def _decompose(
    name: str,
    programs: MutableMapping[str, ExportedProgram],
    partitioner: MLXPartitioner,
    keep: bool,
) -> tuple[ExportedProgram, Sequence[OpOverload]]:
    """The program as it is converted, and the ops that are kept whole in it."""
    program = programs[name] if keep else programs.pop(name)
    functional = functionalize(program, partitioner.registry)
    drop_history(functional.graph)
    if not keep:
        del program
        gc.collect()  # a graph is made of cycles
    prepared = decompose_functional(functional, partitioner.registry, partitioner.options)
    return prepared, list_preserved(partitioner.ops_to_not_decompose(prepared)[0])


def _refuse_function(error: RefusedFunctionError) -> CaptureError:
    sentence = (
        f"ExecuTorch cannot compute {error} of dynamic sizes; make those sizes static, or "
        "compute with whole numbers"
    )
    return CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, locate_node(error.node))


def _find_region(graph: Graph) -> Node | None:
    """A call that is given parts of the program and that ExecuTorch's passes do not know."""
    users = (user for node in graph.find_nodes(op="get_attr") for user in node.users)
    strange = (
        user
        for user in users
        if isinstance(user.target, HigherOrderOperator) and user.target not in _CONVERTED
    )
    return next(strange, None)


def _refuse_region(node: Node) -> CaptureError:
    name = name_target(canonicalize(node.target)).rpartition(".")[2]
    sentence = (
        f"ExecuTorch cannot lower {name}: it leaves the functions that it is given unconverted; "
        f"{_INSTEAD.get(name, 'write the line without it')}"
    )
    return CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, locate_node(node))


def _find_refused_region(
    programs: Mapping[str, ExportedProgram], make: Callable[[], MLXPartitioner]
) -> CaptureError | None:
    kept = dict(programs)
    prepared = (_decompose(name, kept, make(), keep=True)[0] for name in kept)
    regions = filter(None, (_find_region(program.graph) for program in prepared))
    return next(map(_refuse_region, regions), None)


def _find_refused_function(
    programs: Mapping[str, ExportedProgram], make: Callable[[], MLXPartitioner]
) -> CaptureError | None:
    for name in programs:
        prepared, kept = _decompose(name, dict(programs), make(), keep=True)
        try:
            _is_refused(convert_to_edge(prepared), kept)
        except RefusedFunctionError as error:
            return _refuse_function(error)
    return None


def _leaves_tensors(planned: PartitionPlan) -> bool:
    """Whether weights or state stay with ExecuTorch, or new values of inputs are returned."""
    signature = planned.signature
    assert signature is not None
    inside = {node for members in planned.partitions for node in members}
    taken = find_owned_buffers(planned)
    given = {s.arg.name for s in signature.input_specs if s.kind is InputKind.USER_INPUT}
    return bool(signature.user_inputs_to_mutate) or any(
        node not in taken and not (node.users and inside.issuperset(node.users))
        for node in planned.graph.find_nodes(op="placeholder")
        if node.name not in given
    )


def _list_kept(planned: PartitionPlan) -> Iterator[Any]:
    """Example values of what ExecuTorch sees between the delegates."""
    numbers = {node: n for n, members in enumerate(planned.partitions) for node in members}
    for node in planned.graph.nodes:
        number = numbers.get(node)
        if number is None or any(numbers.get(user) != number for user in node.users):
            yield node.meta.get("val")


def _is_refused(edge: ExportedProgram, whole: Sequence[OpOverload]) -> bool:
    try:
        check_validity(edge, whole)
    except SpecViolationError as error:
        # The program will not lower; what the delegate would take is still worth knowing.
        if _NOT_CORE.search(str(error)):
            return True
        raise
    return False


def lower_methods(
    programs: Mapping[str, ExportedProgram], make: Callable[[], MLXPartitioner]
) -> Lowering:
    """Lower the programs with partitioners from `make` and keep the plans.

    Raises:
        CaptureError: ExecuTorch refuses the program for another reason than an op
            outside core ATen.
        AttestationError: an op that was kept whole was not placed, or not let pass: a
            defect of ours.
    """
    config = EdgeCompileConfig()
    while True:
        partitioners = {name: make() for name in programs}
        try:
            lowered = to_edge_transform_and_lower(
                dict(programs),
                partitioner={name: [p] for name, p in partitioners.items()},
                compile_config=config,
            )
            break
        except SpecViolationError as error:
            if not _NOT_CORE.search(str(error)) or not config._check_ir_validity:
                raise (
                    _find_refused_region(programs, make) or _edge_failure(error, programs)
                ) from error
            config = EdgeCompileConfig(_check_ir_validity=False)
        except Exception as error:
            # A function on sizes is refused without a word.
            silent = isinstance(error, AssertionError) and not str(error)
            refusal = _find_refused_function(programs, make) if silent else None
            raise refusal or _edge_failure(error, programs) from error
    plans = {name: p.plans[-1] for name, p in partitioners.items()}
    if not config._check_ir_validity:
        return Lowering(plans, _refuse(plans), lowered=lowered)
    refusals = (_find_refusal(p, lowered.exported_program(n)) for n, p in programs.items())
    return Lowering(plans, next(filter(None, refusals), None), lowered=lowered)


def lower_undelegated(programs: Mapping[str, ExportedProgram]) -> EdgeProgramManager:
    """The programs as ExecuTorch lowers them with no partitioner.

    Raises:
        CaptureError: it refuses them.
    """
    try:
        return to_edge_transform_and_lower(dict(programs))
    except Exception as error:
        raise _edge_failure(error, programs) from error


def _find_refusal(program: ExportedProgram, lowered: ExportedProgram) -> CaptureError | None:
    kept = (node.meta.get("val") for node in lowered.graph.nodes)
    interface = Interface.from_program(program)
    return find_refusal(interface, _has_tensors(lowered.graph_signature), kept)


def _has_tensors(signature: ExportGraphSignature) -> bool:
    """The same of a lowered method: what the delegates took is no input of it any more."""
    weights = len(signature.input_specs) > len(signature.user_inputs)
    return weights or bool(signature.user_inputs_to_mutate)


def _refuse(plans: Mapping[str, PartitionPlan]) -> CaptureError:
    """The sentence on ops outside core ATen that stay with ExecuTorch."""
    refused: dict[str, Source] = {}
    remedies: list[str] = []
    for found in plans.values():
        for node, placement in found.placements.items():
            op = canonicalize(node.target)
            if isinstance(placement, Fallback) and _is_outside_core(op):
                refused.setdefault(name_target(op), locate_node(node))
                remedies += [r.text for r in placement.reasons if r.kind is reasons.KNOWN_GAP]
    if not refused:
        raise AttestationError("ExecuTorch refuses an op that was to be delegated whole")
    names = ", ".join(refused)
    sentence = (
        f"ExecuTorch refuses ops outside core ATen ({names}), so the program does not lower; "
        f"{remedies[0] if remedies else 'rewrite the line with core ops'}"
    )
    source = next(iter(refused.values()), Source())
    return CaptureError("edge", reasons.DECOMPOSITION_FAILED, sentence, source)


def _is_outside_core(op: Any) -> bool:
    if not isinstance(op, OpOverload) or op.namespace != "aten":
        return False
    return not op.is_view and torch.Tag.core not in op.tags


def _edge_failure(error: Exception, programs: Mapping[str, ExportedProgram]) -> Exception:
    if _NOT_TAKEN in str(error):
        return AttestationError(f"an op was kept whole and not delegated: {condense(error)}")
    if _MISPLACED.search(str(error)):
        sentence = (
            "ExecuTorch refuses a model that takes no inputs and computes with several numbers; "
            "give it an input, such as a tensor to add"
        )
        return CaptureError("edge", reasons.INTERFACE, sentence)
    if is_ours(error):
        return _find_torchs_refusal(programs) or error
    return CaptureError.from_error("edge", reasons.DECOMPOSITION_FAILED, error)


def _find_torchs_refusal(programs: Mapping[str, ExportedProgram]) -> CaptureError | None:
    """Set where torch cannot functionalise a program that it exported: no defect of ours."""
    for program in programs.values():
        try:
            program.run_decompositions({})
        except Exception as error:  # noqa: BLE001  (whatever torch raises is its refusal)
            prefix = "torch cannot functionalise the exported model: "
            return CaptureError.from_error("edge", reasons.DECOMPOSITION_FAILED, error, prefix)
    return None
