"""Decoders made for a model's inputs give what the usual road gives, or leave the row to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from mainstay.core.nouns import Field, Limits, Signature
from mainstay.serving.inputs import InputPlan, OneRow
from mainstay.serving.request import BadRequest, read_predict

FIELDS = (
    Field(name="n", type="number", required=True),
    Field(name="m", type="number"),
    Field(name="i", type="integer"),
    Field(name="s", type="string"),
    Field(name="b", type="boolean"),
)
COLUMNS = (*[(field.name, field.type) for field in FIELDS], ("beside", "number"))
PLAN = InputPlan(Signature(inputs=FIELDS, outputs=()), COLUMNS)

values = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(allow_nan=False, allow_infinity=False),
    some.sampled_from(
        ["NaN", "Infinity", "-Infinity", "x", "", 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**400, 7.0]
    ),
    some.text(max_size=3),
)
names = some.sampled_from([*(field.name for field in FIELDS), "beside", "unknown"])
rows = some.lists(some.tuples(names, values), max_size=8)


def body_of(*pairs: tuple[str, Any]) -> bytes:
    """A request whose row may name a field twice."""
    inside = ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs)
    return f'{{"rows":[{{{inside}}}]}}'.encode()


@given(rows)
@example([("n", 1), ("m", None)])
@example([("n", "x"), ("n", 1.5)])
@example([("n", 1.5), ("n", None)])
def test_a_row_that_is_read_at_once_is_what_the_usual_road_makes_of_it(pairs: list[tuple[str, Any]]) -> None:
    body = body_of(*pairs)
    found = PLAN.one_row(body)
    if found is not None:
        (row,) = read_predict(body).rows  # type: ignore[misc]
        usual = PLAN.given(row, "rows[0]")
        assert [(type(one), one) for one in found.inputs] == [(type(one), one) for one in usual]
        assert found.again() == read_predict(body)


@pytest.mark.parametrize("beside", [(), (("beside", 4.5),)])
def test_a_plain_row_is_read_at_once(beside: tuple[tuple[str, Any], ...]) -> None:
    body = body_of(("s", "x"), ("n", 3), ("i", 2**63 - 1), ("b", False), *beside)
    assert PLAN.one_row(body) == OneRow(PLAN, [3.0, None, 2**63 - 1, "x", False], body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"rows":[{"n":1},{"n":2}]}',
        b'{"rows":[]}',
        b'{"rows":[{"n":1}],"inputs":{}}',
        b'{"rows":[{"n":1}],"key":"A"}',
        b'{"rows":[{"n":1}]',
        b'{"rows":[{"n":1,"s":"\xff"}]}',
        b'{"rows":[{"n":null}]}',
        b'{"rows":[{"n":"NaN"}]}',
        b'{"rows":[{"n":1,"i":7.0}]}',
        b'{"key":"A"}',
    ],
)
def test_what_is_no_plain_row_is_left_to_the_usual_road(body: bytes) -> None:
    assert PLAN.one_row(body) is None


@pytest.mark.parametrize(
    "asked",
    [
        Field(name="m", type="number", minimum=0),
        Field(name="s", type="string", limits=Limits(longest=3)),
        Field(name="when", type="timestamp"),
    ],
)
def test_rows_that_have_bounds_or_are_made_of_texts_go_the_usual_road(asked: Field) -> None:
    plan = InputPlan(Signature(inputs=(*FIELDS, asked), outputs=()), COLUMNS, (asked,))
    assert plan.one_row(body_of(("n", 1))) is None


def test_a_request_time_input_that_must_be_there_must_be_in_a_row() -> None:
    asked = Field(name="m", type="number", required=True)
    plan = InputPlan(Signature(inputs=FIELDS, outputs=()), COLUMNS, (asked,))
    assert plan.one_row(body_of(("n", 1))) is None
    assert plan.one_row(body_of(("n", 1), ("m", 2))) is not None
    with pytest.raises(BadRequest, match="is missing"):
        plan.given({"n": 1}, "rows[0]")


def test_names_that_no_record_can_have_go_the_usual_road() -> None:
    fields = (Field(name='say "x"', type="number"),)
    plan = InputPlan(Signature(inputs=fields, outputs=()), [(fields[0].name, "number")])
    assert plan.one_row(body_of((fields[0].name, 1))) is None
    assert plan.row(b"[1]") == [1.0]


stored = some.one_of(
    some.none(), some.booleans(), some.integers(-(2**53), 2**53), some.floats(allow_nan=False, allow_infinity=False)
)


@given(some.lists(stored | some.sampled_from(["NaN", "Infinity", "-Infinity"]), min_size=3, max_size=3))
def test_a_stored_row_is_numbers_where_the_model_takes_numbers(row: list[Any]) -> None:
    fields = tuple(Field(name=name, type=kind) for name, kind in (("c", "number"), ("none", "number"), ("a", "json")))  # type: ignore[arg-type]
    plan = InputPlan(Signature(inputs=fields, outputs=()), [("a", "json"), ("b", "number"), ("c", "number")])
    found = plan.row(json.dumps(row).encode())
    number = None if row[2] is None else float(row[2])
    assert repr(found) == repr([number, None, row[0]])


def test_a_stored_row_is_read_alike_by_column_order_and_by_another() -> None:
    columns = [("a", "number"), ("b", "string")]
    a, b = Field(name="a", type="number"), Field(name="b", type="string")
    for fields, wanted in (((a, b), [7.0, "x"]), ((b, a), ["x", 7.0]), ((b,), ["x"]), ((a,), [7.0])):
        plan = InputPlan(Signature(inputs=fields, outputs=()), columns)  # type: ignore[arg-type]
        assert plan.row(b'[7,"x"]') == wanted
