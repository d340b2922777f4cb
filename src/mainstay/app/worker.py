"""What an API worker stands on: stores opened, view and desk built. The door is `mainstay.http.serve`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec

from mainstay.app.place import read_applied
from mainstay.app.stores import home_at, open_journal, open_online, open_state
from mainstay.core.clock import Clock
from mainstay.core.ids import keyed_hash
from mainstay.core.ports import Journal, State
from mainstay.core.records import DiskSample, Seal
from mainstay.models.registry import load
from mainstay.serving.card_tokens import CardTokens
from mainstay.serving.desk import Archive, Desk
from mainstay.serving.meter import Meter
from mainstay.serving.view import WorkerView
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.home import Home
from mainstay.store.shelf import ShelfReader


class Worker:
    """A desk and the stores behind it.

    Args:
        desk: What answers.
        close: Closes the stores.
        durability: What the journal was opened with.
        seal: Closes the journal's open segment, where somebody has asked since the last call.
    """

    def __init__(
        self, desk: Desk, close: Callable[[], None], durability: str, seal: Callable[[], None] = lambda: None
    ) -> None:
        self.desk = desk
        self._seal = seal
        self.durability = durability
        """What the journal was opened with; when the file says otherwise, the process must be started anew."""
        self._close = close

    def refresh(self) -> None:
        """Looks at what changed in state: what answers, and whether an erasure waits for our segment of the journal."""
        self.desk.view.refresh()
        self._seal()

    def outdated(self) -> bool:
        """Whether the applied file now asks for another durability than this process writes with."""
        snap = self.desk.view.now
        return snap is not None and snap.integration.settings.durability != self.durability

    def close(self) -> None:
        """Closes models, journal and stores."""
        self.desk.save()
        self.desk.close()
        self._close()


def meters_folder(home: Home) -> Path:
    """Where workers leave their counters: `read_counts` and `merged` read them."""
    return home.folder / "meters"


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
    state = open_state(home)
    if home.stores is not None or not home.online.exists():
        open_online(home).close()
    online = open_online(home, writable=False)
    artifacts = LocalArtifacts(home.artifacts)

    view = WorkerView(
        state,
        lambda version: load(version, artifacts, home.sockets, clock=clock),
        lambda applied: read_applied(applied, env),
        clock,
        name_of=partial(keyed_hash, home.secret()),
    )
    view.refresh()
    durability = view.now.integration.settings.durability if view.now else "process"
    journal = open_journal(home, clock, durability=durability)
    if archive is None:
        archive = _history_of(home, journal)
    folder = meters_folder(home)
    meter, cards = Meter(folder / f"{slot}.json"), CardTokens(home.secret())
    looked = _disk_of(home, state)
    desk = Desk(view, online, journal, clock, meter, meters=folder, archive=archive, cards=cards, disk=looked)

    def close() -> None:
        _close(journal, online.close, state.close)

    return Worker(desk, close, durability, _Sealer(state, journal).look)


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


def _disk_of(home: Home, state: State) -> Callable[[], DiskSample | None]:
    """What is free is looked at now; what each role takes is what the loop counted last, a few minutes ago."""
    samples = ShelfReader(state, "disk", DiskSample)

    def look() -> DiskSample | None:
        found = samples.all()
        if not found:
            return None
        usage = shutil.disk_usage(home.folder)
        return msgspec.structs.replace(found[max(found)], free=usage.free, total=usage.total)

    return look


def _history_of(home: Home, journal: Journal) -> Archive:
    from mainstay.pipelines.archive import read_receipt
    from mainstay.store.history_delta import DeltaHistory

    history = DeltaHistory(home.history)
    return lambda name: read_receipt(name, journal, history)


def _close(journal: Journal, *others: Callable[[], None]) -> None:
    try:
        journal.close()
    finally:
        for other in others:
            other()
