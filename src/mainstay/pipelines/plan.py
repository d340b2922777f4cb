"""What the next run of a dataset reads: pure, from its contract, its state, the time and the hours for full reads."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.core.nouns import Dataset
from mainstay.core.ports import Capabilities
from mainstay.core.records import DatasetState
from mainstay.sources.guard import is_open, opens_us

Mode = Literal["snapshot", "increment", "reconcile"]


class ReadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will read."""

    dataset: str
    mode: Mode
    why: str
    since: str | None = None
    opens_us: int | None = None
    """A full read outside the hours for it: when they begin. None: it may run now."""


def plan_run(
    dataset: Dataset, state: DatasetState, now_us: int, hours: str = "", able: Capabilities | None = None
) -> ReadPlan:
    """What the next run of the dataset reads.

    Args:
        dataset: Its contract.
        state: What was read so far.
        now_us: Now.
        hours: When full reads and reconciliations may run (`guard.backfill_hours`); empty for always. Increments do
            not wait: a reconciliation that is due outside the hours lets them go on.
        able: What its source can do, where that matters: one with a ledger knows by itself what is new.
    """
    waits = None if is_open(hours, now_us) else opens_us(hours, now_us)
    if able is not None and able.ledger:
        full = not able.incremental or state.cursor is None or state.read_all
        return ReadPlan(
            dataset=dataset.name,
            mode="increment" if able.incremental else "snapshot",
            why="what its source has not given yet" if able.incremental else "the whole table, where it changed",
            since=None if state.read_all else state.cursor,
            opens_us=waits if full else None,
        )
    if dataset.cursor is None:
        return ReadPlan(
            dataset=dataset.name,
            mode="snapshot",
            why="no cursor: the whole table, changes found by digest",
            opens_us=waits,
        )
    if state.read == 0 and state.last_read_us is None:
        return ReadPlan(dataset=dataset.name, mode="increment", why="first read: the whole table", opens_us=waits)
    if state.read_all:
        why = "a column is back that was read as NULL: the whole table"
        return ReadPlan(dataset=dataset.name, mode="increment", why=why, opens_us=waits)
    why = f"rows from {state.cursor} on, less the lag"
    if dataset.deletes.kind == "reconcile" and now_us - (state.reconciled_us or 0) >= dataset.deletes.every_us:
        if waits is None:
            return ReadPlan(dataset=dataset.name, mode="reconcile", why="keys and cursors are due to be compared")
        why += f"; keys and cursors are due to be compared, which waits for {hours}"
    # Without a cursor's value, an increment is the whole table.
    return ReadPlan(
        dataset=dataset.name, mode="increment", why=why, since=state.cursor,
        opens_us=waits if state.cursor is None else None,
    )  # fmt: skip
