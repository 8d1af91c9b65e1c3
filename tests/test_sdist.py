"""The source distribution alone: it installs, builds the runtime and runs a model."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mlx_coverage.runtime import build

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
MODEL = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).eval()
example_inputs = (torch.randn(2, 4),)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of a copy, since setuptools writes beside the sources."""
    folder = tmp_path_factory.mktemp("sdist")
    ignore = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=ignore)
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=tree, check=True)
    (path,) = folder.glob("*.tar.gz")
    return path


def test_holds_what_a_reader_needs(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md", "pyproject.toml"} <= names


def test_installs_builds_and_runs(archive: Path, tmp_path: Path) -> None:
    installed, work = tmp_path / "installed", tmp_path / "work"
    work.mkdir()
    (work / "model.py").write_text(MODEL)
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *pip, "--target", str(installed), str(archive)], check=True)

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "mlx_coverage", *arguments]
        environment = os.environ | {"PYTHONPATH": str(installed)}
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # The key covers every source file, so the same path means that none is missing.
    assert Path(run("build-runtime").strip()) == build.build()
    assert "verified forward" in run("export", "model.py", "-o", "model.pte", "--verify")
