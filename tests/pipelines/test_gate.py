"""The gate: checks that look beyond their row, to several columns, the whole dataset, other versions and datasets."""

from __future__ import annotations

from pathlib import Path

from mainstay.core.nouns import Check
from mainstay.core.verdicts import Verdict
from mainstay.pipelines import quarantine
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
