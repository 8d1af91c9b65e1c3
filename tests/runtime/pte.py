"""A `.pte` around one payload, built from ExecuTorch's own schema: no export, no partitioner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from executorch.exir import schema
from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir._serialize._program import PTEFile, serialize_pte_binary
from executorch.exir.scalar_type import ScalarType

BACKEND = "MLXCoverageBackend"
_ALIGNMENT = 16


@dataclass(frozen=True)
class TensorValue:
    """A tensor of the ExecuTorch program; `sizes` are upper bounds where it is dynamic."""

    dtype: int
    sizes: Sequence[int]
    dim_order: Sequence[int] | None = None
    dynamic: bool = False


@dataclass(frozen=True)
class NumberValue:
    """An int, float or bool of the ExecuTorch program."""

    example: int | float | bool = 0


Value = TensorValue | NumberValue


@dataclass(frozen=True)
class Method:
    """One method: a delegate call with these values."""

    payload: bytes
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    name: str = "forward"
    backend: str = field(default=BACKEND)


def build_pte(*methods: Method, data: Mapping[str, bytes] | None = None) -> bytes:
    """The bytes of a `.pte` with one delegate per method and `data` as named data."""
    store = NamedDataStore()
    for key, value in (data or {}).items():
        store.add_named_data(key, value, alignment=_ALIGNMENT)
    program = schema.Program(
        version=0,
        execution_plan=[_plan(index, method) for index, method in enumerate(methods)],
        constant_buffer=[schema.Buffer(storage=b"")],
        backend_delegate_data=[schema.BackendDelegateInlineData(m.payload) for m in methods],
        segments=[],
        constant_segment=schema.SubsegmentOffsets(segment_index=0, offsets=[]),
    )
    file = PTEFile(program=program, named_data=store.get_named_data_store_output())
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


def _plan(index: int, method: Method) -> schema.ExecutionPlan:
    values = [*method.inputs, *method.outputs]
    count = len(method.inputs)
    evalues, used = [], 0
    for position, value in enumerate(values):
        if isinstance(value, TensorValue):
            # Inputs come with memory of the caller's; outputs are planned here.
            planned = position >= count
            evalues.append(schema.EValue(_tensor(value, used if planned else None)))
            used += _round_up(_count_bytes(value)) if planned else 0
        else:
            evalues.append(schema.EValue(_number(value.example)))
    call = schema.DelegateCall(delegate_index=0, args=list(range(len(values))))
    return schema.ExecutionPlan(
        name=method.name,
        container_meta_type=schema.ContainerMetadata("", ""),
        values=evalues,
        inputs=list(range(count)),
        outputs=list(range(count, len(values))),
        chains=[
            schema.Chain(
                inputs=[], outputs=[], instructions=[schema.Instruction(call)], stacktrace=None
            )
        ],
        operators=[],
        delegates=[
            schema.BackendDelegate(
                id=method.backend,
                processed=schema.BackendDelegateDataReference(schema.DataLocation.INLINE, index),
                compile_specs=[],
            )
        ],
        non_const_buffer_sizes=[0, max(used, _ALIGNMENT)],
    )


def _tensor(value: TensorValue, offset: int | None) -> schema.Tensor:
    dynamic = schema.TensorShapeDynamism.DYNAMIC_BOUND
    static = schema.TensorShapeDynamism.STATIC
    return schema.Tensor(
        scalar_type=ScalarType(value.dtype),
        storage_offset=0,
        sizes=list(value.sizes),
        dim_order=list(value.dim_order or range(len(value.sizes))),
        requires_grad=False,
        layout=0,
        data_buffer_idx=0,
        allocation_info=None if offset is None else schema.AllocationDetails(1, offset, 0),
        shape_dynamism=dynamic if value.dynamic else static,
    )


def _number(example: int | float | bool) -> schema.Bool | schema.Int | schema.Double:
    if isinstance(example, bool):
        return schema.Bool(example)
    return schema.Int(example) if isinstance(example, int) else schema.Double(example)


def _count_bytes(value: TensorValue) -> int:
    count = 8
    for size in value.sizes:
        count *= size
    return count


def _round_up(size: int) -> int:
    return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
