"""Mutable buffers that several methods of a program use: any order of calls, as in eager torch."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.runtime import Runtime
from torch import Tensor, nn
from torch.export import ExportedProgram

import mlx_coverage.runtime
from mlx_coverage import MLXPartitioner
from mlx_coverage.analyze.capture import write_methods
from mlx_coverage.analyze.failures import CaptureError
from mlx_coverage.lowering.state import SharedBufferError
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import Lowered

# Modules by method, which share buffers, and what draws the inputs of a method.
Modules = Mapping[str, nn.Module]
Draw = Callable[[str], tuple[Any, ...]]

DETOUR = "aten.sin.default"


class Cell(nn.Module):
    """Holds a buffer for others."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("n", torch.full((3,), start))


class Step(nn.Module):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        self.cell.n.add_(x)
        return self.cell.n * 2


class Reset(nn.Module):
    """Knows the buffer by another name, and reads it not at all."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.register_buffer("counter", cell.n)

    def forward(self, x: Tensor) -> Tensor:
        self.counter.zero_()
        return x + 1


class Read(nn.Module):
    """Only reads; has a buffer of its own by the name that the shared one has in Step."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = nn.Module()
        self.cell.register_buffer("n", torch.tensor([5.0, 6.0, 7.0]))
        self.other = nn.Module()
        self.other.register_buffer("m", cell.n)

    def forward(self, x: Tensor) -> Tensor:
        return (self.other.m + self.cell.n) * x


class Get(nn.Module):
    """Returns the buffer itself."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cell.n, x * 2


class Set(nn.Module):
    """Writes the input as it comes."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        self.cell.n.copy_(x)
        return x * 3


class Detour(nn.Module):
    """Writes what comes out of an op that a test keeps off the delegate."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sin(self.cell.n + x)
        self.cell.n.copy_(y * 2)
        return y - self.cell.n


def make_cells(*kinds: type[nn.Module], start: float = 0.0) -> Modules:
    cell = Cell(start)
    return {kind.__name__.lower(): kind(cell) for kind in kinds}  # type: ignore[call-arg]


def draw_vector(method: str) -> tuple[Any, ...]:
    return (torch.randn(3),)


class Attention(nn.Module):
    """One layer of a decoder with a static cache and its own count of tokens."""

    def __init__(self, features: int = 8, length: int = 16) -> None:
        super().__init__()
        self.project = nn.Linear(features, 3 * features)
        self.register_buffer("keys", torch.zeros(length, features))
        self.register_buffer("values", torch.zeros(length, features), persistent=False)
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x).chunk(3, -1)
        positions = self.count + torch.arange(x.shape[0])
        self.keys.index_copy_(0, positions, key)
        self.values.index_copy_(0, positions, value)
        mask = torch.arange(self.keys.shape[0]) <= positions[:, None]
        self.count.add_(x.shape[0])
        return nn.functional.scaled_dot_product_attention(
            query[None], self.keys[None], self.values[None], mask[None]
        )[0]


class Wrapped(nn.Module):
    """The same layer by another name."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.decoder = nn.Sequential(layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(x) + 0.5


class Rewind(nn.Module):
    """Forgets all tokens."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        self.layer.count.zero_()
        return x * 1.5


def make_decoder() -> Modules:
    torch.manual_seed(0)
    layer = Attention().eval()
    return {"prefill": layer, "decode": Wrapped(layer), "rewind": Rewind(layer)}


def draw_tokens(method: str) -> tuple[Any, ...]:
    return (torch.randn(4 if method == "prefill" else 1, 8),)


def export(modules: Modules, draw: Draw) -> dict[str, ExportedProgram]:
    return {name: torch.export.export(m, draw(name)) for name, m in modules.items()}


def load(pte: bytes, folder: Path) -> Any:
    mlx_coverage.runtime.load()
    path = folder / "model.pte"
    path.write_bytes(pte)
    return Runtime.get().load_program(path)


def compare(program: Any, modules: Modules, draw: Draw, calls: list[str]) -> None:
    for name in calls:
        inputs = draw(name)
        found = [value.clone() for value in program.load_method(name).execute(list(inputs))]
        with torch.no_grad():
            expected = modules[name](*inputs)
        assert_close(found, list(expected) if isinstance(expected, tuple) else [expected])


def walk(names: list[str], seed: int, length: int = 12) -> list[str]:
    order = random.Random(seed)
    return [order.choice(names) for _ in range(length)]


def lower_for(modules: Modules, draw: Draw, **options: Any) -> Lowered:
    """As a user of the public interface does, with one partitioner for all methods."""
    edge = to_edge_transform_and_lower(
        export(modules, draw), partitioner=[MLXPartitioner(**options)]
    )
    return Lowered(edge, {})


@pytest.mark.parametrize("start", [0.0, 2.5])
def test_delegated_methods_share_a_buffer(tmp_path: Path, start: float) -> None:
    kinds = Step, Reset, Read, Get, Set, Detour
    lowered = lower_for(make_cells(*kinds, start=start), draw_vector)
    for kind in kinds:
        name = kind.__name__.lower()
        assert len(lowered.delegates(name)) == 1
        assert lowered.fallbacks(name) == []
    pte = lowered.pte
    for seed in range(4):
        modules = make_cells(*kinds, start=start)
        compare(load(pte, tmp_path), modules, draw_vector, walk(list(modules), seed))


def test_prefill_and_decode_share_the_cache(tmp_path: Path) -> None:
    lowered = lower_for(make_decoder(), draw_tokens)
    assert [len(lowered.delegates(name)) for name in ("prefill", "decode", "rewind")] == [1] * 3
    calls = ["prefill", *["decode"] * 5, "rewind", "decode", "prefill", "decode"]
    compare(load(lowered.pte, tmp_path), make_decoder(), draw_tokens, calls)


def test_a_partitioner_for_each_method(tmp_path: Path) -> None:
    kinds = Step, Read
    programs = export(make_cells(*kinds), draw_vector)
    edge = to_edge_transform_and_lower(
        programs, partitioner={name: [MLXPartitioner()] for name in programs}
    )
    modules = make_cells(*kinds)
    calls = walk(list(modules), 0)
    compare(load(Lowered(edge, {}).pte, tmp_path), modules, draw_vector, calls)


def test_modules_without_a_buffer_in_common_stay_apart(tmp_path: Path) -> None:
    def make() -> Modules:
        return {"one": Step(Cell(1.0)), "two": Step(Cell(2.0))}

    lowered = lower_for(make(), draw_vector)
    compare(load(lowered.pte, tmp_path), make(), draw_vector, walk(["one", "two"], 1))


def test_programs_lowered_one_after_another_stay_apart(tmp_path: Path) -> None:
    modules = make_cells(Step, Detour)
    for name, module in modules.items():
        alone = lower_for({name: module}, draw_vector, exclude_ops=[DETOUR])
        fresh = make_cells(Step, Detour)
        compare(load(alone.pte, tmp_path), fresh, draw_vector, [name] * 3)


def test_the_users_programs_keep_their_names() -> None:
    programs = export(make_cells(Step, Reset), draw_vector)
    to_edge_transform_and_lower(programs, partitioner=[MLXPartitioner()])
    assert list(programs["reset"].state_dict) == ["counter"]
    assert programs["reset"].graph_signature.buffers == ("counter",)


MIXTURES: dict[str, tuple[tuple[type[nn.Module], ...], list[str]]] = {
    "written by a fallback": ((Step, Read, Detour), [DETOUR]),
    "read by a fallback": ((Step, Read, Get), ["aten.mul.Tensor"]),
    "reset by a fallback": ((Step, Reset, Read), ["aten.full_like.default", "aten.full.default"]),
    "nothing but fallbacks": (
        (Step, Set, Read),
        ["aten.add.Tensor", "aten.mul.Tensor", "aten.copy.default"],
    ),
}


def prepare(kinds: tuple[type[nn.Module], ...], excluded: list[str], start: float = 0.0) -> bytes:
    """As the command line does."""
    programs = export(make_cells(*kinds, start=start), draw_vector)
    program = write_methods(programs, lambda: MLXPartitioner(exclude_ops=excluded))
    return bytes(program.buffer)


@pytest.mark.parametrize("case", list(MIXTURES))
def test_a_buffer_that_fallbacks_use(tmp_path: Path, case: str) -> None:
    kinds, excluded = MIXTURES[case]
    pte = prepare(kinds, excluded)
    for seed in range(3):
        modules = make_cells(*kinds)
        compare(load(pte, tmp_path), modules, draw_vector, walk(list(modules), seed))


def test_a_fallbacks_buffer_that_does_not_start_at_zero_is_refused() -> None:
    with pytest.raises(CaptureError, match="starts at other values than zeros") as caught:
        prepare((Step, Detour), [DETOUR], start=1.0)
    assert caught.value.kind.slug == "export/shared-buffer"


def test_what_executorch_would_not_keep_is_refused() -> None:
    with pytest.raises(SharedBufferError, match="several methods use it"):
        lower_for(make_cells(Step, Detour), draw_vector, exclude_ops=[DETOUR])
    # A buffer of one method alone, which calls of the other would overwrite.
    alone = {"detour": Detour(Cell()), "step": Step(Cell())}
    with pytest.raises(SharedBufferError, match="has several methods"):
        lower_for(alone, draw_vector, exclude_ops=[DETOUR])


def test_a_buffer_of_one_method_is_not_overwritten_by_another(tmp_path: Path) -> None:
    def make() -> Modules:
        return {"detour": Detour(Cell(1.0)), "step": Step(Cell(2.0))}

    programs = export(make(), draw_vector)
    program = write_methods(programs, lambda: MLXPartitioner(exclude_ops=[DETOUR]))
    pte = bytes(program.buffer)
    compare(load(pte, tmp_path), make(), draw_vector, walk(["detour", "step"], 2))


class Weighted(nn.Module):
    """Reads the buffer on the delegate, and a weight beside it."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]), requires_grad=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.div(x, self.weight), self.cell.n * 2


@pytest.mark.parametrize("source", ["memory", "file"])
def test_state_is_shared_with_external_data(tmp_path: Path, source: str) -> None:
    lowered = lower_for(make_cells(Step, Weighted), draw_vector, exclude_ops=["aten.div.Tensor"])
    assert [len(lowered.delegates(name)) for name in ("step", "weighted")] == [1, 1]
    program = lowered.edge.to_executorch(ExecutorchBackendConfig(external_constants=True))
    pte = bytes(program.buffer)
    program.write_tensor_data_to_file(str(tmp_path))
    (data,) = tmp_path.glob("*.ptd")
    mlx_coverage.runtime.load()
    path = tmp_path / "model.pte"
    path.write_bytes(pte)
    # ExecuTorch hands each method a map of data of its own then.
    given = path if source == "file" else pte
    pairs = [
        (Runtime.get().load_program(given, data_path=data), make_cells(Step, Weighted))
        for _ in range(2)
    ]
    for name in walk(["step", "weighted"], 3):
        for loaded, modules in pairs:
            compare(loaded, modules, draw_vector, [name])


def test_overlapping_buffers_are_refused() -> None:
    cell = Cell()
    modules = {"step": Step(cell), "read": Read(cell)}
    modules["read"].other.m = cell.n[:1]
    with pytest.raises(SharedBufferError, match="share memory without being the same tensor"):
        lower_for(modules, draw_vector)
