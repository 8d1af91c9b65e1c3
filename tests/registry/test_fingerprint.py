"""Fingerprints: equal for what is equal, other for what decides a result."""

import linecache
from dataclasses import replace

import pytest
import torch

from mlx_coverage.registry import default_registry
from mlx_coverage.registry.fingerprint import take_fingerprint
from mlx_coverage.registry.rules import Dtype
from mlx_coverage.registry.spec import Limitation, OpSpec, Tolerance

ENTRY = default_registry().by_name["aten.softplus.default"]


def _helper(x: object) -> object:
    return x


def _call_helper(self: object) -> object:
    return _helper(self)


def test_every_entry_has_its_own() -> None:
    taken = [take_fingerprint(spec) for spec in default_registry()]
    assert len(set(taken)) == len(taken)


def test_equal_definitions_are_equal() -> None:
    assert take_fingerprint(replace(ENTRY)) == take_fingerprint(ENTRY)
    dtypes = [torch.float32, torch.float16, torch.bfloat16]
    one = replace(ENTRY, rules=(Dtype("self", frozenset(dtypes)),))
    other = replace(ENTRY, rules=(Dtype("self", frozenset(reversed(dtypes))),))
    assert take_fingerprint(one) == take_fingerprint(other)


@pytest.mark.parametrize(
    "changed",
    [
        replace(ENTRY, rules=()),
        replace(ENTRY, whole=not ENTRY.whole),
        replace(ENTRY, samples=None),
        replace(ENTRY, limitations=(Limitation("differs", "because"),)),
        replace(ENTRY, tolerance=Tolerance(1e-3, 0.0, "because")),
        replace(ENTRY, implementation=_call_helper),
    ],
    ids=["rules", "whole", "samples", "limitations", "tolerance", "implementation"],
)
def test_what_decides_a_result_changes_it(changed: OpSpec) -> None:
    assert take_fingerprint(changed) != take_fingerprint(ENTRY)


def test_a_function_that_is_called_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlx_coverage.registry import evaluate

    before = take_fingerprint(ENTRY)
    monkeypatch.setattr(evaluate, "_flatten", evaluate._cast_results)
    assert take_fingerprint(ENTRY) != before


def test_words_and_layout_do_not_count() -> None:
    def define(source: str) -> OpSpec:
        names: dict[str, object] = {"__name__": "mlx_coverage.example"}
        path = f"<{hash(source)}>"
        linecache.cache[path] = (len(source), None, source.splitlines(True), path)
        exec(compile(source, path, "exec"), names)
        return replace(ENTRY, implementation=names["f"])

    plain = take_fingerprint(define("def f(self):\n    return self + 1\n"))
    words = 'def f(self):\n    """Says so."""\n    # and why\n    return (self\n        + 1)\n'
    assert take_fingerprint(define(words)) == plain
    assert take_fingerprint(define("def f(self):\n    return self + 2\n")) != plain
