"""The report as JUnit XML: a suite per method, a case per op or line that falls back."""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mlx_coverage.analyze.model import CoverageReport, Finding, MethodReport, Stage
from mlx_coverage.report.text import sanitize
from mlx_coverage.report.verdict import (
    describe_fixes,
    describe_headline,
    describe_reach,
    describe_verdict,
    describe_work,
)


def render_junit(report: CoverageReport) -> str:
    """The XML: what falls back fails, unless a comment in the source allows it.

    Times are left out: equal reports give equal bytes.
    """
    root = Element("testsuites", name="mlx-coverage")
    root.append(_make_stages(report))
    root.extend(_make_method(report, method) for method in report.methods)
    for outcome in ("tests", "failures", "errors", "skipped"):
        root.set(outcome, str(sum(int(suite.get(outcome, "0")) for suite in root)))
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _make_stages(report: CoverageReport) -> Element:
    cases = []
    for stage in report.stages:
        case = Element("testcase", classname=sanitize(report.model), name=f"stage {stage.name}")
        _judge_stage(case, stage)
        cases.append(case)
    return _make_suite(sanitize(report.model), cases)


def _judge_stage(case: Element, stage: Stage) -> None:
    if stage.status == "failed":
        # A case has one error: the first refusal names it, and all of them are its text.
        error = SubElement(case, "error", type=stage.slug, message=sanitize(stage.sentence))
        places = [f"{r.source.place} {r.source.code}".strip() for r in stage.refusals]
        texts = [r.sentence for r in stage.refusals]
        lines = zip(texts[1:], places[1:], strict=True)
        further = (f"{text} {place}".strip() for text, place in lines)
        error.text = "\n".join(map(sanitize, (places[0], *further)))
    elif stage.status == "not reached":
        SubElement(case, "skipped", message="an earlier stage failed")


def _make_method(report: CoverageReport, method: MethodReport) -> Element:
    name = sanitize(f"{report.model} {method.name}")
    cases = [
        Element("testcase", classname=name, name=sanitize(count.op))
        for count in method.ops
        if count.delegated == count.nodes
    ]
    cases += [_make_case(name, finding) for finding in method.findings]
    suite = _make_suite(name, cases)
    suite.insert(0, properties := Element("properties"))
    facts = {
        "verdict": describe_verdict(method, report),
        "work": "; ".join(describe_work(method)),
        "outcome": describe_headline(report),
        **({"remarks": " ".join(report.remarks)} if report.remarks else {}),
    }
    for fact, value in facts.items():
        SubElement(properties, "property", name=fact, value=sanitize(value))
    return suite


def _make_case(name: str, finding: Finding) -> Element:
    place = finding.source.place or "an unknown line"
    title = sanitize(f"{finding.op} at {place}: {finding.reason.slug}")
    case = Element("testcase", classname=name, name=title)
    if finding.source.file is not None:
        case.set("file", sanitize(finding.source.file))
        case.set("line", str(finding.source.line))
    if finding.allowed is not None:
        SubElement(case, "skipped", message=sanitize(f"allowed: {finding.allowed}"))
        return case
    failure = SubElement(
        case, "failure", type=finding.reason.slug, message=sanitize(finding.reason.sentence)
    )
    modules = ", ".join(module.path for module in finding.modules if module.path)
    fixes = describe_fixes(finding)
    reach = describe_reach(finding)
    facts = (
        finding.source.code,
        *reach,
        modules and f"in {modules}",
        *fixes,
        finding.reason.remedy,
    )
    failure.text = "\n".join(sanitize(fact) for fact in facts if fact)
    return case


def _make_suite(name: str, cases: list[Element]) -> Element:
    outcomes = [child.tag for case in cases for child in case]
    counts = {
        "tests": len(cases),
        "failures": outcomes.count("failure"),
        "errors": outcomes.count("error"),
        "skipped": outcomes.count("skipped"),
    }
    suite = Element("testsuite", {"name": name, **{n: str(c) for n, c in counts.items()}})
    suite.extend(cases)
    return suite
