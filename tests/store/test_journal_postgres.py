"""The journal on PostgreSQL: what shipping adds to the suite. Two folders stand for two machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mainstay.core.clock import DAY
from mainstay.core.errors import Conflict, StoreAway
from mainstay.core.ports import Entry, Segment
from mainstay.store.journal_postgres import PostgresJournal
from mainstay.store.segment import CorruptRecord
from mainstay.testing.clock import FakeClock
from mainstay.testing.journal_suite import JournalSuite
from mainstay.testing.postgres import Database

Opened = Callable[[str], PostgresJournal]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(20_780 * DAY + DAY // 2)


@pytest.fixture
def opened(tmp_path: Path, postgres_db: Database, clock: FakeClock) -> Iterator[Opened]:
    with ExitStack() as stack:

        def make(host: str) -> PostgresJournal:
            journal = PostgresJournal(
                postgres_db.url, "churn", folder=tmp_path / host, host=host, secret=b"s" * 32, clock=clock, ships=False
            )
            stack.callback(journal.postgres.close)
            return journal

        yield make


@pytest.fixture
def journal(opened: Opened) -> PostgresJournal:
    return opened("here")


class TestPostgresJournal(JournalSuite):
    """With its segments on this machine, not shipped by anybody yet."""


class _Shipped(PostgresJournal):
    """Ships before every look, so that what is read is read from PostgreSQL as far as can be."""

    def segments(self) -> tuple[Segment, ...]:
        self.shipper.ship()
        return super().segments()

    def get(self, id: str) -> Entry | None:
        self.shipper.ship()
        return super().get(id)


class TestShippedJournal(JournalSuite):
    @pytest.fixture
    def journal(self, tmp_path: Path, postgres_db: Database, clock: FakeClock) -> Iterator[PostgresJournal]:
        made = _Shipped(postgres_db.url, "churn", folder=tmp_path, host="here", secret=b"s" * 32, clock=clock)
        yield made
        made.postgres.close()


def test_what_one_machine_shipped_another_reads(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    first, second = here.append("receipt", b"one"), there.append("event", b"two")
    assert there.get(first) is None, "it is on the other machine's disk alone, and its id is ours all the same"
    assert here.shipper.ship()
    assert not here.shipper.ship(), "what is there is not shipped again"
    found = there.get(first)
    assert found is not None
    assert (found.kind, found.payload) == ("receipt", b"one")
    assert [one.open for one in there.segments()] == [True, True]
    third = here.append("receipt", b"three")
    here.shipper.ship()
    segment = here.segments()[0].name
    assert [entry.id for entry, _ in there.scan(segment)] == [first, third]
    assert [entry.id for one in there.segments() for entry, _ in there.scan(one.name)] == [first, third, second]


def test_a_closed_segment_leaves_the_machines_disk(opened: Opened, tmp_path: Path) -> None:
    here, there = opened("here"), opened("there")
    given = [here.append("receipt", b"%d" % number * 50_000) for number in range(10)]
    for number in range(3):
        given.append(here.append("event", b"%d" % number))
        here.shipper.ship()
    here.seal()
    here.shipper.ship()
    assert not list((tmp_path / "here").glob("*.seg"))
    (segment,) = there.segments()
    assert not segment.open
    for reader in (here, there):
        assert [entry.id for entry, _ in reader.scan(segment.name)] == given
        assert all(reader.get(name) is not None for name in given)


def test_shippers_that_overlap_lose_and_double_nothing(opened: Opened) -> None:
    here, beside = opened("here"), opened("here")
    given = []
    for number in range(6):
        given.append(here.append("receipt", b"%d" % number))
        (beside if number % 2 else here).shipper.ship()
    here.seal()
    beside.shipper.ship()
    assert not here.shipper.ship()
    there = opened("there")
    (segment,) = there.segments()
    assert [entry.id for entry, _ in there.scan(segment.name)] == given


def test_a_machine_that_answers_while_the_database_is_away_ships_later(opened: Opened, postgres_db: Database) -> None:
    here = opened("here")
    first = here.append("receipt", b"one")
    here.shipper.ship()
    postgres_db.server.kill9()
    second = here.append("receipt", b"two")
    here.seal()
    third = here.append("receipt", b"three")  # a new segment, numbered without asking anybody
    assert here.get(second) is not None
    with pytest.raises(StoreAway):
        here.shipper.ship()
    assert here.shipper.behind() > 0
    postgres_db.server.start()
    here.shipper.ship()
    assert here.shipper.behind() == 0
    there = opened("there")
    assert [entry.id for one in there.segments() for entry, _ in there.scan(one.name)] == [first, second, third]


def test_machines_never_number_a_segment_alike(opened: Opened) -> None:
    journals = [opened("here"), opened("there"), opened("here")]
    for journal in journals:
        for _ in range(3):
            journal.append("event", b"x")
            journal.seal()
        journal.shipper.ship()
    numbers = [one.number for one in journals[0].segments()]
    assert len(set(numbers)) == 9


def test_an_erasure_waits_for_the_machine_that_writes(opened: Opened, postgres_db: Database) -> None:
    here, there = opened("here"), opened("there")
    name = here.append("receipt", b"a person called Person-0007")
    here.shipper.ship()
    (segment,) = there.segments()
    with pytest.raises(Conflict, match="a machine still writes"):
        there.rewrite(segment.name, lambda _: b"gone")
    here.seal()
    here.shipper.ship()
    assert there.rewrite(segment.name, lambda _: b"gone") == 1
    there.scrub()
    for reader in (here, there):
        found = reader.get(name)
        assert found is not None
        assert found.payload == b"gone"
    rows = postgres_db.exec("SELECT body FROM mainstay_journal_piece")
    assert not any(b"Person-0007" in bytes(body) for (body,) in rows)


def test_what_a_machine_that_is_gone_left_open_counts_as_closed_and_may_still_go_on(
    opened: Opened, postgres_db: Database
) -> None:
    here, there = opened("here"), opened("there")
    first = here.append("receipt", b"one")
    here.shipper.ship()
    second = here.append("receipt", b"two")
    postgres_db.exec("UPDATE mainstay_journal_machine SET seen = seen - interval '25 hours'")
    (segment,) = there.segments()
    assert not segment.open
    assert there.rewrite(segment.name, lambda _: b"x") == 1
    there.remove(segment.name)
    assert there.segments() == ()
    here.shipper.ship()  # it is back
    (segment,) = there.segments()
    assert there.get(first) is None
    assert [entry.id for entry, _ in there.scan(segment.name)] == [second]
    found = there.get(second)
    assert found is not None
    assert found.payload == b"two"


def test_a_torn_end_is_left_behind_and_damage_is_told_as_on_disk(opened: Opened, tmp_path: Path) -> None:
    here, there = opened("here"), opened("there")
    given = [here.append("receipt", b"record %d" % number) for number in range(3)]
    here.seal()
    (file,) = (tmp_path / "here").glob("*.seg")
    data = bytearray(file.read_bytes())
    middle = data.index(b"record 1")
    data[middle : middle + 8] = b"RECORD 1"
    file.write_bytes(bytes(data) + b"\x20\x00\x00\x00torn")
    here.shipper.ship()
    (segment,) = there.segments()
    assert not segment.open
    assert not list((tmp_path / "here").glob("*.seg"))
    with pytest.raises(CorruptRecord) as caught:
        list(there.scan(segment.name))
    assert [entry.id for entry, _ in there.scan(segment.name, caught.value.next)] == given[2:]


def test_machines_are_told(opened: Opened) -> None:
    here = opened("here")
    here.append("receipt", b"one")
    here.shipper.ship()
    (told,) = opened("there").machines()
    assert (told.host, told.open) == ("here", 1)
