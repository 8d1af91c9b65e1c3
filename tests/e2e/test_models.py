"""Every example model, lowered and run in ExecuTorch's runtime."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from executorch.exir.delegate import executorch_call_delegate as CALL_DELEGATE
from torch.export import ExportedProgram

from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.attest import attest, attest_methods
from mlx_coverage.analyze.capture import plan_methods
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.translation import translate
from mlx_coverage.registry import default_registry
from tests.e2e.closeness import assert_close
from tests.e2e.interpretation import Interpreted, to_torch
from tests.e2e.lowering import Lowered, Method, count_bytes, export, lower_methods, run_eagerly
from tests.e2e.models import DTYPES, MODELS, Model
from tests.lowering.reading import read_payload


@dataclass(frozen=True)
class Case:
    """A model in one dtype, lowered once for all tests of this module."""

    model: Model
    dtype: torch.dtype
    method: Method
    lowered: Lowered


@pytest.fixture(
    scope="module",
    params=[(model, dtype) for model in MODELS for dtype in DTYPES],
    ids=lambda p: f"{p[0].name}-{str(p[1]).removeprefix('torch.')}",
)
def case(request: pytest.FixtureRequest) -> Case:
    model, dtype = request.param
    method = model.make(dtype)
    return Case(model, dtype, method, lower_methods({"forward": method}))


def test_delegates_and_fallbacks(case: Case) -> None:
    assert tuple(case.lowered.fallbacks()) == case.model.fallbacks
    assert len(case.lowered.delegates()) == case.model.delegates
    attest(case.lowered.plans["forward"], case.lowered.edge.exported_program().graph_module)


def test_plan_without_recording_is_the_same(case: Case) -> None:
    # What `check` shows.
    if case.dtype != torch.float32:
        pytest.skip("one dtype is enough: planning takes seconds")
    programs = export({"forward": case.method})
    planned = plan_methods(programs, lambda: MLXPartitioner(_plan_only=True))
    assert planned.plans["forward"].delegated > 0
    attest_methods(planned.plans, case.lowered.edge)


def test_equals_eager(case: Case, record_property: Callable[[str, object], None]) -> None:
    # Made again, by the same seed: eager calls change buffers, which the export shares.
    module, args, _, _ = case.model.make(case.dtype)
    run = case.lowered.start()
    errors = [assert_close(run(*i), run_eagerly(module, *i)) for i in case.model.inputs(args)]
    plan = case.lowered.plans["forward"]
    dtype = str(case.dtype).removeprefix("torch.")
    nodes = f"{plan.delegated}/{len(plan.placements)}"
    fallbacks = ", ".join(case.model.fallbacks) or "-"
    record_property(
        "model", f"{case.model.name:22}{dtype:10}{nodes:>9}{case.model.delegates:>5}   "
        f"{max(errors):8.1e}   {fallbacks}"
    )  # fmt: skip


def test_runtime_equals_interpreter(case: Case) -> None:
    # Both call the same MLX functions in the same order; BLAS rounds by how operands are aligned.
    if case.model.fallbacks:
        pytest.skip("the interpreter runs a delegate, not what is between two")
    (delegate,) = case.lowered.delegates()
    recording = translate(delegate.original_module, default_registry())
    payload = serialize(recording.program)
    assert delegate.processed_bytes == payload
    assert read_payload(payload) == recording.program

    run, interpreted = case.lowered.start(), Interpreted(recording)
    sources, results = find_order(case.lowered.edge.exported_program())
    for inputs in case.model.inputs(case.method[1]) * 2:
        arrays = interpreted([inputs[i] for i in sources])
        for found, position in zip(run(*inputs), results, strict=True):
            expected = to_torch(arrays[position], found.dtype)
            eps = torch.finfo(found.dtype).eps if found.is_floating_point() else 0
            torch.testing.assert_close(found, expected, rtol=4 * eps, atol=4 * eps)


def test_file_is_hardly_larger_than_its_weights(case: Case) -> None:
    weights = count_bytes([case.method[0]])
    assert len(case.lowered.pte) <= 1.01 * weights + (64 << 10)


def find_order(program: ExportedProgram) -> tuple[list[int], list[int]]:
    """Positions of the delegate's inputs and of the program's outputs in the delegate's."""
    graph = program.graph
    names = program.graph_signature.user_inputs
    call = next(node for node in graph.nodes if node.target is CALL_DELEGATE)
    results = [result.args[1] for result in graph.output_node().args[0]]
    return [names.index(source.name) for source in call.args[1:]], results
