"""What the next run reads, by contract, state, time and the hours for full reads."""

from __future__ import annotations

import msgspec
import pytest

from mainstay.core.clock import DAY, HOUR
from mainstay.core.nouns import Cursor, Dataset, Deletes
from mainstay.core.records import DatasetState
from mainstay.pipelines.plan import plan_run

NIGHT = "20:00-06:00 UTC"
NOON = 20_635 * DAY + 12 * HOUR
OPENS = NOON + 8 * HOUR
PLAIN = Dataset(name="customers", source="crm", table="customers", key="id", columns=())
BY_CURSOR = msgspec.structs.replace(
    PLAIN, cursor=Cursor(column="u"), deletes=Deletes(kind="reconcile", every_us=24 * HOUR)
)
READ = DatasetState(read=3, last_read_us=NOON - HOUR, cursor="41", reconciled_us=NOON - 25 * HOUR)


@pytest.mark.promise(6)
@pytest.mark.parametrize(("dataset", "state"), [(PLAIN, READ), (BY_CURSOR, DatasetState())], ids=["snapshot", "first"])
def test_a_full_read_waits_for_its_hours(dataset: Dataset, state: DatasetState) -> None:
    assert plan_run(dataset, state, NOON, NIGHT).opens_us == OPENS
    assert plan_run(dataset, state, OPENS, NIGHT).opens_us is None
    assert plan_run(dataset, state, NOON).opens_us is None


@pytest.mark.promise(6)
def test_a_reconciliation_that_is_due_by_day_lets_increments_go_on() -> None:
    by_day = plan_run(BY_CURSOR, READ, NOON, NIGHT)
    assert (by_day.mode, by_day.since, by_day.opens_us) == ("increment", "41", None)
    assert f"waits for {NIGHT}" in by_day.why
    assert plan_run(BY_CURSOR, READ, OPENS, NIGHT).mode == "reconcile"
    assert plan_run(BY_CURSOR, READ, NOON).mode == "reconcile"


def test_an_increment_that_never_saw_a_cursor_is_a_full_read() -> None:
    never = msgspec.structs.replace(READ, cursor=None, reconciled_us=NOON)
    assert plan_run(BY_CURSOR, never, NOON, NIGHT).opens_us == OPENS
