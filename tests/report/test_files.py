"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from mlx_coverage.report import UnwritableError, check_writable, write_file
from mlx_coverage.report.files import stage_file


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(file) -> None:
        file.write(b"half")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        write_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_scratch_file_takes_the_place(tmp_path: Path) -> None:
    path = tmp_path / "model.pte"
    with stage_file(path) as scratch:
        scratch.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", [".", "missing/report.html"])
def test_impossible_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnwritableError, match="folder"):
        check_writable(tmp_path / name)


def test_new_files_are_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    (tmp_path / "reference").touch()
    write_file(path, "{}")
    assert path.stat().st_mode == (tmp_path / "reference").stat().st_mode


@pytest.mark.parametrize("path", ["/proc/report.html", "/sys/report.html", "a" * 300])
def test_paths_that_only_the_file_system_refuses(path: str) -> None:
    with pytest.raises(UnwritableError, match="cannot be written: "):
        check_writable(Path(path))


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, real = tmp_path / "link.json", tmp_path / "there" / "real.json"
    link.symlink_to(real)
    write_file(link, "{}")
    assert link.is_symlink()
    assert real.read_text() == "{}"


def test_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_file(pipe, "{}")
    assert os.read(reader, 10) == b"{}"
    os.close(reader)
    assert pipe.is_fifo()


def test_long_name_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250)
    write_file(path, "{}")
    assert path.read_text() == "{}"
