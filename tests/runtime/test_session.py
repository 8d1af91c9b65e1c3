"""State that the methods of a loaded program share, and what a forked process is told."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from executorch.runtime import Runtime
from torch import Tensor

from mlx_coverage import runtime
from mlx_coverage.lowering.payload import serialize
from mlx_coverage.lowering.program import Program, State
from tests.runtime.programs import (
    FLOAT32,
    add_program,
    make_program,
    read_program,
    result,
    tensor,
    values_of,
)
from tests.runtime.pte import Method, build_pte

KEY = "mlx_coverage/session"
START = torch.tensor([1.0, -2.0])


def build(data: dict[str, bytes] | None = None, **programs: Program) -> bytes:
    methods = [
        Method(serialize(p), *values_of(p, tuple(p.states[0].dims)), name=name)
        for name, p in programs.items()
    ]
    stored = {"start": START.numpy().tobytes(), KEY: b"\0"} if data is None else data
    return build_pte(*methods, data=stored)


def load(source: bytes | Path):
    runtime.load()
    return Runtime.get().load_program(source)


def call(program, method: str, *values: float) -> Tensor:
    (found,) = program.load_method(method).execute([torch.tensor(values, dtype=torch.float32)])
    return found.clone()


def test_methods_share_a_buffer_of_one_name() -> None:
    pte = build(step=add_program(), other=add_program(), read=read_program())
    program = load(pte)
    call(program, "step", 1, 1)
    # A method that is loaded later finds the state as it is, not as it started.
    torch.testing.assert_close(call(program, "other", 1, 2), START + torch.tensor([2.0, 3]))
    torch.testing.assert_close(call(program, "read", 0, 0), START + torch.tensor([2.0, 3]))


def test_a_buffer_without_a_name_is_the_delegates_own() -> None:
    pte = build(step=add_program(None), other=add_program(None))
    program = load(pte)
    call(program, "step", 1, 1)
    torch.testing.assert_close(call(program, "other", 0, 0), START)


@pytest.mark.parametrize("source", ["memory", "file"])
def test_a_program_that_is_loaded_twice_has_two_states(tmp_path: Path, source: str) -> None:
    pte = build(step=add_program(), read=read_program())
    path = tmp_path / "model.pte"
    path.write_bytes(pte)
    # From one place in memory, the keys of both programs lie at the same addresses.
    first, second = (load(path if source == "file" else pte) for _ in range(2))
    call(first, "step", 1, 1)
    torch.testing.assert_close(call(second, "read", 0, 0), START)
    call(second, "step", 5, 5)
    torch.testing.assert_close(call(first, "read", 0, 0), START + 1)
    del first
    torch.testing.assert_close(call(second, "read", 0, 0), START + 5)


def test_the_state_lives_as_long_as_one_method() -> None:
    runtime.load()
    pte = build(step=add_program(), read=read_program())
    # Of the binding that the runtime's program wraps, which keeps each method for good.
    program = load(pte)._program
    step, read = program.load_method("step"), program.load_method("read")
    step([torch.ones(2)])
    del step
    torch.testing.assert_close(read([torch.zeros(2)])[0], START + 1)
    program.load_method("step")([torch.ones(2)])
    torch.testing.assert_close(read([torch.zeros(2)])[0], START + 2)
    del read
    torch.testing.assert_close(program.load_method("read")([torch.zeros(2)])[0], START)


@pytest.mark.parametrize(
    ("pte", "sentence"),
    [
        (
            build({"start": bytes(8)}, step=add_program()),
            "expected the named data 'mlx_coverage/session'",
        ),
        (
            build(
                {"start": bytes(12), KEY: b"\0"},
                first=add_program(rows=3),
                step=add_program(rows=2),
            ),
            "'n' has another dtype or shape in another method",
        ),
        (
            build(
                step=make_program(
                    inputs=[tensor(0, 2)],
                    states=[State(n, None, FLOAT32, (2,), "n") for n in (1, 2)],
                    outputs=[result(1)],
                )
            ),
            "'n' is there twice",
        ),
    ],
)
def test_states_that_cannot_be_shared(pte: bytes, sentence: str) -> None:
    program = load(pte)
    *others, last = sorted(program.method_names)
    for method in others:
        program.load_method(method)
    with pytest.raises(RuntimeError):
        program.load_method(last)
    assert sentence in runtime.last_error()


@pytest.fixture(params=["n", None], ids=["shared", "own"])
def name(request: pytest.FixtureRequest) -> str | None:
    return request.param


def step(program, value: float) -> float:
    return float(call(program, "step", value, value)[0]) - float(START[0])


def test_sessions_have_states_of_their_own(name: str | None) -> None:
    program = load(build(step=add_program(name)))
    assert step(program, 1) == 1
    first, second = runtime.Session(), runtime.Session()
    with first:
        assert step(program, 2) == 2
        with second:
            assert step(program, 10) == 10
        assert step(program, 2) == 4
    assert step(program, 1) == 2
    first.reset()
    with first:
        assert step(program, 5) == 5


def test_a_copy_goes_its_own_way(name: str | None) -> None:
    program, session = load(build(step=add_program(name))), runtime.Session()
    with session:
        step(program, 1)
    other = session.copy()
    for each, value in ((session, 1), (other, 10), (session, 1), (other, 10)):
        with each:
            step(program, value)
    with session:
        assert step(program, 0) == 3
    with other:
        assert step(program, 0) == 21
        step(program, 1)
    session.assign(other)
    other.close()
    with session:
        assert step(program, 0) == 22


def test_a_session_survives_its_file(name: str | None, tmp_path: Path) -> None:
    program, session = load(build(step=add_program(name))), runtime.Session()
    path = tmp_path / "state.safetensors"
    with session:
        step(program, 3)
        session.save(path, "a note")
        step(program, 4)
    session.load(path)
    session.save(tmp_path / "again.safetensors", "a note")  # before any call took it over
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    fresh = load(build(step=add_program(name)))
    for each in (program, fresh):
        session.load(path)
        with session:
            assert step(each, 1) == 4


def test_a_session_of_another_program_is_refused(tmp_path: Path) -> None:
    program, session = load(build(step=add_program("n"))), runtime.Session()
    other = load(build(step=add_program("m")))
    path = tmp_path / "state.safetensors"
    with session:
        step(program, 3)
    session.save(path)
    session.load(path)
    with session, pytest.raises(RuntimeError):
        step(other, 1)
    assert "it has no state 'm' of (2) float32" in runtime.last_error()
    session.reset()
    with session:
        assert step(other, 1) == 1


def test_two_programs_of_one_session_are_not_saved_together(tmp_path: Path) -> None:
    programs, session = [load(build(step=add_program("n"))) for _ in range(2)], runtime.Session()
    with session:
        for program in programs:
            step(program, 3)
    with pytest.raises(runtime.SessionError, match="give each program a session of its own"):
        session.save(tmp_path / "state.safetensors")


def test_sessions_that_cannot_be_used(tmp_path: Path) -> None:
    session = runtime.Session()
    with pytest.raises(runtime.SessionError, match="no state to save"):
        session.save(tmp_path / "state.safetensors")
    (tmp_path / "text").write_text("no tensors")
    for path in (tmp_path / "missing", tmp_path / "text"):
        with pytest.raises(runtime.SessionError):
            session.load(path)
    session.close()
    session.close()
    with pytest.raises(runtime.SessionError, match="no open session"), session:
        pass


def test_a_closed_session_in_use_ends_with_its_thread_in_session_0() -> None:
    program, session = load(build(step=add_program())), runtime.Session()
    with session:
        step(program, 7)
        session.close()
        assert step(program, 1) == 1


def test_a_session_belongs_to_the_thread_that_uses_it() -> None:
    program, session = load(build(step=add_program())), runtime.Session()
    with session, ThreadPoolExecutor(1) as other:
        step(program, 7)
        assert other.submit(step, program, 1).result() == 1
        assert step(program, 1) == 8


FORKED = """
import os, sys
import torch
from mlx_coverage import runtime
from executorch.runtime import Runtime
runtime.load()
program = Runtime.get().load_program(sys.argv[1])
method = program.load_method("step")
method.execute([torch.ones(2)])
if os.fork() == 0:
    for act in (
        lambda: method.execute([torch.ones(2)]),
        lambda: Runtime.get().load_program(sys.argv[1]).load_method("step"),
    ):
        try:
            act()
        except RuntimeError:
            print(runtime.last_error(), flush=True)
    del method, program
    sys.exit(7)
status = os.wait()[1]
print(os.waitstatus_to_exitcode(status), method.execute([torch.ones(2)])[0].tolist())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(build(step=add_program()))
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(path)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert all("forked from one that runs MLX" in line for line in lines[:2])
    assert lines[2] == f"7 {(START + 2).tolist()}"
