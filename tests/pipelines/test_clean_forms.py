"""Normal forms: units by their definitions, and what libraries know of addresses, telephone numbers and countries."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.errors import Refused
from mainstay.core.nouns import Cleaning, Column, ColumnType, Dataset
from mainstay.core.ports import SourceKind
from mainstay.core.units import UNITS, conversion
from mainstay.pipelines import clean_forms, history
from mainstay.pipelines.clean import CleaningSql, cleaning
from mainstay.pipelines.clean_forms import FUNCTIONS, Function, remembering
from mainstay.store.current import Current
from tests.pipelines.world import CUSTOMERS, World

BAD = "bad"


def step(kind: str, **args: Any) -> Cleaning:
    return Cleaning(kind=kind, args=args)


def of(kind: SourceKind, type: ColumnType, *steps: Cleaning, fill: Any = None) -> CleaningSql:
    column = Column(name="value", type=type, source_name="raw", clean=steps, fill=fill)
    return cleaning(Dataset(name="d", source="crm", table="t", key="value", columns=(column,)), {"raw": kind}, None)


@pytest.fixture(scope="module")
def current() -> Iterator[Current]:
    made = Current(None)
    yield made
    made.close()


def cleaned(current: Current, made: CleaningSql, values: list[Any], raw: str = "VARCHAR") -> list[Any]:
    """Each value cleaned, None, or BAD, by the layered query and by the lone expressions alike."""
    for kind in made.functions:
        current.define(FUNCTIONS[kind].name, partial(remembering, FUNCTIONS[kind]), 2)
    relation = f"(SELECT unnest(?::{raw}[]) AS raw)"
    layered = current.sql(f"SELECT value, value__bad FROM ({made.select(relation)})", [values])
    (column,) = made.columns
    assert layered == current.sql(f"SELECT {column.value_sql}, {column.bad_sql} FROM {relation}", [values])
    return [BAD if bad else value for value, bad in layered]


FORMS = [
    (step("email"), " Anna.Maier@EXAMPLE.org ", "Anna.Maier@example.org"),
    (step("email"), "jürgen@bücher.example.org", "jürgen@bücher.example.org"),
    (step("email"), "anna@", BAD),
    (step("email"), "Anna <anna@example.org>", BAD),
    (step("email"), "anna@intranet", BAD),
    (step("email"), "", BAD),
    (step("phone", country="DE"), "030 / 901820", "+4930901820"),
    (step("phone", country="DE"), "+44 20 7946 0958", "+442079460958"),
    (step("phone", country="DE"), "0049 (30) 901820", "+4930901820"),
    (step("phone", country="US"), "(650) 253-0000", "+16502530000"),
    (step("phone", country="DE"), "12", BAD),
    (step("phone", country="DE"), "call 030 901820", BAD),
    (step("phone", country="DE"), "030 901820 ext. 7", BAD),
    (step("country", languages=["en"]), "DE", "DE"),
    (step("country", languages=["en"]), "deu", "DE"),
    (step("country", languages=["en"]), "276", "DE"),
    (step("country", languages=["en"]), "4", "AF"),
    (step("country", languages=["en"]), " germany ", "DE"),
    (step("country", languages=["en"]), "Deutschland", BAD),
    (step("country", languages=["en", "de"]), "Deutschland", "DE"),
    (step("country", languages=["fr"]), "Côte d’Ivoire", "CI"),
    (step("country", languages=["en"]), "UK", "GB"),
    (step("country", languages=["en"]), "SU", BAD),
    (step("country", languages=["en"]), "EU", BAD),
    (step("country", languages=["en"]), "Atlantis", BAD),
    (step("unicode", form="NFC"), "Cafe\u0301", "Café"),
    (step("unicode", form="NFKC"), "Ａ①ﬁ", "A1fi"),
]


@pytest.mark.parametrize(("one", "value", "expected"), FORMS)
def test_a_value_takes_its_normal_form(current: Current, one: Cleaning, value: str, expected: str) -> None:
    assert cleaned(current, of("text", "string", one), [value, None]) == [expected, None]


@given(values=st.lists(st.text(max_size=8), min_size=1, max_size=5))
@settings(max_examples=40)
@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_unicode_forms_are_unicodes(current: Current, form: Any, values: list[str]) -> None:
    values = [value.replace("\0", "") for value in values]
    expected = [unicodedata.normalize(form, value) for value in values]
    assert cleaned(current, of("text", "string", step("unicode", form=form)), values) == expected


def test_numbers_come_into_forms_as_text(current: Current) -> None:
    assert cleaned(current, of("integer", "string", step("country", languages=["en"])), [276], "BIGINT") == ["DE"]


def test_each_value_is_worked_out_once() -> None:
    asked: list[str] = []

    def form(text: str, _argument: str) -> str:
        asked.append(text)
        return text

    again = remembering(Function("f", lambda: form))
    assert [again(text, "") for text in ("a", "a", "b", None)] == ["a", "a", "b", None]
    assert asked == ["a", "b"]


def test_a_library_that_is_not_there_is_asked_for() -> None:
    with pytest.raises(Refused, match="not-there, which is not installed") as refused:
        clean_forms.knows(Function("f", FUNCTIONS["email"].make, "not-there"), "dataset d, column value")
    assert refused.value.mend.startswith("pip install 'mainstay[cleaning]'")


def test_what_the_library_knows_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = of("text", "string", step("email")).digest
    monkeypatch.setattr(clean_forms, "version", lambda _package: "99.0")
    assert of("text", "string", step("email")).digest != before


@pytest.mark.parametrize(
    ("one", "type", "why"),
    [
        (step("phone", country="XX"), "string", "no country with telephone numbers"),
        (step("country", languages=["tlh"]), "string", "no language that is known"),
    ],
)
def test_a_step_that_nothing_is_known_for_is_refused(one: Cleaning, type: ColumnType, why: str) -> None:
    with pytest.raises(Refused, match=why):
        of("text", type, one)


@pytest.mark.parametrize(
    ("old", "new", "value", "expected"),
    [
        ("lb", "kg", 1, 0.45359237), ("m", "km", 7, 0.007), ("km/h", "m/s", 36, 10), ("degF", "degC", 212, 100),
        ("degF", "degC", 32, 0), ("degC", "degF", 100, 212), ("degC", "K", -273.15, 0), ("K", "degC", 0, -273.15),
        ("percent", "ratio", 26, 0.26), ("kg", "kg", 0.1, 0.1), ("in", "cm", 10, 25.4), ("kn", "km/h", 1, 1.852),
    ],
)  # fmt: skip
def test_units_convert_by_their_definitions(
    current: Current, old: str, new: str, value: float, expected: float
) -> None:
    made = of("float", "number", step("unit", **{"from": old, "to": new}))
    assert cleaned(current, made, [value, None], "DOUBLE") == [expected, None]


@given(st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)), st.floats(-1e9, 1e9))
@settings(max_examples=200)
def test_there_and_back_is_the_same_value(old: str, new: str, value: float) -> None:
    if UNITS[old].dimension != UNITS[new].dimension:
        return
    there, back = conversion(old, new), conversion(new, old)
    moved = (value + there.before) * there.times / there.by + there.after
    again = (moved + back.before) * back.times / back.by + back.after
    exact = (Fraction(value) + UNITS[old].offset) * UNITS[old].factor / UNITS[new].factor - UNITS[new].offset
    assert again == pytest.approx(value, rel=1e-12, abs=1e-9)
    assert moved == pytest.approx(float(exact), rel=1e-12, abs=1e-9)


def test_a_unit_reads_text_behind_number_and_what_is_no_number_is_bad(current: Current) -> None:
    made = of("text", "number", step("number", decimal=","), step("unit", **{"from": "g", "to": "kg"}))
    assert cleaned(current, made, ["1500,5", "n/a", None]) == [1.5005, BAD, None]
    with pytest.raises(Refused, match="'lbs' is no unit"):
        of("float", "number", step("unit", **{"from": "lbs", "to": "kg"}))


@pytest.mark.parametrize(
    ("type", "fill", "values", "expected"),
    [
        ("integer", 0, ["7", None, "x", ""], [7, 0, BAD, 0]),
        ("number", -0.5, ["7", None], [7.0, -0.5]),
        ("string", "it's", ["a", None], ["a", "it's"]),
        ("boolean", False, ["yes", None, "?"], [True, False, BAD]),
    ],
)
def test_a_fill_stands_in_for_what_is_absent_not_for_what_is_bad(
    current: Current, type: ColumnType, fill: Any, values: list[str | None], expected: list[Any]
) -> None:
    steps = [step("blank_to_null")] + ([step("boolean", true=["yes"], false=["no"])] if type == "boolean" else [])
    made = of("text", type, *steps, fill=fill)
    assert cleaned(current, made, values) == expected
    (column,) = made.columns
    relation = "(SELECT unnest(?::VARCHAR[]) AS raw)"
    filled = [value == fill and raw in (None, "") for value, raw in zip(expected, values, strict=True)]
    assert [one for (one,) in current.sql(f"SELECT {column.filled_sql} FROM {relation}", [values])] == filled
    layered = current.sql(f"SELECT value__filled FROM ({made.select(relation)})", [values])
    assert [one for (one,) in layered] == filled
    assert made.digest != of("text", type, *steps).digest


def test_history_names_the_columns_that_were_filled(tmp_path: Path) -> None:
    columns = tuple(msgspec.structs.replace(one, fill=0) if one.name == "tenure" else one for one in CUSTOMERS.columns)
    world = World(tmp_path, customers=msgspec.structs.replace(CUSTOMERS, columns=columns))
    world.customer(1, tenure=None)
    world.customer(2, tenure=2)
    world.both()
    assert world.values(1) == [0, "a", 0, None]
    history.flush(world.desk, "customers")
    kept = history.read_sql(world.desk, "customers")
    assert world.desk.current.sql(f"SELECT key, filled FROM {kept} ORDER BY key") == [("1", "tenure"), ("2", None)]
    world.close()
