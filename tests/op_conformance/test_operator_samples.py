"""The nightly run over torch's operator samples: what it reports, and that it goes on."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_flatten

from tests.op_conformance import nightly, sample_running
from tests.op_conformance.criterion import MismatchError, compare
from tests.op_conformance.nightly_table import render
from tests.op_conformance.operator_samples import (
    OPS,
    Sample,
    list_answered,
    list_raising,
    list_samples,
)
from tests.op_conformance.sample_running import Outcome, run_raising, run_samples


def announce_nothing(samples: Sequence[Sample]) -> None:
    del samples


def draw(name: str, dtype: torch.dtype = torch.float32) -> Sample:
    samples = list_samples(OPS[name], dtype, 8)
    return next(s for s in samples if all(tensor.numel() for tensor in s.tensors))


def test_samples_of_several_ops_are_told_apart() -> None:
    samples = [
        draw("abs"),
        draw("addmm", torch.float64),
        draw("abs", torch.int32),
        draw("positive"),
    ]
    for number, sample in enumerate(samples):
        sample.name = str(number)
    outcomes = run_samples(samples, announce_nothing)
    assert outcomes == {
        "0": Outcome("ok"),
        "1": Outcome("refused", ("op/dtype",)),
        "2": Outcome("ok"),
        "3": Outcome("identity"),
    }


def test_other_results_than_torchs_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    execute = sample_running._execute
    monkeypatch.setattr(
        sample_running, "_execute", lambda *given: [result + 1 for result in execute(*given)]
    )
    (outcome,) = run_samples([draw("abs")], announce_nothing).values()
    assert outcome.kind == "wrong"
    assert "torch gives" in outcome.text


def test_a_difference_that_an_entry_declares_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    execute = sample_running._execute
    monkeypatch.setattr(
        sample_running, "_execute", lambda *given: [result + 1 for result in execute(*given)]
    )
    monkeypatch.setattr(Sample, "list_limitations", lambda self: ["one too many"])
    (outcome,) = run_samples([draw("abs")], announce_nothing).values()
    assert outcome.kind == "limited"
    assert outcome.text.endswith("(one too many)")


def test_what_the_runtime_raises_is_a_crash() -> None:
    def fail(samples: Sequence[Sample]) -> None:
        raise RuntimeError("no memory")

    (outcome,) = run_samples([draw("abs")], fail).values()
    assert outcome == Outcome("crash", text="RuntimeError: no memory")


def test_an_error_of_torchs_is_raised_before_the_runtime() -> None:
    sample = draw("abs")
    sample.function = lambda self: self.reshape(7, 11, 13)
    assert run_raising([sample], announce_nothing) == {sample.name: Outcome("ok")}


def test_a_sample_of_one_call_is_a_case_of_its_entry() -> None:
    assert draw("topk").as_case().spec.name == "aten.topk.default"
    assert draw("nn.functional.cosine_similarity").as_case().spec.name != "aten.div.Tensor"


def test_a_cap_spreads_over_torchs_samples() -> None:
    names = [sample.name for sample in list_samples(OPS["add"], torch.float32, 4)]
    every = list_samples(OPS["add"], torch.float32, None)
    assert len(names) == 4
    assert int(names[-1].partition("-")[2]) > len(every) // 2


def test_samples_have_answers_and_calls() -> None:
    samples, targets = list_answered(OPS["add"], 1)
    assert len(samples) == 6  # one for each dtype
    assert torch.ops.aten.add.Tensor in targets


def test_a_dying_worker_loses_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = [["float32-0", "float32-1"], ["float32-1"]]

    def run_worker(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        running = tmp_path / "abs.running"
        if deaths:
            running.write_text(json.dumps(deaths.pop(0)))
            return subprocess.CompletedProcess(command, -11)
        fatal = json.loads((tmp_path / "abs.fatal").read_text())
        assert set(fatal) == {"alone", "float32-1"}
        (tmp_path / "abs.json").write_text(json.dumps(RESULT))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run_worker)
    table = tmp_path / "table.md"
    code = nightly.main(["--ops", "^abs$", "--folder", str(tmp_path), "--table", str(table)])
    assert code == 1
    assert "- `abs` float32-1: the process ended" in table.read_text()
    row = "| `abs` | float32 | 2 | 1 | 0 | 0 | 0 | 0 | 0 | 1 |"
    assert row in tmp_path.with_suffix(".md").read_text()


def test_a_worker_that_does_not_start_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: ended)
    with pytest.raises(SystemExit, match="before it ran abs"):
        nightly.main(["--ops", "^abs$", "--folder", str(tmp_path), "--table", str(tmp_path / "t")])


RESULT = {
    "op": "abs",
    "cap": 2,
    "aten": ["aten.abs.default"],
    "related": True,
    "dtypes": ["float32"],
    "samples": 2,
    "kinds": {"ok": 1, "crash": 1},
    "raising": {},
    "refusals": {},
    "texts": {"float32-1": "the process ended | with -11"},
    "refused": {},
}


def test_the_table_lists_what_is_wrong() -> None:
    page = render([RESULT, RESULT | {"cap": None}], 700)
    assert "at most 2 per op and dtype, evenly spaced over torch's, of 1 ops; all of 1 ops" in page
    assert "2 of 700 ops" in page
    assert "- `abs` float32-1: the process ended | with -11" in page


def test_a_difference_shows_the_last_digit_of_what_is_taken_away() -> None:
    x = torch.linspace(0.1, 0.5, 64)
    leaves, structure = tree_flatten((x, (), {}))
    case = Sample("x", torch.float32, torch.nn.functional.tanhshrink, leaves, structure).as_case()
    ulp = torch.finfo(torch.float32).eps / 4
    expected = [torch.nn.functional.tanhshrink(x)]
    compare(case, [expected[0] + ulp], expected)
    with pytest.raises(MismatchError):
        compare(case, [expected[0] + 64 * ulp], expected)


def test_error_inputs_on_another_device_are_left_out() -> None:
    assert len(list_raising(OPS["gradient"], None)) < len(list(OPS["gradient"].error_inputs("cpu")))


def test_what_executorch_cannot_write_is_no_crash() -> None:
    # A result with strides of 0.
    samples = [
        s for s in list_samples(OPS["empty_strided"], torch.float32, None) if s.name[-1:] == "3"
    ]
    found = run_samples(samples, lambda batch: None)
    assert {outcome.slugs for outcome in found.values()} == {("export/interface",)}
