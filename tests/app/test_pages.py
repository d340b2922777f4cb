"""What the status page shows: events followed at the journal's end, and what is masked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mainstay.app.events import MOST, EventTail
from mainstay.app.pages import Pages, Value
from mainstay.app.wiring import own
from mainstay.core.clock import SystemClock
from mainstay.core.errors import NotFound, Refused
from mainstay.core.records import Event
from mainstay.store.journal import SegmentJournal
from tests.app.shop import Shop
from tests.web.looking import looped

COLUMNS = """
      customer_id: {type: string, required: true, pii: true}
      tenure: {type: integer, max: 50}
      city: {type: string, pii: true}
"""


def written(shop: Shop, *kinds: str, segment_bytes: int = 1_000_000) -> None:
    home = shop.place.home
    home.create()
    journal = SegmentJournal(home.journal, secret=home.secret(), clock=SystemClock(), segment_bytes=segment_bytes)
    for n, kind in enumerate(kinds):
        event = Event(kind=kind, at_us=n, by="ann", body={"n": n + 1, "nothing": 0, "list": ["a", "b"], "no": False})
        journal.append("event", msgspec.msgpack.encode(event))
    journal.close()


def test_events_are_followed_and_never_doubled(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    tail = EventTail(shop.place.home, SystemClock())
    assert tail.look() == ()
    written(shop, "batch.published", "decision", "outcome", "audit.erase")
    assert [one.kind for one in tail.look()] == ["audit.erase", "batch.published"]
    written(shop, *["batch.published"] * 3)
    assert len(tail.look()) == 5
    assert len(tail.look()) == 5
    assert tail.look()[0].said.endswith("list: a; b, no: false")
    assert "nothing" not in tail.look()[0].said
    written(shop, *["batch.published"] * 300)
    assert len(tail.look()) == MOST


def test_a_long_journal_is_not_read_whole_at_first_but_is_followed(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    written(shop, *["batch.published"] * 50)
    tail = EventTail(shop.place.home, SystemClock(), first_bytes=100)
    assert tail.look() == ()
    written(shop, "audit.apply")
    assert [one.kind for one in tail.look()] == ["audit.apply"]


def test_personal_values_keys_and_raw_columns_out_of_the_contract_are_masked(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin(columns=COLUMNS)
    with own(shop.place, "a test") as works:  # a raw column of an older contract
        works.desk.current.sql(
            "UPDATE ds_customers.quarantine SET _raw = json_merge_patch(_raw, '{\"plan\": \"gold\", \"long\": \""
            + "x" * 400 + "\"}')"
        )  # fmt: skip
    pages = Pages(shop.place, SystemClock())
    with looped(shop):
        row = pages.quarantine("customers").rows[0]
        assert row.key == Value(column="customer_id", text=None, masked=True)
        assert {one.column: one.masked for one in row.values} == {
            "customer_id": True, "tenure": False, "city": True, "long": True, "plan": True
        }  # fmt: skip
        assert [one.column for one in row.values if one.failed] == ["tenure"]
        assert "person-" not in repr(row)
        assert "Bonn" not in repr(row)
        whole = pages.quarantine("customers", whole=True)
        values = {one.column: one.text for one in whole.rows[0].values}
        assert values["city"] == "Bonn"
        assert values["plan"] == "gold"
        assert values["long"] == "x" * 300 + "…"
        assert whole.rows[0].key.text == "person-0006"
        assert not whole.masked


def test_a_dataset_that_there_is_not_and_a_loop_that_does_not_run(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    pages = Pages(shop.place, SystemClock())
    with pytest.raises(NotFound, match="nothing has been applied"):
        pages.model()
    shop.begin()
    with pytest.raises(NotFound, match="no dataset"):
        pages.quarantine("nobody")
    with pytest.raises(Refused, match="the loop does not run"):
        pages.quarantine("customers")


def test_a_status_is_shown_again_for_a_moment(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    pages = Pages(shop.place, SystemClock())
    assert pages.status() is pages.status()
