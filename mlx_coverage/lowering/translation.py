"""An edge program, or the part of it that a partition holds, as a recorded MLX program."""

import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from mlx_coverage.lowering.folding import fold_constants
from mlx_coverage.lowering.plan import is_assertion
from mlx_coverage.lowering.program import (
    Constant,
    Input,
    Kind,
    Output,
    Program,
    State,
    Update,
)  # fmt: skip
from mlx_coverage.lowering.recorder import Recorder, RecordError
from mlx_coverage.lowering.symbols import Size, SpecializationError, Traced
from mlx_coverage.lowering.weights import Weight
from mlx_coverage.lowering.witnesses import Witnesses
from mlx_coverage.registry.call import Call, bind, canonicalize, name_target
from mlx_coverage.registry.dtypes import MLX_NAMES, SCALAR_TYPES
from mlx_coverage.registry.evaluate import evaluate
from mlx_coverage.registry.mx import import_mlx, recording
from mlx_coverage.registry.spec import Registry


@dataclass(frozen=True)
class Recording:
    """A program and the bytes that its constants and states refer to.

    Attributes:
        program: the calls.
        weights: by key.
        owners: the node that each call was recorded for.
    """

    program: Program
    weights: Mapping[str, Weight]
    owners: tuple[Node, ...] = ()


def translate(
    program: ExportedProgram, registry: Registry, shared: Collection[str] = frozenset()
) -> Recording:
    """Record a program whose every op has an entry that supports it.

    Buffers in `shared` are those of other delegates as well, by the same name.

    A program with dynamic sizes is recorded twice, with the example sizes in another
    order: the calls must be the same, which proves that no size was frozen.

    Raises:
        RecordError: an entry misbehaves; names the node's op and the cause.
    """
    mlx = import_mlx()
    # On a GPU MLX refuses calls while they are built. What a program holds, and what is computed
    # once and for all of its weights, is the same wherever it was exported.
    with mlx.stream(mlx.cpu):
        return _translate(program, registry, shared)


def _translate(program: ExportedProgram, registry: Registry, shared: Collection[str]) -> Recording:
    witnesses = Witnesses(program)
    first = _Translation(program, registry, witnesses, shared)
    first.run()
    if len(witnesses) > 1:
        second = _Translation(program, registry, witnesses.rotate(), shared)
        second.run()
        if first.recorder.calls != second.recorder.calls:
            pairs = zip(first.recorder.calls, second.recorder.calls, strict=False)
            differing = next((pair for pair in pairs if pair[0] != pair[1]), None)
            raise RecordError(f"a dynamic size was frozen while recording: {differing}")
    return first.finish()


class _Translation:
    def __init__(
        self,
        program: ExportedProgram,
        registry: Registry,
        witnesses: Witnesses,
        shared: Collection[str],
    ) -> None:
        self.program = program
        self.shared = shared
        self.registry = registry
        self.witnesses = witnesses
        self.recorder = Recorder(len(witnesses))
        self.values: dict[Node, Any] = {}
        self.owners: list[Node] = []
        self.inputs: list[Input] = []
        self.weights: dict[int, Weight] = {}
        self.states: dict[str, State] = {}
        self.state_weights: dict[str, Weight] = {}
        self.outputs: list[Output] = []
        self.updates: list[Update] = []
        signature = program.graph_signature
        self.mutated = dict(signature.buffers_to_mutate)
        self.held = {*self.mutated.values(), *shared}
        self.attributes: dict[str, str] = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }

    def run(self) -> None:
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = self._placeholder(node)
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                self._output(node)
            else:
                raise RecordError(f"a partition cannot hold a {node.op} node ({node})")

    def _placeholder(self, node: Node) -> Any:
        meta = node.meta.get("val")
        name = self.attributes.get(node.name)
        if isinstance(meta, torch.Tensor):
            shapes = self.witnesses.evaluate_shape(meta.shape)
            arrays = [_lazy_array(shape, meta.dtype) for shape in shapes]
            traced = self.recorder.add_array(arrays, constant=self._is_constant(name))
            dtype = SCALAR_TYPES[meta.dtype]
            if name is None:
                # A size with one value among the witnesses is frozen: the runtime takes no other.
                columns = zip(*shapes, strict=True)
                dims = tuple(sizes[0] if len(set(sizes)) == 1 else -1 for sizes in columns)
                self.inputs.append(Input(Kind.TENSOR, traced.slot, dtype, dims))
            elif name in self.held:
                weight = Weight.from_tensor(self._tensor(name))
                key = None if weight.is_zero() else weight.key
                known_as = name if name in self.shared else None
                self.states[name] = State(traced.slot, key, dtype, shapes[0], known_as)
                self.state_weights[name] = weight
            else:
                self.weights[traced.slot] = Weight.from_tensor(self._tensor(name))
            return traced
        if isinstance(meta, (int, torch.SymInt)) and not isinstance(meta, bool):
            size = self.recorder.add_number(self.witnesses.evaluate(meta))
            self.inputs.append(Input(Kind.INT, size.materialize()))
            return size
        raise RecordError(f"input {node} is a {type(meta).__name__}; tensors and ints are accepted")

    def _is_constant(self, name: str | None) -> bool:
        return name is not None and name not in self.held

    def _tensor(self, name: str) -> torch.Tensor:
        if name in self.program.state_dict:
            tensor = self.program.state_dict[name]
        else:
            tensor = self.program.constants[name]
        assert isinstance(tensor, torch.Tensor), name
        return tensor

    def _call(self, node: Node) -> None:
        if is_assertion(node):
            return
        if node.target is operator.getitem:
            self.values[node] = self.values[node.args[0]][node.args[1]]  # type: ignore[index]
            return
        target = canonicalize(node.target)
        spec, call = self.registry.get(target), Call.from_node(node)
        if spec is None or call is None:
            raise RecordError(f"{name_target(target)} was delegated without an entry")
        arguments = {
            name: self._lookup(value)
            for name, value in bind(target, node.args, node.kwargs).items()
        }
        meta = node.meta["val"]
        is_number = isinstance(meta, torch.SymInt)
        self.recorder.item_values = self.witnesses.evaluate(meta) if is_number else None
        try:
            with recording(self.recorder):
                result = evaluate(spec, call, arguments)
        except (SpecializationError, RecordError, ValueError, TypeError, IndexError) as error:
            raise RecordError(f"{name_target(target)} at node {node}: {error}") from error
        self.owners += [node] * (len(self.recorder.calls) - len(self.owners))
        self._check_shapes(node, name_target(target), result)
        self.values[node] = result

    def _lookup(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self.values[value]
        if isinstance(value, (list, tuple)):
            return [self._lookup(item) for item in value]
        return value

    def _check_shapes(self, node: Node, name: str, result: Any) -> None:
        metas = node.meta["val"]
        pairs = zip(result, metas, strict=True) if isinstance(result, tuple) else [(result, metas)]
        for value, meta in pairs:
            if not isinstance(meta, torch.Tensor):
                continue
            if not isinstance(value, Traced):
                raise RecordError(f"{name} at node {node} gave a {type(value).__name__}")
            expected = self.witnesses.evaluate_shape(meta.shape)
            found = [tuple(array.shape) for array in value.values]
            if expected != found:
                raise RecordError(f"{name} at node {node}: shape {found}, torch has {expected}")

    def _output(self, node: Node) -> None:
        position = {name: index for index, name in enumerate(self.states)}
        for item in node.args[0]:  # type: ignore[union-attr]
            if not isinstance(item, Node):
                raise RecordError(f"output {item!r} of a partition is not a node")
            value = self.values[item]
            buffer = self.mutated.get(item.name)
            if buffer is not None and buffer in position:
                self.updates.append(Update(position[buffer], value.slot))
            elif isinstance(value, Traced):
                dtype = SCALAR_TYPES[item.meta["val"].dtype]
                self.outputs.append(Output(Kind.TENSOR, value.slot, dtype))
            elif isinstance(value, Size):
                self.outputs.append(Output(Kind.INT, value.materialize()))
            else:
                raise RecordError(f"output {item} of a partition is a {type(value).__name__}")

    def finish(self) -> Recording:
        recorder = self.recorder
        needed = {o.slot for o in self.outputs if o.kind is Kind.TENSOR}
        needed |= {update.slot for update in self.updates}
        numbers = {o.slot for o in self.outputs if o.kind is not Kind.TENSOR}
        folded = fold_constants(recorder, self.weights, needed, numbers)
        weights = {weight.key: weight for weight in folded.weights.values()}
        for name, state in self.states.items():
            if state.key is not None:
                weights[state.key] = self.state_weights[name]
        constants = tuple(
            Constant(slot, weight.key, weight.dtype, weight.dims)
            for slot, weight in sorted(folded.weights.items())
        )
        program = Program(
            arrays=len(recorder.arrays),
            numbers=recorder.numbers,
            inputs=tuple(self.inputs),
            constants=constants,
            states=tuple(self.states.values()),
            calls=folded.calls,
            outputs=tuple(self.outputs),
            updates=tuple(self.updates),
        )
        last = self.owners[-1:]
        owners = self.owners + last * (len(recorder.calls) - len(self.owners))
        return Recording(program.compact(), weights, tuple(owners[i] for i in folded.kept))


def _lazy_array(shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    mlx = import_mlx()
    return mlx.zeros(shape, getattr(mlx, MLX_NAMES[dtype]))
