"""Excerpts of source: whole functions, files that cannot be read, and other people's files."""

from pathlib import Path

import pytest
import torch

from mlx_coverage.analyze.excerpts import read_excerpts
from mlx_coverage.analyze.model import Source

TEXT = """import torch


class Net:
    @property
    def size(self):
        return 3

    def forward(self, x):
        def inner(y):
            return y + 1

        return inner(x)


model = Net()
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(TEXT)
    return "net.py"


def test_functions_are_shown_whole(file: str) -> None:
    (found,), missing = read_excerpts([Source(file, 11), Source(file, 13)])
    assert missing == ()
    assert (found.file, found.own) == ("net.py", True)
    (excerpt,) = found.excerpts
    assert excerpt.first == 9
    assert excerpt.lines == tuple(TEXT.splitlines()[8:13])


def test_decorators_belong_to_their_function(file: str) -> None:
    (found,), _ = read_excerpts([Source(file, 7)])
    assert [(e.first, len(e.lines)) for e in found.excerpts] == [(5, 3)]


def test_lines_outside_functions_have_lines_around_them(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("\n".join(f"x{i} = {i}" for i in range(1, 101)))
    (found,), _ = read_excerpts([Source(str(path), line) for line in (1, 50, 55, 100, 999)])
    assert [(e.first, e.first + len(e.lines) - 1) for e in found.excerpts] == [
        (1, 9),
        (42, 63),
        (92, 100),
    ]


def test_packages_are_not_the_users() -> None:
    line = torch.nn.Linear.forward.__code__.co_firstlineno + 1
    sources = [
        Source(None),
        Source(__file__, 1, "", "inherited", f"torch/nn/modules/linear.py:{line}"),
    ]
    (own, other), missing = read_excerpts(sources)
    assert missing == ()
    assert (own.own, other.own) == (True, False)
    assert "def forward" in other.excerpts[0].lines[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "no such file"), (b"def (:\n", "syntax"), (b"# coding: utf-8\n\xff\n", "utf-8")],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "broken.py"
    if content is not None:
        path.write_bytes(content)
    files, (sentence,) = read_excerpts([Source(str(path), 1)])
    assert files == ()
    assert str(path) in sentence
    assert said in sentence
