"""Who meets whom: the only module that opens every store and hands them to those who work with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mainstay.app.place import Place, need_applied
from mainstay.app.stores import open_journal, open_online, open_state, take
from mainstay.app.tracing import open_trace
from mainstay.core.audit import Change, Detail, event_of
from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import StoreError
from mainstay.core.nouns import Integration, SourceConfig
from mainstay.core.ports import Journal, Lease, Online, Source, State, Write
from mainstay.core.records import Event
from mainstay.core.trace import NoTrace, Trace
from mainstay.models.registry import Registry
from mainstay.pipelines.desk import Desk
from mainstay.sources import open_source
from mainstay.store import audit
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.current import Current
from mainstay.store.history_delta import DeltaHistory
from mainstay.store.landing_local import LocalLanding


@dataclass
class Works:
    """An integration in the hands of the process that owns its lease."""

    place: Place
    clock: Clock
    state: State
    lease: Lease
    journal: Journal
    history: DeltaHistory
    artifacts: LocalArtifacts
    registry: Registry
    by: str
    at: Callable[[str], None] = lambda _point: None
    trace: Trace = field(default_factory=NoTrace)
    _desk: Desk | None = field(default=None, init=False)
    _online: Online | None = field(default=None, init=False)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, init=False)

    @property
    def desk(self) -> Desk:
        """The desk of the applied integration."""
        if self._desk is None:
            self._desk = self.open_desk(need_applied(self.state))
        return self._desk

    @property
    def online(self) -> Online:
        """The online store of the desk."""
        if self._online is None:
            raise StoreError("no desk is open yet")
        return self._online

    def open_desk(self, integration: Integration) -> Desk:
        """A desk for `integration` over this owner's stores; it takes the place of the one before."""
        home = self.place.home
        if self._desk is None:
            current = Current(home.current)
            self._closing.callback(current.close)
            online = open_online(home)
            if home.stores is not None:
                # Whoever had the lease before is fenced here from now on, not only from our first row on.
                online.put("", [], token=self.lease.token)
            self._online = online
            self._closing.callback(online.close)
        else:
            current = self._desk.current
            online = self.online
            for source in self._desk.sources.values():
                source.close()
        sources = open_sources(integration.sources, self.place, self.clock)
        self._desk = Desk(
            integration=integration,
            state=self.state,
            online=online,
            landing=LocalLanding(home.landing),
            current=current,
            history=self.history,
            sources=sources,
            plans=home.plans,
            clock=self.clock,
            token=self.lease.token,
            secret=home.secret(),
            tell=self.tell,
            at=self.at,
            trace=self.trace,
            who=lambda: self.by,
        )
        return self._desk

    def tell(self, kind: str, body: Mapping[str, Any]) -> None:
        """Writes an event into the journal."""
        event = Event(kind=kind, at_us=self.clock.now_us(), by=self.by, body=dict(body))
        self.journal.append("event", msgspec.msgpack.encode(event))

    def audit(self, what: str, object: str, details: Mapping[str, Detail], writes: Sequence[Write] = ()) -> None:
        """Records who changed what, in one commit with `writes`, and tells it as an event."""
        change = Change(what=what, object=object, details=details, by=self.by, at_us=self.clock.now_us())
        self.tell(*event_of(audit.commit(self.state, writes, change, token=self.lease.token)))

    def close(self) -> None:
        """Closes every store and lets the lease go."""
        if self._desk is not None:
            for source in self._desk.sources.values():
                source.close()
        self._closing.close()
        self.journal.close()
        self.lease.release()  # before state, where it may stand
        self.state.close()
        self.trace.close()


def open_sources(configs: Mapping[str, SourceConfig], place: Place, clock: Clock) -> dict[str, Source]:
    """Every source of the file, not yet connected. A relative `path` option starts at the folder of its file.

    What integrations share is counted together, in whichever process it is read.
    """
    return {name: open_source(_shared(_rooted(config, place.folder), place), clock) for name, config in configs.items()}


def _shared(config: SourceConfig, place: Place) -> SourceConfig:
    if not config.installation:
        return config
    return msgspec.structs.replace(config, places=str(place.home.guards / config.name))


def _rooted(config: SourceConfig, folder: Path) -> SourceConfig:
    path = config.options.get("path")
    if not isinstance(path, str) or Path(path).is_absolute():
        return config
    start = Path(config.installation) if config.installation else folder
    return msgspec.structs.replace(config, options={**config.options, "path": str(start / path)})


def _checked(check: Callable[[], None], at: Callable[[str], None]) -> Callable[[str], None]:
    """At each commit point the lease is asked first: files are written that no token fences."""

    def asked(point: str) -> None:
        check()
        at(point)

    return asked


@contextlib.contextmanager
def own(
    place: Place, by: str, *, clock: Clock | None = None, at: Callable[[str], None] = lambda _point: None
) -> Iterator[Works]:
    """Takes the lease and opens the stores. Raises LeaseOwned when another process has it."""
    clock = clock or SystemClock()
    home = place.home
    home.create()
    with contextlib.ExitStack() as opened:
        state = open_state(home)
        opened.callback(state.close)
        lease, check = take(home, owner=by, state=state)
        opened.callback(lease.release)
        journal = open_journal(home, clock)
        opened.callback(journal.close)
        trace = open_trace(os.environ, integration=home.integration, process=by)
        works = Works(
            place=place,
            clock=clock,
            state=state,
            lease=lease,
            journal=journal,
            history=DeltaHistory(home.history),
            artifacts=LocalArtifacts(home.artifacts),
            registry=Registry(state, token=lease.token, tell=lambda made: works.tell(*event_of(made))),
            by=by,
            at=at if home.stores is None else _checked(check, at),
            trace=trace,
        )
        opened.pop_all()  # from here on they are the works' to close
    try:
        yield works
    finally:
        works.close()
