"""Positions that follow each other: what is read off a program, what is left and refused."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from examples import llama
from mlx_coverage.runtime import last_error
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import Lowered, lower, lower_methods, run_eagerly
from tests.lowering.reading import read_payload

SIZE, HEADS, REACH = 8, 2, 16
Positions = Callable[[Tensor, int], Tensor]

RUNS: dict[str, Positions] = {
    "a number later": lambda given, n: torch.arange(n) + given[0],
    "a number before": lambda given, n: given[2] + torch.arange(n),
    "two steps later": lambda given, n: torch.arange(n) + 1 + given[0].to(torch.int32),
    "from the start": lambda given, n: torch.arange(n),
    "from 3": lambda given, n: torch.arange(3, 3 + n),
    "in two dimensions": lambda given, n: (torch.arange(n)[None] + given[0])[0],
}
OTHERS: dict[str, Positions] = {
    "given": lambda given, n: given[:n],
    "backwards": lambda given, n: torch.arange(n).flip(0) + given[0],
    "every second": lambda given, n: torch.arange(0, 2 * n, 2) + given[0],
    "doubled": lambda given, n: (torch.arange(n) + given[0]) * 2,
    "of many starts": lambda given, n: torch.arange(n) + given[:n],
    "computed": lambda given, n: torch.arange(n) + given.sum(),
    "less": lambda given, n: torch.sub(torch.arange(n) + 4, given[0]),
    "twice a number later": lambda given, n: torch.add(torch.arange(n), given[0], alpha=2),
}


class Rotary(nn.Module):
    """Rotary embedding as transformers writes it, at positions of some kind."""

    def __init__(self, place: Positions, scale: float = 1.0) -> None:
        super().__init__()
        self.place, self.scale = place, scale
        self.register_buffer("frequencies", 10.0 ** -torch.arange(0, SIZE // 2).float())

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        positions = self.place(given, x.shape[2])[None, :, None]
        angles = positions.float() * self.frequencies
        angles = torch.cat((angles, angles), dim=-1)
        cos = (angles.cos() * self.scale).to(x.dtype).unsqueeze(1)
        sin = (angles.sin() * self.scale).to(x.dtype).unsqueeze(1)
        first, second = x[..., : SIZE // 2], x[..., SIZE // 2 :]
        return (x * cos) + (torch.cat((-second, first), dim=-1) * sin)


class Cache(nn.Module):
    """Attention over a cache that is updated at positions of some kind."""

    def __init__(self, place: Positions, late: int = 0, strict: bool = False) -> None:
        super().__init__()
        self.place, self.late, self.strict = place, late, strict
        self.register_buffer("keys", torch.zeros(1, HEADS, REACH, SIZE))
        self.register_buffer("values", torch.zeros(1, HEADS, REACH, SIZE))

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        positions = self.place(given, x.shape[2])
        self.keys.index_copy_(2, positions, x)
        self.values.index_copy_(2, positions, x * 2)
        rows, columns = (positions + self.late)[:, None], torch.arange(REACH)
        mask = columns < rows if self.strict else columns <= rows
        return nn.functional.scaled_dot_product_attention(
            x, self.keys, self.values, attn_mask=mask[None, None]
        )


def count_calls(lowered: Lowered) -> Counter[str]:
    """How often the one delegate calls each function."""
    (delegate,) = lowered.delegates()
    return Counter(call.function for call in read_payload(delegate.processed_bytes).calls)


def make_inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, HEADS, 3, SIZE), torch.tensor([5, 1, 2, 0])


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_rotary_embedding_at_a_run_is_one_call(name: str, dtype: torch.dtype) -> None:
    model, (x, given) = Rotary(RUNS[name]), make_inputs()
    lowered = lower(model, x.to(dtype), given)
    calls = count_calls(lowered)
    assert calls["fast.rope"] == 1
    assert calls["cos"] == calls["concatenate"] == 0
    for shift in (0, 4):
        inputs = (x.to(dtype), given + shift)
        assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))


@pytest.mark.parametrize("name", OTHERS)
def test_rotary_embedding_at_other_positions_is_left(name: str) -> None:
    model, inputs = Rotary(OTHERS[name]), make_inputs()
    lowered = lower(model, *inputs)
    assert count_calls(lowered)["fast.rope"] == 0
    assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))


def test_scaled_rotary_embedding_is_left() -> None:
    model, inputs = Rotary(RUNS["from 3"], scale=0.5), make_inputs()
    lowered = lower(model, *inputs)
    assert count_calls(lowered)["fast.rope"] == 0
    assert_close(lowered.start()(*inputs), run_eagerly(model, *inputs))


@pytest.mark.parametrize("name", RUNS)
def test_attention_reads_what_came_so_far(name: str) -> None:
    model, (x, given) = Cache(RUNS[name]), make_inputs()
    lowered = lower(model, x, given)
    calls = count_calls(lowered)
    assert calls["indexing.slice_update"] == 2
    assert calls["put_along_axis"] == calls["where"] == calls["less_equal"] == 0
    run = lowered.start()
    for shift in (0, 3, 5):
        assert_close(run(x + shift, given + shift), run_eagerly(model, x + shift, given + shift))


@pytest.mark.parametrize("name", [*OTHERS, "later", "strictly before"])
def test_attention_of_another_kind_keeps_its_mask(name: str) -> None:
    later = {"later": {"late": 1}, "strictly before": {"strict": True}}.get(name, {})
    model, (x, given) = Cache(OTHERS.get(name, RUNS["a number later"]), **later), make_inputs()
    given = torch.tensor([1, 5, 2, 0])  # of which no two positions above are the same
    lowered = lower(model, x, given)
    assert count_calls(lowered)["where"] > 0
    run = lowered.start()
    for step in (1, 2):
        assert_close(run(x * step, given), run_eagerly(model, x * step, given))


@pytest.mark.parametrize("first", [-1, REACH - 2])
def test_a_run_outside_the_cache_fails_and_leaves_it(first: int) -> None:
    model, (x, given) = Cache(RUNS["a number later"]), make_inputs()
    run = lower(model, x, given).start()
    run(x, given)
    with pytest.raises(RuntimeError):
        run(x, torch.tensor([first, 1, 2, 0]))
    assert last_error() == f"[host.within] expected a position from 0 to 13, came {first}."
    run_eagerly(model, x, given)
    assert_close(run(x, given + 3), run_eagerly(model, x, given + 3))


def test_a_decoder_layer_makes_the_calls_of_mlx_lm() -> None:
    def count(layers: int) -> Counter[str]:
        decoder = llama.make_cached_decoder(llama.configure(layers), torch.bfloat16)
        length = torch.export.Dim("length", min=1, max=llama.MAX_LENGTH - 1)
        args = (torch.zeros(1, 7, dtype=torch.int64), torch.arange(7))
        return count_calls(
            lower_methods({"forward": (decoder, args, {}, ({1: length}, {0: length}))})
        )

    layer = count(2)
    layer.subtract(count(1))
    # On the device, views apart: the five calls of SwiGLU are one on a GPU.
    views = {"transpose", "reshape", "indexing.slice", "broadcast_to", "squeeze"}
    assert {f: n for f, n in layer.items() if n and f not in views and "host" not in f} == {
        "matmul": 7,
        "fast.rms_norm": 2,
        "fast.rope": 2,
        "indexing.slice_update": 2,
        "fast.scaled_dot_product_attention": 1,
        "astype": 6,  # four around attention: MLX has no kernel for heads of this size
        "sigmoid": 1,
        "multiply": 2,
        "add": 2,
    }
