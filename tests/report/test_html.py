"""The page: well formed, inert, and complete without a network."""

import gzip
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mlx_coverage.report import render_html
from mlx_coverage.report.index import render_index
from mlx_coverage.report.text import sanitize
from tests.report.samples import HOSTILE, make_failure, make_report

VOID = {"meta", "link", "input", "br", "img", "wbr"}


class Page(HTMLParser):
    """Checks nesting, and collects elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def shape(self) -> list[str]:
        return [tag for tag, _ in self.elements]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("make", [make_report, make_failure])
def test_hostile_names_stay_text(make, text: str) -> None:
    page, plain = Page(render_html(make(text))), Page(render_html(make("plain")))
    ops = [tag for tag in page.shape() if tag != "wbr"]
    assert ops == [tag for tag in plain.shape() if tag != "wbr"]
    names = {name for _, attributes in page.elements for name in attributes}
    assert not any(name.startswith("on") for name in names)
    assert sanitize(text) in page.text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_control_character_is_left(text: str) -> None:
    page = render_html(make_report(text))
    assert all(c.isprintable() or c == "\n" for c in page)


def test_page_asks_for_nothing() -> None:
    page = Page(render_html(make_report()))
    for tag, attributes in page.elements:
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "action", "data"):
            value = attributes.get(name) or "#"
            assert value == "data:," or value.startswith("#")
    policy = next(a["content"] for t, a in page.elements if "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_page_says_what_the_report_says() -> None:
    text = Page(render_html(make_report())).text
    for expected in (
        "75.8 %",
        "of 99 nodes run on MLX, in 1 partition; 24 nodes fall back",
        "75 of 99, 24 on the CPU",
        "op/dtype",
        "op/rank",
        "plain.py:12",
        "\N{MULTIPLICATION SIGN}12",
    ):
        assert expected in text
    assert "Cast the operand." in text
    assert "by way of plain/lib.py:3" in text


def test_program_that_does_not_lower_is_not_said_to() -> None:
    report = make_report()
    assert "Lowers, and does not load" in render_html(report)
    failed = replace(report.stages[2], status="failed", sentence="refused")
    stages = (*report.stages[:2], failed, report.stages[3])
    assert "Lowers, and does not load" not in render_html(replace(report, stages=stages))


def test_failure_is_shown_with_its_line() -> None:
    text = Page(render_html(make_failure())).text
    assert "export failed" in text
    assert "Could not guard on plain" in text
    assert "plain.py:3" in text
    assert re.search(r"edge\s+not reached", text)


def test_code_of_a_fix_keeps_its_lines_and_nothing_else() -> None:
    report = make_report()
    (method,) = report.methods
    (finding, *_) = method.findings
    fix = replace(finding.fixes[0], change="def f(x):\n    return x  # <b>\x1b")
    method = replace(method, findings=(replace(finding, fixes=(fix,)),))
    page = render_html(replace(report, methods=(method,)))
    shown = "def f(x):\n    return x  # &lt;b&gt;\N{REPLACEMENT CHARACTER}</code>"
    assert page.count(shown) == 2  # at the blocker and at the finding


def test_equal_reports_give_equal_pages() -> None:
    assert render_html(make_report()) == render_html(make_report())


def test_ids_are_unique_and_labels_lead_somewhere() -> None:
    elements = Page(render_html(make_report())).elements
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        link = attributes.get("href") or ""
        for target in (attributes.get("aria-labelledby"), attributes.get("for"), link[1:]):
            assert not target or target in ids or link == "data:,"


def test_many_numbers_in_a_module_name_are_cut() -> None:
    report = make_report()
    (method,) = report.methods
    numbers = ",".join(map(str, range(0, 600, 3)))
    rows = (method.modules[0], replace(method.modules[1], path=f"layers.{numbers}.mlp"))
    page = render_html(replace(report, methods=(replace(method, modules=rows),)))
    (shown,) = re.findall(r"<code title=\"layers\.0,3[^>]*>(.*?)</code>", page)
    assert shown.replace("<wbr>", "") == "layers.0,3,6,9,…,597.mlp"


def test_shell_is_small() -> None:
    shell = render_html(replace(make_report(), methods=(), files=()))
    assert len(gzip.compress(shell.encode())) < 120_000


def test_index_leads_to_every_page() -> None:
    reports = {"models/a.html": make_report(HOSTILE[0]), "models/b.html": make_failure()}
    page = Page(render_index("Models", reports, {"ops.html": "every op"}))
    links = [attributes.get("href") for tag, attributes in page.elements if tag == "a"]
    assert links == ["models/a.html", "models/b.html", "ops.html"]
    assert "75 of 99" in page.text
    assert "export failed: Could not guard on plain" in page.text
