"""What an API worker stands on: stores opened, view and desk built. The door is `mainstay.http.serve`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec

from mainstay.app import issuers
from mainstay.app.model_secrets import secrets_of
from mainstay.app.place import read_applied
from mainstay.app.stores import home_at, open_journal, open_online, open_repeats, open_state, ships_journal
from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import MainstayError, StoreError
from mainstay.core.ids import keyed_hash
from mainstay.core.ports import Journal, Online, State
from mainstay.core.records import DiskSample, Seal
from mainstay.models.registry import load
from mainstay.serving.card_tokens import CardTokens
from mainstay.serving.desk import Archive, Desk
from mainstay.serving.key_ring import KeyRing
from mainstay.serving.meter import Meter
from mainstay.serving.tally import Tally
from mainstay.serving.tokens import Tokens
from mainstay.serving.view import BLIND_US, WorkerView
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.home import Home
from mainstay.store.shelf import ShelfReader

DISK_US = 5 * SECOND
"""How often a worker looks for what the loop counted of the disk."""


class Worker:
    """A desk and the stores behind it.

    Args:
        desk: What answers.
        close: Closes the stores.
        durability: What the journal was opened with.
        look: What else is looked for in state now and then: whether an erasure waits for our segment of the journal.
    """

    def __init__(
        self, desk: Desk, close: Callable[[], None], durability: str, look: Callable[[], None] = lambda: None
    ) -> None:
        self.desk = desk
        self._look = look
        self.durability = durability
        """What the journal was opened with; when the file says otherwise, the process must be started anew."""
        self._close = close

    def refresh(self) -> None:
        """Looks at what changed in state: what answers, and what else is to be known of it."""
        self.desk.view.refresh()
        self._look()

    def outdated(self) -> bool:
        """Whether the applied file now asks for another durability than this process writes with."""
        snap = self.desk.view.now
        return snap is not None and snap.integration.settings.durability != self.durability

    def close(self) -> None:
        """Closes models, journal and stores."""
        with suppress(OSError):  # the last counts are lost where they cannot be written
            self.desk.save()
        self.desk.close()
        self._close()


def open_worker(
    root: Path,
    integration: str,
    *,
    slot: str,
    clock: Clock,
    env: Mapping[str, str],
    archive: Archive | None = None,
) -> Worker:
    """Opens everything a worker needs. Raises MainstayError when a store cannot be opened.

    A file that is not applied yet, or a model that does not load, is no error: the worker is not ready, and says why.

    Args:
        root: The installation's home.
        integration: Its name.
        slot: The worker's name among its siblings, kept across restarts so that counters never go back.
        clock: Handed on to all parts.
        env: Where `${VAR}` of the applied file is looked for.
        archive: Where receipts are found that have left the journal; None: in this home's history.
    """
    home = home_at(root, integration)
    home.create()
    state, key_state = open_state(home, quick=True), open_state(home, quick=True)
    online = _online(home)
    view = _view(home, state, KeyRing(key_state), clock, env)
    durability = view.now.integration.settings.durability if view.now else "process"
    journal = open_journal(home, clock, durability=durability, quick=True)
    disk, sealer = _Disk(home, state, clock), _Sealer(state, journal)
    desk = Desk(
        view,
        online,
        journal,
        clock,
        Meter(home.meters / f"{slot}.json"),
        meters=home.meters,
        archive=archive or _history_of(home, journal),
        cards=CardTokens(home.secret()),
        disk=disk.now,
        waits=ships_journal(home),
        repeats=lambda: open_repeats(home),
        tokens=Tokens(clock, issuers.ask, issuers.Teller(state, clock), partial(keyed_hash, home.secret())),
    )
    tally = desk.tally
    looks = (sealer.look, disk.look, lambda: tally.look(state))
    closes = (lambda: _left(tally, state), online.close, state.close, key_state.close)
    return Worker(desk, lambda: _close(journal, *closes), durability, lambda: _each(looks))


def _online(home: Home) -> Online:
    """The rows, to be read; their store is made where there is none."""
    if home.stores is not None or not home.online.exists():
        open_online(home).close()
    return open_online(home, writable=False)


def _view(home: Home, state: State, ring: KeyRing, clock: Clock, env: Mapping[str, str]) -> WorkerView:
    artifacts = LocalArtifacts(home.artifacts)
    view = WorkerView(
        state,
        lambda version: load(version, artifacts, home.sockets, clock=clock, secrets=secrets_of(state, env)),
        lambda applied: read_applied(applied, env),
        clock,
        name_of=partial(keyed_hash, home.secret()),
        blind_us=None if home.stores is None else BLIND_US,
        keys=ring,
    )
    ring.refresh()
    view.refresh()
    return view


class _Sealer:
    """Closes this worker's open segment when an erasure asks for it: once for each asking."""

    def __init__(self, state: State, journal: Journal) -> None:
        self._seals = ShelfReader(state, "seal", Seal)
        self._journal = journal
        self._sealed_us = 0

    def look(self) -> None:
        wanted = self._seals.get("wanted")
        if wanted is not None and wanted.at_us != self._sealed_us:
            self._journal.seal()
            self._sealed_us = wanted.at_us


class _Disk:
    """What is free is looked at when asked; what each role takes is what the loop counted last, a few minutes ago.

    A state that does not answer must not keep whoever asks: it is read beside.
    """

    def __init__(self, home: Home, state: State, clock: Clock) -> None:
        self._samples = ShelfReader(state, "disk", DiskSample)
        self._folder = home.folder
        self._clock = clock
        self._due_us = clock.monotonic_us()
        self._found: DiskSample | None = None
        self.look()

    def look(self) -> None:
        now_us = self._clock.monotonic_us()
        if now_us >= self._due_us:
            self._due_us = now_us + DISK_US
            found = self._samples.all()
            self._found = found[max(found)] if found else None

    def now(self) -> DiskSample | None:
        if self._found is None:
            return None
        usage = shutil.disk_usage(self._folder)
        return msgspec.structs.replace(self._found, free=usage.free, total=usage.total)


def _history_of(home: Home, journal: Journal) -> Archive:
    from mainstay.pipelines.archive import read_receipt
    from mainstay.store.history_delta import DeltaHistory

    history = DeltaHistory(home.history)
    return lambda name: read_receipt(name, journal, history)


def _left(tally: Tally, state: State) -> None:
    with suppress(StoreError):  # whoever called in the last seconds is not counted
        tally.flush(state)


def _each(acts: Iterable[Callable[[], None]]) -> None:
    """Does each, also after one that fails. Raises what the first of these raised."""
    failed: list[MainstayError | OSError] = []
    for act in acts:
        try:
            act()
        except (MainstayError, OSError) as error:
            failed.append(error)
    if failed:
        raise failed[0]


def _close(journal: Journal, *others: Callable[[], None]) -> None:
    try:
        journal.close()
    finally:
        for other in others:
            other()
