"""What is proposed for a column, out of what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import pytest

from mainstay.app.new.columns import ColumnPlan, names_of, propose
from mainstay.core.nouns import Field
from mainstay.core.ports import SourceColumn, SourceKind
from mainstay.quality.profile import ColumnProfile, profile


def seen(values: Sequence[Any], native: str = "VARCHAR", name: str = "c") -> ColumnProfile:
    with duckdb.connect() as connection:
        connection.execute(f'CREATE TABLE t ("{name}" {native})')
        connection.executemany("INSERT INTO t VALUES (?)", [[value] for value in values])
        return profile(lambda sql: connection.execute(sql).fetchall(), "t", [(name, native)])[0]


def line(
    values: Sequence[Any],
    *,
    kind: SourceKind = "text",
    name: str = "c",
    native: str = "text",
    wanted: Field | None = None,
    key: bool = False,
    nullable: bool = True,
) -> ColumnPlan:
    column = SourceColumn(name=name, native=native, kind=kind, nullable=nullable)
    return propose(column, seen(values, name=name), name=name, wanted=wanted, key=key)


HUNDRED = [str(number) for number in range(100)]


def test_a_profile_counts_what_is_there() -> None:
    found = seen([" 1", "2", "10", "", "\u00a0", None, "2"])
    assert (found.rows, found.nulls, found.blanks, found.padded, found.distinct, found.present) == (7, 1, 2, 1, 3, 4)
    assert (found.low, found.high) == ("1", "10")  # by number: as texts "2" would be the greatest
    assert found.common[0] == ("2", 2)
    assert found.all("integer")
    assert found.share("date") == 0


def test_an_empty_column_has_no_limits_and_no_forms() -> None:
    found = seen([None, None])
    assert (found.present, found.low, found.high, found.forms, found.common) == (0, None, None, {}, ())
    assert line([None, None]).settings == ()


def test_bytes_are_counted_and_not_looked_into() -> None:
    found = seen([b"\xff", None, b"\xff"], native="BLOB")
    assert (found.rows, found.nulls, found.distinct, found.common) == (3, 1, 1, ())


@pytest.mark.parametrize(
    ("values", "kind", "clean"),
    [
        (["18.5", "20", " "], "number", ["trim", "blank_to_null"]),
        (["1.234,50", "12,1", "7"], "number", [{"number": {"decimal": ",", "thousands": "."}}]),
        (["1,234.50", "12", "7"], "number", [{"number": {"decimal": ".", "thousands": ","}}]),
        (["31.01.2024", "1.2.2024"], "date", [{"date": ["%d.%m.%Y"]}]),
        (["01/31/2024", "12/24/2024"], "date", [{"date": ["%m/%d/%Y"]}]),
        (["2024-01-31", "2024-02-01"], "date", None),
        (["2024-01-31 10:00:00+01", "2024-02-01T10:00:00Z"], "timestamp", None),
        (["some", "text"], "string", None),
        (["007", "012"], "string", None),  # a leading zero is part of a name, not of a number
    ],
)
def test_a_text_column_is_read_as_what_stands_in_it(values: list[str], kind: str, clean: object) -> None:
    found = line(values)
    assert found.type == kind
    assert found.setting("clean") == clean


def test_dates_that_can_be_read_in_two_ways_are_a_doubt_not_a_date() -> None:
    found = line(["01/02/2024", "03/04/2024"])
    assert found.type == "string"
    assert "%d/%m/%Y or %m/%d/%Y" in found.doubts[0]


def test_times_without_zone_are_marked() -> None:
    assert line(["2024-01-31 10:00:00"]).naive
    assert line(["2024-01-31 10:00:00"], kind="timestamp").naive
    assert not line(["2024-01-31 10:00:00+00"], kind="timestamptz").naive


def test_a_few_strange_values_do_not_make_a_number_a_text_when_the_model_wants_a_number() -> None:
    values = [*HUNDRED[:90], *["n/a"] * 10]
    assert line(values).type == "string"
    assert line(values, wanted=Field(name="c", type="number")).type == "integer"


def test_what_the_model_takes_as_text_stays_text() -> None:
    assert line(HUNDRED, wanted=Field(name="c", type="string")).type == "string"


def test_words_become_a_truth_only_where_the_model_wants_one() -> None:
    assert line(["Yes", "No"]).type == "string"
    found = line(["Yes", "No"], wanted=Field(name="c", type="boolean"))
    assert (found.type, found.setting("clean")) == ("boolean", [{"boolean": {"true": ["Yes"], "false": ["No"]}}])


def test_limits_are_those_that_a_person_would_write_not_those_that_were_seen() -> None:
    assert dict(line(HUNDRED, kind="integer", name="tenure").settings) == {"min": 0}
    assert dict(line(["0", "1"] * 60, kind="integer", name="senior").settings) == {"min": 0, "max": 1}
    assert dict(line(["0.1", "0.9"] * 60, kind="float", name="churn_rate").settings) == {"min": 0, "max": 1}
    assert dict(line(["-1", "5"] * 60, kind="integer").settings) == {}
    assert dict(line(HUNDRED, kind="integer", name="branch_id").settings) == {}
    assert dict(line(["1", "2"], kind="integer").settings) == {}  # two rows promise nothing


def test_choices_only_warn_unless_the_model_was_trained_on_them() -> None:
    values = ["basic", "gold"] * 60
    assert dict(line(values).settings) == {"values": ["basic", "gold"], "on_fail": "warn"}
    trained = line(values, wanted=Field(name="c", type="string", categories=("basic", "gold", "silver")))
    assert dict(trained.settings) == {"values": ["basic", "gold", "silver"]}


def test_spellings_of_a_category_are_mapped_to_it_and_strangers_are_told() -> None:
    wanted = Field(name="c", type="string", categories=("One year", "Two year"))
    found = line(["One year", "one  YEAR", "Three year", "Two year"], wanted=wanted)
    assert found.setting("clean") == [{"map": {"one  YEAR": "One year"}}]
    assert found.doubts == ("1 distinct value that the model never saw in training",)


def test_required_comes_from_the_source_or_the_model_not_from_luck() -> None:
    assert line(HUNDRED, kind="integer").setting("required") is None
    assert line(HUNDRED, kind="integer", nullable=False).setting("required") is True
    assert line(HUNDRED, kind="integer", wanted=Field(name="c", type="integer", required=True)).setting("required")
    assert line([*HUNDRED, None], kind="integer", wanted=Field(name="c", type="integer", required=True)).settings == (
        ("min", 0),
    )


@pytest.mark.parametrize(
    "name", ["email", "E_Mail", "phone", "first_name", "lastName", "date_of_birth", "iban", "street"]
)
def test_columns_that_tell_who_a_person_is_are_marked_and_show_no_values(name: str) -> None:
    found = line(HUNDRED, name=name)
    assert found.setting("pii") is True
    assert found.setting("values") is None
    assert "99" not in found.evidence


def test_e_mail_addresses_are_found_under_any_name() -> None:
    assert line(["a@b.de", "c@d.org"], name="contact").setting("pii") is True


def test_a_choice_among_a_few_is_no_person() -> None:
    assert line(["Yes", "No"] * 60, name="phone_service").setting("pii") is None


def test_names_become_names_for_sql_and_stay_distinct() -> None:
    columns = [
        SourceColumn(name=name, native="text", kind="text") for name in ("Customer ID", "customer-id", "Größe", "1st")
    ]
    assert list(names_of(columns).values()) == ["customer_id", "customer_id_2", "grosse", "c_1st"]
    assert names_of([SourceColumn(name="tenure", native="int", kind="integer")]) == {"tenure": "tenure"}
