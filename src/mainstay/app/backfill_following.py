"""Following a backfill to its end: beside the loop that performs it, or by performing it here when nobody does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing

import msgspec
import structlog

from mainstay.app.commands import locked
from mainstay.app.loop import Loop
from mainstay.app.place import Place, whoami
from mainstay.app.stores import open_state
from mainstay.app.wiring import own
from mainstay.core.errors import LeaseOwned, NotFound
from mainstay.core.ports import StateReader
from mainstay.core.records import Backfill
from mainstay.store.shelf import ShelfReader

LOOK_S = 0.1
"""How often state is asked how far it is."""


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """A backfill when it was followed no longer."""

    backfill: Backfill
    owned: bool
    """Whether somebody else goes on with it."""


def read_backfills(place: Place) -> dict[str, Backfill]:
    """Every backfill that state knows, by id. Needs neither the lease nor the source."""
    with closing(open_state(place.home)) as state:
        return ShelfReader(state, "backfill", Backfill).all()


def follow(place: Place, id: str, show: Callable[[Backfill], None], stopped: Callable[[], bool]) -> Followed:
    """Shows it until it has ended, waits for a person, or `stopped()` says so.

    Where nobody owns the lease, it is performed here, with increments that fall due, as by the loop of `mainstay up`.
    """
    while True:
        try:
            found = _perform(place, id, show, stopped)
            owned = False
        except LeaseOwned:
            found = _watch(place, id, show, stopped)
            owned = True
        if stopped() or _settled(found):
            return Followed(backfill=found, owned=owned)


def _settled(found: Backfill) -> bool:
    return found.status != "running" or bool(found.blocked)


def _perform(place: Place, id: str, show: Callable[[Backfill], None], stopped: Callable[[], bool]) -> Backfill:
    with own(place, whoami("mainstay backfill")) as works:
        loop = Loop(works)
        # What it does stands in state and in events; this process's output is the command's.
        loop.log = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        loop.start()
        seen: list[Backfill] = []

        def ended() -> bool:
            seen[:] = [_read(works.state, id)]
            show(seen[0])
            return stopped() or _settled(seen[0])

        loop.run(ended, time.sleep)
        return seen[0]


def _watch(place: Place, id: str, show: Callable[[Backfill], None], stopped: Callable[[], bool]) -> Backfill:
    """Until it has ended, or whoever performs it has let the lease go."""
    with closing(open_state(place.home)) as state:
        while True:
            found = _read(state, id)
            show(found)
            if stopped() or _settled(found) or not locked(place, state):
                return found
            time.sleep(LOOK_S)


def _read(state: StateReader, id: str) -> Backfill:
    found = ShelfReader(state, "backfill", Backfill).get(id)
    if found is None:
        raise NotFound(f"there is no backfill {id}", mend="mainstay backfill --list")
    return found
