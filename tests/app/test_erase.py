"""Promise 7, whole: after `erase` no byte of the key lies under the home, and the next read does not bring it back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app.answers import readers, verify, why
from mainstay.app.answers import receipt as receipt_in
from mainstay.app.commands import ask
from mainstay.app.wiring import own
from mainstay.app.worker import open_worker
from mainstay.core.clock import SystemClock
from mainstay.core.errors import Refused
from mainstay.core.ports import Repeat
from mainstay.core.ranges import Chunk
from mainstay.core.records import ApiKey, Event
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.backfill import RangeRunner
from mainstay.serving.reply import Refusal
from mainstay.serving.request import DecisionRequest
from mainstay.store.repeats_sqlite import SqliteRepeats
from tests.app.shop import RULE, Shop

PERSON = "person-0003"
OPERATOR = ApiKey(id="op", name="op", roles=("operate",), created_us=0)


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    return shop


def holding(world: Shop, text: str = PERSON) -> list[str]:
    """Files under the home that have the text anywhere in their bytes."""
    files = [path for path in world.home.rglob("*") if path.is_file()]
    return [str(path.relative_to(world.home)) for path in files if text.encode() in path.read_bytes()]


def erase(world: Shop, key: str = PERSON) -> dict[str, Any]:
    return ask(world.place, "erase", {"key": key, "reason": "asked on 2026-11-20"})


@pytest.mark.promise(7)
def test_a_person_whose_key_bounds_a_backfill_is_in_none_of_it_afterwards(world: Shop) -> None:
    world.exec("UPDATE customers SET tenure = 55")
    args = {"dataset": "customers", "from": PERSON, "rate": 100}
    one = ask(world.place, "backfill", args)["backfill"]
    with own(world.place, "a test") as works:
        RangeRunner(works.desk, works.desk.integration.datasets["customers"]).chunk(one["id"])
        (number,) = [each.number for each in works.desk.batches.all().values() if each.backfill == one["id"]]
        manifest = works.desk.landing.manifest("customers", number)
        assert manifest is not None
        bound = msgspec.structs.replace(manifest, chunk=Chunk(backfill=one["id"], number=1, read=4, next=PERSON))
        works.desk.landing.rewrite(bound, works.desk.landing.open("customers", number))
    ask(world.place, "backfill", args)  # a second one, which runs
    assert (
        len([trace for trace in ask(world.place, "erase.verify", {"key": PERSON})["traces"] if "backfill" in trace])
        == 2
    )
    erase(world)
    assert ask(world.place, "erase.verify", {"key": PERSON})["clean"]
    assert holding(world) == []


@pytest.mark.promise(7)
def test_no_byte_of_an_erased_person_is_left_and_the_next_read_does_not_bring_them_back(world: Shop) -> None:
    world.exec(f"UPDATE customers SET tenure = 999 WHERE customer_id = '{PERSON}'")  # quarantined
    world.run()
    ask(world.place, "flush", {})
    (moved,) = world.predict(PERSON)
    ask(world.place, "flush", {})
    (fresh,) = world.predict(PERSON)
    (other,) = world.predict("person-0004")
    before = world.dataset()
    assert before.quarantined == 1
    assert {Path(name).parts[1].split(".")[0] for name in holding(world)} >= {
        "current", "history", "journal", "landing", "online",
    }  # fmt: skip
    assert len(ask(world.place, "erase.verify", {"key": PERSON})["traces"]) >= 5

    found = erase(world)

    assert found["clean"], found["traces"]
    assert found["erased"]["landing"] == 2
    assert found["erased"]["online"] == 1
    assert found["receipts"]["receipts"] == 2
    assert holding(world) == []
    assert holding(world, "person-0004") != []
    after = world.dataset()
    parts = ("published", "superseded", "quarantined", "discarded", "waiting", "erased")
    assert after.counts["landed"] == before.counts["landed"] == sum(after.counts.get(name, 0) for name in parts)
    assert (after.counts["erased"], after.rows, after.quarantined, after.held) == (2, 5, 0, 0)

    world.run()
    ask(world.place, "flush", {})
    (gone,) = world.predict(PERSON)
    assert isinstance(gone, Refusal)
    assert gone.status == 404
    assert holding(world) == []
    with readers(world.place) as stores:
        for one in (moved, fresh, gone):
            assert one.receipt is not None
            stored = receipt_in(stores, one.receipt)
            assert (stored.key, stored.inputs) == (None, None)
            assert stored.erased_us is not None
        assert fresh.receipt is not None
        assert other.receipt is not None
        assert any(f"erased on {20}" in link.sentence for link in why(stores, fresh.receipt))
        assert verify(stores, other.receipt).verdict is Verdict.PASS


@pytest.mark.promise(7)
def test_an_answer_about_an_erased_person_can_no_longer_be_verified_and_says_why(world: Shop) -> None:
    (answered,) = world.predict(PERSON)
    erase(world)
    with readers(world.place) as stores:
        assert answered.receipt is not None
        finding = verify(stores, answered.receipt)
        links = why(stores, answered.receipt)
    assert finding.verdict is Verdict.UNKNOWN
    assert "erased" in finding.sentence
    assert [link.what for link in links] == ["source", "features", "model", "answer", "decision", "outcome"]
    assert all("erased on" in link.sentence for link in links[:2])
    assert PERSON not in str(links)


@pytest.mark.promise(7)
def test_erasing_twice_changes_nothing_more(world: Shop) -> None:
    assert erase(world)["clean"]
    before = world.dataset()
    again = erase(world)
    assert again["clean"]
    assert set(again["erased"].values()) == {0}
    assert world.dataset().counts == before.counts


@pytest.mark.promise(7)
def test_the_audit_names_the_person_by_a_keyed_hash_and_the_reason_may_not_name_them(world: Shop) -> None:
    with pytest.raises(Refused, match="names the person"):
        ask(world.place, "erase", {"key": PERSON, "reason": f"{PERSON} asked"})
    with pytest.raises(Refused, match="says why"):
        ask(world.place, "erase", {"key": PERSON, "reason": " "})
    assert world.dataset().rows == 6
    erase(world)
    with own(world.place, "a test") as works:
        payloads = [entry.payload for one in works.journal.segments() for entry, _ in works.journal.scan(one.name)]
        events = [msgspec.msgpack.decode(payload) for payload in payloads]
        (audit,) = [msgspec.convert(one, Event) for one in events if one.get("kind") == "audit.erase"]
    assert len(audit.body["person"]) == 64
    assert audit.body["reason"] == "asked on 2026-11-20"


@pytest.mark.promise(7)
def test_a_worker_seals_its_open_segment_for_an_erasure_and_forgets_the_key(world: Shop) -> None:
    import threading

    from mainstay.serving.request import PredictRequest
    from mainstay.serving.work import Call

    clock = SystemClock()
    worker = open_worker(world.home, "churn", slot="api-1", clock=clock, env=os.environ)
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            worker.refresh()

    looking = threading.Thread(target=look)
    try:
        snap = worker.desk.view.now
        assert snap is not None
        call = Call("crm", "q", clock.monotonic_us())
        given = worker.desk.answering.predict_now(snap, PredictRequest(key=PERSON), call)
        receipt = given.receipt  # type: ignore[union-attr]
        assert receipt is not None
        asked = DecisionRequest(receipt=receipt, decision="overridden", reason=f"I know {PERSON}", id=f"{PERSON}-1")
        worker.desk.feedback.decide(asked, "crm")
        assert any("journal" in name for name in holding(world))
        looking.start()
        assert erase(world)["clean"]
        worker.refresh()
        snap = worker.desk.view.now
        assert snap is not None
        worker.desk.answering.predict_now(snap, PredictRequest(keys=[PERSON, "person-0004"]), call)
    finally:
        stop.set()
        if looking.ident is not None:
            looking.join()
        worker.close()
    assert holding(world) == []


def test_a_worker_finds_receipts_that_left_the_journal(world: Shop) -> None:
    (answered,) = world.predict("person-0004")
    ask(world.place, "flush", {})
    with own(world.place, "a test") as works:
        for segment in works.journal.segments():
            if not segment.open:
                works.journal.remove(segment.name)
    worker = open_worker(world.home, "churn", slot="api-1", clock=SystemClock(), env=os.environ)
    try:
        assert answered.receipt is not None
        found = worker.desk.receipt(answered.receipt, OPERATOR)
    finally:
        worker.close()
    assert found.key == "person-0004"


def test_an_unfetched_answer_that_names_the_person_goes_too(world: Shop) -> None:
    from mainstay.core.records import Response
    from mainstay.store.shelf import Shelf

    with own(world.place, "a test") as works:
        answer = Response(id="req-x", ok=True, body={"rows": [{"key": PERSON}]}, at_us=works.clock.now_us())
        Shelf(works.state, "response", Response).put("req-x", answer, token=works.lease.token)
    assert "state: answer req-x to a command" in ask(world.place, "erase.verify", {"key": PERSON})["traces"]
    assert erase(world)["clean"]
    assert holding(world) == []


@pytest.mark.promise(3)
def test_an_erased_persons_version_is_counted_once_however_often_it_is_read(world: Shop) -> None:
    erase(world)
    counted = world.dataset().counts
    assert counted["erased"] == 1
    for tenure in (61, 62, 63):  # somebody else's change makes a batch of every read; the snapshot has the person too
        world.exec(f"UPDATE customers SET tenure = {tenure} WHERE customer_id = 'person-0006'")
        world.run()
    counts = world.dataset().counts
    assert (counts["erased"], counts["landed"]) == (1, counted["landed"] + 3)
    world.exec(f"UPDATE customers SET tenure = 44 WHERE customer_id = '{PERSON}'")
    for tenure in (71, 72):
        world.exec(f"UPDATE customers SET tenure = {tenure} WHERE customer_id = 'person-0006'")
        world.run()
    counts = world.dataset().counts
    assert (counts["erased"], counts["landed"]) == (2, counted["landed"] + 3 + 3)
    parts = ("published", "superseded", "quarantined", "discarded", "waiting", "erased")
    assert counts["landed"] == sum(counts.get(part, 0) for part in parts)
    assert holding(world) == []
    assert ask(world.place, "erase.verify", {"key": PERSON})["traces"] == []


@pytest.mark.promise(7)
def test_answers_that_may_be_asked_for_again_go_whole(world: Shop) -> None:
    """One of them lists the person's key, another is still being made."""
    kept = SqliteRepeats(world.place.home.repeats)
    for ticket in ("t1", "t2"):
        kept.begin("crm", ticket.encode(), b"asked", ticket=ticket, at_us=0, until_us=2**62)
    answer = Repeat(payload=b"asked", status=200, kind="application/json", body=b'{"results":[{"key":"person-0003"}]}')
    kept.finish("t1", answer, until_us=2**62)
    assert ask(world.place, "erase.verify", {"key": PERSON})["traces"][-1].startswith("repeats: 1 answer ")
    assert erase(world)["clean"]
    assert not kept.finish("t2", answer, until_us=2**62)
    assert list(kept.bodies()) == []
    kept.close()
    assert holding(world) == []
