"""Promise 7, for receipts and for what people said about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.clock import DAY
from mainstay.core.records import Event, Receipt
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.archive import RECEIPTS, archive_journal, events_for, read_receipt
from mainstay.pipelines.archive_erase import Erased, erase_receipts, receipt_traces
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.journal import SegmentJournal
from mainstay.testing.clock import FakeClock
from mainstay.testing.history_suite import rows_of

PERSON = "7590-VHVEG"
NOW = 20_780 * DAY + DAY // 2


@pytest.fixture
def journal(tmp_path: Path) -> SegmentJournal:
    return SegmentJournal(tmp_path / "journal", secret=b"s" * 32, clock=FakeClock(NOW))


@pytest.fixture
def history(tmp_path: Path) -> DeltaHistory:
    return DeltaHistory(tmp_path / "history")


def answer(journal: SegmentJournal, key: str, **more: Any) -> str:
    fields: dict[str, Any] = {"inputs": {"name": f"name of {key}", "tenure": 3}, "output": {"churn": 0.25}} | more

    def build(id: str) -> bytes:
        return msgspec.msgpack.encode(
            Receipt(
                id=id, at_us=NOW, integration="churn", api=1, key=key, caller="c", request="q", outcome="answered",
                status=200, verdict=Verdict.PASS, **fields,
            )
        )  # fmt: skip

    return journal.append_with("receipt", build)


def decide(journal: SegmentJournal, receipt: str, **body: Any) -> None:
    event = Event(kind="decision", at_us=NOW, receipt=receipt, by="c", body={"decision": "overridden"} | body)
    journal.append("event", msgspec.msgpack.encode(event))


def of_person(receipt: Receipt) -> bool:
    return receipt.key == PERSON


def holding(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.promise(7)
def test_an_erased_person_is_nowhere_and_every_id_still_leads_somewhere(
    journal: SegmentJournal, history: DeltaHistory, tmp_path: Path
) -> None:
    moved, other = answer(journal, PERSON), answer(journal, "another")
    decide(journal, moved, reason=f"I know {PERSON}", id=f"crm-{PERSON}-1")
    decide(journal, moved, reason=f"I know {PERSON}", id=f"crm-{PERSON}-1")
    decide(journal, other, reason="good customer", id="crm-2")
    archive_journal(journal, history, clock=FakeClock(NOW))
    fresh = answer(journal, PERSON, inputs={"name": f"name of {PERSON}", "ratio": float("nan")})
    decide(journal, fresh, reason=f"still know {PERSON}")
    journal.seal()
    before = read_receipt(other, journal, history)

    assert len(receipt_traces(journal, history, key_matches=of_person)) == 3  # one in the journal, one in both
    told = erase_receipts(journal, history, key_matches=of_person, at_us=NOW + 1)

    assert told == Erased(receipts=2, events=3, open=())
    assert receipt_traces(journal, history, key_matches=of_person) == []
    assert holding(tmp_path, PERSON) == []
    for name in (moved, fresh):
        receipt = read_receipt(name, journal, history)
        assert receipt is not None
        assert (receipt.key, receipt.inputs, receipt.erased_us) == (None, None, NOW + 1)
        assert receipt.output == {"churn": 0.25}
        assert {event.body["decision"] for event in events_for(name, journal, history)} == {"overridden"}
    assert [event.body["id"] for event in events_for(moved, journal, history)] == ["1", "1"]
    assert read_receipt(other, journal, history) == before
    (kept,) = events_for(other, journal, history)
    assert kept.body == {"decision": "overridden", "reason": "good customer", "id": "crm-2"}
    # What was rewritten in the journal is moved on as it is now, once.
    archive_journal(journal, history, clock=FakeClock(NOW))
    assert holding(tmp_path, PERSON) == []
    assert {row["id"]: row["key"] for row in rows_of(history, RECEIPTS)} == {moved: None, fresh: None, other: "another"}


@pytest.mark.promise(7)
def test_an_open_segment_is_named_and_a_repeat_after_sealing_finishes(
    journal: SegmentJournal, history: DeltaHistory, tmp_path: Path
) -> None:
    sealed = answer(journal, PERSON)
    journal.seal()
    decide(journal, sealed, reason=f"about {PERSON}")
    told = erase_receipts(journal, history, key_matches=of_person, at_us=NOW)
    assert told.open == (journal.segments()[1].name,)
    assert holding(tmp_path, PERSON) != []
    journal.seal()
    answer(journal, "another")  # a new open segment that has nothing to erase
    told = erase_receipts(journal, history, key_matches=of_person, at_us=NOW)
    assert told == Erased(receipts=0, events=1, open=())
    assert holding(tmp_path, PERSON) == []


@pytest.mark.parametrize("key", ["", "k", "12"])
@pytest.mark.parametrize("inputs", [None, {}, {"a": None}])
def test_the_smallest_receipt_has_room_for_its_erasure(
    journal: SegmentJournal, history: DeltaHistory, key: str, inputs: dict[str, Any] | None
) -> None:
    given_out = answer(journal, key, inputs=inputs, output=None)
    following = answer(journal, "another")
    journal.seal()
    told = erase_receipts(journal, history, key_matches=lambda receipt: receipt.id == given_out, at_us=NOW)
    assert told.receipts == 1
    receipt = read_receipt(given_out, journal, history)
    assert receipt is not None
    assert (receipt.key, receipt.inputs, receipt.erased_us, receipt.status) == (None, None, NOW, 200)
    after = read_receipt(following, journal, history)
    assert after is not None
    assert after.key == "another"


def test_a_field_of_a_later_mainstay_survives_the_erasure(journal: SegmentJournal, history: DeltaHistory) -> None:
    given_out = answer(journal, PERSON)
    entry = journal.get(given_out)
    assert entry is not None
    record = msgspec.msgpack.decode(entry.payload) | {"colour": "blue"}
    later = journal.append_with("receipt", lambda given: msgspec.msgpack.encode(record | {"id": given}))
    journal.seal()
    erase_receipts(journal, history, key_matches=of_person, at_us=NOW)
    entry = journal.get(later)
    assert entry is not None
    assert msgspec.msgpack.decode(entry.payload)["colour"] == "blue"
