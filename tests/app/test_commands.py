"""Commands and the lease: done here when it is free, else asked of its owner, once; and what the loop does beside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app import commands
from mainstay.app.commands import ask, forget_answers, perform_requests, trim
from mainstay.app.loop import HISTORY_EVERY_US, Loop, due, next_run_us
from mainstay.app.place import whoami
from mainstay.app.wiring import Works, own
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND, Clock
from mainstay.core.errors import LeaseOwned, MainstayError, NotFound
from mainstay.core.nouns import Dataset
from mainstay.core.records import DatasetState, DiskSample, ProcessState, Receipt, Request, Response
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.archive import EVENTS, RECEIPTS, history_rows
from mainstay.store.shelf import Shelf
from mainstay.testing.clock import FakeClock
from tests.app.shop import COLUMNS, RULE, Shop, file_of


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.begin()
    return shop


class Late(Clock):
    """The machine's clocks, with a wall clock that can be set forward."""

    def __init__(self) -> None:
        from mainstay.core.clock import SystemClock

        self._real = SystemClock()
        self.ahead_us = 0

    def now_us(self) -> int:
        return self._real.now_us() + self.ahead_us

    def monotonic_us(self) -> int:
        return self._real.monotonic_us() + self.ahead_us


@contextmanager
def owned(world: Shop, each: Callable[[Works], object]) -> Iterator[None]:
    """Another owner of the lease, doing `each` over and over in its own thread."""
    ready, stop = threading.Event(), threading.Event()

    def work() -> None:
        with own(world.place, whoami("mainstay up")) as works:
            ready.set()
            while not stop.wait(0.01):
                each(works)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        stop.set()
        thread.join()


def test_the_owner_performs_a_request_once_and_answers(world: Shop) -> None:
    with owned(world, perform_requests):
        found = ask(world.place, "run", {"datasets": ["customers"]})
        assert found["results"][0]["status"] == "empty"
        with pytest.raises(MainstayError) as refused:
            ask(world.place, "run", {"datasets": ["orders"]})
        assert refused.value.exit_code == NotFound.exit_code
        assert "there is no dataset orders" in refused.value.sentence
        assert refused.value.mend == "one of customers"
    with own(world.place, "a test") as works:
        assert works.state.scan("request") == ()
        assert works.state.scan("response") == ()  # fetched: an answer may name people
        assert perform_requests(works) == 0


def test_who_asks_in_vain_is_told_the_owner_and_the_request_is_performed_later(world: Shop) -> None:
    with owned(world, lambda _works: None), pytest.raises(LeaseOwned) as told:
        ask(world.place, "run", {}, timeout_us=SECOND // 5)
    assert "mainstay up" in told.value.owner
    assert "stands and is performed once" in told.value.mend
    assert told.value.exit_code == 5
    with own(world.place, "a test") as works:
        assert perform_requests(works) == 1
        (answer,) = Shelf(works.state, "response", Response).all().values()
        assert answer.ok
        assert forget_answers(works) == 0
        works.clock = FakeClock(answer.at_us + 2 * HOUR)
        assert forget_answers(works) == 1


@pytest.mark.parametrize(
    ("command", "args", "words", "code"),
    [("sing", {}, "does not know the command sing", 1), ("quarantine.show", {}, "Mainstay itself failed", 70)],
)
def test_a_request_that_cannot_be_performed_is_answered_and_goes(
    world: Shop, command: str, args: dict[str, Any], words: str, code: int
) -> None:
    with own(world.place, "a test") as works:
        Shelf(works.state, "request", Request).put("req-1", Request(id="req-1", command=command, args=args, at_us=0))
        assert perform_requests(works) == 1
        answer = Shelf(works.state, "response", Response).get("req-1")
        assert works.state.scan("request") == ()
    assert answer is not None
    assert (answer.ok, answer.exit_code) == (False, code)
    assert words in answer.error


def test_an_erasure_by_the_owner_leaves_no_byte_of_its_request(world: Shop) -> None:
    with owned(world, perform_requests):
        assert ask(world.place, "erase", {"key": "person-0002", "reason": "asked"})["clean"]
        assert ask(world.place, "erase.verify", {"key": "person-0002"})["clean"]
    files = [path for path in world.home.rglob("*") if path.is_file()]
    assert [path.name for path in files if b"person-0002" in path.read_bytes()] == []


def test_an_apply_that_fails_at_the_owner_leaves_it_on_the_file_before(world: Shop) -> None:
    with own(world.place, "a test") as works:
        before = works.desk.integration.digest
        world.write(columns=COLUMNS + "      absent: {type: string}\n")
        with pytest.raises(MainstayError, match="absent"):
            commands.COMMANDS["apply"](works, {})
        assert works.desk.integration.digest == before
        assert commands.COMMANDS["run"](works, {})["results"][0]["status"] == "empty"


def test_a_dry_run_reads_and_judges_and_changes_nothing(world: Shop) -> None:
    world.exec("INSERT INTO customers VALUES ('person-0007', 999, 'Bonn', 'gold'), ('person-0008', 1, 'Bonn', 'gold')")
    before = world.dataset()
    (result,) = ask(world.place, "run", {"dry_run": True})["results"]
    assert (result["status"], result["landed"], result["quarantined"]) == ("dry", 2, 1)
    assert world.dataset() == before
    (result,) = ask(world.place, "run", {})["results"]
    assert (result["status"], result["published"], result["quarantined"]) == ("published", 1, 1)


def test_what_is_due_is_run_and_the_longest_overdue_first() -> None:
    names = {name: dataset(name) for name in "abcd"}
    states = {"a": DatasetState(next_us=5), "b": DatasetState(next_us=3), "c": DatasetState(next_us=11)}
    assert due(names, states, 10) == ["d", "b", "a"]
    assert next_run_us(names["a"], 100, 110) == 100 + 10 * SECOND
    assert next_run_us(names["a"], 100, 60 * SECOND) == 60 * SECOND  # missed beats are not made up for


def dataset(name: str) -> Dataset:
    return Dataset(name=name, source="crm", table=name, key="id", columns=(), every_us=10 * SECOND)


@pytest.mark.promise(6)
def test_full_reads_wait_for_their_hours_and_status_says_until_when(world: Shop) -> None:
    from mainstay.app.status import read_status

    begins = datetime.now(UTC) + timedelta(hours=3)
    hours = f"{begins:%H:%M}-{begins + timedelta(hours=1):%H:%M} UTC"
    world.file.write_text(
        world.file.read_text().replace("path: crm.db}", f'path: crm.db, guard: {{backfill_hours: "{hours}"}}}}')
    )
    world.apply()
    with own(world.place, "a test", clock=(clock := Late())) as works:
        loop = Loop(works)
        loop.start()
        clock.ahead_us += MINUTE
        loop.beat()
        state = works.desk.dataset_state("customers")
        assert (state.failures, state.error) == (0, "")
        assert 2 * HOUR < state.next_us - clock.now_us() <= 3 * HOUR
        (said,) = [one for one in read_status(world.place, clock).wrong if one.check == "customers.hours"]
        assert hours in said.sentence
        clock.ahead_us += 3 * HOUR
        assert loop.beat()
        assert works.desk.dataset_state("customers").last_read_us is not None


def test_the_loop_reads_what_is_due_answers_requests_and_tells_failures(world: Shop) -> None:
    with own(world.place, "a test", clock=(clock := Late())) as works:
        loop = Loop(works)
        loop.start()
        world.exec("INSERT INTO customers VALUES ('person-0007', 7, 'Bonn', 'gold')")
        assert loop.beat()
        assert works.desk.dataset_state("customers").rows == 7
        assert not loop.beat()  # nothing is due now
        Shelf(works.state, "request", Request).put("req-1", Request(id="req-1", command="run", at_us=0))
        assert loop.beat()
        assert Shelf(works.state, "response", Response).get("req-1") is not None
        (world.folder / "crm.db").rename(world.folder / "away.db")
        clock.ahead_us += 11 * SECOND
        assert loop.beat()
        failed = works.desk.dataset_state("customers")
        assert (failed.failures, failed.rows) == (1, 7)
        assert failed.error
        assert failed.next_us > clock.now_us()
        (world.folder / "away.db").rename(world.folder / "crm.db")
        clock.ahead_us += HOUR
        assert loop.beat()
        assert (works.desk.dataset_state("customers").error, works.desk.dataset_state("customers").failures) == ("", 0)
        seen = Shelf(works.state, "process", ProcessState).get("loop")
        assert seen is not None
        assert seen.pid
        samples = Shelf(works.state, "disk", DiskSample)
        for _ in range(50):  # on a busy machine history takes its batches in several beats, and the sample is behind it
            if not samples.all():
                loop.beat()
        assert len(samples.all()) == 1
        assert works.history.sequence("customers", "landing:customers") == 2


def test_a_journal_too_long_for_one_beat_is_moved_in_the_next_ones(
    world: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.app.loop.HISTORY_ROWS", 4)
    with own(world.place, "a test", clock=(clock := Late())) as works:
        for number in range(10):
            works.tell("process.recovered", {"what": str(number)})
        loop = Loop(works)
        clock.ahead_us += HISTORY_EVERY_US
        rows = []
        for _ in range(5):
            loop.beat()
            clock.ahead_us += SECOND
            rows.append(len(list(history_rows(works.history, EVENTS, ("id",)))))
            assert works.state.scan("disk"), "what is done every three minutes does not wait for the journal's end"
    assert len(set(rows)) > 2, rows
    assert rows[-1] >= 10


def test_what_is_past_its_retention_goes_from_every_role(world: Shop) -> None:
    world.exec("UPDATE customers SET tenure = 999 WHERE customer_id = 'person-0003'")
    world.run()
    world.exec("UPDATE customers SET tenure = 998 WHERE customer_id = 'person-0004'")
    world.run()
    (row, *_) = ask(world.place, "quarantine.list", {"key": "person-0003"})["rows"]
    ask(world.place, "quarantine.discard", {"ids": [row["id"]], "reason": "a test account"})
    (answered,) = world.predict("person-0005")
    ask(world.place, "flush", {})
    clock = Late()
    with own(world.place, "a test", clock=clock) as works:
        none = trim(works)
        assert (none["landing"], none["quarantine"]) == ({"customers": 0}, {"customers": 0})
        assert none["history"] == {"receipts": 0, "events": 0, "customers": 0}
        clock.ahead_us = 100 * DAY
        counts = works.desk.dataset_state("customers").counts
        gone = trim(works)
        assert gone["landing"] == {"customers": 2}  # the last batch stays
        assert gone["quarantine"] == {"customers": 1}
        assert gone["history"] == {"receipts": 0, "events": 0, "customers": 0}
        left = works.desk.current.sql('SELECT _k, _state FROM "ds_customers".quarantine')
        assert left == [("person-0004", "quarantined")]  # what nobody settled is never lost
        assert works.desk.current.counts("customers")["discarded"] == counts["discarded"] == 1
        clock.ahead_us = 800 * DAY
        assert trim(works)["history"]["receipts"] == 1
        assert works.history.sequence(RECEIPTS, works.journal.segments()[0].name) > 0
    assert answered.receipt is not None


def test_why_leads_through_history_once_landing_is_past_its_retention(world: Shop) -> None:
    from mainstay.app.answers import readers, why

    world.apply(model=RULE)
    (answered,) = world.predict("person-0005")
    world.exec("UPDATE customers SET tenure = 1 WHERE customer_id = 'person-0001'")
    world.run()
    assert answered.receipt is not None
    with readers(world.place) as found:
        links = {link.what: link for link in why(found, answered.receipt)}
    assert list(links) == ["source", "cleaning", "checks", "features", "model", "answer", "decision", "outcome"]
    assert "customers batch 1, ordinal 4" in links["source"].sentence
    assert dict(links["source"].details)["tenure"] == "50"
    assert links["checks"].details == ()
    assert any("tenure" in name for name, _ in links["checks"].passed)
    assert dict(links["features"].details)["tenure"] == "50"
    assert links["model"].sentence.startswith("version 2 of churn, runtime rule")
    assert "churn_probability = 0.5" in links["answer"].sentence
    assert links["decision"].sentence == "no decision has been recorded"
    ask(world.place, "flush", {})
    clock = Late()
    with own(world.place, "a test", clock=clock) as works:
        clock.ahead_us = 40 * DAY
        assert trim(works)["landing"] == {"customers": 1}
    with readers(world.place) as found:
        later = {link.what: link for link in why(found, answered.receipt)}
    assert "past the retention of landing" in later["source"].sentence
    assert dict(later["source"].details)["tenure"] == "50"
    assert dict(later["cleaning"].details)["tenure"] == "50"
    with own(world.place, "a test") as works:
        works.history.erase("customers", "batch = 1")
    with readers(world.place) as found:
        assert why(found, answered.receipt)[0].sentence.endswith("past retention")


def test_why_marks_what_stands_in_for_an_absent_value(world: Shop) -> None:
    from mainstay.app.answers import readers, why

    world.apply(model=RULE, columns=COLUMNS.replace("city: {type: string", "city: {type: string, fill: unknown"))
    world.exec("UPDATE customers SET city = NULL WHERE customer_id = 'person-0005'")
    world.run()
    (answered,) = world.predict("person-0005")
    assert answered.receipt is not None
    marked = "unknown (filled: there was none)"
    with readers(world.place) as found:
        links = {link.what: link for link in why(found, answered.receipt)}
    assert dict(links["cleaning"].details)["city"] == "'' → 'unknown' (filled: there was none)"
    assert dict(links["features"].details)["city"] == "unknown"
    ask(world.place, "flush", {})
    world.exec("UPDATE customers SET tenure = 1 WHERE customer_id = 'person-0001'")
    world.run()
    ask(world.place, "flush", {})
    clock = Late()
    with own(world.place, "a test", clock=clock) as works:
        clock.ahead_us = 40 * DAY
        trim(works)
    with readers(world.place) as found:
        later = {link.what: link for link in why(found, answered.receipt)}
    assert dict(later["cleaning"].details)["city"] == marked


def test_a_refusal_is_verified_by_judging_its_recorded_facts_again(world: Shop) -> None:
    from mainstay.app.answers import readers, receipt, verify

    (refused,) = world.predict("nobody")
    assert refused.receipt is not None
    with readers(world.place) as found:
        stored: Receipt = receipt(found, refused.receipt)
        finding = verify(found, refused.receipt)
        assert (stored.outcome, stored.status) == ("refused", 404)
        assert finding.verdict is Verdict.PASS
        assert "judged again" in finding.sentence
        with pytest.raises(NotFound):
            receipt(found, refused.receipt[:-1] + ("a" if refused.receipt[-1] != "a" else "b"))
    assert msgspec.json.encode(stored)


VISITS = """\
datasets:
  visits:
    source: crm
    table: visits
    key: visit
    every: 1s
    columns:
      visit: {type: integer}
      customer_id: {type: string}
    checks:
      - {references: {column: customer_id, dataset: customers}}
"""


def test_what_refers_to_another_dataset_is_read_after_it_and_its_orphans_are_taken_up(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.exec(
        "CREATE TABLE visits (visit INTEGER PRIMARY KEY, customer_id TEXT)",
        "INSERT INTO visits VALUES (1, 'person-0001'), (2, 'person-0007'), (3, 'person-0008')",
    )
    shop.file.write_text(file_of().replace("datasets:\n", VISITS))
    ask(shop.place, "apply", {})
    results = {one["dataset"]: one for one in shop.run()["results"]}
    assert list(results) == ["customers", "visits"]  # the file has them the other way round
    assert (results["visits"]["status"], results["visits"]["quarantined"]) == ("published", 2)
    shop.exec("INSERT INTO customers VALUES ('person-0007', 7, 'Bonn', 'gold')")
    shop.run()
    shown = "SELECT _k FROM ds_visits.rows ORDER BY _k"
    assert shop.current(shown) == [("1",), ("2",)]
    shop.exec("INSERT INTO customers VALUES ('person-0008', 8, 'Bonn', 'gold')")
    clock = Late()
    with own(shop.place, "a test", clock=clock) as works:
        clock.ahead_us = HOUR
        Loop(works).beat()
        assert works.desk.current.sql(shown) == [("1",), ("2",), ("3",)]
