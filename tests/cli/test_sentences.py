"""Failures are told by what explains them."""

from pathlib import Path

import pytest

from mlx_coverage.analyze import execution
from mlx_coverage.analyze.failures import CallError, CaptureError, InputError
from mlx_coverage.analyze.load import import_definitions
from mlx_coverage.cli import _explain, exits

KERNEL = """\
[op_x.cpp:1] Using the portable kernel
[index_util.cpp:94] Check failed (index_ptr[i] < size): index[1] = 9 is out of range [0, 4)
[op_index_select.cpp:29] Check failed (check_index_select_args(in, dim, index, out)):
[method.cpp:1483] KernelCall failed at instruction 0:1 in operator aten::index_select.out: 0x12
[method.cpp:1493] arg 0 with type id 1
"""
RESIZE = """\
[tensor_impl.cpp:156] Attempted to resize a bounded tensor with a maximum capacity of 12 elements.
[method.cpp:1243] Error resizing tensor at input 0
"""


def test_the_line_that_explains_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution.runtime, "last_error", lambda: "of an earlier call")
    said = execution._explain(KERNEL, RuntimeError("execute() failed with error 0x12"))
    assert said == "aten::index_select.out: index[1] = 9 is out of range [0, 4)"
    monkeypatch.setattr(execution.runtime, "last_error", lambda: "")
    assert execution._explain(RESIZE, RuntimeError("0x10")).startswith("Attempted to resize")
    assert execution._explain("", RuntimeError("0x10")) == "0x10"


def test_a_failed_call_is_no_unusable_input() -> None:
    assert _explain(CallError("the call failed"))[0] == exits.MODEL_FAILED
    assert _explain(InputError("no such file"))[0] == exits.UNUSABLE_INPUT


def test_a_missing_module_is_told_from_one_that_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "raising_package"
    package.mkdir()
    (package / "__init__.py").write_text("import no_such_dependency_at_all\n")
    (package / "ops.py").write_text("")
    (tmp_path / "raising_module.py").write_text("import no_such_dependency_at_all\n")
    for name in ("raising_package.ops", "raising_package", "raising_module"):
        with pytest.raises(CaptureError, match="no_such_dependency_at_all"):
            import_definitions(name)
    for name in ("no_such_package.ops", "no_such_module"):
        with pytest.raises(InputError, match="there is no module"):
            import_definitions(name)
