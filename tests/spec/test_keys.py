"""`key:` of one column and of several, and what must fit to it."""

from __future__ import annotations

import pytest

from mainstay.core.nouns import Integration
from tests.spec.sample import load, problems

FILE = """\
integration: orders
sources: {{old: {{kind: sqlite, path: old.db}}}}
datasets:
  lines:
    source: old
    table: lines
    key: {key}
    columns: {{order_id: {{type: string{fill}}}, line_no: {{type: integer}}, qty: {{type: integer}}}}
  notes:
    source: old
    table: notes
    key: note_id
    columns: {{note_id: {{type: integer}}, order_id: {{type: string}}, line: {{type: {line}}}}}
    checks: [{{references: {{column: {column}, dataset: lines}}}}]
features:
  line: {{key: {view}, from: {{lines: {mapping}}}, sql: "SELECT 1"}}
model: {{name: m, input: line, constant: {{x: 1}}}}
"""


def text_of(**parts: str) -> str:
    given = {
        "key": "[order_id, line_no]", "view": "[order_id, line_no]", "mapping": "[order_id, line_no]", "fill": "",
        "column": "[order_id, line]", "line": "integer",
    }  # fmt: skip
    return FILE.format(**(given | parts))


def test_a_list_is_one_text_and_a_list_of_one_is_the_column() -> None:
    made: Integration = load(text_of())
    lines, notes = made.datasets["lines"], made.datasets["notes"]
    assert (lines.key, lines.key_names) == ('["order_id","line_no"]', ("order_id", "line_no"))
    assert all(lines.column(name).required for name in lines.key_names)
    assert {"order_id.required", "line_no.required"} < {check.name for check in lines.checks}
    (check,) = [one for one in notes.checks if one.kind == "references"]
    assert (check.name, check.args) == (
        "order_id+line.references", {"columns": ["order_id", "line"], "dataset": "lines"},
    )  # fmt: skip
    assert made.features["line"].mapping == {"lines": '["order_id","line_no"]'}
    single = load(text_of(key="[qty]", view="[qty]", mapping="[qty]", column="note_id"))
    assert (single.datasets["lines"].key, single.features["line"].mapping) == ("qty", {"lines": "qty"})


@pytest.mark.parametrize(
    ("parts", "path", "told"),
    [
        ({"key": "[order_id, lime_no]"}, "datasets.lines.key[1]", "a column of this dataset"),
        ({"key": "[order_id, order_id]"}, "datasets.lines.key", "several different ones"),
        ({"key": "[]"}, "datasets.lines.key", "a column, or several"),
        ({"key": "[order_id, 7]"}, "datasets.lines.key", "a name for SQL"),
        ({"fill": ", fill: none"}, "datasets.lines.columns.order_id.fill", "a row without a key is none"),
        ({"mapping": "order_id"}, "features.line.from.lines", "a list of 2, one for each key column, or `all`"),
        ({"mapping": "[order_id]"}, "features.line.from.lines", "a list of 2"),
        ({"view": "order_id"}, "features.line.from.lines", "a column or an expression, or `all`"),
        (
            {"column": "order_id"},
            "datasets.notes.checks[0].references.column",
            "a column for each of `order_id`, `line_no`",
        ),
        (
            {"line": "string"},
            "datasets.notes.checks[0].references.column",
            "a column of type integer, as the key `line_no`",
        ),
        ({"column": "[order_id, lime]"}, "datasets.notes.checks[0].references.column", "a column of this dataset"),
    ],
)
def test_what_does_not_fit_is_told_where_it_stands(parts: dict[str, str], path: str, told: str) -> None:
    found = problems(text_of(**parts))
    assert any(one.path.startswith(path) and told in one.wanted for one in found), found


def test_all_stands_for_a_key_of_any_columns() -> None:
    assert load(text_of(mapping="all")).features["line"].mapping == {"lines": "all"}
