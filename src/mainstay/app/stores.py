"""Which stores an integration has: files of its home, or what `stores:` of its file names. Chosen here alone."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from mainstay import spec
from mainstay.app import log_lines
from mainstay.core.clock import Clock
from mainstay.core.errors import StoreError
from mainstay.core.ports import Journal, Lease, Online, Repeats, State
from mainstay.store.home import Home, Stores, read_stores
from mainstay.store.installation import INSTALLATION, installation_of
from mainstay.store.journal import SegmentJournal
from mainstay.store.lease import FileLease, take_lease
from mainstay.store.state_sqlite import SqliteState

if TYPE_CHECKING:
    from mainstay.store.journal_postgres import PostgresJournal

EXIT_LEASE_LOST = 75
_CURRENT_OF = "current.token"
"""Within a home whose lease may move: the token under which `current` was last written here."""


def home_at(root: Path, integration: str) -> Home:
    """The home of an integration whose file is not at hand: with the stores that an earlier process has noted."""
    return Home(root, integration, stores=read_stores(root, integration))


def home_of(file: Path, root: Path, integration: str) -> Home:
    """The home of the integration that `file` is about, with the stores that it names, or its installation does."""
    files = [file.absolute()]
    installation = installation_of(file)
    if installation is not None:
        files.append(installation / INSTALLATION)
    for one in files:
        text = one.read_text(encoding="utf-8", errors="replace")
        # Most files name none: those are not read twice.
        said = spec.stores(text, one.name) if any(line.startswith("stores:") for line in text.splitlines()) else {}
        if said:
            return Home(root, integration, stores=msgspec.convert({**said, "base": str(one.parent)}, Stores))
    return Home(root, integration)


def has_state(home: Home) -> bool:
    """Whether there is state to look into. Where machines share it, another one may have made it."""
    return home.stores is not None or home.state.exists()


def open_state(home: Home, *, quick: bool = False) -> State:
    """State, made when it is not there. `quick`: a database that hangs is given up early, somebody waits."""
    if home.stores is None:
        return SqliteState(home.state)
    from mainstay.store.postgres import ANSWER_S, QUICK_S
    from mainstay.store.state_postgres import PostgresState

    url = _resolved(home.stores, home.stores.state)
    return PostgresState(url, home.integration, answer_s=QUICK_S if quick else ANSWER_S)


def open_online(home: Home, *, writable: bool = True) -> Online:
    """Online; a writer makes what is not there."""
    if home.stores is None:
        from mainstay.store.online_sqlite import SqliteOnline

        return SqliteOnline(home.online, writable=writable)
    from mainstay.store.online_redis import RedisOnline

    return RedisOnline(_resolved(home.stores, home.stores.online), home.integration, writable=writable)


def open_repeats(home: Home) -> Repeats:
    """Answers that may be asked for again, with where state is."""
    if home.stores is None:
        from mainstay.store.repeats_sqlite import SqliteRepeats

        return SqliteRepeats(home.repeats)
    from mainstay.store.repeats_postgres import PostgresRepeats

    return PostgresRepeats(_resolved(home.stores, home.stores.state), home.integration)


def open_journal(
    home: Home,
    clock: Clock,
    *,
    durability: Literal["process", "power"] = "process",
    writable: bool = True,
    ships: bool = True,
    quick: bool = False,
) -> Journal:
    """The journal. Where PostgreSQL keeps it, `ships` says whether closing brings there what is left here."""
    if home.stores is None or not home.stores.journal:
        return SegmentJournal(home.journal, secret=home.secret(), clock=clock, durability=durability, writable=writable)
    return open_shipped(home, clock, durability=durability, writable=writable, ships=ships, quick=quick)


def ships_journal(home: Home) -> bool:
    """Whether segments of the journal are brought from this machine to a database."""
    return home.stores is not None and bool(home.stores.journal)


def open_shipped(
    home: Home,
    clock: Clock,
    *,
    durability: Literal["process", "power"] = "process",
    writable: bool = False,
    ships: bool = False,
    quick: bool = False,
) -> PostgresJournal:
    """The journal of a home that ships it."""
    from mainstay.store.journal_postgres import PostgresJournal
    from mainstay.store.postgres import ANSWER_S, QUICK_S

    if home.stores is None:
        raise AssertionError("only where machines share stores")
    return PostgresJournal(
        _resolved(home.stores, home.stores.journal),
        home.integration,
        folder=home.journal,
        host=socket.gethostname(),
        secret=home.secret(),
        clock=clock,
        durability=durability,
        writable=writable,
        ships=ships,
        answer_s=QUICK_S if quick else ANSWER_S,
    )


def take(home: Home, *, owner: str, state: State) -> tuple[Lease, Callable[[], None]]:
    """The integration's lease, and what raises Fenced once it is lost.

    A lease that may move ends this process when it is lost, as kill -9 would; the next owner does again what it had
    begun. Raises LeaseOwned when another process has it, on whichever machine.
    """
    if home.stores is None:
        lease: FileLease = take_lease(home, owner=owner, state=state)
        return lease, lambda: None
    from mainstay.store.lease_postgres import take_postgres_lease
    from mainstay.store.state_postgres import PostgresState

    shared = take_postgres_lease(
        home,
        owner=owner,
        state=cast("PostgresState", state),
        on_lost=_end,
        elsewhere=lambda: _forget_current(home),
    )
    _keep_current(home, shared.token)
    return shared, shared.check


def is_leased(state: State) -> bool:
    """Whether somebody owns the lease of stores that machines share."""
    from mainstay.store.lease_postgres import leased
    from mainstay.store.state_postgres import PostgresState

    return leased(cast("PostgresState", state))


def _keep_current(home: Home, token: int) -> None:
    """Current is this machine's cache: where another had the lease in between, it is not behind but wrong, and goes."""
    note = home.folder / _CURRENT_OF
    if not note.exists() or note.read_text() != str(token - 1):
        _forget_current(home)
    note.write_text(str(token))


def _forget_current(home: Home) -> None:
    for name in (_CURRENT_OF, home.current.name, home.current.name + ".wal"):
        (home.folder / name).unlink(missing_ok=True)


def _end(why: str) -> None:
    sys.stderr.write(f"the lease is lost, this process ends: {why}\n")
    log_lines.last()
    os._exit(EXIT_LEASE_LOST)


def _resolved(stores: Stores, url: str) -> str:
    try:
        return spec.plainly(url, Path(stores.base), os.environ)
    except LookupError as error:
        sentence = f"where the stores are cannot be told: {error}"
        raise StoreError(sentence, mend="give this process what `stores:` of the file names") from None
