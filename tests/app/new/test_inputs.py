"""How a model's inputs are matched to columns, and a table's key, cursor and delete flag are guessed."""

from __future__ import annotations

import duckdb
import pytest

from mainstay.app.new.asking import Asker, Question
from mainstay.app.new.inputs import Offered, match, written
from mainstay.app.new.tables import best_table, cursor_of, gone_of, keys_of, label_of, singular, slug
from mainstay.app.new.texts import scalar
from mainstay.core.errors import Refused
from mainstay.core.nouns import ColumnType, Field
from mainstay.core.ports import SourceColumn, SourceKind, TableInfo
from mainstay.quality.profile import ColumnProfile


def offer(column: str, type_: ColumnType = "number", dataset: str = "customers", source_name: str = "") -> Offered:
    return Offered(dataset=dataset, column=column, source_name=source_name or column, type=type_)


def test_inputs_are_matched_by_name_then_by_likeness_and_what_is_neither_is_told() -> None:
    inputs = [
        Field(name="tenure", type="number"),
        Field(name="SeniorCitizen", type="string"),
        Field(name="customer_age", type="number"),
        Field(name="monthly_charge", type="number"),
        Field(name="weather", type="number"),
    ]
    offers = [offer("tenure", "integer"), offer("senior_citizen", "integer"), offer("age"), offer("monthly_charges")]
    found, missing = match(inputs, offers, {})
    assert [one.line for one in found] == [
        "tenure",
        "CAST(senior_citizen AS VARCHAR) AS SeniorCitizen",
        "age AS customer_age",
        "monthly_charges AS monthly_charge",
    ]
    assert [one.doubt for one in found] == [False, False, False, True]
    assert [one.name for one in missing] == ["weather"]


def test_a_person_says_a_column_or_an_expression() -> None:
    offers = [offer("a", "string", source_name="A col"), offer("b")]
    found, missing = match(
        [Field(name="x", type="number"), Field(name="y", type="number")], offers, {"x": "A col", "y": "b * 2"}
    )
    assert [one.line for one in found] == ["CAST(a AS DOUBLE) AS x", "b * 2 AS y"]
    assert not missing


def test_names_that_sql_reserves_are_quoted() -> None:
    assert [written(name) for name in ("order", "at", "tenure", "mean radius")] == [
        '"order"',
        '"at"',
        "tenure",
        '"mean radius"',
    ]


def test_every_word_that_duckdb_reserves_is_quoted() -> None:
    sql = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    with duckdb.connect() as connection:
        reserved = connection.execute(sql).fetchall()
    assert len(reserved) > 50
    assert not [word for (word,) in reserved if not written(word).startswith('"')]


def column(name: str, kind: SourceKind = "text", *, nullable: bool = True) -> SourceColumn:
    return SourceColumn(name=name, native=kind, kind=kind, nullable=nullable)


def looked(
    name: str, *, rows: int = 10, distinct: int = 10, nulls: int = 0, high: str = "9", **more: object
) -> ColumnProfile:
    return ColumnProfile(name=name, rows=rows, nulls=nulls, distinct=distinct, low="0", high=high, **more)  # type: ignore[arg-type]


def test_the_primary_key_comes_first_then_what_looks_like_one() -> None:
    info = TableInfo(
        name="t", columns=(column("note"), column("account_no"), column("id", "integer")), primary_key=("id",)
    )
    seen = {name: looked(name) for name in ("note", "account_no", "id")}
    assert [name for name, _ in keys_of(info, seen)] == ["id", "account_no"]
    seen["account_no"] = looked("account_no", distinct=9)
    assert [name for name, _ in keys_of(info, seen)] == ["id"]


def test_a_cursor_is_what_moves_not_what_tells_when_a_row_was_born() -> None:
    info = TableInfo(name="t", columns=(column("created_at", "timestamptz"), column("last_modified", "timestamptz")))
    seen = {name: looked(name) for name in ("created_at", "last_modified")}
    assert cursor_of(info, seen, text=False).taken == "last_modified"
    only_born = TableInfo(name="t", columns=(column("created_at", "timestamptz"),))
    found = cursor_of(only_born, seen, text=False)
    assert found.taken == ""
    assert "born" in found.evidence


def test_times_in_text_are_a_cursor_only_where_the_source_can_order_them() -> None:
    info = TableInfo(name="t", columns=(column("updated_at"),))
    seen = {"updated_at": looked("updated_at", forms={"timestamp": 10})}
    assert cursor_of(info, seen, text=True).taken == "updated_at"
    assert cursor_of(info, seen, text=False).taken == ""


def test_a_delete_flag_is_found_with_how_many_rows_it_marks() -> None:
    info = TableInfo(name="t", columns=(column("deleted", "boolean"), column("deleted_reason")))
    seen = {"deleted": looked("deleted", distinct=2, common=(("false", 7), ("true", 3))), "deleted_reason": looked("x")}
    found = gone_of(info, seen)
    assert found is not None
    assert (found.taken, "3 of 10" in found.evidence) == ("deleted", True)


def test_the_table_with_the_models_inputs_is_the_likeliest_and_a_tie_is_nobody() -> None:
    columns = {"people": ["id", "Tenure"], "orders": ["id"]}
    assert best_table(tuple(columns), ["tenure"], columns) == ("people", 1)
    assert best_table(tuple(columns), ["id"], columns) == ("", 0)


def test_a_label_has_two_values_and_one_of_them_says_yes() -> None:
    assert label_of("churn", looked("churn", rows=4, common=(("No", 3), ("Yes", 1)))) == ("Yes", 0.25)
    with pytest.raises(ValueError, match="a label has two"):
        label_of("x", looked("x", common=(("a", 1),)))


def test_names() -> None:
    assert [singular(name) for name in ("customers", "biopsies", "boxes", "staff", "address")] == [
        "customer", "biopsy", "box", "one_staff", "one_address",
    ]  # fmt: skip
    assert slug("My CRM (2)", otherwise="x") == "my-crm-2"
    assert slug("123", otherwise="x") == "x"


@pytest.mark.parametrize(
    "value", ["No", "yes", "12", "a: b", "Bank transfer (auto)", "", "it's", "null", "#x", "é", "- a", "1e3"]
)
def test_what_is_written_reads_back_as_the_same_text(value: str) -> None:
    from ruamel.yaml import YAML

    assert YAML(typ="safe").load(f"{{a: {scalar(value)}}}") == {"a": value}


def test_a_question_is_answered_by_what_was_said_else_asked_else_guessed() -> None:
    question = Question(what="key", text="Which?", flag="--key", guess="id", evidence="primary", choices=("id", "no"))
    assert Asker({"key": "no"}, person=None, yes=False)(question) == "no"
    assert Asker({}, person=lambda _question: "no", yes=False)(question) == "no"
    guessing = Asker({}, person=None, yes=True)
    assert guessing(question) == "id"
    assert [(one.what, one.taken, one.evidence) for one in guessing.guesses] == [("key", "id", "primary")]
    with pytest.raises(Refused, match="Which") as refused:
        Asker({}, person=None, yes=False)(question)
    assert "--key ...: one of id, no" in refused.value.mend
    assert "--yes" in refused.value.mend
