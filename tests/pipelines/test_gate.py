"""The gate: checks that look beyond their row, to several columns, the whole dataset, other versions and datasets."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mainstay.core.nouns import Check
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import history, quarantine, rebuild, settling
from mainstay.pipelines.run import Runner
from tests.pipelines.world import CUSTOMERS, World, with_checks


def test_unique_over_several_columns_is_judged_on_current_as_it_would_be(tmp_path: Path) -> None:
    unique = Check(name="tenure+plan.unique", kind="unique", args={"columns": ["tenure", "plan"]})
    world = World(tmp_path, customers=with_checks(CUSTOMERS, unique))
    world.customer(1, tenure=1, plan="a")
    world.customer(2, tenure=1, plan="b")
    assert world.run().quarantined == 0
    world.customer(3, tenure=1, plan="b", u=1)
    world.customer(4, tenure=1, plan=None, u=1)
    world.customer(5, tenure=1, plan=None, u=1)
    assert world.run().quarantined == 1
    (row,) = quarantine.list_rows(world.desk, dataset="customers")
    assert (row.key, row.reasons) == ("3", "tenure+plan.unique")
    finding = next(one for one in world.batch(2).findings if one.check == unique.name)
    assert (finding.verdict, finding.failed) == (Verdict.FAIL, 1)
    world.close()


def share_of(world: World, number: int, check: str) -> tuple[Verdict, int, int]:
    finding = next(one for one in world.batch(number).findings if one.check == f"{check}.max_share")
    return finding.verdict, finding.failed, finding.total


def test_up_to_the_share_rows_go_their_way_and_above_it_the_batch_waits(tmp_path: Path) -> None:
    limited = msgspec.structs.replace(CUSTOMERS.checks[2], max_share=0.25)
    world = World(tmp_path, customers=msgspec.structs.replace(CUSTOMERS, checks=(*CUSTOMERS.checks[:2], limited)))
    for number in range(1, 5):
        world.customer(number, tenure=number)
    world.customer(4, tenure=101)
    assert world.run().quarantined == 1
    assert share_of(world, 1, "tenure.max") == (Verdict.PASS, 1, 4)
    world.customer(3, tenure=102, u=1)  # one row of one, but two keys of four: what is held counts
    assert world.run().status == "blocked"
    assert share_of(world, 2, "tenure.max") == (Verdict.FAIL, 2, 4)
    released = settling.release_batch(world.desk, dataset="customers", number=2, reason="a new tariff")
    assert released.released == ("tenure.max.max_share",)
    assert sorted(row.key for row in quarantine.list_rows(world.desk, dataset="customers")) == ["3", "4"]
    world.customer(5, tenure=5, u=2)
    assert world.run().status == "published"  # nothing in it fails
    assert share_of(world, 3, "tenure.max") == (Verdict.WARN, 2, 5)
    world.customer(4, tenure=4, u=3)  # mended in the source: it counts no longer
    world.run()
    assert share_of(world, 4, "tenure.max") == (Verdict.PASS, 1, 5)
    world.adds_up()
    world.close()


def test_rows_that_carry_a_warning_count_in_its_share(tmp_path: Path) -> None:
    named = Check(
        name="plan, or none; known",
        kind="values",
        column="plan",
        args={"values": ["a"]},
        on_fail="warn",
        max_share=0.5,
    )
    world = World(tmp_path, customers=with_checks(CUSTOMERS, named))
    world.customer(1, plan="b")
    world.customer(2, plan="a")
    assert world.run().status == "published"
    world.customer(3, plan="a", u=1)
    assert world.run().status == "published"
    assert share_of(world, 2, named.name) == (Verdict.PASS, 1, 3)
    world.customer(4, plan="c", u=2)
    world.customer(2, plan="d", u=2)
    assert world.run().status == "blocked"
    assert share_of(world, 3, named.name) == (Verdict.FAIL, 3, 4)
    world.close()


def test_a_condition_over_the_dataset_is_judged_on_current_as_it_would_be(tmp_path: Path) -> None:
    total = Check(
        name="total",
        kind="aggregate",
        args={"condition": "sum(tenure) BETWEEN 1 AND 10 -- months"},
        on_fail="block",
    )
    world = World(tmp_path, customers=with_checks(CUSTOMERS, total))
    world.run()  # nothing is there
    assert next(one.verdict for one in world.batch(1).findings if one.check == "total") is Verdict.UNKNOWN
    world.customer(1, tenure=4, u=1)
    world.customer(2, tenure=101, u=1)  # put aside, so not counted
    assert world.run().status == "published"
    world.customer(3, tenure=6, u=2)
    assert world.run().status == "published"
    world.customer(1, tenure=5, u=3)
    assert world.run().status == "blocked"
    finding = next(one for one in world.batch(4).findings if one.check == "total")
    assert finding.sentence == "not sum(tenure) BETWEEN 1 AND 10 -- months, over 2 rows"
    world.close()


def test_a_condition_that_cannot_be_evaluated_is_an_error_and_lifts_by_itself(tmp_path: Path) -> None:
    broken = Check(
        name="total", kind="aggregate", args={"condition": "sum(CAST(plan AS INTEGER)) > 0"}, on_fail="block"
    )
    world = World(tmp_path, customers=with_checks(CUSTOMERS, broken))
    world.customer(1, plan="a")
    assert world.run().status == "error"
    finding = next(one for one in world.batch(1).findings if one.check == "total")
    assert finding.sentence == "total could not be evaluated: Conversion Error"  # the rest quotes a value
    world.close()


def test_a_value_that_falls_from_one_version_to_the_next_is_put_aside(tmp_path: Path) -> None:
    rises = Check(name="tenure.monotone", kind="monotone", column="tenure")
    world = World(tmp_path, customers=with_checks(CUSTOMERS, rises))
    world.customer(1, tenure=5)
    world.customer(2, tenure=5)
    world.customer(3, tenure=5)
    assert world.run().quarantined == 0
    world.customer(1, tenure=4, u=1)
    world.customer(2, tenure=None, u=1)
    world.customer(3, tenure=5, plan="b", u=1)
    world.customer(4, tenure=0, u=1)
    assert world.run().quarantined == 1
    (row,) = quarantine.list_rows(world.desk, dataset="customers")
    assert (row.key, row.reasons) == ("1", "tenure.monotone")
    finding = next(one for one in world.batch(2).findings if one.check == rises.name)
    assert finding.sentence == "1 of 4 rows have a tenure below that of the version before"
    world.customer(1, tenure=5, u=2)  # held against the last good version
    world.customer(2, tenure=1, u=2)
    assert world.run().quarantined == 0
    before = world.desk.current.sql("SELECT _k, tenure FROM ds_customers.rows ORDER BY _k")
    rebuild.rebuild(world.desk, Runner(world.desk, world.integration.datasets["customers"]))
    assert world.desk.current.sql("SELECT _k, tenure FROM ds_customers.rows ORDER BY _k") == before
    history.flush(world.desk, "customers")
    kept = history.read_sql(world.desk, "customers")
    assert world.desk.current.sql(f"SELECT key, batch FROM {kept} WHERE reasons IS NOT NULL") == [("1", 2)]
    world.close()
