"""Each family, prefilled in chunks and decoded with its cache, as transformers computes it."""

import pytest
import torch
from torch import Tensor

from mlx_coverage.analyze.program_file import read_program
from mlx_coverage.generation import Session
from mlx_coverage.runtime import BACKEND_ID
from tests.generation.conftest import Open
from tests.generation.families import (
    CONTEXT,
    FAMILIES,
    PROMPT,
    STEPS,
    Case,
    draw_prompt,
    run_whole,
)


@pytest.fixture(scope="module", params=FAMILIES)
def exact(request: pytest.FixtureRequest, open_case: Open) -> Case:
    return open_case(request.param, torch.float32)


@pytest.fixture(scope="module", params=FAMILIES)
def half(request: pytest.FixtureRequest, open_case: Open) -> Case:
    return open_case(request.param, torch.bfloat16)


def decode(session: Session, prompt: list[int], steps: int) -> list[Tensor]:
    """The logits of each step; the most likely token goes on."""
    logits = [session.extend(prompt)]
    for _ in range(steps):
        logits.append(session.extend([int(logits[-1].argmax())]))
    return logits


def test_one_delegate_holds_each_method_and_its_state(exact: Case) -> None:
    assert_whole(exact)


def assert_whole(case: Case) -> None:
    for plan in case.lowering.plans.values():
        assert len(plan.partitions) == 1
        assert plan.delegated == len(plan.placements)
    methods = {method.name: method for method in read_program(case.program.path)}
    assert methods["forward"].backends == (BACKEND_ID,)
    # A buffer that stayed with ExecuTorch would be written by one of its kernels.
    assert methods["forward"].kernels == ()


def test_tokens_and_logits_equal_generate(exact: Case) -> None:
    prompt, model = draw_prompt(), exact.make_model(torch.float32)
    expected = model.generate(
        torch.tensor([prompt]), max_new_tokens=STEPS + 1, do_sample=False, eos_token_id=None,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    session = exact.program.open_session()
    found = torch.stack(decode(session, prompt, STEPS))
    logits = torch.cat(expected.logits)
    assert session.tokens == expected.sequences[0, : PROMPT + STEPS].tolist()
    assert len(set(session.tokens[PROMPT:])) > STEPS // 4  # tokens that tell something
    assert (found - logits).abs().max() <= 1e-4 * logits.abs().max()


def test_half_precision_errs_no_more_than_torch(half: Case) -> None:
    assert_whole(half)
    tokens = draw_prompt(PROMPT + STEPS)
    exact = run_whole(half.make_model(torch.float32), tokens)[PROMPT - 1 :]
    torchs = run_whole(half.make_model(torch.bfloat16), tokens)[PROMPT - 1 :]
    session = half.program.open_session()
    found = [session.extend(tokens[:PROMPT])]
    found += [session.extend([token]) for token in tokens[PROMPT:]]
    error = (torch.stack(found).float() - exact).abs()
    allowed = (torchs - exact).abs()
    assert error.mean() <= 1.1 * allowed.mean()
    assert error.max() <= 1.5 * allowed.max()


def test_second_conversation_equals_the_first(exact: Case) -> None:
    session, prompt = exact.program.open_session(), draw_prompt(9)
    first = decode(session, prompt, 8)
    decode(session, draw_prompt(5, seed=1), 8)
    session.reset()
    assert torch.equal(torch.stack(decode(session, prompt, 8)), torch.stack(first))


def test_a_conversation_at_position_0_forgets_the_last_one(exact: Case) -> None:
    # As ExecuTorch's runners begin anew: they know of no session.
    program, prompt = exact.program, draw_prompt(8)
    count = program.choose_length(len(prompt))
    first = program.call(prompt[:count], 0)
    for position in range(count, count + 20):
        program.call([position], position)
    assert torch.equal(program.call(prompt[:count], 0), first)


def test_interleaved_sessions_do_not_mix(exact: Case) -> None:
    prompts = [draw_prompt(seed=1), draw_prompt(seed=2)]
    alone = [decode(exact.program.open_session(), prompt, 16) for prompt in prompts]
    sessions = [exact.program.open_session() for _ in prompts]
    mixed = [[session.extend(p)] for session, p in zip(sessions, prompts, strict=True)]
    for _ in range(16):
        for session, logits in zip(sessions, mixed, strict=True):
            logits.append(session.extend([int(logits[-1].argmax())]))
    for one, other in zip(alone, mixed, strict=True):
        assert torch.equal(torch.stack(one), torch.stack(other))


def test_the_context_is_used_to_its_end(exact: Case) -> None:
    tokens = draw_prompt(CONTEXT)
    session = exact.program.open_session()
    found = session.extend(tokens)
    expected = run_whole(exact.make_model(torch.float32), tokens)[-1]
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
