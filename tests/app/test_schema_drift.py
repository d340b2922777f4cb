"""A changed table and the applied file: names that stay inside, what the plan says, and what status shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from mainstay.app.place import need_applied
from mainstay.app.status import read_status
from mainstay.app.up import apply_at_start
from mainstay.app.wiring import own
from mainstay.core.clock import SystemClock
from mainstay.core.errors import Refused, SourceError
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines import history
from mainstay.store.state_sqlite import SqliteState
from tests.app.shop import COLUMNS, RULE, Shop
from tests.web.looking import looped

BOTH = COLUMNS.replace("city: {type: string}", "city: {type: string, source_name: [city, town]}")
TOWN = COLUMNS.replace("city: {type: string}", "city: {type: string, source_name: town}")
RENAME = "ALTER TABLE customers RENAME COLUMN city TO town"


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def cities(world: Shop) -> list[Any]:
    return world.current('SELECT DISTINCT city FROM "ds_customers".rows')


def schema(world: Shop) -> list[Finding]:
    return [one for one in read_status(world.place, SystemClock()).wrong if one.check == "customers.schema"]


def test_a_second_name_is_applied_without_reading_or_cleaning_anything(world: Shop) -> None:
    world.begin(model=RULE)
    world.write(model=RULE, columns=BOTH)
    assert world.kinds() == ["store_file"]


def test_a_column_renamed_under_a_running_loop_stops_nothing(world: Shop) -> None:
    world.begin(model=RULE, columns=BOTH.replace("every: 10s", "every: 1s"))
    text = world.file.read_text().replace("every: 10s", "every: 1s")
    world.file.write_text(text)
    world.apply()
    before = world.dataset()
    with looped(world):
        world.exec(RENAME, "UPDATE customers SET town = 'Köln' WHERE customer_id = 'person-0003'")
        deadline = time.monotonic() + 60
        while world.dataset().counts.get("landed") == before.counts["landed"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        world.exec("UPDATE customers SET tenure = 99 WHERE customer_id = 'person-0004'")
        while world.dataset().counts.get("landed", 0) < before.counts["landed"] + 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    after = world.dataset()
    assert (after.rows, after.blocked, after.error, after.quarantined) == (6, "", "", 0)
    assert after.counts["landed"] == before.counts["landed"] + 2
    assert sorted(cities(world)) == [("Bonn",), ("Köln",)]
    assert world.outputs("person-0004") == {"churn_probability": 0.99}
    with own(world.place, "a test") as works:  # none of it was an error on the way
        kinds = {one.kind for one in world_events(works)}
    assert not kinds & {"dataset.blocked", "dataset.failed"}


def world_events(works: Any) -> list[Any]:
    import msgspec

    from mainstay.core.records import Event

    found = []
    for segment in works.journal.segments():
        found += [
            msgspec.msgpack.decode(entry.payload, type=Event)
            for entry, _ in works.journal.scan(segment.name)
            if entry.kind == "event"
        ]
    return found


def test_what_blocks_is_shown_with_the_proposal_and_goes_on_when_it_is_applied(world: Shop) -> None:
    world.begin(model=RULE)
    before = world.dataset()
    world.exec(RENAME, "UPDATE customers SET tenure = 99 WHERE customer_id = 'person-0004'")
    with pytest.raises(SourceError):
        world.run()
    (found,) = schema(world)
    assert found.verdict is Verdict.FAIL
    assert "city is gone and town has come, 100% of 6 values equal" in found.sentence
    assert "`source_name: [city, town]` at datasets.customers.columns.city" in found.mend
    world.write(model=RULE, columns=BOTH)
    assert world.kinds() == ["store_file", "accept_schema"] or world.kinds() == ["accept_schema", "store_file"]
    world.apply()
    world.run()
    after = world.dataset()
    assert (after.blocked, after.rows) == ("", 6)
    assert after.counts["landed"] == before.counts["landed"] + 1
    assert world.outputs("person-0004") == {"churn_probability": 0.99}
    assert schema(world) == []


def test_the_new_name_alone_reads_all_again_and_lands_nothing_for_it(world: Shop) -> None:
    world.begin(model=RULE)
    before = world.dataset()
    world.exec(RENAME)
    world.write(model=RULE, columns=TOWN)
    steps = world.plan()["steps"]
    assert [step["kind"] for step in steps] == ["reread", "store_file"]
    assert "city is read from town" in steps[0]["sentence"]
    world.apply()
    world.run()
    assert world.dataset().counts["landed"] == before.counts["landed"]
    assert world.kinds() == []


def test_what_landed_under_the_old_name_is_cleaned_again_under_the_new_one(world: Shop) -> None:
    world.begin(model=RULE)
    with own(world.place, "a test") as works:
        history.flush(works.desk, "customers")
    world.exec(RENAME)
    world.apply(model=RULE, columns=TOWN)
    world.exec("UPDATE customers SET town = 'Köln' WHERE customer_id = 'person-0003'")
    world.run()
    world.apply(model=RULE, columns=TOWN.replace("source_name: town", "source_name: town, clean: [upper]"))
    assert sorted(cities(world)) == [("BONN",), ("KÖLN",)]
    state = SqliteState(world.place.home.state)
    assert need_applied(state).datasets["customers"].column("city").source_name == "city"
    state.close()


def test_a_new_column_may_take_the_name_that_an_older_one_has_landed_under(world: Shop) -> None:
    world.begin(model=RULE)
    world.exec(RENAME, "ALTER TABLE customers ADD COLUMN city TEXT", "UPDATE customers SET city = 'Ulm'")
    columns = TOWN + "      place: {type: string, source_name: city}\n"
    world.apply(model=RULE, columns=columns)
    world.run()
    assert world.current('SELECT DISTINCT city, place FROM "ds_customers".rows') == [("Bonn", "Ulm")]
    world.apply(model=RULE, columns=columns.replace("source_name: city", "source_name: city, clean: [upper]"))
    assert world.current('SELECT DISTINCT city, place FROM "ds_customers".rows') == [("Bonn", "ULM")]


def test_an_old_landing_name_beside_the_contract_is_refused(world: Shop) -> None:
    ort = COLUMNS.replace("city: {type: string}", "ort: {type: string, source_name: city}")
    parts = {"model": RULE, "sql": "SELECT c.customer_id, c.tenure, c.ort FROM customers c"}
    world.begin(columns=ort, **parts)
    world.exec(RENAME, "ALTER TABLE customers ADD COLUMN city TEXT")
    world.write(columns=ort.replace("source_name: city", "source_name: town"), **parts)
    text = world.file.read_text().replace("every: 10s", "every: 10s\n    deletes: {column: city}")
    world.file.write_text(text)
    with pytest.raises(Refused, match="city is what column ort has landed under"):
        world.plan()


def test_a_cursor_that_becomes_a_column_of_the_contract_is_there_in_every_row(world: Shop) -> None:
    world.exec("ALTER TABLE customers ADD COLUMN u INTEGER", "UPDATE customers SET u = tenure")
    world.write(model=RULE)
    text = world.file.read_text().replace("every: 10s", "every: 10s\n    cursor: {column: u}")
    world.file.write_text(text)
    world.apply()
    world.run()
    landed = world.dataset().counts["landed"]
    world.exec("ALTER TABLE customers RENAME COLUMN u TO moved")
    with pytest.raises(SourceError):
        world.run()
    line = "      u: {type: number, source_name: [u, moved]}\n"
    assert line.strip() in schema(world)[0].mend
    world.file.write_text(text.replace("      city: {type: string}\n", "      city: {type: string}\n" + line))
    world.apply()
    world.run()
    assert world.dataset().counts["landed"] == landed
    assert world.current('SELECT min(u), max(u) FROM "ds_customers".rows') == [(10.0, 60.0)]


def test_an_added_column_is_shown_until_the_file_is_applied_and_not_until_the_next_start(world: Shop) -> None:
    world.begin(model=RULE)
    world.exec("ALTER TABLE customers ADD COLUMN fax TEXT")
    world.run()
    world.run()
    (found,) = schema(world)
    assert (found.verdict, found.column) == (Verdict.WARN, "fax")
    assert "new column fax (TEXT), which is not read" in found.sentence
    apply_at_start(world.place, lambda _said: None)
    assert schema(world) == [found]
    assert world.kinds() == ["accept_schema"]
    world.apply()
    world.run()
    assert schema(world) == []


def test_a_start_does_not_accept_a_type_that_blocks(world: Shop) -> None:
    world.begin(model=RULE)
    world.exec(
        "CREATE TABLE neu (customer_id TEXT PRIMARY KEY, tenure TEXT, city TEXT, plan TEXT)",
        "INSERT INTO neu SELECT * FROM customers", "DROP TABLE customers", "ALTER TABLE neu RENAME TO customers",
    )  # fmt: skip
    with pytest.raises(SourceError, match="column tenure was INT and is TEXT"):
        world.run()
    apply_at_start(world.place, lambda _said: None)
    assert "tenure was INT" in world.dataset().blocked
    world.apply()
    world.run()
    assert world.dataset().blocked == ""
