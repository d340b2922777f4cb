"""Rows that refer to another dataset wait for what they refer to, and are taken up when it comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.core.nouns import Check, Dataset
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import history, quarantine, rebuild, sets
from mainstay.pipelines.orphans import adopt_orphans
from mainstay.pipelines.quarantine import ReplayResult
from mainstay.pipelines.run import Runner
from tests.pipelines.world import TICKETS, World, with_checks

REFERS = Check(name="customer.references", kind="references", column="customer", args={"dataset": "customers"})
TAKEN_UP = ReplayResult(tried=1, published=1, superseded=0, still_rejected=0)


def children(*more: Check, check: Check = REFERS) -> Dataset:
    return with_checks(TICKETS, check, *more)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, tickets=children())
    made.customer(1)
    made.both()
    yield made
    made.close()


def listed(world: World) -> list[tuple[str, str]]:
    return [(row.key, row.reasons) for row in quarantine.list_rows(world.desk, dataset="tickets")]


def test_an_orphan_is_put_aside_and_taken_up_when_its_parent_comes(world: World) -> None:
    world.ticket(10, 1, severity=2)
    world.ticket(11, 2, severity=3)
    world.ticket(12, None)
    assert world.run("tickets").quarantined == 1
    assert listed(world) == [("11", "customer.references")]
    assert adopt_orphans(world.desk) == {}
    world.customer(2, u=1)
    world.run()
    assert adopt_orphans(world.desk) == {"tickets": TAKEN_UP}
    assert world.values(2) == [1, "a", 1, 3]
    assert listed(world) == []
    assert adopt_orphans(world.desk) == {}
    world.adds_up("tickets")


def test_nothing_can_be_told_before_the_parent_was_published_so_the_batch_waits(tmp_path: Path) -> None:
    world = World(tmp_path, tickets=children(check=msgspec.structs.replace(REFERS, on_fail="warn")))
    world.customer(1)
    world.ticket(10, 1)
    result = world.run("tickets")
    assert (result.status, result.quarantined) == ("error", 0)
    finding = next(one for one in world.batch(1, "tickets").findings if one.check == REFERS.name)
    assert (finding.verdict, finding.on_fail) == (Verdict.ERROR, "block")
    assert finding.sentence == "customer.references could not be asked: customers was never published"
    world.run("customers")
    adopt_orphans(world.desk)
    assert world.batch(1, "tickets").status == "published"
    world.close()


def test_an_orphan_that_fails_another_check_by_now_stays_with_todays_reasons(tmp_path: Path) -> None:
    world = World(tmp_path, tickets=children())
    world.customer(1)
    world.both()
    world.ticket(10, 2, severity=9)
    world.run("tickets")
    assert listed(world) == [("10", "severity.max, customer.references")]
    world.customer(2, u=1)
    world.run()
    assert adopt_orphans(world.desk)["tickets"].still_rejected == 1
    assert listed(world) == [("10", "severity.max")]
    assert adopt_orphans(world.desk) == {}  # not again at each beat
    world.close()


def test_only_the_newest_version_of_an_orphan_is_taken_up(world: World) -> None:
    world.ticket(10, 2, severity=1)
    world.run("tickets")
    world.ticket(10, 2, severity=4)
    world.run("tickets")
    world.customer(2, u=1)
    world.run()
    assert adopt_orphans(world.desk)["tickets"] == ReplayResult(tried=2, published=1, superseded=1, still_rejected=0)
    assert world.values(2) == [1, "a", 1, 4]
    world.adds_up("tickets")


def test_a_parent_deleted_later_leaves_its_children_also_when_current_is_made_anew(world: World) -> None:
    world.customer(2, u=1)
    world.run()
    world.ticket(10, 2)
    world.ticket(11, 3)
    world.run("tickets")
    world.customers[:] = [row for row in world.customers if row["id"] != 2]
    world.run()
    keys = "SELECT _k FROM ds_tickets.rows WHERE NOT _deleted"
    assert world.desk.current.sql(keys) == [("10",)]
    for name in ("tickets", "customers"):
        world.desk.current.sql(f"DELETE FROM ds_{name}.settled")
        world.desk.current.sql(f"DELETE FROM ds_{name}.rows")
    sets.recover(world.desk)
    assert world.desk.current.sql(keys) == [("10",)]
    assert listed(world) == [("11", "customer.references")]
    rebuild.reclean(world.desk, Runner(world.desk, world.integration.datasets["tickets"]), sets.moment(world.desk, ()))
    assert world.desk.current.sql(keys) == [("10",)]
    world.ticket(12, 2)  # what comes new is held against what is there
    assert world.run("tickets").quarantined == 1


def test_history_keeps_the_reasons_as_they_were(world: World) -> None:
    world.ticket(10, 2)
    world.run("tickets")
    world.customer(2, u=1)
    world.run()
    history.flush(world.desk, "tickets")
    kept = history.read_sql(world.desk, "tickets")
    assert world.desk.current.sql(f"SELECT state, reasons FROM {kept} WHERE key = '10'") == [
        ("quarantined", "customer.references")
    ]


def test_a_dataset_may_refer_to_itself(tmp_path: Path) -> None:
    own = msgspec.structs.replace(REFERS, args={"dataset": "tickets"})
    world = World(tmp_path, tickets=children(check=own))
    world.ticket(1, 2)
    world.ticket(2, None)
    world.ticket(3, 4)
    world.ticket(4, None, severity=9)  # put aside, so it is not there
    world.ticket(5, 1)
    assert world.run("tickets").quarantined == 2
    assert listed(world) == [("4", "severity.max"), ("3", "customer.references")]
    world.ticket(4, None, severity=1)
    world.run("tickets")
    assert adopt_orphans(world.desk) == {"tickets": TAKEN_UP}
    world.close()
