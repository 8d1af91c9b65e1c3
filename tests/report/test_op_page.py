"""The op page in its three forms."""

import json
from html.parser import HTMLParser

import pytest

from mlx_coverage.analyze.op_page import STANDINGS, Measurement, OpPage, OpRow
from mlx_coverage.report.op_page import MEANINGS, PAGE_FORMS, render_op_page

MEASURED = Measurement("CPU, MLX 1", 70, ("float32",), ("float16",), ("float32",))
PAGE = OpPage(
    (
        OpRow("aten.a.default", "a(Tensor x | y)", "unary", True, "full", ("float32",)),
        OpRow(
            "aten.b.default", "b()", "unary", False, "partial", ("float16", "float32"),
            ("x: <float32>",), ("NaN gives 0",), "relative 0.1, absolute 0: summed in halves",
            "conformance fails in float16", (MEASURED,),
        ),
        OpRow("aten.c.default", "c()", "", True, "gap", reason="MLX has none"),
    )
)  # fmt: skip


def test_totals_count_core_and_all() -> None:
    assert PAGE.count(core=True) == {
        "full": 1, "partial": 0, "gap": 1, "untested": 0, "absent": 0,
    }  # fmt: skip
    assert sum(PAGE.count(core=False).values()) == len(PAGE.rows)


def test_every_standing_is_explained() -> None:
    assert set(MEANINGS) == set(STANDINGS)


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_pages_say_what_a_reader_needs(form: str) -> None:
    page = render_op_page(PAGE, form)
    for expected in (
        "NaN gives 0", "relative 0.1", "conformance fails in float16", "MLX has none",
        "1 of 2 dtypes, 1 lowered", "CPU, MLX 1", "of 2 core",
    ):  # fmt: skip
        assert expected in page, expected


def test_markdown_cells_stay_cells() -> None:
    rows = [line for line in render_op_page(PAGE, "markdown").splitlines() if "`aten." in line]
    assert len(rows) == len(PAGE.rows)
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)


def test_html_escapes_and_runs_nothing() -> None:
    page = render_op_page(PAGE, "html")
    assert "<float32>" not in page
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(page)
    assert "script" not in tags
    assert tags.count("fieldset") == 1


def test_json_holds_rows_and_totals() -> None:
    data = json.loads(render_op_page(PAGE, "json"))
    assert data["totals"]["core"]["full"] == 1
    assert data["ops"][1]["measurements"][0]["failed"] == ["float16"]


def test_forms_are_these() -> None:
    assert set(PAGE_FORMS) == {"html", "json", "markdown"}
