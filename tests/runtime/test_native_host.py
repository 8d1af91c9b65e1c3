"""The C++ example host against the Python runtime."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mlx_coverage import runtime
from mlx_coverage.lowering.payload import serialize
from tests.runtime.programs import Loaded, add_program, read_program, softmax_program, values_of
from tests.runtime.pte import Method, build_pte

HOST = Path(__file__).parents[2] / "examples/native_host"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runtime.load()
    binary = tmp_path_factory.mktemp("host") / "native_host"
    subprocess.run(
        ["make", "-C", str(HOST), f"PYTHON={sys.executable}", f"OUT={binary}"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(HOST.parents[1])},
    )
    return binary


def test_outputs_equal_the_python_runtimes(host: Path, tmp_path: Path):
    program = softmax_program()
    pte = build_pte(Method(serialize(program), *values_of(program, (2, 4))))
    (tmp_path / "model.pte").write_bytes(pte)
    inputs = torch.randn(2, 3), torch.randn(3, 4)
    files = []
    for number, value in enumerate(inputs):
        files.append(str(tmp_path / f"in{number}.npy"))
        np.save(files[-1], value.numpy())
    done = subprocess.run(
        [str(host), str(tmp_path / "model.pte"), str(tmp_path / "out"), "--repeat", "3", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"device=\w+ mlx=0\.\d+\.\d+\S* first_ms=\S+ runs=2 min_ms=", done.stdout)
    (expected,) = Loaded(pte).execute(*inputs)
    np.testing.assert_allclose(np.load(tmp_path / "out0.npy"), expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no array", "is no .npy file"),
        (np.asfortranarray(np.ones((2, 3), np.float32)), "is no .npy file of version 1 in C order"),
        (np.ones((2, 3), np.uint64), "holds a dtype that is not supported"),
    ],
)
def test_inputs_that_are_no_arrays(
    host: Path, tmp_path: Path, content: bytes | np.ndarray, sentence: str
):
    program = softmax_program()
    pte = build_pte(Method(serialize(program), *values_of(program, (2, 4))))
    (tmp_path / "model.pte").write_bytes(pte)
    file = tmp_path / "in.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        np.save(file, content)
    command = [str(host), str(tmp_path / "model.pte"), str(tmp_path / "out"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_no_python_and_no_torch(host: Path):
    libraries = subprocess.run(
        ["ldd", str(host)], capture_output=True, text=True, check=True
    ).stdout
    assert "libmlx" in libraries
    assert not re.search("libpython|libtorch", libraries)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "usage"),
        (["missing.pte", "out"], 1, "missing.pte does not load"),
    ],
)
def test_bad_use(host: Path, arguments: list[str], code: int, sentence: str):
    done = subprocess.run([str(host), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert sentence in done.stderr


def test_methods_share_their_state(host: Path, tmp_path: Path):
    methods = {"step": add_program(), "read": read_program()}
    pte = build_pte(
        *(Method(serialize(p), *values_of(p, (2,)), name=name) for name, p in methods.items()),
        data={"start": np.array([1, -2], np.float32).tobytes(), "mlx_coverage/session": b"\0"},
    )
    (tmp_path / "model.pte").write_bytes(pte)
    np.save(tmp_path / "x.npy", np.array([10, 20], np.float32))
    names = ["step", "read", "step", "step", "read"]
    command = [host, tmp_path / "model.pte", tmp_path / "out", "--methods", ",".join(names)]
    subprocess.run([*command, tmp_path / "x.npy"], check=True, capture_output=True)
    found = [np.load(tmp_path / f"out{number}.npy")[0] for number in range(len(names))]
    assert found == [11, 21, 21, 31, 41]


def test_sessions_have_states_of_their_own(host: Path, tmp_path: Path):
    pte = build_pte(
        Method(serialize(add_program()), *values_of(add_program(), (2,)), name="step"),
        data={"start": np.array([1, -2], np.float32).tobytes(), "mlx_coverage/session": b"\0"},
    )
    (tmp_path / "model.pte").write_bytes(pte)
    np.save(tmp_path / "x.npy", np.array([10, 20], np.float32))
    names = ["step@a", "step@a", "step@b", "step@a", "step@b"]
    command = [host, tmp_path / "model.pte", tmp_path / "out", "--methods", ",".join(names)]
    subprocess.run([*command, tmp_path / "x.npy"], check=True, capture_output=True)
    found = [np.load(tmp_path / f"out{number}.npy")[0] for number in range(len(names))]
    assert found == [11, 21, 11, 31, 21]


def test_a_method_is_bound_to_a_session_when_it_is_loaded(tmp_path: Path):
    runtime.load()
    described = [sys.executable, "-m", "mlx_coverage.runtime", "--flags"]
    flags = subprocess.run(described, capture_output=True, text=True, check=True).stdout
    binary, source = tmp_path / "session_option", Path(__file__).parent / "session_option.cpp"
    command = [os.environ.get("CXX", "c++"), str(source), "-o", str(binary), *shlex.split(flags)]
    subprocess.run(command, check=True)
    methods = {"step": add_program(), "other": add_program()}
    pte = build_pte(
        *(Method(serialize(p), *values_of(p, (2,)), name=name) for name, p in methods.items()),
        data={"start": np.array([1, -2], np.float32).tobytes(), "mlx_coverage/session": b"\0"},
    )
    (tmp_path / "model.pte").write_bytes(pte)
    done = subprocess.run(
        [binary, tmp_path / "model.pte", *methods], capture_output=True, text=True, check=True
    )
    # Both methods have the buffer, and each a value of its own.
    assert done.stdout.splitlines() == ["[session] there is no open session 99.", *"2233"]


def test_host_is_short():
    files = [path for path in HOST.iterdir() if path.suffix in (".cpp", ".h")]
    assert sum(len(path.read_text().splitlines()) for path in files) < 200
