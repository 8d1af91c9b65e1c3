"""One op by itself: what the registry holds for it, and what a call of it becomes.

The call is exported and planned as a model is, so that what is said here is what a model
with such a call would get.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from executorch.exir.program._program import _default_decomposition_table
from torch._decomp import decomposition_table
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from mlx_coverage.analyze import capture
from mlx_coverage.analyze.catalog import list_ops
from mlx_coverage.analyze.cost import describe_value
from mlx_coverage.analyze.failures import CaptureError, InputError, condense
from mlx_coverage.analyze.inquiry import Decomposer, OpInquiry, OpPart
from mlx_coverage.analyze.load import Exportable
from mlx_coverage.analyze.model import CoverageReport, Finding, Fix, OpEntry, OpStanding
from mlx_coverage.lowering.partitioner import MLXPartitioner
from mlx_coverage.lowering.plan import Delegated, Fallback, PartitionPlan
from mlx_coverage.registry import reasons
from mlx_coverage.registry.call import canonicalize, name_node, name_target
from mlx_coverage.registry.spec import Registry

# Of ops that torch and ExecuTorch bring, and of ours.
STOCK_NAMESPACES = frozenset(
    {"aten", "prims", "dim_order_ops", "mlx_coverage", "quantized_decomposed"}
)

# Tried in this order for every tensor of the call.
_EXAMPLES = tuple(
    (shape, dtype)
    for dtype in (torch.float32, torch.int64, torch.bool)
    for shape in ((4, 4), (2, 4, 4), (1, 4, 8, 8), (4,), ())
)
_VALUES: Mapping[str, Any] = {
    "number": 1.0, "float": 1.0, "int": 1, "SymInt": 1, "bool": False, "str": "",
    "Device": torch.device("cpu"),
}  # fmt: skip


def find_op(name: str) -> OpOverload:
    """The overload that `mylib::myop`, `mylib.myop` or `mylib.myop.default` names.

    Raises:
        InputError: there is none, or several that the name could mean.
    """
    parts = name.replace("::", ".").removeprefix("torch.ops.").split(".")
    if not 2 <= len(parts) <= 3 or not all(part.isidentifier() for part in parts):
        raise InputError(f"{name!r} names no op; accepted: a name such as mylib::myop")
    namespace, op = getattr(torch.ops, parts[0]), parts[1]
    # torch has namespaces of every name, and finds the op when it is read.
    if not hasattr(namespace, op):
        raise InputError(
            f"torch knows no op {parts[0]}::{op}; accepted: an op that is registered, with "
            "--import MODULE for the module that registers it"
        )
    overloads = getattr(namespace, op).overloads()
    wanted = parts[2] if len(parts) == 3 else overloads[0] if len(overloads) == 1 else "default"
    if wanted not in overloads:
        accepted = ", ".join(f"{parts[0]}.{op}.{overload}" for overload in overloads)
        raise InputError(f"{name!r} names no overload; accepted: {accepted}")
    found = getattr(getattr(namespace, op), wanted)
    assert isinstance(found, OpOverload)
    return found


def inquire(op: OpOverload, registry: Registry) -> OpInquiry:
    """Judge an op by one example call of it."""
    target = canonicalize(op)
    name = name_target(target)
    entry = next((entry for entry in list_ops(registry, name) if entry.op == name), None)
    example, plan, problem = _plan_example(op, registry)
    parts = tuple(_list_parts(plan)) if plan is not None else ()
    obstacles = tuple(_list_obstacles(op, plan))
    runs = bool(parts) and all(part.delegated == part.nodes for part in parts)
    return OpInquiry(
        op=name,
        schema=str(op._schema),
        standing=_describe_standing(entry),
        entry=entry,
        decomposer=_find_decomposer(op, registry),
        example=example,
        parts=parts,
        problem=problem,
        obstacles=obstacles,
        skeleton=""
        if runs or obstacles or registry.get(target) is not None
        else write_skeleton(op),
    )


def _describe_standing(entry: OpEntry | None) -> OpStanding:
    if entry is None:
        return "none"
    return "gap" if entry.gap is not None else "partial" if entry.limitations else "full"


def make_call(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Exportable:
    """A module that makes one call, its tensors being the inputs."""
    values, structure = pytree.tree_flatten((list(args), dict(kwargs)))
    tensors = tuple(value for value in values if isinstance(value, torch.Tensor))

    class Call(torch.nn.Module):
        def forward(self, *given: torch.Tensor) -> Any:
            rest = iter(given)
            filled = [next(rest) if isinstance(v, torch.Tensor) else v for v in values]
            positional, named = pytree.tree_unflatten(filled, structure)
            return op(*positional, **named)

    return Exportable(Call(), tensors)


def _plan_example(op: OpOverload, registry: Registry) -> tuple[str, PartitionPlan | None, str]:
    """The call that was planned, its plan, and why there is none."""
    problem = "no example call is known for its schema"
    for shape, dtype in _EXAMPLES:
        arguments = _make_arguments(op, torch.zeros(shape, dtype=dtype, device="meta"))
        if arguments is None:
            break
        # The first tensors that the op takes; support is judged by the plan alone.
        try:
            op(**arguments)
        except Exception as error:  # noqa: BLE001  (the op's own code, or its shape function's)
            problem = f"it takes none of the example calls: {condense(error)}"
            continue
        try:
            programs = capture.export_methods({"call": make_call(op, (), arguments)})
            planned = capture.plan_methods(programs, lambda: MLXPartitioner(registry=registry))
        except CaptureError as failure:
            problem = failure.describe()
            continue
        return _describe_call(op, arguments), planned.plans["call"], ""
    return "", None, problem


def _make_arguments(op: OpOverload, example: torch.Tensor) -> dict[str, Any] | None:
    arguments: dict[str, Any] = {}
    for argument in op._schema.arguments:
        kind = str(argument.type)
        value: Any
        if argument.has_default_value():
            continue
        if kind.startswith("Optional["):
            value = None
        elif argument.name == "dtype" or argument.name.endswith("_dtype"):
            value = torch.float32  # torch's schemas call a ScalarType an int
        elif kind == "Tensor":
            value = example.clone()
        elif kind == "List[Tensor]":
            value = [example.clone(), example.clone()]
        elif kind.startswith("List["):
            value = [_VALUES.get(kind.removeprefix("List[").removesuffix("]"), 1)]
        elif kind in _VALUES:
            value = _VALUES[kind]
        else:
            return None
        arguments[argument.name] = value
    return arguments


def _describe_call(op: OpOverload, arguments: Mapping[str, Any]) -> str:
    def describe(value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(map(describe, value))}]"
        return describe_value(value) if isinstance(value, torch.Tensor) else repr(value)

    given = ", ".join(f"{name}={describe(value)}" for name, value in arguments.items())
    return f"{op}({given})"


def _list_parts(plan: PartitionPlan) -> Iterator[OpPart]:
    groups: dict[str, list[Any]] = {}
    for node, placement in plan.placements.items():
        groups.setdefault(name_node(node), []).append(placement)
    for name, placements in groups.items():
        reasons = [p.reasons[0] for p in placements if isinstance(p, Fallback)]
        yield OpPart(
            op=name,
            nodes=len(placements),
            delegated=sum(isinstance(p, Delegated) for p in placements),
            reasons=tuple(dict.fromkeys(f"{r.kind.slug}: {r.text}" for r in reasons)),
        )


def _find_decomposer(op: OpOverload, registry: Registry) -> Decomposer:
    spec = registry.get(canonicalize(op))
    if spec is not None and not spec.whole:
        return "none"
    if op in registry.decompositions:
        return "registry"
    if op._can_decompose():
        return "composite"
    if op in _default_decomposition_table():
        return "executorch"
    return "torch" if op in decomposition_table else "none"


def _list_obstacles(op: OpOverload, plan: PartitionPlan | None) -> Iterator[str]:
    if op._schema.is_mutable and op.namespace != "aten":
        yield (
            "its schema writes into an argument, which export turns into a higher-order op; "
            "give a functional op an entry instead"
        )
    if torch.Tag.nondeterministic_seeded in op.tags:
        yield "it draws random numbers, which MLX draws otherwise"
    placements = plan.placements.values() if plan is not None else ()
    found = {reason.kind for p in placements if isinstance(p, Fallback) for reason in p.reasons}
    if torch.Tag.dynamic_output_shape in op.tags or reasons.DATA_DEPENDENT in found:
        yield "the size of its result depends on data, which no MLX graph can have"


def write_skeleton(op: OpOverload) -> str:
    """A declaration of the op for a plug-in, its MLX code to be written."""
    schema = op._schema
    base = schema.name.partition("::")[2]
    tensors = [a.name for a in schema.arguments if "Tensor" in str(a.type)]
    rules = ", ".join(f'Dtype("{name}", FLOAT)' for name in tensors)
    samples = ", ".join(f'{name}=tensor("*S")' for name in tensors)
    parameters = ", ".join(
        a.name + (f"={_write_default(a.default_value)}" if a.has_default_value() else "")
        for a in schema.arguments
    )
    return f"""\
import torch

from mlx_coverage.registry.dtypes import FLOAT
from mlx_coverage.registry.mx import mx
from mlx_coverage.registry.rules import Dtype
from mlx_coverage.registry.samples import draw, tensor


def declare(family):
    # {schema}
    @family.op(
        torch.ops.{op},
        rules=[{rules}],  # where the code below equals torch
        samples=draw({samples}),  # how valid arguments relate
    )
    def {base}({parameters}):
        raise NotImplementedError  # mx functions on MLX arrays
"""


def _write_default(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def propose_entries(report: CoverageReport) -> CoverageReport:
    """The report with a declaration to fill in beside each custom op that has no entry."""
    methods = (
        replace(method, findings=tuple(map(_propose_entry, method.findings)))
        for method in report.methods
    )
    return replace(report, methods=tuple(methods))


def _propose_entry(finding: Finding) -> Finding:
    namespace, _, rest = finding.op.partition(".")
    custom = namespace not in STOCK_NAMESPACES and hasattr(
        getattr(torch.ops, namespace), rest.partition(".")[0]
    )
    if finding.reason.slug != reasons.NO_ENTRY.slug or not custom:
        return finding
    fix = Fix(
        title=f"Declare an entry, or a decomposition, of {finding.op} in a plug-in",
        change=write_skeleton(find_op(finding.op)),
        verified=False,
        evidence=f"the MLX code is yours to write; mlx-coverage check --op {finding.op} says more",
        kind="registration",
    )
    return replace(finding, fixes=(*finding.fixes, fix))
