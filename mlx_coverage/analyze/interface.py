"""What ExecuTorch asks of a method's inputs and outputs, and says only when it writes the file."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from executorch.exir.sym_util import eval_upper_bound
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument
from torch.utils import _pytree as pytree

from mlx_coverage.analyze.failures import CaptureError
from mlx_coverage.registry import reasons

_RETURN_TYPES = "torch.return_types"


def find_refusal(
    program: ExportedProgram, has_tensors: bool, kept: Iterable[Any]
) -> CaptureError | None:
    """Why ExecuTorch will refuse to write the method, or None.

    Args:
        program: as exported, after ExecuTorch's passes and checks ran on it or its copy.
        has_tensors: whether weights or state stay with ExecuTorch, or new values of inputs
            are returned: it then takes a model that returns no tensor.
        kept: example values of what is computed and not inside one delegate.
    """
    sentence = next(_list_refusals(program, has_tensors, kept), None)
    return None if sentence is None else CaptureError("edge", reasons.INTERFACE, sentence)


def find_unwritable(program: ExportedProgram) -> CaptureError | None:
    """What `find_refusal` finds in the structures of inputs and outputs, before any lowering."""
    specs = program.call_spec.in_spec, program.call_spec.out_spec
    sentence = next((s for spec in specs for s in _list_unnamed(spec)), None)
    return None if sentence is None else CaptureError("edge", reasons.INTERFACE, sentence)


def _list_refusals(
    program: ExportedProgram, has_tensors: bool, kept: Iterable[Any]
) -> Iterator[str]:
    for name in _list_expanded(program):
        yield (
            f"the example input {name} is expanded (it has a stride of 0), which ExecuTorch "
            "refuses; call .contiguous() on it"
        )
    for name, dim, size in _list_fixed(program):
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
    arguments = [spec.arg for spec in program.graph_signature.output_specs]
    for argument in arguments:
        value = argument.value if isinstance(argument, ConstantArgument) else None
        if not isinstance(value, (int, float, bool, type(None))):
            yield (
                f"the model returns a {type(value).__name__} ({value!r}); ExecuTorch returns "
                "tensors, numbers and None"
            )
    if not any(isinstance(a, TensorArgument) for a in arguments) and not has_tensors:
        yield "the model returns no tensor, and ExecuTorch takes no model without; return one"
    for spec in (program.call_spec.in_spec, program.call_spec.out_spec):
        yield from _list_unnamed(spec)


def _list_expanded(program: ExportedProgram) -> Iterator[str]:
    for name, value in _list_inputs(program):
        # Comparing a symbolic stride would be a guard.
        if any(isinstance(stride, int) and stride == 0 for stride in value.stride()):
            yield name


def _list_fixed(program: ExportedProgram) -> Iterator[tuple[str, int, int]]:
    """Dynamic sizes that became numbers: a pass compared one, which torch takes as a promise."""
    for name, value in _list_inputs(program):
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


def _list_inputs(program: ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    kinds = {spec.arg.name: spec.kind for spec in program.graph_signature.input_specs}
    for node in program.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if kinds[node.name] is InputKind.USER_INPUT and isinstance(value, torch.Tensor):
            yield node.name, value


def _list_unnamed(spec: pytree.TreeSpec | None) -> Iterator[str]:
    if spec is None:
        return
    try:
        pytree.treespec_dumps(spec)
    except NotImplementedError:
        found = list(dict.fromkeys(_list_types(spec)))
        named = next((t for t in found if t.__module__ == _RETURN_TYPES), None)
        if named is not None:
            yield (
                f"the model returns a {_RETURN_TYPES}.{named.__name__}, which ExecuTorch cannot "
                f"write; return a tuple of it, such as tuple(torch.{named.__name__}(...))"
            )
            return
        yield (
            f"{', '.join(t.__name__ for t in found)} is registered with torch under no name for "
            "files, which ExecuTorch asks for; pass serialized_type_name to "
            "torch.export.register_dataclass"
        )


def _list_types(spec: pytree.TreeSpec) -> Iterator[type]:
    node = pytree.SUPPORTED_SERIALIZED_TYPES.get(spec.type)
    if node is not None and node.serialized_type_name == pytree.NO_SERIALIZED_TYPE_NAME_FOUND:
        yield spec.type
    for child in spec.children():
        yield from _list_types(child)
