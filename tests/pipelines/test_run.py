"""One dataset through reading, landing, judging and publishing: semantics.md paragraph by paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import SECOND
from mainstay.core.errors import Refused, SourceAway, SourceRefused
from mainstay.core.nouns import Check, Column, Deletes, Duplicates
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import history, quarantine, settling
from mainstay.store import audit
from tests.pipelines.world import CUSTOMERS, TICKETS, World, with_checks, with_duplicates

ROW_COUNT = Check(name="row_count", kind="row_count", args={"min": 2}, on_fail="block")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for number in range(1, 6):
        made.customer(number, tenure=number, u=number)
    made.ticket(1, 1, severity=2)
    made.both()
    yield made
    made.close()


def test_first_read_publishes_every_row(world: World) -> None:
    assert world.state().rows == 5
    assert world.values(1) == [1, "a", 1, 2]
    assert world.values(5) == [5, "a", 0, None]


def test_equal_re_read_is_a_no_op_and_advances_as_of(world: World) -> None:
    before = world.state()
    result = world.run()
    after = world.state()
    assert (result.status, result.batch) == ("empty", None)
    assert after.as_of_us is not None
    assert before.as_of_us is not None
    assert after.as_of_us - before.as_of_us >= SECOND
    assert after.read == before.read


def test_overlap_re_reads_rows_as_no_ops(tmp_path: Path) -> None:
    dataset = msgspec.structs.replace(CUSTOMERS, deletes=Deletes(kind="none"))
    world = World(tmp_path, customers=dataset)
    for number in range(1, 6):
        world.customer(number, u=number)
    world.run()
    world.customer(6, u=6)
    result = world.run()
    assert (result.read, result.noops, result.landed) == (4, 3, 1)
    assert world.state().counts["noop"] == 3
    world.close()


def test_late_commit_within_the_lag_is_found(tmp_path: Path) -> None:
    world = World(tmp_path, customers=msgspec.structs.replace(CUSTOMERS, deletes=Deletes(kind="none")))
    world.customer(1, u=10)
    world.run()
    world.customer(2, u=8)
    world.run()
    assert world.state().rows == 2
    world.close()


def test_late_commit_beyond_the_lag_is_found_by_reconciliation(world: World) -> None:
    world.customer(9, tenure=9, u=-50)
    world.run()
    assert world.values(9) == [9, "a", 0, None]


def test_null_cursors_are_read_every_time(tmp_path: Path) -> None:
    world = World(tmp_path, customers=msgspec.structs.replace(CUSTOMERS, deletes=Deletes(kind="none")))
    world.customer(1, u=5)
    world.customer(2, tenure=2, u=None)
    world.run()
    world.customer(2, tenure=3, u=None)
    world.run()
    assert world.values(2) == [3, "a", 0, None]
    assert world.state().rows == 2
    world.close()


def test_failed_row_is_quarantined_and_its_key_held(world: World) -> None:
    as_of = world.state().as_of_us
    world.customer(2, tenure=500, u=10)
    result = world.run()
    row = world.row(2)
    assert (result.quarantined, result.published) == (1, 0)
    assert row is not None
    assert (row.held, row.held_as_of_us, row.verdict) == (True, as_of, Verdict.WARN)
    assert row.sentence == "tenure.max"
    assert world.values(2) == [2, "a", 0, None]
    assert world.state().held == 1
    world.adds_up()


def test_hold_keeps_its_first_as_of_and_ends_with_the_good_value(world: World) -> None:
    first = world.state().as_of_us
    world.customer(2, tenure=500, u=10)
    world.run()
    world.customer(2, tenure=600, u=11)
    world.run()
    row = world.row(2)
    assert row is not None
    assert row.held_as_of_us == first
    world.customer(2, tenure=2, u=12)
    world.run()
    row = world.row(2)
    assert row is not None
    assert (row.held, row.verdict) == (False, Verdict.PASS)
    assert world.state().held == 0
    world.adds_up()


def test_return_to_the_good_value_is_a_new_version(world: World) -> None:
    world.customer(2, tenure=500, u=2)
    world.run()
    world.customer(2, tenure=2, u=2)  # exactly the row that was published first
    result = world.run()
    # the cursor is equal, so only reading rows at the cursor or a reconciliation can see it; here the lag does
    assert result.read >= 0
    world.customer(2, tenure=2, u=3)
    world.run()
    row = world.row(2)
    assert row is not None
    assert not row.held


def test_key_without_a_good_row_is_held_blind(world: World) -> None:
    world.customer(7, tenure="many", u=20)
    world.run()
    row = world.row(7)
    assert row is not None
    assert (row.values, row.held, row.held_as_of_us) == (None, True, None)


def test_a_quarantined_ticket_holds_its_customer_old_and_new(world: World) -> None:
    world.ticket(1, 3, severity=99)  # moves from customer 1 to customer 3, and is bad
    world.run("tickets")
    for key in (1, 3):
        row = world.row(key)
        assert row is not None
        assert row.held, key


def test_a_version_that_maps_nowhere_warns_the_whole_set(world: World) -> None:
    world.ticket(5, None, severity=99)
    world.run("tickets")
    found = world.desk.feature_sets.get(world.feature_set.digest)
    assert found is not None
    assert "cannot be mapped" in found.warn


def test_a_moved_ticket_recomputes_both_customers(world: World) -> None:
    world.ticket(1, 2, severity=2)
    world.run("tickets")
    assert world.values(1) == [1, "a", 0, None]
    assert world.values(2) == [2, "a", 1, 2]


def test_reconciliation_finds_a_deletion(world: World) -> None:
    world.customers[:] = [row for row in world.customers if row["id"] != 3]
    world.run()
    row = world.row(3)
    assert row is not None
    assert (row.deleted, row.values) == (True, None)
    assert world.state().rows == 4
    world.customer(3, tenure=33, u=40)
    world.run()
    assert world.values(3) == [33, "a", 0, None]


def test_absence_from_a_snapshot_is_a_deletion(world: World) -> None:
    world.tickets.clear()
    world.run("tickets")
    assert world.state("tickets").rows == 0
    assert world.values(1) == [1, "a", 0, None]


def test_too_many_deletions_block(tmp_path: Path) -> None:
    strict = msgspec.structs.replace(CUSTOMERS, deletes=Deletes(kind="reconcile", every_us=0, max_share=0.1))
    world = World(tmp_path, customers=strict)
    for number in range(1, 6):
        world.customer(number, u=number)
    world.both()
    del world.customers[:2]
    result = world.run()
    assert result.status == "blocked"
    assert world.state().rows == 5
    assert [one.check for one in world.batch(2).findings if one.verdict is Verdict.FAIL] == ["deletes.max_share"]
    world.close()


def test_rows_marked_deleted_become_tombstones(tmp_path: Path) -> None:
    dataset = msgspec.structs.replace(CUSTOMERS, deletes=Deletes(kind="column", column="gone"))
    world = World(tmp_path, customers=dataset)
    world.source.contents["customers"].kinds["gone"] = "text"
    world.customer(1, u=1)["gone"] = None
    world.customer(2, u=2)["gone"] = "2026-01-01"
    world.both()
    assert world.state().rows == 1
    row = world.row(2)
    assert row is not None
    assert row.deleted
    world.close()


@pytest.mark.promise(4)
def test_a_blocked_batch_leaves_the_last_good_state_ageing(tmp_path: Path) -> None:
    world = World(tmp_path, customers=with_checks(CUSTOMERS, ROW_COUNT))
    for number in range(1, 4):
        world.customer(number, tenure=number, u=number)
    world.both()
    good = world.state().as_of_us
    del world.customers[1:]
    assert world.run().status == "blocked"
    world.customer(8, tenure=8, u=20)
    assert world.run().status == "queued"
    assert world.run().status == "queued"  # an empty read behind it merges
    assert world.state().as_of_us == good
    assert world.state().rows == 3
    assert world.values(2) == [2, "a", 0, None]
    assert len(world.desk.waiting("customers")) == 2
    world.adds_up()
    world.close()


def test_release_publishes_with_warn_and_lets_the_queue_follow(tmp_path: Path) -> None:
    world = World(tmp_path, customers=with_checks(CUSTOMERS, ROW_COUNT))
    for number in range(1, 4):
        world.customer(number, tenure=number, u=number)
    world.both()
    del world.customers[1:]
    world.customer(1, tenure=11, u=9)
    world.run()
    world.customer(8, tenure=8, u=20)
    world.run()
    with pytest.raises(Refused, match="says why"):
        settling.release_batch(world.desk, dataset="customers", number=2, reason=" ")
    settling.release_batch(world.desk, dataset="customers", number=2, reason="they moved")
    assert [one.status for one in world.desk.batches.all("customers/").values()] == ["published"] * 3
    row = world.row(1)
    assert row is not None
    assert row.verdict is Verdict.WARN
    assert "released" in row.sentence
    assert world.state().rows == 2
    world.adds_up()
    world.close()


def test_discarding_a_batch_keeps_current_with_warn(tmp_path: Path) -> None:
    world = World(tmp_path, customers=with_checks(CUSTOMERS, ROW_COUNT))
    for number in range(1, 4):
        world.customer(number, tenure=number, u=number)
    world.both()
    kept = list(world.customers)
    del world.customers[1:]
    world.run()
    settling.discard_batch(world.desk, dataset="customers", number=2, reason="half a table")
    row = world.row(2)
    assert row is not None
    assert (row.values is not None, row.verdict) == (True, Verdict.WARN)
    assert world.state().counts["discarded"] == 2
    world.customers[:] = kept
    world.run()
    world.adds_up()
    world.close()


def test_replay_publishes_after_the_mend_and_twice_changes_nothing(world: World) -> None:
    world.customer(2, tenure=500, u=10)
    world.run()
    assert quarantine.replay(world.desk, dataset="customers").still_rejected == 1
    relaxed = tuple(check for check in CUSTOMERS.checks if check.name != "tenure.max")
    mended = msgspec.structs.replace(CUSTOMERS, checks=relaxed)
    world.integration.datasets["customers"] = mended
    first = quarantine.replay(world.desk, dataset="customers")
    before = world.online()
    second = quarantine.replay(world.desk, dataset="customers")
    assert (first.published, second.tried) == (1, 0)
    (replayed,) = audit.records(world.desk.state)
    assert (replayed.what, replayed.object, replayed.details) == ("quarantine.replay", "customers", {"rows": 1})
    assert world.values(2) == [500, "a", 0, None]
    assert world.online() == before
    assert world.state().held == 0
    world.adds_up()


def test_replay_of_an_overtaken_row_is_superseded(world: World) -> None:
    world.customer(2, tenure=500, u=10)
    world.run()
    world.customer(2, tenure=3, u=11)
    world.run()
    relaxed = tuple(check for check in CUSTOMERS.checks if check.name != "tenure.max")
    world.integration.datasets["customers"] = msgspec.structs.replace(CUSTOMERS, checks=relaxed)
    done = quarantine.replay(world.desk, dataset="customers")
    assert (done.published, done.superseded) == (0, 1)
    assert world.values(2) == [3, "a", 0, None]
    world.adds_up()


def test_replay_of_two_versions_publishes_the_newest_and_supersedes_the_other(world: World) -> None:
    world.customer(2, tenure=500, u=10)
    world.run()
    world.customer(2, tenure=600, u=11)
    world.run()
    relaxed = tuple(check for check in CUSTOMERS.checks if check.name != "tenure.max")
    world.integration.datasets["customers"] = msgspec.structs.replace(CUSTOMERS, checks=relaxed)
    done = quarantine.replay(world.desk, dataset="customers")
    assert (done.tried, done.published, done.superseded) == (2, 1, 1)
    assert world.values(2) == [600, "a", 0, None]
    assert world.state().quarantined == 0
    world.adds_up()


def test_discarding_a_row_ends_the_hold_with_warn(world: World) -> None:
    world.customer(2, tenure=500, u=10)
    world.run()
    rows = quarantine.list_rows(world.desk)
    assert [(one.key, one.reasons, one.raw["tenure"]) for one in rows] == [("2", "tenure.max", "500")]
    assert quarantine.discard_rows(world.desk, dataset="customers", ids=[rows[0].id], reason="test account") == 1
    row = world.row(2)
    assert row is not None
    assert (row.held, row.verdict) == (False, Verdict.WARN)
    assert world.run().noops == 0  # the discarded version is known: reading it again is no new version
    assert world.state().held == 0
    world.adds_up()


def test_last_of_duplicates_wins_and_the_others_are_superseded(world: World) -> None:
    world.customers.append({"id": 2, "tenure": "20", "plan": "a", "u": 10})
    world.customers.append({"id": 2, "tenure": "21", "plan": "a", "u": 11})
    world.run()
    assert world.values(2) == [21, "a", 0, None]
    before = world.state().counts
    world.run()
    assert world.state().counts["landed"] == before["landed"]  # the same three rows again are no-ops
    world.adds_up()


def test_duplicates_can_be_quarantined(tmp_path: Path) -> None:
    world = World(tmp_path, customers=with_duplicates(CUSTOMERS, Duplicates(keep="none", on_fail="quarantine")))
    world.customer(1, u=1)
    world.customers.append({"id": 1, "tenure": "2", "plan": "a", "u": 2})
    world.customer(2, u=2)
    result = world.run()
    assert (result.quarantined, result.published) == (2, 1)
    assert [one.reasons for one in quarantine.list_rows(world.desk)] == ["duplicates", "duplicates"]
    world.adds_up()
    world.close()


def test_unique_is_judged_on_current_as_it_would_be(tmp_path: Path) -> None:
    unique = Check(name="plan.unique", kind="unique", column="plan", on_fail="quarantine")
    world = World(tmp_path, customers=with_checks(CUSTOMERS, unique))
    world.customer(1, plan="a", u=1)
    world.customer(2, plan="b", u=2)
    world.run()
    world.customer(3, plan="a", u=10)
    assert world.run().quarantined == 1
    world.customer(1, plan="b", u=20)
    world.customer(2, plan="a", u=20)
    assert world.run().quarantined == 0  # they swap in one batch
    world.adds_up()
    world.close()


def test_warn_check_publishes_with_warn(world: World) -> None:
    world.customer(2, tenure=2, plan="z", u=10)
    world.run()
    row = world.row(2)
    assert row is not None
    assert (row.verdict, row.sentence, row.held) == (Verdict.WARN, "plan.values", False)


def test_a_check_that_cannot_be_evaluated_is_an_error_and_blocks(tmp_path: Path) -> None:
    broken = Check(name="odd", kind="sql", args={"condition": "CAST(plan AS INTEGER) > 0"}, on_fail="block")
    world = World(tmp_path, customers=with_checks(CUSTOMERS, broken))
    world.customer(1, plan="a", u=1)
    assert world.run().status == "error"
    assert next(one for one in world.batch(1).findings if one.check == "odd").verdict is Verdict.ERROR
    assert world.state().rows == 0
    fixed = msgspec.structs.replace(broken, args={"condition": "plan <> 'q'"})
    world.integration.datasets["customers"] = with_checks(CUSTOMERS, fixed)
    world.run()  # ERROR lifts by itself
    assert world.state().rows == 1
    world.close()


def test_a_lost_column_blocks_the_dataset_and_lifts_by_itself(world: World) -> None:
    table = world.source.contents["customers"]
    kinds = dict(table.kinds)
    del table.kinds["tenure"]
    landed = world.desk.landing.numbers("customers")
    with pytest.raises(SourceRefused, match=r"column tenure .* gone.*checks tenure\.type, tenure\.max"):
        world.run()
    assert "tenure" in world.state().blocked
    assert world.desk.landing.numbers("customers") == landed
    table.kinds = kinds
    world.run()
    assert world.state().blocked == ""


def test_a_retyped_column_blocks(world: World) -> None:
    world.source.contents["customers"].kinds["tenure"] = "integer"
    with pytest.raises(SourceRefused, match="was text and is integer"):
        world.run()


def test_an_added_column_is_noted(world: World) -> None:
    world.source.contents["customers"].kinds["fax"] = "text"
    for row in world.customers:
        row["fax"] = None
    world.run()
    assert ("dataset.columns_added", {"dataset": "customers", "columns": ["fax"]}) in world.events


def test_dry_run_changes_nothing(world: World) -> None:
    world.customer(2, tenure=500, u=10)
    before = (world.state(), world.online(), world.desk.landing.numbers("customers"))
    result = world.run(dry=True)
    assert (result.status, result.quarantined) == ("dry", 1)
    assert (world.state(), world.online(), world.desk.landing.numbers("customers")) == before


def test_a_source_that_is_away_changes_nothing(world: World) -> None:
    before = (world.state(), world.online())
    world.source.away = True
    with pytest.raises(SourceAway):
        world.run()
    assert (world.state(), world.online()) == before


def test_rows_without_a_key_are_quarantined(tmp_path: Path) -> None:
    required = Check(name="ticket.required", kind="required", column="ticket")
    world = World(tmp_path, tickets=with_checks(TICKETS, required))
    world.tickets.append({"ticket": None, "customer": 1, "severity": "1"})
    assert world.run("tickets").quarantined == 1
    assert world.run("tickets").status == "empty"  # the same row again is a no-op
    world.adds_up("tickets")
    world.close()


def test_reconciliation_reads_rows_without_a_cursor(world: World) -> None:
    world.customer(2, tenure=2, u=None)
    world.run()
    world.customer(2, tenure=7, u=None)
    world.run()
    assert world.values(2) == [7, "a", 0, None]


def test_columns_may_be_called_what_quarantine_calls_its_own(tmp_path: Path) -> None:
    names = ("state", "note", "raw", "reasons", "changed", "batch", "key", "sentence")
    columns = tuple(Column(name=name, type="string", source_name=name) for name in names)
    world = World(tmp_path, customers=msgspec.structs.replace(CUSTOMERS, columns=(*CUSTOMERS.columns, *columns)))
    world.source.contents["customers"].kinds.update(dict.fromkeys(names, "text"))
    for number in (1, 2):
        world.customer(number, tenure=number, u=number).update(dict.fromkeys(names, "Ohio"))
    world.both()
    world.customer(2, tenure=500, u=10).update(dict.fromkeys(names, "Iowa"))
    world.run()
    row = next(iter(quarantine.list_rows(world.desk)))
    assert (row.state, row.note, row.raw["state"], row.reasons) == ("quarantined", "", "Iowa", "tenure.max")
    assert quarantine.discard_rows(world.desk, dataset="customers", ids=[row.id], reason="no") == 1
    world.adds_up()
    world.close()


def test_history_tells_what_became_of_a_version_when_it_settled(tmp_path: Path) -> None:
    unique = Check(name="plan.unique", kind="unique", column="plan", on_fail="quarantine")
    world = World(tmp_path, customers=with_checks(CUSTOMERS, unique))
    for number, (key, plan) in enumerate([(1, "a"), (2, "b"), (1, "c"), (2, "a")]):
        world.customer(key, plan=plan, u=number)
        world.run()  # beside the last of them the first would not be unique
    history.flush(world.desk, "customers")
    files = world.desk.history.files("customers")
    states = world.desk.current.sql(f"SELECT state, count(*) FROM read_parquet({list(files)}) GROUP BY state")
    assert states == [("published", 4)]
    world.close()
