"""Backfills: a range read again in chunks, each a batch that says nothing of the rest of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.clock import DAY, HOUR, SECOND
from mainstay.core.errors import NotFound, Refused, SourceAway
from mainstay.core.nouns import Check, Cleaning, Deletes, Guard
from mainstay.core.records import Backfill, BatchRecord
from mainstay.pipelines import backfill, history, quarantine, settling
from mainstay.pipelines.backfill import Asked, RangeRunner
from mainstay.pipelines.backfill_plan import chunk_rows, next_chunk_us, waits
from mainstay.testing.clock import START_US
from tests.pipelines.world import CUSTOMERS, World, with_checks

QUIET = msgspec.structs.replace(CUSTOMERS, deletes=Deletes(kind="none", max_share=0.10))
ROWS = 1_000


class Backfilled(World):
    """A world of 1,000 customers, all read, and short words for backfills of it."""

    def __init__(self, folder: Path, *, at: Callable[[str], None] = lambda _point: None, **more: Any) -> None:
        super().__init__(folder, **{"customers": QUIET, "at": at, **more})
        rows = [{"id": n, "tenure": str(n % 90), "plan": "a", "u": n} for n in range(1, ROWS + 1)]
        self.customers.extend(rows)
        self.both()

    def change(self, id: int, tenure: object) -> None:
        """The application changes a row and leaves its cursor as it was."""
        next(row for row in self.customers if row["id"] == id)["tenure"] = str(tenure)

    def start(self, begin: str | None = "1", end: str | None = None, **more: Any) -> Backfill:
        asked = Asked(dataset="customers", begin=begin, end=end, **{"rate": 100, **more})
        return backfill.start(self.desk, asked).backfill

    def chunk(self, one: Backfill) -> Backfill:
        self.clock.advance(SECOND)
        return RangeRunner(self.desk, self.integration.datasets[one.dataset]).chunk(one.id)

    def to_its_end(self, one: Backfill) -> Backfill:
        for _ in range(50):
            one = self.chunk(one)
            if one.status != "running":
                return one
        raise AssertionError(one)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events if kind.startswith("backfill.")]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Backfilled]:
    made = Backfilled(tmp_path)
    yield made
    made.close()


def test_a_silently_changed_row_is_found_and_nothing_else_is_new(world: Backfilled) -> None:
    world.change(10, 55)
    world.change(700, 56)
    assert world.run().landed == 0
    before = world.state()
    done = world.to_its_end(world.start("1", "501"))
    assert (done.status, done.read, done.chunks, done.noops) == ("done", 500, 5, 499)
    assert (done.changed, done.published, done.rejected) == (1, 1, 0)
    assert world.values(10) == [55, "a", 0, None]
    assert world.values(700) == [700 % 90, "a", 0, None]
    after = world.state()
    assert (after.as_of_us, after.as_of_source_us, after.cursor) == (before.as_of_us, before.as_of_source_us, "1000")
    assert (after.last_read_us, after.next_us, after.run_us) == (before.last_read_us, before.next_us, before.run_us)
    assert after.counts["noop"] - before.counts["noop"] == 499
    assert world.batch(after.published).mode == "backfill"
    world.adds_up()
    assert world.kinds() == ["backfill.started", *["backfill.chunk"] * 5, "backfill.done"]


def test_without_an_end_the_range_ends_where_increments_begin(world: Backfilled) -> None:
    assert world.start("901").high == "1000"
    assert world.to_its_end(backfill.running(world.desk)[0]).read == 99


def test_a_range_may_be_of_the_key_or_of_another_column(world: Backfilled) -> None:
    assert world.to_its_end(world.start("1", "151", by="key")).read == 150
    assert world.to_its_end(world.start("a", "b", by="plan")).read == ROWS
    assert world.to_its_end(world.start("30", "32", by="tenure")).read == 22


def test_only_increments_advance_as_of(world: Backfilled) -> None:
    one = world.start("1", "401")
    for n in range(4):
        world.change(n * 100 + 1, 77)
        world.customer(2_000 + n, tenure=3, u=1_001 + n)
        before = world.state().as_of_us
        result = world.run()
        assert (result.status, result.published) == ("published", 1)
        between = world.state().as_of_us
        assert between is not None
        assert before is not None
        assert between > before
        one = world.chunk(one)
        assert world.state().as_of_us == between
    assert (one.status, one.published) == ("done", 4)
    assert world.state().cursor == "1004"
    world.adds_up()


def test_what_was_read_later_wins(world: Backfilled) -> None:
    one = world.start("1", "101")
    world.change(5, 60)
    world.to_its_end(one)
    world.customer(5, tenure=61, u=1_005)
    world.run()
    assert world.values(5) == [61, "a", 0, None]
    world.change(5, 62)
    world.to_its_end(world.start("1000", "1100"))
    assert world.values(5) == [62, "a", 0, None]


def test_a_row_that_counts_and_lies_outside_the_range_is_not_overtaken(world: Backfilled) -> None:
    """The source has no unique key here: the newer of two rows of one key is the one that current shows."""
    world.customers.append({"id": 5, "tenure": "88", "plan": "b", "u": 1_001})
    world.run()
    assert world.values(5) == [88, "b", 0, None]
    done = world.to_its_end(world.start("1", "101"))
    assert (done.read, done.changed) == (100, 0)
    assert world.values(5) == [88, "b", 0, None]


def test_bad_rows_of_a_chunk_go_to_quarantine_and_are_held(world: Backfilled) -> None:
    as_of = world.state().as_of_us
    world.change(10, 500)
    done = world.to_its_end(world.start("1", "101"))
    assert (done.changed, done.published, done.rejected) == (1, 0, 1)
    row = world.row(10)
    assert row is not None
    assert (row.held, row.held_as_of_us) == (True, as_of)
    assert [one.key for one in quarantine.list_rows(world.desk, dataset="customers")] == ["10"]
    assert (world.state().held, world.state().quarantined) == (1, 1)
    world.adds_up()


def test_nothing_is_deleted_unless_asked(world: Backfilled) -> None:
    world.customers[:] = [row for row in world.customers if row["id"] != 7]
    assert world.to_its_end(world.start("1", "101")).changed == 0
    assert world.state().rows == ROWS


@pytest.mark.parametrize("by", ["cursor", "key"])
def test_keys_of_the_range_that_are_gone_are_deleted_when_asked(world: Backfilled, by: str) -> None:
    moved = next(row for row in world.customers if row["id"] == 8)
    moved["u"] = 5_000  # it left a range of the cursor, and is still there
    world.customers[:] = [row for row in world.customers if row["id"] not in {7, 150, 600}]
    done = world.to_its_end(world.start("1", "501", by=by, deletes=True))
    assert (done.status, done.deleted) == ("done", 2)
    assert world.state().rows == ROWS - 2
    assert world.row(7).deleted  # type: ignore[union-attr]
    assert not world.row(600).deleted  # type: ignore[union-attr]
    assert not world.row(8).deleted  # type: ignore[union-attr]
    world.adds_up()


def test_deletes_of_all_chunks_together_are_held_to_the_share(world: Backfilled) -> None:
    """Six chunks that each delete 2 % of the keys: the sixth would make it 12 %."""
    world.customers[:] = [row for row in world.customers if not (row["id"] <= 600 and row["id"] % 5 == 0)]
    one = world.start("1", "601", deletes=True)
    for _ in range(10):
        one = world.chunk(one)
        if world.desk.waiting("customers"):
            break
    (blocked,) = world.desk.waiting("customers")
    assert (blocked.status, blocked.mode) == ("blocked", "backfill")
    (finding,) = [one for one in blocked.findings if one.check == "deletes.max_share"]
    assert "of 1,000 keys would be deleted" in finding.sentence
    assert world.state().rows > ROWS * 0.89
    settling.release_batch(world.desk, dataset="customers", number=blocked.number, reason="they are gone")
    assert world.to_its_end(one).deleted == 120
    assert world.state().rows == ROWS - 120
    world.adds_up()


def test_increments_queue_behind_a_blocked_chunk_and_the_backfill_waits(tmp_path: Path) -> None:
    strict = with_checks(
        QUIET, Check(name="tenure.sane", kind="max", column="tenure", args={"value": 95}, on_fail="block")
    )
    world = Backfilled(tmp_path, customers=strict)
    world.change(5, 99)
    one = world.chunk(world.start("1", "301"))
    as_of = world.state().as_of_us
    assert [batch.status for batch in world.desk.waiting("customers")] == ["blocked"]
    assert one.blocked == "customers/2"
    world.customer(2_000, tenure=1, u=1_001)
    assert world.run().status == "queued"
    assert world.state().as_of_us == as_of
    assert world.chunk(one) == one
    found = waits(one, world.desk.waiting("customers"), Guard(), world.clock.now_us())
    assert found is not None
    assert "customers/2 is blocked" in found.why
    settling.discard_batch(world.desk, dataset="customers", number=2, reason="a typing error")
    assert world.desk.backfills.get(one.id).blocked == ""  # type: ignore[union-attr]
    world.run()
    after = world.state().as_of_us
    assert after is not None
    assert as_of is not None
    assert after > as_of
    assert world.to_its_end(one).read == 300
    world.adds_up()
    world.close()


def test_a_released_chunk_leaves_as_of_to_the_read_behind_it(tmp_path: Path) -> None:
    strict = with_checks(
        QUIET, Check(name="tenure.sane", kind="max", column="tenure", args={"value": 95}, on_fail="block")
    )
    world = Backfilled(tmp_path, customers=strict)
    world.change(5, 99)
    one = world.chunk(world.start("1", "101"))
    before = world.state().as_of_us
    settling.release_batch(world.desk, dataset="customers", number=2, reason="it is so")
    assert world.state().as_of_us == before
    assert world.desk.backfills.get(one.id).published == 1  # type: ignore[union-attr]
    world.close()


class Died(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(
    "point", ["before-landing", "landed", "batch-recorded", "plan-recorded", "current-written", "published"]
)
def test_a_chunk_that_is_killed_is_done_once(tmp_path: Path, point: str) -> None:
    armed = [False]

    def at(passed: str) -> None:
        if armed[0] and passed == point:
            raise Died

    world = Backfilled(tmp_path, at=at)
    world.change(150, 80)
    world.change(250, 500)
    one = world.chunk(world.start("1", "401"))
    armed[0] = True
    with pytest.raises(Died):
        world.chunk(one)
    world.close()
    world.open()
    done = world.to_its_end(one)
    assert (done.read, done.chunks, done.changed, done.published, done.rejected) == (400, 4, 2, 1, 1)
    assert world.values(150) == [80, "a", 0, None]
    world.adds_up()
    world.close()


def test_the_same_range_goes_on_and_another_is_refused(world: Backfilled) -> None:
    one = world.chunk(world.start("1", "401"))
    again = world.start("1", "401", rate=5_000)
    assert (again.id, again.chunks, again.rate, again.size) == (one.id, 1, 5_000, 5_000)
    with pytest.raises(Refused, match="one at a time"):
        world.start("1", "402")
    assert world.to_its_end(again).read == 400
    assert world.start("1", "401").id != one.id


def test_a_cancelled_backfill_stays_where_it_is(world: Backfilled) -> None:
    world.change(10, 55)
    one = world.chunk(world.start("1", "401"))
    ended = backfill.cancel(world.desk, one.id, "enough")
    assert (ended.status, ended.read, ended.reason) == ("cancelled", 100, "enough")
    assert world.chunk(one) == ended
    assert backfill.running(world.desk) == []
    assert world.values(10) == [55, "a", 0, None]
    with pytest.raises(Refused, match="cancelled already"):
        backfill.cancel(world.desk, one.id, "again")
    with pytest.raises(NotFound):
        backfill.cancel(world.desk, "bf_none", "")


def test_what_cannot_be_backfilled_is_refused_with_the_reason(world: Backfilled) -> None:
    with pytest.raises(Refused, match="none was given"):
        world.start(None)
    with pytest.raises(NotFound, match="no column fee"):
        world.start("1", by="fee")
    with pytest.raises(NotFound, match="no dataset clients"):
        backfill.planned(world.desk, Asked(dataset="clients", begin="1"))
    with pytest.raises(Refused, match="has no cursor"):
        backfill.planned(world.desk, Asked(dataset="tickets", begin="1", by="cursor"))
    with pytest.raises(Refused, match="of the key or of the cursor"):
        world.start("1", by="tenure", deletes=True)
    world.source.away = True
    with pytest.raises(SourceAway):
        world.start("1")


def test_deletes_are_refused_where_an_absent_key_cannot_be_told(tmp_path: Path) -> None:
    columns = (msgspec.structs.replace(QUIET.columns[0], clean=(Cleaning(kind="trim"),)), *QUIET.columns[1:])
    world = Backfilled(tmp_path, customers=msgspec.structs.replace(QUIET, columns=columns))
    with pytest.raises(Refused, match="is cleaned"):
        world.start("1", deletes=True)
    world.close()


def test_history_says_that_a_chunk_did_not_move_as_of(world: Backfilled) -> None:
    as_of = world.state().as_of_us
    world.change(10, 55)
    world.to_its_end(world.start("1", "101"))
    history.flush(world.desk, "customers")
    relation = history.read_sql(world.desk, "customers")
    assert world.desk.current.sql(f"SELECT began_us FROM {relation} WHERE batch = 2") == [(as_of,)]


# --- what is planned: pure ------------------------------------------------------------------------------------------

ONE = Backfill(id="bf_1", dataset="customers", by="u", rate=100, size=100, started_us=0)


def test_a_chunk_is_about_a_second_of_rows() -> None:
    assert [chunk_rows(rate) for rate in (1, 100, 2_000, 1_000_000)] == [100, 100, 2_000, 10_000]


def test_the_throttle_is_planned_from_rows() -> None:
    assert next_chunk_us(START_US, 250, 100) == START_US + 2_500_000
    assert next_chunk_us(START_US, 0, 100) == START_US
    assert next_chunk_us(START_US, 1, 3) == START_US + 333_334
    paced = msgspec.structs.replace(ONE, next_us=START_US + 5)
    found = waits(paced, (), Guard(), START_US)
    assert found is not None
    assert (found.why, found.until_us) == ("", START_US + 5)
    assert waits(paced, (), Guard(), START_US + 5) is None


def test_each_chunk_puts_the_next_one_off_by_its_rows(world: Backfilled) -> None:
    one = world.chunk(world.start("1", "251"))
    assert one.next_us == world.clock.now_us() + SECOND
    one = world.chunk(world.chunk(one))
    assert one.next_us == world.clock.now_us() + SECOND // 2


def test_hours_are_waited_for(world: Backfilled) -> None:
    night = Guard(backfill_hours="20:00-06:00 UTC")
    found = waits(ONE, (), night, START_US)
    assert found is not None
    assert found.until_us == START_US + 11 * HOUR
    assert "20:00-06:00 UTC" in found.why
    assert waits(ONE, (), night, START_US + 12 * HOUR) is None
    assert waits(ONE, (), Guard(allowed_hours="20:00-06:00 UTC"), START_US) is not None
    assert waits(ONE, (), Guard(), START_US + DAY) is None
    assert world.batch(1).mode == "increment"


def test_a_batch_that_is_about_to_be_judged_is_not_waited_for() -> None:
    batch = BatchRecord(
        dataset="customers", number=3, mode="increment", status="error", began_us=0, began_source_us=0, landed_us=0,
        rows=1, digest="",
    )  # fmt: skip
    assert waits(ONE, (msgspec.structs.replace(batch, status="landed"),), Guard(), START_US) is None
    found = waits(ONE, (batch,), Guard(), START_US)
    assert found is not None
    assert "could not be judged" in found.why
