"""The Llama decoder with a static cache: prefill, then token by token."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from examples import llama
from tests.e2e.closeness import assert_close
from tests.e2e.lowering import Lowered, lower_methods, run_eagerly
from tests.e2e.models import DTYPES

STEPS = 16


@dataclass(frozen=True)
class Case:
    """The decoder in one dtype; `eager` has buffers of its own."""

    dtype: torch.dtype
    eager: nn.Module
    args: tuple[Tensor, Tensor]
    lowered: Lowered


@pytest.fixture(scope="module", params=DTYPES, ids=lambda d: str(d).removeprefix("torch."))
def case(request: pytest.FixtureRequest) -> Case:
    decoder, args, kwargs, shapes = llama.model(request.param)
    lowered = lower_methods({"forward": (decoder, args, kwargs, shapes)})
    eager, *_ = llama.model(request.param)  # the same weights, by the same seed
    return Case(request.param, eager, args, lowered)


def test_prefill_and_decoding_equal_eager(case: Case) -> None:
    assert case.lowered.fallbacks() == []
    assert len(case.lowered.delegates()) == 1

    run = case.lowered.start()
    tokens = case.args[0]
    position = 0
    seen = tokens
    for _ in range(1 + STEPS):
        positions = torch.arange(position, position + tokens.shape[1])
        found, expected = run(tokens, positions), run_eagerly(case.eager, tokens, positions)
        assert_close(found, expected)
        position += tokens.shape[1]
        # Both go on with eager torch's choice: a tie must not part them.
        tokens = choose(expected[0])
        seen = torch.cat([seen, tokens], dim=1)
    assert position == case.args[0].shape[1] + STEPS
    if case.dtype == torch.float32:
        assert_cache_was_used(seen)


def choose(logits: Tensor) -> Tensor:
    return logits[:, -1:].argmax(-1)


def assert_cache_was_used(seen: Tensor) -> None:
    # The same weights without a cache choose the same tokens: eager was right, too.
    decoder, *_ = llama.without_cache()
    (logits,) = run_eagerly(decoder, seen)
    prompt = seen.shape[1] - STEPS - 1
    assert torch.equal(logits[:, prompt - 1 : -1].argmax(-1), seen[:, prompt:])


def test_second_prompt_starts_afresh(case: Case) -> None:
    run, args = case.lowered.start(), case.args
    first = run(*args)
    run(choose(first[0]), torch.tensor([args[0].shape[1]]))
    assert_close(run(*args), first)
