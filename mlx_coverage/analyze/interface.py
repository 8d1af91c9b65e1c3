"""What ExecuTorch asks of a method's inputs and outputs, and says only when it writes the file."""

from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from executorch.exir.sym_util import eval_upper_bound
from torch.export import ExportedProgram
from torch.export.graph_signature import ArgumentSpec, ConstantArgument, InputKind, TensorArgument
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.failures import CaptureError
from mlx_coverage.registry import reasons


@dataclass(frozen=True)
class Interface:
    """What a method takes and returns, without its graph.

    Attributes:
        inputs: names and example values of what the caller passes: tensors, and numbers that may
            change.
        outputs: what the program returns, new values of its state included.
        specs: how inputs and outputs are nested.
    """

    inputs: Sequence[tuple[str, Any]]
    outputs: Sequence[ArgumentSpec]
    specs: Sequence[pytree.TreeSpec | None]

    @classmethod
    def from_program(cls, program: ExportedProgram) -> "Interface":
        """That of a program as exported."""
        outputs = [spec.arg for spec in program.graph_signature.output_specs]
        specs = (program.call_spec.in_spec, program.call_spec.out_spec)
        return cls(list(_list_values(program)), outputs, specs)


def list_refusals(method: Interface, lowered: ExportedProgram) -> list[CaptureError]:
    """Why ExecuTorch will refuse to write the method.

    Args:
        method: as exported, after ExecuTorch's passes and checks ran on it or its copy.
        lowered: the same with its delegates.
    """
    signature = lowered.graph_signature
    # With weights or state that stay with ExecuTorch it takes a model that returns no tensor.
    has_tensors = len(signature.input_specs) > len(signature.user_inputs)
    has_tensors |= bool(signature.user_inputs_to_mutate)
    kept = [node.meta.get("val") for node in lowered.graph.nodes]
    sentences = dict.fromkeys(_list_refusals(method, has_tensors, kept))
    return [CaptureError("edge", reasons.INTERFACE, sentence) for sentence in sentences]


def find_unwritable(program: ExportedProgram) -> CaptureError | None:
    """What `list_refusals` finds in the structures of inputs and outputs, before any lowering."""
    specs = program.call_spec.in_spec, program.call_spec.out_spec
    sentence = next((s for spec in specs for s in _list_unnamed(spec)), None)
    return None if sentence is None else CaptureError("edge", reasons.INTERFACE, sentence)


def _list_refusals(method: Interface, has_tensors: bool, kept: Iterable[Any]) -> Iterator[str]:
    for name in _list_expanded(method):
        yield (
            f"the example input {name} is expanded (it has a stride of 0), which ExecuTorch "
            "refuses; call .contiguous() on it"
        )
    for name in _list_dynamic_numbers(method):
        yield (
            f"the input {name} is a number that may change from call to call, and ExecuTorch takes "
            "none such: its programs refuse every value; pass a tensor and compute with that, or "
            "leave the number out of dynamic_shapes"
        )
    for name, dim, size in _list_fixed(method):
        yield (
            f"ExecuTorch fixes the dynamic dimension {dim} of the input {name} at the example's "
            f"size {size}; leave it out of dynamic_shapes, or rewrite the op that compares it or "
            "returns a list of tensors"
        )
    tensors = (t for t in pytree.tree_leaves(list(kept)) if isinstance(t, torch.Tensor))
    if not all(_is_bounded(size) for tensor in tensors for size in tensor.shape):
        yield (
            "ExecuTorch reserves memory ahead, and a size that the model reads from a tensor has "
            "no upper bound; give it one, such as torch._check(n <= 1000)"
        )
    for argument in method.outputs:
        value = argument.value if isinstance(argument, ConstantArgument) else None
        if not isinstance(value, (int, float, bool, type(None))):
            yield (
                f"the model returns a {type(value).__name__} ({value!r}); ExecuTorch returns "
                "tensors, numbers and None"
            )
    if not any(isinstance(a, TensorArgument) for a in method.outputs) and not has_tensors:
        yield "the model returns no tensor, and ExecuTorch takes no model without; return one"
    for spec in method.specs:
        yield from _list_unnamed(spec)


def _list_expanded(method: Interface) -> Iterator[str]:
    for name, value in _list_tensors(method):
        # Comparing a symbolic stride would be a guard.
        if any(isinstance(stride, int) and stride == 0 for stride in value.stride()):
            yield name


def _list_fixed(method: Interface) -> Iterator[tuple[str, int, int]]:
    """Dynamic sizes that became numbers: a pass compared one, which torch takes as a promise."""
    for name, value in _list_tensors(method):
        for dim, size in enumerate(value.shape):
            fixed = size.node.maybe_as_int() if isinstance(size, torch.SymInt) else None
            if fixed is not None:
                yield name, dim, fixed


def _is_bounded(size: int | torch.SymInt) -> bool:
    try:
        eval_upper_bound(size)
    except RuntimeError:  # what ExecuTorch raises later, too
        return False
    return True


def _list_dynamic_numbers(method: Interface) -> Iterator[str]:
    """Inputs that ExecuTorch writes as None, and then compares with the number of the call."""
    for name, value in method.inputs:
        if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
            yield name


def _list_tensors(method: Interface) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in method.inputs:
        if isinstance(value, torch.Tensor):
            yield name, value


def _list_values(program: ExportedProgram) -> Iterator[tuple[str, Any]]:
    kinds = {spec.arg.name: spec.kind for spec in program.graph_signature.input_specs}
    for node in program.graph.find_nodes(op="placeholder"):
        if kinds[node.name] is InputKind.USER_INPUT:
            yield node.name, node.meta.get("val")


def _list_unnamed(spec: pytree.TreeSpec | None) -> Iterator[str]:
    if spec is None:
        return
    try:
        pytree.treespec_dumps(spec)
    except NotImplementedError:
        types = list(dict.fromkeys(_list_types(spec)))
        tuples = ", ".join(kind.__name__ for kind in types if issubclass(kind, tuple))
        if tuples:
            yield (
                f"ExecuTorch takes and returns no named tuples ({tuples}); make a plain one, such "
                "as tuple(result)"
            )
            return
        names = ", ".join(kind.__name__ for kind in types)
        yield (
            f"{names} is registered with torch under no name for files, which ExecuTorch asks "
            "for; pass serialized_type_name to torch.export.register_dataclass"
        )


def _list_types(spec: pytree.TreeSpec) -> Iterator[type]:
    # The class of a `collections.namedtuple` is the context of its node.
    kind = spec.context if spec.type is namedtuple else spec.type
    node = pytree.SUPPORTED_SERIALIZED_TYPES.get(kind)
    name = pytree.NO_SERIALIZED_TYPE_NAME_FOUND if node is None else node.serialized_type_name
    if kind is not None and name == pytree.NO_SERIALIZED_TYPE_NAME_FOUND:
        yield kind
    for child in spec.children():
        yield from _list_types(child)
