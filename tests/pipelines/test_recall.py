"""Current that is lost after landing was trimmed comes back out of history and the rest of landing, to the last row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import DAY, SECOND
from mainstay.core.nouns import Check
from mainstay.pipelines import history, quarantine, retention, sets
from mainstay.pipelines.features import Moment
from mainstay.pipelines.rebuild import reclean
from mainstay.pipelines.run import Runner
from mainstay.store.current import schema_of
from tests.pipelines.test_properties import PART, PARTS, QUICK, STRICT, Act, changes, playing, published, run, stop
from tests.pipelines.world import World

by_hand = st.sampled_from([("replay",), ("discard row",), ("release",), ("discard batch",)])
acts_of_people = st.lists(st.one_of(changes, changes, run, run, stop, by_hand), min_size=8, max_size=28)


def tables(world: World, name: str) -> dict[str, Any]:
    """Everything that current says of a dataset, but for when a version was quarantined and the order of rows."""
    schema, current = schema_of(name), world.desk.current
    found: dict[str, Any] = {
        table: sorted(current.sql(f"SELECT * FROM {schema}.{table}"), key=repr) for table in ("rows", "newest", "held")
    }
    rejected = f"SELECT * REPLACE (CASE WHEN _state <> 'quarantined' THEN _changed END AS _changed) FROM {schema}."
    found["quarantine"] = sorted(current.sql(rejected + "quarantine"), key=repr)
    found["counts"] = {state: n for state, n in current.counts(name).items() if n}
    return found


def remember_and_forget(world: World) -> None:
    """History follows landing, and landing keeps no batch that history has, but for the newest."""
    for name in ("customers", "tickets"):
        while history.flush(world.desk, name):
            pass
        history.trim_landing(world.desk, name, world.clock.now_us() + 40 * DAY)


def lose_current(world: World) -> None:
    world.close()
    for file in world.folder.glob("current.duckdb*"):
        file.unlink()
    world.open()
    sets.recover(world.desk)


def comes_back(acts: list[Act], trimmed_at: int) -> None:
    with playing(customers=STRICT) as play:
        world = play.world
        world.customer(1, u=0)
        world.ticket(1, 1)
        world.both()
        for number, act in enumerate(acts):
            play.do(act)
            if number == trimmed_at % len(acts):
                remember_and_forget(world)
        for name in ("customers", "tickets"):
            while history.flush(world.desk, name):  # the fates of the last minutes are with history as well
                pass
        before = {name: tables(world, name) for name in ("customers", "tickets")}
        answers = published(world)
        lose_current(world)
        assert {name: tables(world, name) for name in ("customers", "tickets")} == before
        assert published(world) == answers


@pytest.mark.promise(1)
@given(acts_of_people, st.integers(0, 27))
@QUICK
def test_lost_current_comes_back_out_of_history(acts: list[Act], trimmed_at: int) -> None:
    comes_back(acts, trimmed_at)


def test_a_key_of_which_nothing_was_ever_published_keeps_its_discarded_version() -> None:
    acts: list[Act] = [
        ("customer", 2, "13", "a", "on"), ("run", "customers"), ("discard batch",),
        ("customer", 1, "13", "a", "on"), ("run", "customers"), ("discard batch",),
    ]  # fmt: skip
    comes_back(acts, len(acts) - 1)


def test_a_version_rejected_after_a_discard_begins_a_hold_of_its_own() -> None:
    rejected: list[Act] = [("customer", 3, "500", "a", "on"), ("run", "customers")]
    acts: list[Act] = [
        *rejected, ("discard row",), ("run", "customers"), ("customer", 3, "501", "a", "on"), ("run", "customers"),
    ]  # fmt: skip
    for trimmed_at in range(len(acts)):
        comes_back(acts, trimmed_at)


def test_discarding_an_older_version_leaves_the_hold_as_it_began(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.customer(1, u=0)
    world.both()
    as_of = world.state().as_of_us
    for number in (1, 2):
        world.customer(1, tenure=500 + number, u=number)
        world.run()
        if number == 1:
            remember_and_forget(world)
    newer, older = quarantine.list_rows(world.desk, dataset="customers")
    quarantine.discard_rows(world.desk, dataset="customers", ids=[older.id], reason="a typo")
    history.flush(world.desk, "customers")
    before = tables(world, "customers")
    lose_current(world)
    assert tables(world, "customers") == before
    held = world.row(1)
    assert held is not None
    assert (held.held, held.held_as_of_us) == (True, as_of)
    quarantine.discard_rows(world.desk, dataset="customers", ids=[newer.id], reason="a typo")
    history.flush(world.desk, "customers")
    before = tables(world, "customers")
    assert not before["held"]
    lose_current(world)
    assert tables(world, "customers") == before
    world.close()


def test_a_discarded_batch_ends_the_holds_of_its_keys() -> None:
    acts: list[Act] = [
        ("customer", 1, "500", "a", "on"), ("run", "customers"),
        ("customer", 1, "13", "a", "on"), ("run", "customers"), ("discard batch",),
    ]  # fmt: skip
    with playing(customers=STRICT) as play:
        play.world.customer(1, u=0)
        play.world.both()
        for act in acts:
            play.do(act)
        row = play.world.row(1)
        assert row is not None
        assert (row.held, row.verdict.value, row.sentence) == (False, "WARN", "a newer version was discarded")
    later: list[Act] = [*acts, ("customer", 1, "501", "a", "on"), ("run", "customers")]
    for trimmed_at in range(len(later)):
        comes_back(later, trimmed_at)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(1, PARTS + 1))
@given(acts_of_people, st.integers(0, 27))
@PART
def test_lost_current_comes_back_out_of_history_for_long(part: int, acts: list[Act], trimmed_at: int) -> None:
    del part
    comes_back(acts, trimmed_at)


@pytest.mark.promise(5)
def test_a_held_key_is_still_held_after_its_batch_left_landing(tmp_path: Path) -> None:
    world = World(tmp_path)
    for key in (1, 2, 3):
        world.customer(key, tenure=10, u=0)
    world.both()
    as_of = world.state().as_of_us
    world.customer(1, tenure=500, u=1)
    world.customer(2, tenure=600, u=1)
    world.run()
    (row,) = [row for row in quarantine.list_rows(world.desk, dataset="customers") if row.key == "2"]
    quarantine.discard_rows(world.desk, dataset="customers", ids=[row.id], reason="a typo")
    world.clock.advance(SECOND)
    world.customer(3, tenure=11, u=2)
    world.run()
    remember_and_forget(world)
    assert world.desk.landing.numbers("customers") == (3,)
    before = tables(world, "customers")
    lose_current(world)
    assert tables(world, "customers") == before
    held = world.row(1)
    assert held is not None
    assert (held.held, held.held_as_of_us) == (True, as_of)
    assert world.run().landed == 0, "what was rejected or discarded is known, and lands no second time"
    world.adds_up_in_state()
    (left,) = quarantine.list_rows(world.desk, dataset="customers")
    quarantine.discard_rows(world.desk, dataset="customers", ids=[left.id], reason="a typo too")
    world.adds_up_in_state()
    world.close()


def test_cleaning_again_judges_what_left_landing_by_todays_contract(tmp_path: Path) -> None:
    world = World(tmp_path)
    for key, tenure in ((1, 10), (2, 80)):
        world.customer(key, tenure=tenure, u=0)
    world.both()
    as_of = world.state().as_of_us
    world.customer(1, tenure=11, u=1)
    world.run()
    remember_and_forget(world)
    assert world.desk.landing.numbers("customers") == (2,)
    contract = world.integration.datasets["customers"]
    narrow = Check(name="tenure.max", kind="max", column="tenure", args={"value": 50})
    checks = tuple(narrow if check.name == "tenure.max" else check for check in contract.checks)
    world.integration.datasets["customers"] = msgspec.structs.replace(contract, checks=checks)
    now = world.clock.now_us()
    reclean(world.desk, Runner(world.desk, world.integration.datasets["customers"]), Moment(now, now))
    assert world.values(1) == [11, "a", 0, None]
    held = world.row(2)
    assert held is not None
    assert held.held
    assert held.held_as_of_us != as_of
    assert world.state().counts["quarantined"] == 1
    world.adds_up_in_state()
    world.close()


def test_versions_that_were_replaced_longer_ago_than_is_kept_go_and_current_still_comes_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    for key in (1, 2, 3):
        world.customer(key, tenure=10, u=0)
    world.both()
    for number in (1, 2, 3):
        world.customer(1, tenure=10 + number, u=number)
        if number == 2:
            world.customer(2, tenure=500, u=number)
        world.run()
    remember_and_forget(world)
    now, keep = world.clock.now_us(), retention.HISTORY_US
    assert retention.trim_versions(world.desk, "customers", now + keep // 2) == 0
    files = history.read_sql(world.desk, "customers")

    def kept() -> list[tuple[Any, ...]]:
        rows = history.read_sql(world.desk, "customers")
        return world.desk.current.sql(f"SELECT key, batch, state FROM {rows} ORDER BY key, batch")

    whole = kept()
    assert len(whole) == 7
    newest_known = max(one[0] for one in world.desk.current.sql(f"SELECT known_us FROM {files}"))
    # At the instant before the last version came: what was known a moment earlier is still within the retention.
    assert retention.trim_versions(world.desk, "customers", newest_known + keep) == 2
    assert [one for one in whole if one not in kept()] == [("1", 1, "published"), ("1", 2, "published")]
    assert retention.trim_versions(world.desk, "customers", newest_known + keep + 1) == 1
    assert kept() == [
        ("1", 4, "published"), ("2", 1, "published"), ("2", 3, "quarantined"), ("3", 1, "published"),
    ]  # fmt: skip
    before = tables(world, "customers")
    lose_current(world)
    assert tables(world, "customers") == before
    world.close()


def test_what_quarantine_still_lists_outlives_a_shorter_retention_of_history(tmp_path: Path) -> None:
    world = World(tmp_path)
    for key in (1, 2):
        world.customer(key, tenure=10, u=0)
    world.both()
    world.customer(1, tenure=500, u=1)
    world.run()
    (row,) = quarantine.list_rows(world.desk, dataset="customers")
    quarantine.discard_rows(world.desk, dataset="customers", ids=[row.id], reason="a typo")
    for key, tenure in ((1, 11), (2, 12)):
        world.customer(key, tenure=tenure, u=tenure)
        world.run()
    remember_and_forget(world)
    retention.trim_versions(world.desk, "customers", world.clock.now_us() + retention.HISTORY_US + 1)
    before = tables(world, "customers")
    lose_current(world)
    assert tables(world, "customers") == before
    world.close()
