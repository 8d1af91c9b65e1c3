"""The page in a real browser: Chromium, headless, one for all tests."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mlx_coverage.analyze.difference import compare_reports
from mlx_coverage.analyze.model import (
    NONE,
    CoverageReport,
    Crossing,
    Excerpt,
    Figures,
    Finding,
    Graph,
    OpCount,
    Place,
    Segment,
    Source,
    SourceFile,
    from_json,
)
from mlx_coverage.report import render_html
from mlx_coverage.report.html import render_contrast_html
from tests.report.samples import HOSTILE, make_contrast, make_failure, make_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="there is no chromium"
)

HOSTILE_IN_SCRIPTS = (
    "</script><script>document.title='taken'</script>",
    "<!--<script>",
    "';document.title='taken';'",
    "${document.title='taken'}",
    "__proto__",
    "constructor",
    "</title><body onload=document.title='taken'>",
    "\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}",
    "x" * 300,
)

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Two workers and a busy machine: patience costs nothing where all is well.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a report from a file; at the end, nothing may have failed or been asked for."""
    contexts, troubles = [], []

    def watch(page: Page) -> None:
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))

    def note_request(url: str) -> None:
        if url != (tmp_path / "page.html").as_uri() and not url.startswith(("data:", "blob:")):
            troubles.append(f"request: {url}")

    def open_report(text: str, fragment: str = "", **options: object) -> Page:
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        context = browser.new_context(**options)
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.on("request", lambda request: note_request(re.split("[#?]", request.url)[0]))
        page.goto((tmp_path / "page.html").as_uri() + fragment)
        return page

    yield open_report
    for context in contexts:
        context.close()
    assert troubles == []


def make_chain(segments: int, length: int, layers: int = 12) -> CoverageReport:
    """A chain of nodes that alternates between MLX and the CPU, in layers with two parts."""
    report = make_report()
    nodes, (method,) = range(segments * length), report.methods
    segment = tuple(node // length for node in nodes)
    finding = tuple(0 if s % 2 else NONE for s in segment)
    fallback = sum(f == 0 for f in finding)
    per_layer = -(-len(nodes) // layers)
    places = tuple(
        Place(f"layers.{layer}.{part}", 1) for layer in range(layers) for part in ("mix", "mlp")
    )
    graph = Graph(
        op=tuple(s % 2 for s in segment),
        place=tuple(
            2 * (node // per_layer) + (2 * (node % per_layer) // per_layer) for node in nodes
        ),
        source=tuple(s % 2 for s in segment),
        segment=segment,
        finding=finding,
        result=(0,) * len(nodes),
        flops=tuple(150 if s % 2 else NONE for s in segment),
        bytes=(40,) * len(nodes),
        results=("float32 [10]",),
        edges_from=tuple(nodes[:-1]) + tuple(nodes[:-4:3]),
        edges_to=tuple(nodes[1:]) + tuple(nodes[3::3])[: len(nodes[:-4:3])],
    )
    work = Figures(length, 0, 40 * length, length, 40 * length)
    total, mlx = Figures(len(nodes), 9000), Figures(len(nodes) - fallback)
    ops = (
        OpCount("aten.add.Tensor", mlx.nodes, mlx.nodes),
        OpCount("aten.plain.default", fallback, 0),
    )
    stretches = tuple(
        Segment("cpu" if i % 2 else "mlx", None if i % 2 else i // 2, work, (ops[i % 2],))
        for i in range(segments)
    )
    first = replace(method.findings[0], figures=Figures(fallback))
    sine = replace(first.reason, slug="op/gap", sentence="aten.sin.default is a gap", culprit=None)
    second = Finding("aten.sin.default", Figures(1), sine, (), (), Source())
    chain = replace(
        method,
        total=total, mlx=mlx, partitions=-(-segments // 2), findings=(first, second), ops=ops,
        segments=stretches, places=places, graph=graph, crossings=(),
    )  # fmt: skip
    return replace(report, methods=(chain,))


def measure_overflow(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")


def click_all(page: Page, *selectors: str) -> None:
    page.evaluate(
        """(selectors) => {
          for (const selector of selectors)
            for (const element of document.querySelectorAll(selector)) element.click();
        }""",
        selectors,
    )


def exercise(page: Page) -> None:
    """Use everything that can be used."""
    click_all(page, "summary", "button", "[data-show-finding]", "[data-show-line]", ".box")
    click_all(page, "[type=radio]", "[type=checkbox]", "[type=checkbox]")
    page.evaluate(
        """() => {
          for (const input of document.querySelectorAll('[type=search]')) {
            input.value = 'a'; input.dispatchEvent(new Event('input', {bubbles: true}));
            input.value = ''; input.dispatchEvent(new Event('input', {bubbles: true}));
          }
          for (const select of document.querySelectorAll('select'))
            for (let i = select.options.length - 1; i >= 0; i -= 1) {
              select.selectedIndex = i;
              for (const name of ['input', 'change'])
                select.dispatchEvent(new Event(name, {bubbles: true}));
            }
        }"""
    )


def make_hostile() -> CoverageReport:
    """One method for each text of the corpus, and all of them in the name of the model."""
    reports = [make_report(text) for text in HOSTILE + HOSTILE_IN_SCRIPTS]
    return replace(
        reports[0],
        model=" ".join(report.model for report in reports),
        methods=tuple(report.methods[0] for report in reports),
        files=tuple(file for report in reports for file in report.files),
        missing=tuple(sentence for report in reports for sentence in report.missing),
        statuses=tuple(status for report in reports for status in report.statuses),
    )


def test_hostile_text_stays_inert(open_page: Open) -> None:
    report = make_hostile()
    page = open_page(render_html(report, compare_reports(make_report(), report)))
    title, kinds = page.title(), "script, style, img, iframe, body, head title"
    # Whatever the script writes: facets, the graph and its panel, the list of nodes, the JSON.
    click_all(page, "summary", "[data-show-finding]", "#show-json")
    expect(page.locator(".panel .op")).to_have_count(len(report.methods))
    expect(page.locator(".nodes tbody tr").first).to_be_attached()
    assert page.title() == title != "taken"
    # Two scripts, one of them data; the pattern of the hatch is no image.
    assert page.locator(kinds).count() == 5
    assert page.evaluate(
        "[...document.querySelectorAll('*')]"
        ".every(e => [...e.attributes].every(a => !a.name.startsWith('on')))"
    )


def make_bare() -> CoverageReport:
    """Nothing but findings and counts."""
    report = make_report()
    method = replace(
        report.methods[0],
        segments=(), crossings=(), modules=(), places=(), sources=(), blockers=(), way=(), sizes=(),
        graph=Graph((), (), (), (), (), (), (), (), (), (), ()),
    )  # fmt: skip
    return replace(report, methods=(method,), files=(), statuses=(), missing=("all the rest",))


@pytest.mark.parametrize("make", [make_report, make_failure, make_bare])
def test_every_control_works_however_much_is_missing(
    open_page: Open, make: Callable[[], CoverageReport]
) -> None:
    report = make()
    page = open_page(render_html(report))
    exercise(page)
    assert page.locator("#definitions").is_visible()
    assert page.locator(".findings tbody tr").count() == sum(
        len(method.findings) for method in report.methods
    )
    for sentence in report.missing:
        expect(page.locator(".note")).to_contain_text(sentence)


def test_axe_finds_nothing_in_both_themes(open_page: Open) -> None:
    report = make_chain(3, 8)
    report = replace(report, methods=(*report.methods, replace(report.methods[0], name="other")))
    text = render_html(report, compare_reports(make_report(), report))
    page = open_page(text, color_scheme="light")
    page.get_by_text("Every node, one by one").first.click()
    page.locator("[data-show-finding='0']").first.click()
    page.get_by_role("button", name="Show", exact=True).click()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    # The theme changes colours and nothing else.
    page.emulate_media(color_scheme="dark")
    results = Axe().run(page, options={"runOnly": ["color-contrast", "link-in-text-block"]})
    assert results.response["passes"]
    assert results.violations_count == 0, results.generate_report()


def test_contrast_is_inert_accessible_and_leads_to_the_source(open_page: Open) -> None:
    for text in HOSTILE + HOSTILE_IN_SCRIPTS:
        page = open_page(render_contrast_html(make_contrast(text)))
        assert page.title() != "taken"
    page = open_page(render_contrast_html(make_contrast()))
    section = page.locator(".contrast")
    expect(section.get_by_text("claimed; known to differ").first).to_be_visible()
    expect(section.get_by_role("row", name="aten.plain.only")).to_be_hidden()
    section.get_by_text("2 ops that both take whole").click()
    expect(section.get_by_role("row", name="aten.plain.only")).to_contain_text("all 1")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
    section.get_by_role("link", name="plain.py:12").first.click()
    expect(page.locator("tr", has=page.locator(".mark.cpu"))).to_be_in_viewport()


@pytest.mark.parametrize("width", [400, 1280])
def test_contrast_fits_its_window_without_javascript(open_page: Open, width: int) -> None:
    text = render_contrast_html(make_contrast("a_rather_long_name_of_a_module." * 6))
    page = open_page(text, viewport={"width": width, "height": 800}, java_script_enabled=False)
    assert measure_overflow(page) == 0
    caption = page.get_by_text("Where an op falls back, or a claim is disputed")
    box = caption.bounding_box()
    assert box is not None
    assert box["width"] > 300


@pytest.mark.parametrize("width", [400, 1280])
def test_page_fits_its_window(open_page: Open, width: int) -> None:
    text = "a_rather_long_name_of_a_module." * 6
    page = open_page(render_html(make_report(text)), viewport={"width": width, "height": 800})
    assert measure_overflow(page) == 0


@pytest.mark.parametrize("width", [400, 800, 1280])
def test_figures_fill_their_rows(open_page: Open, width: int) -> None:
    page = open_page(render_html(make_report()), viewport={"width": width, "height": 800})
    figures = page.locator(".figures").first
    last = (
        "(e) => e.getBoundingClientRect().right - e.lastElementChild.getBoundingClientRect().right"
    )
    assert abs(figures.evaluate(last)) < 3


def test_keys_search_and_lead_from_finding_to_finding(open_page: Open) -> None:
    page = open_page(render_html(make_report()))
    rows = page.locator("tr[data-finding]")
    anchors = [rows.nth(i).get_attribute("id") for i in range(2)]
    for key, anchor in (("n", anchors[0]), ("n", anchors[1]), ("p", anchors[0])):
        page.keyboard.press(key)
        assert page.evaluate("location.hash") == f"#{anchor}"
    page.keyboard.press("/")
    page.keyboard.type("sin")
    expect(rows.nth(0)).to_be_hidden()
    expect(rows.nth(1)).to_be_visible()
    # The filter is in the address, and holds when the page is opened by it.
    assert "search=sin" in page.evaluate("location.search")
    # A link to a finding goes before a filter that hides it.
    page.reload()
    expect(rows.nth(0)).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("sin")
    page.evaluate("history.replaceState(null, '', location.pathname + location.search)")
    page.reload()
    expect(rows.nth(0)).to_be_hidden()
    page.locator("[data-filters] [data-search]").fill("")
    expect(rows.nth(0)).to_be_visible()
    assert page.evaluate("location.search") in ("", "?")


@pytest.mark.parametrize("width", [400, 1280])
def test_marks_of_the_source_stay_in_one_piece(open_page: Open, width: int) -> None:
    page = open_page(render_html(make_report()), viewport={"width": width, "height": 800})
    marks = page.locator(".mark")
    assert marks.count()
    assert marks.evaluate_all("(all) => Math.max(...all.map((e) => e.offsetHeight))") < 25


@pytest.mark.parametrize("width", [400, 1280])
def test_long_lists_scroll_in_place_and_are_whole_on_paper(open_page: Open, width: int) -> None:
    report = make_chain(400, 3)
    (method,) = report.methods
    crossings = tuple(Crossing(i, i + 1, 1, 40, 0, (0,)) for i in range(399))
    report = replace(report, methods=(replace(method, crossings=crossings),))
    page = open_page(render_html(report), viewport={"width": width, "height": 800})
    for name in ("Partitions of", "Crossings of"):
        part = page.get_by_role("region", name=name)
        part.focus()
        assert part.evaluate("(e) => e.scrollHeight > e.clientHeight && e.clientHeight < 700")
        page.emulate_media(media="print")
        assert part.evaluate("(e) => e.scrollHeight === e.clientHeight")
        page.emulate_media(media="screen")


def test_paper_shows_everything_but_the_controls(open_page: Open) -> None:
    page = open_page(render_html(make_report()))
    page.emulate_media(media="print")
    assert page.get_by_role("navigation").count() == 0
    assert not page.locator("input, select, .links").locator("visible=true").count()
    for part in (".findings", ".source", ".tree", ".strip", ".treemap", ".ops", ".definitions"):
        assert page.locator(part).locator("visible=true").count()


def test_long_code_of_a_fix_is_folded_and_whole_on_paper(open_page: Open) -> None:
    report = make_report()
    (method,) = report.methods
    change = "class New(nn.Module):\n    def forward(self, x):\n        return x"
    fix = replace(method.findings[0].fixes[0], change=change)
    findings = (replace(method.findings[0], fixes=(fix,)), *method.findings[1:])
    page = open_page(
        render_html(replace(report, methods=(replace(method, findings=findings),))),
        java_script_enabled=False,
    )
    code = page.locator(".findings .fix code", has_text="class New")
    assert not code.is_visible()
    page.locator(".findings").get_by_text("Code, 3 lines").click()
    assert code.is_visible()
    page.locator(".findings").get_by_text("Code, 3 lines").click()
    page.emulate_media(media="print")
    assert code.is_visible()


def test_search_and_facets_narrow_the_findings(open_page: Open) -> None:
    page = open_page(render_html(make_chain(3, 8)))
    rows = page.locator(".findings tbody tr")
    tools = page.locator("[data-filters]")
    search = tools.get_by_label("Search")
    search.fill("SIN gap")
    expect(rows.locator("visible=true")).to_have_count(1)
    expect(tools.locator("output")).to_have_text("1 of 2 rows, 1 node")
    search.fill("no such thing")
    expect(rows.locator("visible=true")).to_have_count(0)
    search.fill("")
    tools.get_by_label("Reason").select_option(label="op/dtype (1)")
    expect(rows.locator("visible=true")).to_have_count(1)
    expect(rows.locator("visible=true")).to_contain_text("aten.plain.default")


def test_tables_sort_by_number_and_by_name(open_page: Open) -> None:
    page = open_page(render_html(make_chain(3, 8)))
    first = page.locator(".findings tbody tr").first
    head = page.locator(".findings thead th")
    head.nth(0).get_by_role("button").click()
    expect(head.nth(0)).to_have_attribute("aria-sort", "descending")
    expect(first).to_contain_text("aten.plain.default")
    head.nth(0).get_by_role("button").click()
    expect(first).to_contain_text("aten.sin.default")
    head.nth(1).get_by_role("button").press("Enter")
    expect(head.nth(0)).not_to_have_attribute("aria-sort", "ascending")
    expect(first).to_contain_text("aten.plain.default")


def test_permalink_leads_to_its_finding_even_when_filtered_away(open_page: Open) -> None:
    report = make_chain(3, 8)
    text = render_html(report)
    page = open_page(text)
    anchor = page.locator(".findings tbody tr").first.get_attribute("id")
    assert anchor is not None
    assert anchor.startswith("finding-")
    page.locator("[data-filters]").get_by_label("Search").fill("sin")
    expect(page.locator(f"#{anchor}")).to_be_hidden()
    page.evaluate(f"location.hash = '{anchor}'")
    expect(page.locator(f"#{anchor}")).to_be_in_viewport()
    # The name outlives another number of nodes and another line number.
    moved = replace(report.methods[0].findings[0], figures=Figures(1))
    moved = replace(moved, source=replace(moved.source, line=99))
    other = replace(report, methods=(replace(report.methods[0], findings=(moved,)),))
    assert f'id="{anchor}"' in render_html(other)
    assert open_page(text, f"#{anchor}").locator(f"#{anchor}").is_visible()


def test_source_table_and_graph_lead_to_one_another(open_page: Open) -> None:
    page = open_page(render_html(make_chain(3, 8)))
    row = page.locator(".findings tbody tr").first
    line = page.locator("tr", has=page.locator(".mark.cpu"))
    expect(line.locator(".mark.cpu")).to_have_text("CPU 8")
    line.locator(".mark.cpu").click()
    expect(row).to_be_in_viewport()
    row.get_by_role("link", name="plain.py:12").click()
    expect(line).to_be_in_viewport()
    row.get_by_role("link", name="graph").click()
    current = page.locator(".box[aria-current]")
    expect(current).to_be_in_viewport()
    expect(current).to_contain_text("CPU")
    expect(page.locator(".panel")).to_contain_text("8 nodes marked")
    page.locator(".panel").get_by_role("link", name="op/dtype").click()
    expect(row).to_be_in_viewport()
    line.locator(".line-number a").click()
    page.locator(".panel").get_by_role("link", name="plain.py:12").click()
    expect(line).to_be_in_viewport()


def test_graph_opens_box_by_box_from_the_keyboard(open_page: Open) -> None:
    page = open_page(render_html(make_chain(5, 100)))
    boxes = page.locator(".box")
    expect(boxes).to_have_count(5)
    boxes.first.press("Enter")
    crumbs = page.locator(".crumbs")
    expect(crumbs).to_have_text("program \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} MLX 1")
    for _ in range(6):
        assert boxes.count() <= 40
        if page.locator(".box.node").count():
            break
        page.locator(".box.group").first.press("Enter")
    page.locator(".box.node").first.press("Enter")
    expect(page.locator(".panel")).to_contain_text("aten.add.Tensor")
    expect(page.locator(".panel")).to_contain_text("FLOPs not modelled")
    page.locator(".panel").get_by_role("button", name="add").first.press("Enter")
    expect(page.locator(".box[aria-current]")).to_be_focused()
    crumbs.get_by_role("button", name="program").press("Enter")
    expect(boxes).to_have_count(5)


def test_module_tree_folds(open_page: Open) -> None:
    page = open_page(render_html(make_report()))
    child = page.locator(".tree tbody tr").nth(1)
    expect(child).to_be_visible()
    fold = page.get_by_role("button", name="Parts of the model")
    fold.click()
    expect(child).to_be_hidden()
    expect(fold).to_have_attribute("aria-expanded", "false")
    page.get_by_role("button", name="Unfold all").click()
    expect(child).to_be_visible()


def test_nodes_are_listed_on_demand_and_delegated_ones_can_be_hidden(open_page: Open) -> None:
    page = open_page(render_html(make_chain(3, 100)))
    nodes = page.locator(".nodes tbody tr")
    expect(nodes).to_have_count(0)
    page.get_by_text("Every node, one by one").click()
    expect(nodes).to_have_count(200)
    page.get_by_role("button", name="Show more").click()
    expect(nodes).to_have_count(300)
    page.locator("[data-nodes]").get_by_label("Hide what is all on MLX").check()
    expect(nodes).to_have_count(100)
    ops = page.locator(".ops tbody tr").locator("visible=true")
    expect(ops).to_have_count(1)
    expect(page.locator(".ops").get_by_text("aten.add.Tensor")).to_be_hidden()
    nodes.first.get_by_role("link", name="Node 101 in the graph").click()
    expect(page.locator(".box[aria-current]")).to_contain_text("plain")


def test_treemap_changes_its_measure(open_page: Open) -> None:
    page = open_page(render_html(make_report()), java_script_enabled=False)
    shown = page.locator(".treemap").locator("visible=true")
    expect(shown).to_have_attribute("aria-label", "Treemap of the modules by FLOPs; the table of "
                                    "modules says the same")  # fmt: skip
    page.get_by_label("nodes", exact=True).check()
    expect(shown).to_have_count(1)
    expect(shown.locator("title").first).to_contain_text("99 nodes, 100 %, 75.8 % on MLX")


def test_saved_json_is_the_report(open_page: Open) -> None:
    report = make_report("</script>&\N{RIGHT-TO-LEFT OVERRIDE}\x00")
    page = open_page(render_html(report))
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as coverage.json").click()
    assert from_json(Path(download.value.path()).read_text(encoding="utf-8")) == report


def test_page_is_readable_without_javascript(open_page: Open) -> None:
    report = make_chain(3, 8)
    lines = tuple(f"line {number}" for number in range(1, 30))
    packages = SourceFile("plain/lib.py", False, (Excerpt(1, lines),))
    report = replace(report, files=(*report.files, packages))
    page = open_page(render_html(report), java_script_enabled=False)
    for text in ("What would help most", "What falls back", "op/dtype", "Boundary ledger"):
        assert page.get_by_text(text).first.is_visible()
    assert page.get_by_text("The graph is drawn by JavaScript").is_visible()
    assert not page.locator(".scripted, button").locator("visible=true").count()
    page.get_by_text("Lines of installed packages").click()
    assert page.get_by_text("line 3", exact=True).is_visible()


def test_ten_thousand_nodes_stay_small_and_open_one_view(open_page: Open) -> None:
    text = render_html(make_chain(50, 200, layers=40))
    assert len(text.encode()) < 3_000_000
    page = open_page(text)
    assert 1 < page.locator(".box").count() <= 40
    boxes = page.locator(".box span")
    assert boxes.evaluate_all("(all) => all.every((e) => e.scrollWidth <= e.clientWidth)")
    page.locator("[data-show-finding='0']").click()
    expect(page.locator(".box[aria-current]")).to_be_in_viewport()
    assert page.locator(".box").count() <= 40
