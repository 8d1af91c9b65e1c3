"""The op table."""

import json

import pytest

from mlx_coverage.analyze.model import OpEntry
from mlx_coverage.report import render_ops

ENTRIES = (
    OpEntry("aten.a.default", "a(Tensor x | y)", "unary", ("x: float32 | float16",), ("NaN",)),
    OpEntry("aten.b.default", "b()", "", (), (), gap="MLX has none"),
)


def test_text_names_domain_limitation_and_gap() -> None:
    shown = render_ops(ENTRIES)
    for expected in ("x: float32", "differs: NaN", "not mapped: MLX has none", "1 op mapped"):
        assert expected in shown


def test_markdown_cells_stay_cells() -> None:
    rows = render_ops(ENTRIES, "markdown").splitlines()[2:4]
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)


def test_json_holds_every_field() -> None:
    assert [entry["op"] for entry in json.loads(render_ops(ENTRIES, "json"))] == [
        "aten.a.default",
        "aten.b.default",
    ]


def test_unknown_form_is_an_error() -> None:
    with pytest.raises(KeyError):
        render_ops(ENTRIES, "latex")
