"""Mutable buffers: what is written to them, and which methods of a program hold the same one.

A method is lowered by itself, a buffer belongs to the program: it must go by one name in all
methods, be no constant of a method that only reads it, and have one owner.
"""

import copy
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar
from weakref import ReferenceType, ref

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from torch.fx import Node

from mlx_coverage.lowering.graphs import find_base
from mlx_coverage.lowering.weights import Weight

aten = torch.ops.aten


class SharedBufferError(Exception):
    """A buffer that neither the delegate nor ExecuTorch can keep for all methods of a program."""


class MethodGroup:
    """The buffers of methods that are lowered into one program.

    All methods come to `add` and `note` before the first of them is partitioned.
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._programs: list[ReferenceType[ExportedProgram]] = []
        self._tensors: dict[str, ReferenceType[torch.Tensor]] = {}
        self._overlaps: set[frozenset[str]] = set()
        self._zeros: set[str] = set()
        self._users: Counter[str] = Counter()
        self._written: set[str] = set()

    @property
    def count(self) -> int:
        """How many methods there are, those of a lowering that failed and are gone apart."""
        return sum(known() is not None for known in self._programs)

    def has(self, program: ExportedProgram) -> bool:
        """Whether the exported method has come already."""
        return any(known() is program for known in self._programs)

    def add(self, program: ExportedProgram) -> ExportedProgram:
        """The exported method, with one name for each buffer of the group; not changed itself.

        Raises:
            SharedBufferError: a parameter goes by the name that a buffer has in another method.
        """
        self._programs.append(ref(program))
        names: dict[str, str] = {}
        for spec in program.graph_signature.input_specs:
            if spec.kind is not InputKind.BUFFER or spec.target is None:
                continue
            tensor = _find_tensor(program, spec.target)
            name = self._find_name(spec.target, tensor, names)
            if name not in self._tensors:
                self._tensors[name] = ref(tensor)
                if tensor.device.type == "meta" or Weight.from_tensor(tensor).is_zero():
                    self._zeros.add(name)
            names[spec.target] = name
        changed = {old: new for old, new in names.items() if old != new}
        for name in changed.values():
            if name in program.state_dict and name not in names:
                raise SharedBufferError(
                    f"a buffer that methods share is {name!r} in one of them, which is the name of "
                    "a parameter in another; give the parameter another name"
                )
        return _rename(program, changed) if changed else program

    def note(self, prepared: ExportedProgram) -> None:
        """Which buffers the method uses and writes, once it is functional."""
        signature = prepared.graph_signature
        written = set(signature.buffers_to_mutate.values())
        self._written |= written
        for node in prepared.graph.find_nodes(op="placeholder"):
            buffer = signature.inputs_to_buffers.get(node.name)
            if buffer is not None and (node.users or buffer in written):
                self._users[buffer] += 1

    def find_shared(self, signature: ExportGraphSignature) -> frozenset[str]:
        """Buffers of a method that others use as well and that some method writes.

        Raises:
            SharedBufferError: one of them overlaps another buffer without being the same.
        """
        for pair in self._overlaps:
            if pair & self._written:
                first, second = sorted(pair)
                raise SharedBufferError(
                    f"the buffers {first!r} and {second!r} of several methods share memory without "
                    "being the same tensor, and one is written; keep one buffer, and take views of "
                    "it in forward"
                )
        return frozenset(
            name
            for name in signature.inputs_to_buffers.values()
            if name in self._written and self._users[name] > 1
        )

    def starts_at_zero(self, name: str) -> bool:
        """Whether a buffer starts at zeros; one without a value (meta) is taken to."""
        return name in self._zeros

    def _find_name(self, name: str, tensor: torch.Tensor, taken: Mapping[str, str]) -> str:
        overlapping = []
        for known, reference in self._tensors.items():
            other = reference()
            if known in taken.values() or other is None:
                continue
            if other.untyped_storage() is tensor.untyped_storage():
                if _describe(other) == _describe(tensor):
                    return known
                overlapping.append(known)
        unique, number = name, 1
        while unique in self._tensors:
            number += 1
            unique = f"{name}_{number}"
        self._overlaps |= {frozenset((unique, known)) for known in overlapping}
        return unique


_current = threading.local()


def join_group(program: ExportedProgram) -> MethodGroup:
    """The group of a method that ExecuTorch is about to lower on this thread.

    It brings all methods of a program before it has the first one partitioned.
    """
    group: MethodGroup | None = getattr(_current, "group", None)
    if group is None or group.is_complete or group.has(program):
        group = _current.group = MethodGroup()
    return group


def _find_tensor(program: ExportedProgram, name: str) -> torch.Tensor:
    held = program.state_dict if name in program.state_dict else program.constants
    tensor = held[name]
    assert isinstance(tensor, torch.Tensor), name
    return tensor


def _describe(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _rename(program: ExportedProgram, names: Mapping[str, str]) -> ExportedProgram:
    renamed = copy.copy(program)
    signature = program.graph_signature
    renamed._graph_signature = ExportGraphSignature(
        [_rename_target(spec, names) for spec in signature.input_specs],
        [_rename_target(spec, names) for spec in signature.output_specs],
    )
    for attribute in ("_state_dict", "_constants"):
        held = getattr(program, attribute)
        setattr(renamed, attribute, {names.get(name, name): value for name, value in held.items()})
    return renamed


_Spec = TypeVar("_Spec", InputSpec, OutputSpec)


def _rename_target(spec: _Spec, names: Mapping[str, str]) -> _Spec:
    parameter = isinstance(spec, InputSpec) and spec.kind is InputKind.PARAMETER
    if spec.target is None or parameter or getattr(spec, "kind", None) is OutputKind.USER_OUTPUT:
        return replace(spec)
    return replace(spec, target=names.get(spec.target, spec.target))


def separate_new_values(program: ExportedProgram) -> None:
    """Copy what is written to a buffer, or returned of one, where nothing computes it.

    ExecuTorch writes new values back one after another, so that a new value which is another
    buffer, or a view of one, may be overwritten before it is read. Such a value, one that is
    returned or written twice, one of a buffer that is never read, and a buffer or a parameter
    that is returned belong to no partition. Torch in turn takes a returned view of a written
    buffer for one of the new value, as soon as it traces the program again. The graph and the
    signature are changed in place.
    """
    graph, signature = program.graph_module.graph, program.graph_signature
    output = graph.output_node()
    results = list(output.args[0])
    count = Counter(results)
    placeholders = {node.name: node for node in graph.find_nodes(op="placeholder")}
    buffers = {b: placeholders[name] for name, b in signature.inputs_to_buffers.items()}
    fixed = {**signature.inputs_to_parameters, **signature.inputs_to_lifted_tensor_constants}
    kept = {*buffers.values(), *(placeholders[name] for name in fixed)}
    written = {buffers[name] for name in signature.buffers_to_mutate.values()}
    for index, spec in enumerate(signature.output_specs):
        value = results[index]
        if not isinstance(value, Node):
            continue
        if spec.kind is OutputKind.USER_OUTPUT:
            if value not in kept and find_base(value) not in written:
                continue
        elif spec.kind is not OutputKind.BUFFER_MUTATION or not _is_handed_on(
            value, buffers[str(spec.target)], count[value]
        ):
            continue
        with graph.inserting_before(output):
            if spec.kind is OutputKind.USER_OUTPUT:
                into = value
                copied = graph.call_function(aten.clone.default, (value,))
            else:
                into = buffers[str(spec.target)]
                copied = graph.call_function(aten.copy.default, (into, value))
        copied.meta = {**value.meta, "val": into.meta["val"].clone()}
        results[index] = copied
        spec.arg = TensorArgument(name=copied.name)
    output.args = (tuple(results),)


def _is_handed_on(value: Node, buffer: Node, count: int) -> bool:
    """Whether a new value is nobody's own result, or its buffer has no reader."""
    if value is buffer and count == 1:
        return False  # written with what it held
    return count > 1 or not buffer.users or find_base(value).op == "placeholder"
