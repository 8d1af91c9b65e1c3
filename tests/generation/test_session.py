"""A conversation's state: rewound, copied, saved and loaded."""

from pathlib import Path

import pytest
import torch

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.generation import Program, Session
from tests.generation.conftest import Open
from tests.generation.families import CHUNK, CONTEXT, WINDOW, Case, draw_prompt


@pytest.fixture(scope="module", params=["llama", "gemma-3", "qwen3.5-moe"])
def case(request: pytest.FixtureRequest, open_case: Open) -> Case:
    return open_case(request.param, torch.float32)


@pytest.fixture
def session(case: Case) -> Session:
    return case.program.open_session()


def follow(session: Session, tokens: list[int]) -> torch.Tensor:
    return torch.stack([session.extend([token]) for token in tokens])


def test_going_back_undoes_what_was_read(case: Case, session: Session) -> None:
    limit = case.program.metadata.max_rewind_len
    assert limit == {"llama": CONTEXT, "gemma-3": CHUNK - 1, "qwen3.5-moe": 0}[case.family]
    prompt, rest = draw_prompt(2 * WINDOW), draw_prompt(6, seed=3)
    session.extend(prompt)
    first = follow(session, rest)
    session.extend(draw_prompt(20 if limit == CONTEXT else 1, seed=4))
    if limit == 0:
        with pytest.raises(InputError, match="cannot go back by 7 tokens"):
            session.rewind(len(prompt))
        return
    session.rewind(len(prompt))
    assert session.position == len(prompt)
    assert session.logits is None
    assert torch.equal(follow(session, rest), first)


def test_going_back_further_than_the_window_allows(case: Case, session: Session) -> None:
    session.extend(draw_prompt(WINDOW + CHUNK))
    if case.family == "gemma-3":
        with pytest.raises(InputError, match=f"up to {CHUNK - 1}: copy the session"):
            session.rewind(WINDOW)
        assert session.position == WINDOW + CHUNK
    session.rewind(0)
    assert session.tokens == []
    with pytest.raises(InputError, match="no position 1; accepted: 0 to 0"):
        session.rewind(1)


def test_a_copy_goes_its_own_way(session: Session) -> None:
    session.extend(draw_prompt())
    other, tokens = session.copy(), draw_prompt(8, seed=5)
    follow(other, draw_prompt(9, seed=6))
    first = follow(session, tokens)
    assert other.tokens[:-9] == session.tokens[:-8]
    other.close()
    again = session.program.open_session()
    again.extend(draw_prompt())
    assert torch.equal(follow(again, tokens), first)


def test_a_saved_conversation_goes_on(case: Case, session: Session, tmp_path: Path) -> None:
    session.extend(draw_prompt())
    path, tokens = tmp_path / "conversation", draw_prompt(8, seed=7)
    session.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["conversation"]
    first = follow(session, tokens)
    for program in (case.program, Program(case.path)):
        loaded = program.load_session(path)
        assert loaded.tokens == draw_prompt()
        assert torch.equal(follow(loaded, tokens), first)


def test_files_that_are_no_conversation(case: Case, session: Session, tmp_path: Path) -> None:
    session.extend(draw_prompt())
    path = tmp_path / "conversation"
    session.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        case.program.load_session(path)
    path.write_bytes(whole.replace(case_digest(case), b"0" * 32, 1))
    with pytest.raises(InputError, match="is a session of another program than"):
        case.program.load_session(path)
    path.write_text("no tensors")
    with pytest.raises(InputError, match="is no saved session"):
        case.program.load_session(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        case.program.load_session(tmp_path / "missing")


def case_digest(case: Case) -> bytes:
    from mlx_coverage.analyze.program_file import fingerprint

    return fingerprint(case.path).encode()


def test_tokens_that_do_not_fit(session: Session) -> None:
    session.extend(draw_prompt())
    with pytest.raises(InputError, match="there is no token"):
        session.extend([])
    with pytest.raises(InputError, match="token 250 is not in the vocabulary; accepted: 0 to 249"):
        session.extend([3, 250])
    left = CONTEXT - session.position
    with pytest.raises(InputError, match=f"do not fit into the context of {CONTEXT}, of which"):
        session.extend([3] * (left + 1))
    assert session.tokens == draw_prompt()
    session.extend([3] * left)
