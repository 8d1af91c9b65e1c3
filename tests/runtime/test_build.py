"""Compiling the runtime once: the cache, the lock, and what is said when it cannot be done."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlx_coverage.runtime import build, cache, environment, toolchain
from mlx_coverage.runtime.errors import BuildFailed, RuntimeUnavailable

ROOT = Path(__file__).parents[2]


def make_compiler(folder: Path, body: str) -> str:
    """A stand-in for a compiler: answers --version, else runs `body`."""
    path = folder / "compiler"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo fake 1.0 && exit\n{body}\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_COVERAGE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_second_build_is_a_cache_hit(
    fresh_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = tmp_path / "log"
    # The last argument of every command is the output file, but for the precompiled header.
    body = f'echo run >> {log}; for last; do :; done; echo built > "$last"'
    monkeypatch.setenv("CXX", make_compiler(tmp_path, body))
    first = build.build()
    runs = len(log.read_text().splitlines())
    assert runs == len(list(build.SOURCES.glob("*.cpp"))) + 2
    start = time.perf_counter()
    assert build.build() == first
    assert time.perf_counter() - start < 1
    assert len(log.read_text().splitlines()) == runs
    assert first.is_relative_to(fresh_cache)


def test_key_follows_the_toolchain(monkeypatch: pytest.MonkeyPatch):
    tools = toolchain.find_toolchain()
    other = toolchain.Toolchain(tools.compiler, "g++ 99", tools.executorch, tools.mlx, "0.32.4")
    newer = toolchain.Toolchain(
        tools.compiler, tools.compiler_version, tools.executorch, tools.mlx, "0.99.0"
    )
    assert len({build.locate(t) for t in (tools, other, newer)}) == 3


@pytest.mark.usefixtures("fresh_cache")
def test_failing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", make_compiler(tmp_path, "echo 'x.h:1: error: broken' >&2; exit 1"))
    with pytest.raises(BuildFailed, match=r"error: broken.*whole output is in") as caught:
        build.build()
    assert "error: broken" in caught.value.log.read_text()
    assert not list(caught.value.log.parent.glob("*.so"))


@pytest.mark.usefixtures("fresh_cache")
def test_no_compiler(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(RuntimeUnavailable, match="There is no C\\+\\+ compiler: "):
        build.build()


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLX_COVERAGE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(RuntimeUnavailable, match="set MLX_COVERAGE_CACHE_DIR"):
        build.build()


@pytest.mark.parametrize(
    ("package", "sentence"),
    [("mlx", "mlx is missing: `pip install"), ("executorch", "executorch is missing: `pip")],
)
def test_missing_package(package: str, sentence: str, monkeypatch: pytest.MonkeyPatch):
    find = toolchain.find_package
    monkeypatch.setattr(toolchain, "find_package", lambda n: [] if n == package else find(n))
    with pytest.raises(RuntimeUnavailable, match=sentence):
        toolchain.find_toolchain()


def test_executorch_without_a_shared_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(toolchain, "find_package", lambda _: [tmp_path])
    with pytest.raises(RuntimeUnavailable, match=r"executorch>=1\.5"):
        toolchain.find_executorch()
    with pytest.raises(RuntimeUnavailable, match="mlx has no backend for this machine"):
        toolchain.find_mlx()


def test_one_makes_while_others_wait(tmp_path: Path):
    made: list[int] = []

    def make(target: Path) -> None:
        time.sleep(0.05)
        made.append(1)
        target.write_text("done")

    target = tmp_path / "key" / "library"
    threads = [threading.Thread(target=cache.produce, args=(target, make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert target.read_text() == "done"


def test_failure_leaves_nothing_half_written(tmp_path: Path):
    def fail(target: Path) -> None:
        target.write_text("half")
        raise BuildFailed("no", tmp_path)

    target = tmp_path / "key" / "library"
    with pytest.raises(BuildFailed):
        cache.produce(target, fail)
    assert [p.name for p in target.parent.iterdir()] in ([], ["lock"])


def test_command_prints_the_library_and_flags():
    command = [sys.executable, "-m", "mlx_coverage.runtime"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_file()
    flags = subprocess.run(
        [*command, "--flags"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "libexecutorch" in flags
    assert done.stdout.strip() in flags


def test_importing_the_package_imports_no_torch_and_no_mlx():
    code = "import sys, mlx_coverage.runtime as r; print({'torch', 'mlx.core'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("device", "tpu", "[device] expected auto, cpu or gpu, came 'tpu'."),
        ("compile", "yes", "[compile] expected 0 or 1, came 'yes'."),
        ("max_array_bytes", 0, "[max_array_bytes] expected a number of bytes, came '0'."),
        ("max_array_bytes", -1, "[max_array_bytes] expected a number of bytes, came '-1'."),
    ],
)
def test_options_that_are_refused(option: str, value: object, sentence: str):
    from mlx_coverage import runtime

    with pytest.raises(runtime.OptionRefused) as caught:
        runtime.set_options(**{option: value})  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_environment_variables_choose():
    code = "from mlx_coverage import runtime; print(runtime.device())"
    variables = {**os.environ, "MLX_COVERAGE_DEVICE": "cpu", "MLX_COVERAGE_COMPILE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "cpu"


def test_environment_has_no_problems_here():
    facts = environment.inspect()
    assert facts.problems == ()
    assert facts.executorch is not None
    assert facts.mlx_backends


def test_two_mlx_backends_are_a_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(toolchain, "list_mlx_backends", lambda: ["mlx-cpu", "mlx-cuda-13"])
    (problem,) = environment.inspect().problems
    assert "mlx-cpu and mlx-cuda-13 install the same library" in problem
    assert "--force-reinstall --no-deps mlx-cuda-13" in problem


def test_old_mlx_is_a_problem(monkeypatch: pytest.MonkeyPatch):
    find = toolchain.find_version
    monkeypatch.setattr(toolchain, "find_version", lambda n: "0.31.2" if n == "mlx" else find(n))
    assert any("MLX 0.31.2 is too old" in p for p in environment.inspect().problems)
