"""Counts who calls what: an integer on the hot path, added to what state has now and then, in the background."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from mainstay.core.calls import SPACE, Calls
from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import Conflict, StoreError
from mainstay.core.ports import State, Write
from mainstay.core.records import encode
from mainstay.serving.retirement import still_open
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

FLUSH_US = 10 * SECOND
"""How often a worker adds its counts to state. A worker killed with -9 loses those of so long; receipts lose none."""
_TRIES = 5

Name = tuple[str, int, str, int]
"""API key's id, API version, door, model version."""


class Tally:
    """One worker's counts since it began. `count` is for the event loop and threads of the model, `flush` for one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[Name, int] = {}
        self._flushed: dict[Name, int] = {}
        self._due_us = 0

    def let_in(self, snap: Snapshot, call: Call) -> None:
        """Counts the request. Raises ApiRetired where this API version answers no more."""
        version = 0 if snap.version is None else snap.version.number
        self.count(call.caller, snap.integration.api, call.door, version)
        if snap.integration.retired is not None:
            still_open(snap.integration, self._clock.now_us())

    def count(self, caller: str, api: int, door: str, model_version: int) -> None:
        """A request."""
        name = (caller, api, door, model_version)
        self._counts[name] = self._counts.get(name, 0) + 1

    def look(self, state: State) -> None:
        """Flushes where it is time to. A state that does not take it now is given it with the next."""
        if self._clock.monotonic_us() >= self._due_us:
            with suppress(StoreError):
                self.flush(state)

    def flush(self, state: State) -> None:
        """Adds what is new to state, which other workers add to as well. Raises StoreError; nothing is lost then."""
        self._due_us, now_us = self._clock.monotonic_us() + FLUSH_US, self._clock.now_us()
        counts = dict(self._counts)
        new = {name: count - self._flushed.get(name, 0) for name, count in counts.items()}
        new = {name: count for name, count in new.items() if count}
        for left in reversed(range(_TRIES)) if new else ():
            try:
                state.commit([_added(state, name, count, now_us) for name, count in new.items()])
            except Conflict:
                if not left:
                    raise
                continue
            self._flushed = counts
            return


def _added(state: State, name: Name, count: int, now_us: int) -> Write:
    caller, api, door, model_version = name
    made = Calls(
        caller=caller, api=api, door=door, model_version=model_version, requests=count, first_us=now_us, last_us=now_us
    )
    found = state.get(SPACE, made.name)
    if found is None:
        return Write(space=SPACE, name=made.name, body=encode(made), expect=0)
    there = msgspec.json.decode(found.body, type=Calls)
    more = msgspec.structs.replace(there, requests=there.requests + count, last_us=max(now_us, there.last_us))
    return Write(space=SPACE, name=made.name, body=encode(more, found.body), expect=found.version)
