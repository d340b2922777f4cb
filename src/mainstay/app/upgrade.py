"""`mainstay upgrade`: stores that an earlier version wrote become ones that this version opens.

The plan is the list of steps that are due, out of one literal table (`store.upgrades.STEPS`). A backup of everything is
written before the first of them: an earlier version opens none of it any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from mainstay.app.alone import alone
from mainstay.app.backup import backup_still, homes_of
from mainstay.app.restore import mark_later
from mainstay.core.audit import Change, Detail
from mainstay.core.clock import Clock
from mainstay.core.counts import counted
from mainstay.core.errors import Refused
from mainstay.store import audit, upgrades
from mainstay.store.home import Home
from mainstay.store.state_sqlite import SqliteState
from mainstay.store.upgrades import STEPS, Due, Step


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the plan, as it is printed."""

    integration: str
    """Empty for a store of the whole home."""
    store: str
    from_schema: int
    to_schema: int
    sentence: str


def plan(root: Path, steps: Sequence[Step] = STEPS) -> list[Line]:
    """What `upgrade` would do. Changes nothing, also beside `mainstay up`.

    Raises NotFound when nothing is there, StoreTooNew for a later version's store, StoreOld when no steps lead here.
    """
    return [line(due) for due in upgrades.plan(homes_of(root), steps)]


def line(due: Due) -> Line:
    """The step as it is printed."""
    step = due.step
    return Line(
        integration="" if upgrades.STORES[step.store].of_home else due.home.integration,
        store=step.store,
        from_schema=step.reaches - 1,
        to_schema=step.reaches,
        sentence=step.sentence,
    )


def upgrade(
    root: Path,
    *,
    clock: Clock,
    backup: Path | None,
    steps: Sequence[Step] = STEPS,
    by: str = "",
    say: Callable[[Line], None] = lambda _line: None,
) -> list[Line]:
    """Performs the plan, one step after the other; after a kill the rest is done by calling it again.

    Args:
        root: The home.
        clock: Dates the backup.
        backup: Where everything is written first; None: a person went without.
        steps: The table.
        by: Who upgrades, for the audit.
        say: Called with each step when it is done.

    Raises as `plan` does, and Refused while somebody is at work in the home.
    """
    homes = homes_of(root)
    with alone(root, "mainstay upgrade"):
        due = upgrades.plan(homes, steps)
        if due and backup is not None:
            backup_still(root, backup, clock=clock)
        done = []
        for one in due:
            upgrades.perform(one)
            done.append(line(one))
            say(done[-1])
        for home in homes:
            mark_later(home)
            _record([one for one in done if one.integration in ("", home.integration)], home, by=by, clock=clock)
    return done


def _record(done: Sequence[Line], home: Home, *, by: str, clock: Clock) -> None:
    """The audit tells of the steps, in a state that they have made one of this version."""
    if done and home.state.is_file():
        told: dict[str, Detail] = {"steps": [f"{one.store} {one.from_schema} to {one.to_schema}" for one in done]}
        change = Change(what="upgrade", object=home.integration, details=told, by=by, at_us=clock.now_us())
        with contextlib.closing(SqliteState(home.state)) as state:
            audit.commit(state, [], change)


def agreed(root: Path, *, backup: Path | None, without: bool, steps: Sequence[Step] = STEPS) -> list[Line]:
    """The plan, when a backup was named or gone without. Raises Refused when neither was said."""
    due = plan(root, steps)
    if due and backup is None and not without:
        raise Refused(
            f"{counted(len(due), 'step is due', 'steps are due')}, and there is no way back but a backup; "
            "nothing was changed",
            where=str(root),
            mend="mainstay upgrade --backup FILE, or --no-backup if you have one",
        )
    return due
