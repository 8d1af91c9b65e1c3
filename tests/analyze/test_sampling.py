"""Inputs beside the example: valid, different, and at the bounds of dynamic dimensions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.sampling import Sample, list_samples


class Apply(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def sample(function: Any, *args: Any, shapes: Any = None, **options: Any) -> list[Sample]:
    return list_samples(capture(function, *args, shapes=shapes), **options)


def capture(function: Any, *args: Any, shapes: Any = None) -> ExportedProgram:
    return export(Apply(function), args, dynamic_shapes=shapes and (shapes,))


def list_shapes(samples: list[Sample]) -> list[tuple[tuple[int, ...], ...]]:
    return [tuple(tuple(v.shape) for v in s.inputs) for s in samples if s.kind == "sizes"]


def test_sizes_are_those_at_the_bounds_and_one_between() -> None:
    n = Dim("n", min=0, max=64)
    samples = sample(lambda x: x + 1, torch.ones(5, 2), shapes=({0: n},))
    assert list_shapes(samples) == [((0, 2),), ((1, 2),), ((64, 2),), ((32, 2),)]
    assert [s.title for s in samples[-2:]] == [
        "args_0.shape[0] = 64",
        "args_0.shape[0] = 32",
    ]


def test_derived_and_shared_sizes_stay_consistent() -> None:
    n = Dim("n", min=2, max=8)

    def function(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        return (x + y) * 2 + z[::2]

    shapes = ({0: n}, {0: n}, {0: 2 * n})
    args = torch.ones(3), torch.ones(3), torch.ones(6)
    samples = sample(function, *args, shapes=shapes)
    found = [tuple(shape[0] for shape in row) for row in list_shapes(samples)]
    assert found == [(2, 2, 4), (8, 8, 16), (5, 5, 10)]


def test_size_of_which_only_multiples_are_accepted() -> None:
    k = Dim("k", min=1, max=6)
    samples = sample(lambda x: x.view(-1, 4) + 1, torch.ones(8), shapes=({0: 4 * k},))
    sizes = [row[0][0] for row in list_shapes(samples)]
    assert len(sizes) == 3
    assert 24 in sizes
    assert all(size % 4 == 0 for size in sizes)


def test_bound_that_needs_too_much_memory_is_halved() -> None:
    n = Dim("n", min=1, max=1 << 20)
    samples = sample(lambda x: x @ x.T, torch.ones(6, 3), shapes=({0: n},))
    largest = max(row[0][0] for row in list_shapes(samples))
    assert 512 <= largest <= 2048


def test_sizes_beyond_what_the_file_takes_are_left_out() -> None:
    n = Dim("n", min=0, max=64)

    def accepts(shapes: Any) -> bool:
        return all(shape[0] <= 10 for shape in shapes)

    samples = sample(lambda x: x + 1, torch.ones(5), shapes=({0: n},), accepts=accepts)
    assert [row[0][0] for row in list_shapes(samples)] == [0, 1, 8, 4]


def test_static_program_has_no_other_sizes() -> None:
    assert [s.kind for s in sample(lambda x: x + 1, torch.ones(3))] == [
        *("example", "values", "values")
    ]


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int32])
def test_integers_stay_in_the_range_of_the_example(dtype: torch.dtype) -> None:
    example = torch.tensor([3, 9, 4, 4, 7, 5], dtype=dtype)
    others = [s.inputs[0] for s in sample(lambda x: x + 1, example)[1:]]
    assert len(others) == 2
    for other in others:
        assert other.dtype == dtype
        assert 3 <= int(other.min()) <= int(other.max()) <= 9
        assert not torch.equal(other, example)


def test_indices_that_are_distinct_stay_distinct() -> None:
    example = torch.tensor([5, 0, 9, 2])
    for other in sample(lambda x: x + 1, example)[1:]:
        assert sorted(other.inputs[0].tolist()) == [0, 2, 5, 9]


def test_offsets_stay_sorted() -> None:
    for other in sample(lambda x: x + 1, torch.tensor([0, 4, 4, 9, 12]))[1:]:
        assert (other.inputs[0].diff() >= 0).all()


def test_tensor_that_is_given_twice_stays_one() -> None:
    x = torch.randn(3)
    for other in sample(lambda q, k, v: q * k + v, x, x, torch.randn(3))[1:]:
        assert torch.equal(other.inputs[0], other.inputs[1])
        assert not torch.equal(other.inputs[0], other.inputs[2])


def test_one_integer_has_no_other_value() -> None:
    assert len(sample(lambda x: x + 1, torch.tensor([4]))) == 1


def test_floats_are_drawn_at_the_scale_of_the_example() -> None:
    _, near, spread = sample(lambda x: x.log(), 1000 + 50 * torch.rand(4, 5))
    assert (near.inputs[0] >= 1000).all()
    assert (near.inputs[0] <= 1050).all()
    assert (spread.inputs[0] < 0).any()
    assert 100 < spread.inputs[0].abs().mean() < 10_000
    _, near, _ = sample(lambda x: x + 1, torch.zeros(6))
    assert near.inputs[0].std() > 0.1


def test_imaginary_parts_and_booleans_are_drawn() -> None:
    x, mask = torch.complex(torch.randn(4), torch.zeros(4)), torch.ones(64, dtype=torch.bool)
    for other in sample(lambda x, mask: (x.abs(), ~mask), x, mask)[1:]:
        assert other.inputs[0].dtype == torch.complex64
        assert other.inputs[0].imag.abs().max() > 0 or other.title == "other values"
        assert other.inputs[1].dtype == torch.bool
        assert 0 < int(other.inputs[1].sum()) < 64


@pytest.mark.parametrize("example", [torch.randn(2, 3, 4, 5), torch.randn(2, 4, 5, 3)])
def test_layout_is_kept(example: Tensor) -> None:
    example = example.to(memory_format=torch.channels_last)
    for other in sample(lambda x: x + 1, example)[1:]:
        assert other.inputs[0].stride() == example.stride()


def test_samples_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    program = capture(lambda x: x + 1, torch.randn(4))
    state = torch.random.get_rng_state()
    first, second = list_samples(program), list_samples(program)
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.inputs[0], b.inputs[0])


def test_program_without_example_inputs_cannot_be_compared() -> None:
    program = capture(lambda x: x + 1, torch.ones(3))
    program._example_inputs = None
    with pytest.raises(InputError, match="example inputs"):
        list_samples(program)
