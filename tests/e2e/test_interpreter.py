"""The C++ runtime computes what `mlx.core` computes from the same recorded program."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
from executorch.exir.delegate import executorch_call_delegate as CALL_DELEGATE
from torch import Tensor
from torch.export import ExportedProgram

from mlx_coverage.lowering.functions import decode_dtype
from mlx_coverage.lowering.interpreter import run_program
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import Constant, State
from mlx_coverage.lowering.translation import Recording, translate
from mlx_coverage.registry import default_registry
from tests.e2e.lowering import lower_methods
from tests.e2e.models import DTYPES, MODELS, Model
from tests.lowering.reading import read_payload

WHOLE = [model for model in MODELS if not model.fallbacks]


class Interpreted:
    """A recording that runs with `mlx.core`, keeping its states between calls."""

    def __init__(self, recording: Recording) -> None:
        self.program, weights = recording.program, recording.weights

        def load(entry: Constant | State) -> mx.array:
            if entry.key is None:
                return mx.zeros(entry.dims, decode_dtype(entry.dtype))
            # Equal bytes are stored once, whatever their dtype and shape.
            return replace(weights[entry.key], dtype=entry.dtype, dims=entry.dims).load()

        self.constants = {c.slot: load(c) for c in self.program.constants}
        self.states = [load(state) for state in self.program.states]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        arrays = [to_mlx(value) if isinstance(value, Tensor) else value for value in inputs]
        return run_program(self.program, arrays, self.constants, self.states)


def to_mlx(tensor: Tensor) -> mx.array:
    if tensor.dtype == torch.bfloat16:
        return mx.array(tensor.view(torch.uint16).numpy()).view(mx.bfloat16)
    return mx.array(tensor.numpy())


def to_torch(array: mx.array, dtype: torch.dtype) -> Tensor:
    if dtype == torch.bfloat16:
        return torch.from_numpy(np.array(array.view(mx.uint16))).view(dtype)
    return torch.from_numpy(np.array(array)).to(dtype)


def find_order(program: ExportedProgram) -> tuple[list[int], list[int]]:
    """Positions of the delegate's inputs and of the program's outputs in the delegate's."""
    graph = program.graph
    names = program.graph_signature.user_inputs
    call = next(node for node in graph.nodes if node.target is CALL_DELEGATE)
    results = [result.args[1] for result in graph.output_node().args[0]]
    return [names.index(source.name) for source in call.args[1:]], results


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d).removeprefix("torch."))
@pytest.mark.parametrize("model", WHOLE, ids=lambda m: m.name)
def test_runtime_equals_interpreter(model: Model, dtype: torch.dtype) -> None:
    method = model.make(dtype)
    lowered = lower_methods({"forward": method})
    (delegate,) = lowered.delegates()
    recording = translate(delegate.original_module, default_registry())
    payload = serialize(recording.program)
    assert delegate.processed_bytes == payload
    assert read_payload(payload) == recording.program

    run, interpreted = lowered.start(), Interpreted(recording)
    sources, results = find_order(lowered.edge.exported_program())
    for inputs in model.inputs(method[1]) * 2:
        arrays = interpreted([inputs[i] for i in sources])
        for found, position in zip(run(*inputs), results, strict=True):
            assert torch.equal(found, to_torch(arrays[position], found.dtype))
