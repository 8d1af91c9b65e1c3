"""Shares, and the JSON of a report."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_coverage.analyze.model import ReportFormatError, format_share, from_json, to_json
from tests.report.samples import make_report


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "n/a"),
        (0, 3, "0 %"),
        (3, 3, "100 %"),
        (2, 3, "66.7 %"),
        (99_999, 100_000, "99.9 %"),
        (1, 100_000, "0.1 %"),
    ],
)
def test_share(part: int, whole: int, text: str) -> None:
    assert format_share(part, whole) == text


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_ends_of_the_scale_are_exact(fraction: tuple[int, int]) -> None:
    part, whole = fraction
    assert (format_share(part, whole) == "100 %") == (part == whole)
    assert (format_share(part, whole) in ("0 %", "0.0 %")) == (part == 0)


def test_json_round_trip() -> None:
    report = make_report()
    text = to_json(report)
    assert from_json(text) == report
    assert to_json(from_json(text)) == text


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("methods"),
        lambda data: data.update(surprise=1),
        lambda data: data.update(verified="yes"),
        lambda data: data.update(methods=[{}]),
        lambda data: data["stages"][0].update(status="perhaps"),
        lambda data: data["methods"][0].update(nodes=True),
        lambda data: data.update(schema_version=99),
    ],
)
def test_other_json_is_refused(damage) -> None:
    data = json.loads(to_json(make_report()))
    damage(data)
    with pytest.raises(ReportFormatError):
        from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema_version": 1}'])
def test_text_that_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(ReportFormatError):
        from_json(text)


def test_failure_is_the_stage_that_failed() -> None:
    report = make_report()
    assert report.failure is None
    stages = (report.stages[0], dataclasses.replace(report.stages[1], status="failed"))
    assert dataclasses.replace(report, stages=stages).failure == stages[1]
