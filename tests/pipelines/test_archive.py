from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.core.clock import DAY
from mainstay.core.errors import NotFound
from mainstay.core.records import Event, Receipt
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.archive import (
    EVENTS,
    RECEIPTS,
    Archived,
    archive_journal,
    decoded,
    events_for,
    read_receipt,
    row_of,
)
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.journal import SegmentJournal
from mainstay.testing.clock import FakeClock
from mainstay.testing.history_suite import rows_of

SECRET = b"s" * 32


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(20_780 * DAY + DAY // 2)


@pytest.fixture
def journal(tmp_path: Path, clock: FakeClock) -> SegmentJournal:
    return SegmentJournal(tmp_path / "journal", secret=SECRET, clock=clock)


@pytest.fixture
def history(tmp_path: Path) -> DeltaHistory:
    return DeltaHistory(tmp_path / "history")


def receipt(id: str, key: str | None = "k", **more: Any) -> Receipt:
    fields: dict[str, Any] = {
        "inputs": {"tenure": 3, "plan": "gold"},
        "output": {"churn": 0.25},
        "positions": {"customers": [4, 17]},
        "version": 2,
    } | more
    return Receipt(
        id=id, at_us=20_780 * DAY, integration="churn", api=1, key=key, caller="key-1", request="q", outcome="answered",
        status=200, verdict=Verdict.PASS, **fields,
    )  # fmt: skip


def answer(journal: SegmentJournal, key: str = "k", **more: Any) -> str:
    return journal.append_with("receipt", lambda given: msgspec.msgpack.encode(receipt(given, key, **more)))


def decide(journal: SegmentJournal, receipt_id: str, at_us: int = 1, **body: Any) -> str:
    event = Event(kind="decision", at_us=at_us, receipt=receipt_id, by="key-1", body={"decision": "accepted"} | body)
    return journal.append("event", msgspec.msgpack.encode(event))


def test_receipts_and_events_move_once(journal: SegmentJournal, history: DeltaHistory, clock: FakeClock) -> None:
    given_out = [answer(journal, f"k{number}") for number in range(3)]
    event = decide(journal, given_out[0])
    assert archive_journal(journal, history, clock=clock) == Archived(receipts=3, events=1)
    assert archive_journal(journal, history, clock=clock) == Archived()
    later = answer(journal, "later")  # the segment is still open: its tail follows
    assert archive_journal(journal, history, clock=clock) == Archived(receipts=1)
    rows = rows_of(history, RECEIPTS)
    assert [row["id"] for row in rows] == sorted([*given_out, later])
    assert {row["key"] for row in rows} == {"k0", "k1", "k2", "later"}
    first = next(row for row in rows if row["id"] == given_out[0])
    assert first["segment"] == journal.segments()[0].name
    assert first["verdict"] == "PASS"
    assert msgspec.json.decode(first["record"], type=Receipt) == receipt(given_out[0], "k0")
    assert [(row["id"], row["kind"], row["receipt"]) for row in rows_of(history, EVENTS)] == [
        (event, "decision", given_out[0])
    ]


def test_the_limit_bounds_a_pass_and_the_next_goes_on(
    journal: SegmentJournal, history: DeltaHistory, clock: FakeClock
) -> None:
    for number in range(10):
        answer(journal, f"k{number}")
        if number == 3:
            journal.seal()
    told = [archive_journal(journal, history, clock=clock, limit_rows=3) for _ in range(5)]
    assert [one.receipts for one in told] == [3, 3, 3, 1, 0]
    assert [one.behind for one in told] == [True, True, True, False, False]
    assert {row["key"] for row in rows_of(history, RECEIPTS)} == {f"k{number}" for number in range(10)}


def test_a_segment_goes_only_when_sealed_past_retention_and_wholly_in_history(
    journal: SegmentJournal, history: DeltaHistory, clock: FakeClock
) -> None:
    given_out = answer(journal)
    clock.advance(30 * DAY)
    assert archive_journal(journal, history, clock=clock, retention_us=DAY).removed == ()  # open
    journal.seal()
    name = journal.segments()[0].name
    assert archive_journal(journal, history, clock=clock, retention_us=60 * DAY).removed == ()  # young
    assert archive_journal(journal, history, clock=clock, retention_us=DAY).removed == (name,)
    assert journal.segments() == ()
    assert journal.get(given_out) is None
    assert read_receipt(given_out, journal, history) == receipt(given_out)


def test_a_segment_with_a_damaged_record_gives_the_others_and_stays(
    journal: SegmentJournal, history: DeltaHistory, clock: FakeClock, tmp_path: Path
) -> None:
    given_out = [answer(journal, f"k{number}") for number in range(3)]
    journal.seal()
    (segment,) = journal.segments()
    places = [following for _, following in journal.scan(segment.name)]
    path = tmp_path / "journal" / f"{segment.name}.seg"
    data = bytearray(path.read_bytes())
    data[places[0] + 20] ^= 1
    path.write_bytes(data)
    clock.advance(30 * DAY)
    told = archive_journal(journal, history, clock=clock, retention_us=DAY)
    assert told.receipts == 2
    assert told.removed == ()
    (sentence,) = told.corrupt
    assert f"offset {places[0]}" in sentence
    assert [row["id"] for row in rows_of(history, RECEIPTS)] == sorted([given_out[0], given_out[2]])


def test_a_receipt_is_read_from_the_journal_then_from_history(
    journal: SegmentJournal, history: DeltaHistory, clock: FakeClock
) -> None:
    given_out = answer(journal, "k", inputs={"tenure": math.nan, "charge": math.inf})
    event = decide(journal, given_out)
    before = read_receipt(given_out, journal, history)
    archive_journal(journal, history, clock=clock)
    journal.seal()
    journal.remove(journal.segments()[0].name)
    after = read_receipt(given_out, journal, history)
    assert after is not None
    assert before is not None
    assert after.inputs is not None
    assert math.isnan(after.inputs["tenure"])
    assert math.isinf(after.inputs["charge"])
    assert msgspec.msgpack.encode(after) == msgspec.msgpack.encode(before)
    with pytest.raises(NotFound):
        read_receipt("r" + "0" * 32, journal, history)
    assert read_receipt(event, journal, history) is None
    lost = answer(journal)
    journal.seal()
    journal.remove(journal.segments()[0].name)
    assert read_receipt(lost, journal, history) is None


def test_the_id_of_an_event_is_not_a_receipt(journal: SegmentJournal, history: DeltaHistory) -> None:
    event = decide(journal, answer(journal))
    with pytest.raises(NotFound, match="names an event"):
        read_receipt(event, journal, history)


def test_decisions_are_found_wherever_they_are_and_once(
    journal: SegmentJournal, history: DeltaHistory, clock: FakeClock
) -> None:
    mine, other = answer(journal), answer(journal)
    decide(journal, mine, at_us=5, note="second")
    decide(journal, other, at_us=1)
    archive_journal(journal, history, clock=clock)
    decide(journal, mine, at_us=3, note="first")
    decide(journal, other, at_us=9, note=f"mentions {mine}")
    assert [event.body.get("note") for event in events_for(mine, journal, history)] == ["first", "second"]
    archive_journal(journal, history, clock=clock)
    journal.seal()
    archive_journal(journal, history, clock=clock)
    assert [event.body.get("note") for event in events_for(mine, journal, history)] == ["first", "second"]
    assert len(events_for(other, journal, history)) == 2


json_like: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=5), json_like, max_size=4), st.dictionaries(st.text(), json_like, max_size=2))
def test_a_history_row_gives_back_the_very_record(inputs: dict[str, Any], policy: dict[str, Any]) -> None:
    payload = msgspec.msgpack.encode(receipt("r1", inputs=inputs, policy=policy))
    row = row_of(RECEIPTS, "r1", payload, "s")
    assert msgspec.msgpack.encode(decoded(row["exact"], row["record"], Receipt)) == payload


@given(st.binary(max_size=60))
def test_a_record_that_nobody_can_read_is_kept_as_it_is(payload: bytes) -> None:
    row = row_of(EVENTS, "r1", payload, "s")
    assert (
        row["exact"] == payload
        or msgspec.msgpack.encode(msgspec.json.decode(row["record"])) == payload
        or (msgspec.json.decode(row["record"]) == msgspec.msgpack.decode(payload))
    )


MOVER = """
import os, signal, sys
from pathlib import Path
from mainstay.core.clock import DAY
from mainstay.pipelines.archive import archive_journal
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.journal import SegmentJournal

home = Path(sys.argv[1])

class Later:
    def now_us(self): return 20_790 * DAY
    def monotonic_us(self): return 0

class Killed:
    '''Passes every call on, and is killed before or after one of those that change something.'''
    left = 0
    def __init__(self, inner): self._inner = inner
    def __getattr__(self, name):
        function = getattr(self._inner, name)
        if name not in ("append", "remove"): return function
        def call(*args, **named):
            Killed.step()
            given = function(*args, **named)
            Killed.step()
            return given
        return call
    @classmethod
    def step(cls):
        if cls.left == 0: os.kill(os.getpid(), signal.SIGKILL)
        cls.left -= 1

import deltalake, pyarrow  # once, and no thread of theirs yet: each step is a fork
pyarrow.array([1])  # looks for pandas, which takes its time
print("ready", flush=True)
for line in sys.stdin:
    Killed.left = int(line)
    child = os.fork()
    if child == 0:
        journal = Killed(SegmentJournal(home / "journal", secret=b"s" * 32, clock=Later()))
        history = Killed(DeltaHistory(home / "history"))
        archive_journal(journal, history, clock=Later(), retention_us=DAY)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.promise(1)
def test_a_move_killed_at_any_step_neither_loses_nor_doubles(
    journal: SegmentJournal, history: DeltaHistory, clock: FakeClock, tmp_path: Path
) -> None:
    given_out: list[str] = []
    events = 0
    ends: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-c", MOVER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as mover:
        assert mover.stdin is not None
        assert mover.stdout is not None
        assert mover.stdout.readline() == "ready\n"
        # A segment costs six steps: before and after each append (events, receipts) and the removal. What a killed
        # round left is finished by later ones, on top of their own segment.
        for step in (0, 1, 2, 3, 4, 5, 6, 8, 9, 50):
            given_out += [answer(journal, f"{step}-{number}") for number in range(3)]
            decide(journal, given_out[-1])
            events += 1
            journal.seal()
            mover.stdin.write(f"{step}\n")
            mover.stdin.flush()
            ends.append(int(mover.stdout.readline()))
            assert found(journal, history) == set(given_out)
        mover.stdin.close()
    assert ends == [-signal.SIGKILL] * 9 + [0]
    archive_journal(journal, history, clock=clock)
    clock.advance(30 * DAY)
    archive_journal(journal, history, clock=clock, retention_us=DAY)
    assert journal.segments() == ()
    rows = [row["id"] for row in rows_of(history, RECEIPTS)]
    assert rows == sorted(given_out)
    assert len(rows_of(history, EVENTS)) == events


def found(journal: SegmentJournal, history: DeltaHistory) -> set[str]:
    """Ids of the receipts that are in the journal or in history; each at most once in either."""
    here = [entry.id for one in journal.segments() for entry, _ in journal.scan(one.name) if entry.kind == "receipt"]
    there = [row["id"] for row in rows_of(history, RECEIPTS)]
    assert len(set(here)) == len(here)
    assert len(set(there)) == len(there)
    return set(here) | set(there)
