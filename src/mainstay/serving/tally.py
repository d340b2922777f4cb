"""Counts who calls what: an integer on the hot path, added to what state has now and then, in the background."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from mainstay.core.calls import SPACE, Calls
from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import Conflict, StoreError
from mainstay.core.ports import State, Write
from mainstay.core.records import encode
from mainstay.serving.keys import known_by, token_id
from mainstay.serving.retirement import still_open
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

FLUSH_US = 10 * SECOND
"""How often a worker adds its counts to state. A worker killed with -9 loses those of so long; receipts lose none."""
NAMES_MOST = 10_000
"""Counts that a worker holds at once, where state takes none."""
SUBJECTS_MOST = 1_000
"""Callers by token that state names one by one, of each issuer; all others of it are counted together."""
OTHERS = "others"
WRITES_MOST = 200
"""Counts in one commit, which stays short so."""
_TRIES = 5

Name = tuple[str, int, str, int]
"""API key's id, API version, door, model version."""


class Tally:
    """One worker's counts since it began. `count` is for the event loop and threads of the model, `flush` for one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        """Between `count` and the thread that flushes: it forgets names, and none is to be counted meanwhile."""
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
        with self._lock:
            before = self._counts.get(name, 0)
            if not before and len(self._counts) >= NAMES_MOST:  # state has not taken any for long
                name = (_beside(caller), api, door, model_version)
                before = self._counts.get(name, 0)
            self._counts[name] = before + 1

    def look(self, state: State) -> None:
        """Flushes where it is time to. A state that does not take it now is given it with the next."""
        if self._clock.monotonic_us() >= self._due_us:
            with suppress(StoreError):
                self.flush(state)

    def flush(self, state: State) -> None:
        """Adds what is new to state, which other workers add to as well. Raises StoreError; nothing is lost then."""
        self._due_us, now_us = self._clock.monotonic_us() + FLUSH_US, self._clock.now_us()
        with self._lock:
            counts = dict(self._counts)
            new = {name: count - self._flushed.get(name, 0) for name, count in counts.items()}
            for name in [name for name, count in new.items() if not count]:
                del new[name], self._counts[name], self._flushed[name]  # nothing came since: whoever comes again is new
        known = _Subjects(state) if any(_issuer(name[0]) for name in new) else None
        names = list(new)
        for part in (names[first : first + WRITES_MOST] for first in range(0, len(names), WRITES_MOST)):
            told: dict[Name, int] = {}
            for name in part:
                told_as = name if known is None else (known.named(name[0]), *name[1:])
                told[told_as] = told.get(told_as, 0) + new[name]
            _add(state, told, now_us)
            self._flushed.update({name: counts[name] for name in part})


class _Subjects:
    """The callers by token that state names one by one, of each issuer."""

    def __init__(self, state: State) -> None:
        self._there: dict[str, set[str]] = {}
        for item in state.scan(SPACE):
            caller = item.name.partition("|")[0]
            if issuer := _issuer(caller):
                self._of(issuer).add(caller)

    def named(self, caller: str) -> str:
        """What the caller's requests are counted under."""
        issuer = _issuer(caller)
        if not issuer:
            return caller
        there = self._of(issuer)
        if caller not in there:
            if len(there) >= SUBJECTS_MOST:
                return _beside(caller)
            there.add(caller)
        return caller

    def _of(self, issuer: str) -> set[str]:
        return self._there.setdefault(issuer, set())


def _issuer(caller: str) -> str:
    """The issuer of a caller by token; empty for any other."""
    how, name = known_by(caller)
    return name if how == "token" else ""


def _beside(caller: str) -> str:
    """What a caller is counted under that is not named by itself: by its issuer, or by nothing."""
    issuer = _issuer(caller)
    return token_id(issuer, OTHERS) if issuer else ""


def _add(state: State, told: Mapping[Name, int], now_us: int) -> None:
    for left in reversed(range(_TRIES)):
        try:
            state.commit([_added(state, name, count, now_us) for name, count in told.items()])
        except Conflict:
            if not left:
                raise
            continue
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
