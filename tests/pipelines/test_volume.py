"""`volume` in runs: as versions land, by an event time, at empty reads, over blocks and releases, after rebuilding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.app.standing import standing
from mainstay.core.clock import DAY, HOUR, SECOND, iso
from mainstay.core.nouns import Check, Column, Dataset
from mainstay.core.records import CheckResult, LandedDay
from mainstay.core.verdicts import Finding, OnFail, Verdict
from mainstay.pipelines import history, sets, settling
from mainstay.pipelines.run import Runner
from mainstay.store.shelf import Shelf
from mainstay.testing.clock import START_US
from tests.pipelines.world import TICKETS, World

SUNDAY = START_US - 9 * HOUR  # midnight in UTC of Sunday 2026-11-01


def watched(of: str | None = None, on_fail: OnFail = "block", past: int = 28, late_us: int = 0) -> Dataset:
    args = {"per": "day", "of": of, "within": 0.5, "past": past, "late_us": late_us}
    booked = Column(name="booked", type="timestamp", source_name="booked")
    return msgspec.structs.replace(
        TICKETS,
        columns=(*TICKETS.columns, booked),
        checks=(*TICKETS.checks, Check(name="volume", kind="volume", args=args, on_fail=on_fail)),
    )


def world_of(folder: Path, dataset: Dataset) -> World:
    world = World(folder, tickets=dataset)
    world.source.contents["tickets"].kinds["booked"] = "timestamptz"
    return world


def day(world: World, number: int, tickets: int, *, hour: int = 12) -> None:
    """It becomes the day so many days after Sunday 2026-11-01, and so many tickets are booked on it."""
    now = SUNDAY + number * DAY + hour * HOUR
    world.clock.advance(now - world.clock.now_us())
    for ticket in range(tickets):
        world.ticket(1000 * number + ticket, 1)
        world.tickets[-1]["booked"] = iso(now)


def result(world: World) -> Finding:
    found = Shelf(world.desk.state, "check_result", CheckResult).get("tickets")
    assert found is not None
    (finding,) = found.findings
    return finding


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = world_of(tmp_path, watched())
    yield made
    made.close()


def four_weeks(world: World) -> None:
    for number in (0, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 17, 21, 22, 23, 24, 28):
        day(world, number, 4)
        assert world.run("tickets").status == "published"


def test_as_versions_land_it_cannot_tell_until_three_such_days_were_watched(world: World) -> None:
    verdicts = []
    for number in range(31):
        day(world, number, 4)
        world.run("tickets")
        verdicts.append(result(world).verdict)
    # Sunday the first was not watched from its beginning, so Mondays are the first weekday that can be compared:
    # the 2nd, 9th and 16th for the 23rd, which is judged on the 24th.
    assert verdicts == [Verdict.UNKNOWN] * 23 + [Verdict.PASS] * 8
    assert result(world).sentence.startswith("4 rows in Monday 2026-11-30; the 4 like it before have a median of 4")


def test_a_dead_upstream_is_noticed_by_a_read_that_brings_nothing(world: World) -> None:
    four_weeks(world)
    day(world, 29, 0)
    assert world.run("tickets").status == "empty"  # Sunday had its rows
    day(world, 30, 0, hour=0)
    blocked = world.run("tickets")
    assert (blocked.status, blocked.read) == ("blocked", 17 * 4)  # nothing but rows that are known already
    finding = world.batch(18, "tickets").findings[-1]
    assert (finding.verdict, finding.failed) == (Verdict.FAIL, 1)
    assert finding.sentence.startswith("no rows in Monday 2026-11-30; the 4 like it before have a median of 4")
    as_of = world.state("tickets").as_of_us
    assert world.run("tickets").status == "queued"
    assert world.state("tickets").as_of_us == as_of  # it ages
    world.adds_up("tickets")


def test_what_a_person_answered_for_is_not_asked_again_until_the_next_day(world: World) -> None:
    four_weeks(world)
    day(world, 29, 0)
    world.run("tickets")
    day(world, 30, 0)
    assert world.run("tickets").status == "blocked"
    released = settling.release_batch(world.desk, dataset="tickets", number=18, reason="a holiday")
    assert (released.status, released.released) == ("published", ("volume",))
    assert world.run("tickets").status == "empty"
    assert result(world).verdict is Verdict.WARN
    assert result(world).sentence.endswith("; answered for with batch 18")
    day(world, 30, 4, hour=15)
    assert world.run("tickets").status == "published"
    day(world, 31, 0)
    assert world.run("tickets").status == "empty"  # Tuesday had its rows
    day(world, 32, 0)
    assert world.run("tickets").status == "blocked"
    settling.discard_batch(world.desk, dataset="tickets", number=20, reason="a holiday, too")
    assert world.run("tickets").status == "empty"
    world.adds_up("tickets")


def test_by_an_event_time_the_past_is_there_at_the_first_read(tmp_path: Path) -> None:
    world = world_of(tmp_path, watched(of="booked", on_fail="warn"))
    for number in range(1, 30):
        day(world, number, 4)
    world.run("tickets")
    assert result(world).sentence.startswith("4 rows in Sunday 2026-11-29; the 3 like it before")
    day(world, 30, 9, hour=1)
    world.run("tickets")
    assert result(world).verdict is Verdict.PASS  # of yesterday, still
    day(world, 31, 1, hour=1)
    world.run("tickets")
    assert result(world).verdict is Verdict.WARN
    assert result(world).sentence.startswith("9 rows in Tuesday 2026-12-01; the 4 like it before have a median of 4")
    before = result(world)
    history.flush(world.desk, "tickets")
    world.desk.current.sql("DELETE FROM ds_tickets.rows")
    world.desk.current.sql("DELETE FROM ds_tickets.settled")
    sets.recover(world.desk)  # made anew, out of landing
    world.run("tickets")
    assert result(world) == before
    world.close()


def test_rows_may_come_late(tmp_path: Path) -> None:
    world = world_of(tmp_path, watched(of="booked", late_us=6 * HOUR))
    for number in range(30):
        day(world, number, 4)
    world.run("tickets")
    day(world, 31, 0, hour=5)  # nothing is there of Tuesday yet
    assert world.run("tickets").status == "empty"
    assert "Monday 2026-11-30" in result(world).sentence
    day(world, 31, 0, hour=6)
    assert world.run("tickets").status == "blocked"
    world.close()


def test_counts_are_as_they_were_after_current_is_made_anew_and_go_after_their_time(world: World) -> None:
    days = Shelf(world.desk.state, "landed", LandedDay)
    four_weeks(world)
    before = days.all()
    world.desk.current.sql("DELETE FROM ds_tickets.rows")
    world.desk.current.sql("DELETE FROM ds_tickets.settled")
    sets.recover(world.desk)
    assert days.all() == before
    assert [sum(one.quarters.values()) for one in before.values()] == [4] * 17
    day(world, 29, 4)
    Runner(world.desk, world.integration.datasets["tickets"]).run(dry=True)
    assert days.all() == before
    day(world, 80, 0)
    world.run("tickets")
    assert len(days.all()) == 1


def test_once_a_day_has_ended_without_a_read_status_cannot_tell(tmp_path: Path) -> None:
    world = world_of(tmp_path, watched(of="booked", on_fail="warn"))
    for number in range(30):
        day(world, number, 4)
    world.run("tickets")
    shelf, dataset = Shelf(world.desk.state, "check_result", CheckResult), world.integration.datasets["tickets"]
    found = shelf.get("tickets")
    assert list(standing(dataset, found, world.clock.now_us())) == []
    midnight = SUNDAY + 30 * DAY
    assert list(standing(dataset, found, midnight)) == []
    (unknown,) = standing(dataset, found, midnight + 2 * dataset.every_us + SECOND)
    assert (unknown.check, unknown.verdict) == ("tickets.volume", Verdict.UNKNOWN)
    assert unknown.sentence == (
        "tickets: cannot tell for what ended at 2026-12-01T00:00:00.000000Z: nothing was read since"
    )
    assert list(standing(TICKETS, found, midnight)) == []  # a check that is gone says nothing
    world.close()
