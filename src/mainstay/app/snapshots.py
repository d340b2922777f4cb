"""Taking an integration at one instant, with its lease: the part of a backup that its owner must do itself."""

from __future__ import annotations

import contextlib
from typing import Any

from mainstay.app.place import applied_record
from mainstay.app.wiring import Works
from mainstay.core.errors import MainstayError
from mainstay.pipelines import history, sets
from mainstay.store import snapshot, upgrades

FORGOTTEN = ("request", "response", "process", "disk")
"""Spaces of state that would mean something else elsewhere: who waits, what runs, how this disk fills."""


def take_snapshot(works: Works, args: dict[str, Any]) -> dict[str, Any]:
    """Fills the folder of the snapshot called `args["name"]`, between two things that the owner does.

    Nothing is half published then, so the copy is one that could have been found after kill -9, without current: it is
    made again out of landing and history, like one that was lost.
    """
    notes = []
    try:
        _tell_fates(works)
    except MainstayError as error:
        notes.append(
            f"{works.place.home.integration}: rows that were replayed or discarded one by one in the last minutes will "
            f"be in quarantine again, because history could not be told of them: {error.sentence}"
        )
    files = snapshot.take(works.place.home, args["name"], forget=FORGOTTEN)
    works.audit("backup", works.place.home.integration, {"files": files})
    return {"files": files, "notes": notes, "schemas": upgrades.numbers(works.place.home)}


def _tell_fates(works: Works) -> None:
    """What people made of quarantined rows stands in current alone until history hears of it."""
    for name in works.desk.integration.datasets:
        history.append_fates(works.desk, name)


def repair(works: Works) -> None:
    """What a crash left is repaired first where that is possible; a copy of it as it lies is as good as the crash."""
    with contextlib.suppress(MainstayError):
        if applied_record(works.state) is not None:
            sets.recover(works.desk)
