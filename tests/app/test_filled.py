"""What a column's `fill` put in place of an absent value stands in the answer and the receipt, and only there."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from mainstay.app.answers import predict, readers, receipt, verify, why
from mainstay.app.commands import ask
from mainstay.app.wiring import own
from mainstay.core.records import Receipt
from mainstay.core.verdicts import Verdict
from mainstay.serving.reply import Answer, Batch
from mainstay.serving.request import PredictRequest
from tests.app.shop import COLUMNS, RULE, Shop

FILLED = (
    COLUMNS.replace("city: {type: string}", "city: {type: string, fill: unknown}")
    + "      plan: {type: string, fill: none, values: [gold, none]}\n"
)


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    """Six people; of the fifth neither city nor plan is known, and the features read the city alone."""
    made = Shop(tmp_path)
    made.exec("UPDATE customers SET city = NULL, plan = NULL WHERE customer_id = 'person-0005'")
    made.begin(model=RULE, columns=FILLED)
    return made


def answered(world: Shop, key: str) -> Answer:
    (answer,) = world.predict(key)
    assert isinstance(answer, Answer), answer
    return answer


def recorded(world: Shop, answer: Answer) -> Receipt:
    with readers(world.place) as found:
        return receipt(found, answer.receipt or "")


def test_the_first_publishing_names_the_filled_columns_that_the_features_read(world: Shop) -> None:
    known, unknown = answered(world, "person-0004"), answered(world, "person-0005")
    assert unknown.filled == {"customers": ["city"]}, "the plan was filled too, but no feature reads it"
    assert unknown.verdict is Verdict.PASS
    assert "filled" not in json.loads(msgspec.json.encode(known))
    assert recorded(world, known).filled == {}
    one = recorded(world, unknown)
    assert one.filled == {"customers": ["city"]}
    with readers(world.place) as found:
        assert verify(found, one.id).verdict is Verdict.PASS
        (link,) = [link for link in why(found, one.id) if link.what == "features"]
    assert ("filled in customers", "city") in link.details


def test_it_comes_and_goes_with_the_row(world: Shop) -> None:
    world.exec("UPDATE customers SET city = NULL WHERE customer_id = 'person-0004'")
    world.exec("UPDATE customers SET city = 'Köln' WHERE customer_id = 'person-0005'")
    world.run()
    assert answered(world, "person-0004").filled == {"customers": ["city"]}
    assert answered(world, "person-0005").filled is msgspec.UNSET
    reply = predict(world.place, PredictRequest(keys=["person-0005", "person-0004"]))
    assert isinstance(reply, Batch)
    assert [one.filled for one in reply.results] == [msgspec.UNSET, {"customers": ["city"]}]


def test_a_held_key_says_it_of_the_row_that_stays_and_a_replayed_one_of_the_new_row(world: Shop) -> None:
    hurt = "UPDATE customers SET tenure = 999, city = NULL WHERE customer_id = "
    world.exec(f"{hurt}'person-0004'", f"{hurt}'person-0005'")
    world.run()
    assert shown(world) == {"person-0004": (True, b""), "person-0005": (True, b'{"customers":["city"]}')}
    world.apply(model=RULE, columns=FILLED, sql="SELECT customer_id, tenure, city, 1 AS one FROM customers")
    assert shown(world) == {"person-0004": (True, b""), "person-0005": (True, b'{"customers":["city"]}')}, "built anew"
    world.apply(model=RULE, columns=FILLED.replace("max: 120", "max: 1200"))
    ask(world.place, "quarantine.replay", {"dataset": "customers", "ids": None})
    assert answered(world, "person-0004").filled == {"customers": ["city"]}


def shown(world: Shop) -> dict[str, tuple[bool, bytes]]:
    """Whether the row of each of two people is held, and what is filled in it, in the newest feature set."""
    with own(world.place, "a test") as works:
        newest = max(works.desk.feature_sets.all().values(), key=lambda one: one.plan)
        rows = works.online.get_many(newest.digest, ["person-0004", "person-0005"])
    return {key: (row.held, row.filled) for key, row in rows.items()}


def test_several_rows_and_datasets_behind_a_feature_row_are_named_together(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.exec(
        "CREATE TABLE visits (visit_id INTEGER PRIMARY KEY, customer_id TEXT, room TEXT, note TEXT)",
        "INSERT INTO visits VALUES (1, 'person-0001', 'a', NULL), (2, 'person-0001', NULL, 'x'), "
        "(3, 'person-0002', 'a', NULL)",
        "UPDATE customers SET city = NULL WHERE customer_id = 'person-0001'",
    )
    sql = (
        "SELECT c.customer_id, c.tenure, c.city, count(v.room) AS rooms, count(v.note) AS notes FROM customers c "
        "LEFT JOIN visits v ON v.customer_id = c.customer_id GROUP BY ALL"
    )
    visits = """  visits:
    source: crm
    table: visits
    key: visit_id
    every: 10s
    freshness: {warn: 1h, fail: 2h}
    columns:
      visit_id: {type: integer, required: true}
      customer_id: {type: string}
      room: {type: string, fill: none}
      note: {type: string, fill: none}
features:
"""
    world.write(model=RULE, columns=FILLED, sql=sql)
    world.file.write_text(world.file.read_text().replace("features:\n", visits, 1))
    world.begin()
    first, second, third = (answered(world, f"person-000{n}") for n in (1, 2, 3))
    assert first.filled == {"customers": ["city"], "visits": ["room", "note"]}
    assert (second.filled, third.filled) == ({"visits": ["note"]}, msgspec.UNSET)
    assert recorded(world, first).filled == first.filled


def test_cleaning_anew_marks_what_is_filled_from_now_on(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.exec("UPDATE customers SET city = NULL WHERE customer_id = 'person-0005'")
    world.begin(model=RULE)
    assert answered(world, "person-0005").filled is msgspec.UNSET
    world.apply(model=RULE, columns=FILLED)
    world.run()
    assert answered(world, "person-0005").filled == {"customers": ["city"]}


def test_erasure_takes_it_out_of_the_receipt(world: Shop) -> None:
    answer = answered(world, "person-0005")
    ask(world.place, "erase", {"key": "person-0005", "reason": "asked to"})
    one = recorded(world, answer)
    assert (one.key, one.inputs, one.filled) == (None, None, {})


def test_a_receipt_and_a_row_from_before_are_read() -> None:
    from mainstay.core.ports import OnlineRow

    old = msgspec.msgpack.encode(["k", 1, b"[1]", None, 2, "PASS", "", False, None, False, None, b"{}"])
    assert msgspec.msgpack.decode(old, type=OnlineRow).filled == b""
