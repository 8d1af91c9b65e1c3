"""The modules that ExecuTorch's own MLX delegate generates, made in the cache."""

from pathlib import Path

import executorch
import pytest

from mlx_coverage.analyze.failures import InputError
from mlx_coverage.analyze.upstream import bindings

PACKAGE = Path(next(iter(executorch.__path__)))
FOLDER = PACKAGE / "backends" / "mlx" / "serialization"
FLATC = PACKAGE / "data" / "bin" / "flatc"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_COVERAGE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def list_files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def copy_package(target: Path, **changed: str) -> Path:
    """A layout like the wheel's, with the files of `serialization` and some changed."""
    folder = target / "backends" / "mlx" / "serialization"
    folder.mkdir(parents=True)
    for path in FOLDER.iterdir():
        if path.is_file():
            (folder / path.name).write_text(changed.get(path.stem, path.read_text()))
    return folder


def test_modules_are_made_in_the_cache_once_and_site_packages_stay(cache: Path) -> None:
    before = list_files(PACKAGE / "backends" / "mlx")
    made = bindings.generate_serialization(FOLDER, FLATC)
    assert made.is_relative_to(cache)
    assert (made / "mlx_graph_schema.py").is_file()
    assert (made / "_generated" / "mlx_delegate" / "MLXGraph.py").is_file()
    first = list_files(cache)
    assert bindings.generate_serialization(FOLDER, FLATC) == made
    assert list_files(cache) == first
    assert list_files(PACKAGE / "backends" / "mlx") == before


def test_another_schema_is_another_folder(tmp_path: Path) -> None:
    schema = (FOLDER / "schema.fbs").read_text() + "\n// newer\n"
    other = copy_package(tmp_path / "other", schema=schema)
    assert bindings.generate_serialization(other, FLATC) != bindings.generate_serialization(
        FOLDER, FLATC
    )


@pytest.mark.parametrize("missing", ["schema.fbs", "generate.py", "flatc"])
def test_what_is_missing_is_named(missing: str, tmp_path: Path, cache: Path) -> None:
    folder = copy_package(tmp_path / "executorch")
    flatc = tmp_path / "executorch" / "data" / "bin" / "flatc"
    flatc.parent.mkdir(parents=True)
    flatc.touch()
    (flatc if missing == "flatc" else folder / missing).unlink()
    with pytest.raises(InputError, match=f"no .*{missing} to make them with"):
        bindings.generate_serialization(folder, flatc)
    assert not cache.exists()


@pytest.mark.parametrize(
    "generator", ["raise SystemExit('wants a newer schema')", "print('flatc failed')"]
)
def test_a_generator_that_fails_leaves_nothing(generator: str, tmp_path: Path, cache: Path) -> None:
    folder = copy_package(tmp_path / "executorch", generate=generator)
    with pytest.raises(InputError, match=r"generator failed .(wants a newer schema|flatc failed)"):
        bindings.generate_serialization(folder, FLATC)
    assert not list(cache.rglob("*.py"))


def test_executorch_without_the_delegate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backends").mkdir()
    monkeypatch.setattr(bindings, "_find_executorch", lambda: tmp_path)
    with pytest.raises(InputError, match=r"has none .*; install a release"):
        bindings.import_delegate()
