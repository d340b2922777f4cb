"""Where an installation keeps its state: one folder of its own, and in it one folder per integration."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from mainstay.core.errors import Corrupt, Refused
from mainstay.core.ids import Random, system_random
from mainstay.store.durable import contained, sync_folder, translated, write_whole
from mainstay.store.schema_number import SchemaNumber, compare

SCHEMA = 1
"""Of the layout below."""

SECRET_BYTES = 32

STORES = "stores.json"
"""Within an integration's folder: where its stores are, for processes that do not read its file."""


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """Stores of an integration that several machines serve, as its file says: placeholders are not replaced."""

    v: int = 1
    state: str
    """URL of the PostgreSQL that keeps state."""
    online: str
    """URL of the Redis that keeps online."""
    folder: str
    """On a disk that all machines see: landing, history, journal, artifacts, plans and the secret."""
    journal: str = ""
    """URL of the PostgreSQL that keeps the journal, which then lies in `folder` no more; empty: in `folder`."""
    base: str = ""
    """Where relative `${file:path}` start."""


class Home:
    """The paths of one integration. Making one touches no disk.

    Args:
        root: The installation's state folder (`--home`, else `.mainstay/`).
        integration: The integration's name; Refused when it could lead out of `root`.
        stores: Where state and online are when they are not in files here, and the folder that machines share.
        random: Where the secret comes from.

    ```
    root/installation.json   the schema number of this layout
    root/secret              32 random bytes, 0600: signs receipts' ids, names erased people
    root/.guards/SOURCE/     a file for each connection that all integrations together may hold of a shared source
    root/INTEGRATION/        0700
        state.sqlite  online.sqlite  repeats.sqlite  current.duckdb  lease  up
        landing/  history/  journal/  artifacts/  sockets/  plans/  logs/
    ```

    With `stores`, the secret and the folders landing, history, journal, artifacts and plans lie in the shared folder,
    laid out the same; here are stores.json and what concerns this machine alone.
    """

    def __init__(
        self, root: Path, integration: str, *, stores: Stores | None = None, random: Random = system_random
    ) -> None:
        self.root = root
        self.stores = stores
        self.integration = contained(integration, what="integration")
        self.folder = root / integration
        self.state = self.folder / "state.sqlite"
        self.online = self.folder / "online.sqlite"
        self.repeats = self.folder / "repeats.sqlite"
        self.current = self.folder / "current.duckdb"
        self.lease = self.folder / "lease"
        self.up = self.folder / "up"
        self.kept = root if stores is None else Path(stores.folder)
        kept = self.kept / integration
        self.landing = kept / "landing"
        self.history = kept / "history"
        # Where PostgreSQL keeps it, what lies here is this machine's, until it is there.
        self.journal = (self.folder if stores is not None and stores.journal else kept) / "journal"
        self.artifacts = kept / "artifacts"
        self.sockets = self.folder / "sockets"
        self.plans = kept / "plans"
        self.logs = self.folder / "logs"
        self.meters = self.folder / "meters"
        self.guards = root / ".guards"
        self._installation = self.kept / "installation.json"
        self._secret = self.kept / "secret"
        self._random = random

    def create(self) -> None:
        """Makes what is not there yet; calling it again changes nothing.

        Raises StoreTooNew or StoreOld for another version's layout, StoreFull when nothing can be written.
        """
        with translated(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        need_same_stores(self)
        self._compare()
        self.secret()
        with translated(self.folder):
            if not self._installation.exists():
                write_whole(self._installation, msgspec.json.encode(SchemaNumber(schema=SCHEMA)))
            self.folder.mkdir(mode=0o700, exist_ok=True)
            # The folder may stand from elsewhere (a restore, a mount) with wider permissions.
            self.folder.chmod(0o700)
            if self.stores is not None:
                (self.kept / self.integration).mkdir(mode=0o700, exist_ok=True)
                if not (self.folder / STORES).exists():
                    write_whole(self.folder / STORES, msgspec.json.encode(self.stores))
            for folder in (
                *(self.landing, self.history, self.journal, self.artifacts),
                *(self.sockets, self.plans, self.logs),
            ):
                folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.folder)
            sync_folder(self.root)

    def secret(self) -> bytes:
        """The installation's 32 secret bytes, made at the first asking and never again.

        Raises Corrupt when it is damaged, or gone from an installation that had one: with a new one in its place no
        receipt's id would be known and no erased person would stay erased.
        """
        with translated(self._secret):
            try:
                found = self._secret.read_bytes()
            except FileNotFoundError:
                if self._installation.exists():
                    raise Corrupt(
                        "the installation's secret is gone", mend="restore it from a backup", where=str(self._secret)
                    ) from None
                found = self._make_secret()
        if len(found) != SECRET_BYTES:
            raise Corrupt(
                f"the installation's secret has {len(found)} bytes, not {SECRET_BYTES}",
                mend="restore it from a backup",
                where=str(self._secret),
            )
        return found

    def _make_secret(self) -> bytes:
        self.kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # Another process made it in the same moment: that one counts.
            write_whole(self._secret, self._random(SECRET_BYTES), replace=False)
        return self._secret.read_bytes()

    def _compare(self) -> None:
        with translated(self._installation):
            if not self._installation.exists():
                return
            data = self._installation.read_bytes()
        try:
            found = msgspec.json.decode(data, type=SchemaNumber).schema
        except msgspec.DecodeError as error:
            sentence = f"the installation's schema number cannot be read: {error}"
            raise Corrupt(sentence, mend="restore it from a backup", where=str(self._installation)) from error
        compare(found, SCHEMA, store="the installation", where=str(self.root))


def read_stores(root: Path, integration: str) -> Stores | None:
    """Where the integration's stores are, as an earlier process has noted here; None: in files of this home.

    Raises Corrupt when the note cannot be read.
    """
    path = root / contained(integration, what="integration") / STORES
    with translated(path):
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        return msgspec.json.decode(data, type=Stores)
    except msgspec.DecodeError as error:
        sentence = f"where the stores are cannot be read: {error}"
        mend = "remove the file; the next command that reads mainstay.yaml writes it anew"
        raise Corrupt(sentence, mend=mend, where=str(path)) from error


def need_same_stores(home: Home) -> None:
    """Raises Refused where the integration has begun with other stores: it would begin anew in them, in silence."""
    noted, said = read_stores(home.root, home.integration), home.stores
    begun = home.state.exists() if said is not None else noted is not None
    same = noted is None or said is None or _places(noted) == _places(said)
    if begun or not same:
        there = "in files of this home" if noted is None else "where `stores:` said until now"
        raise Refused(
            f"{home.integration} keeps its state {there}, and the file now says otherwise",
            mend="put `stores:` back as it was; stores are chosen before the first `mainstay apply`",
            where=str(home.folder),
        )


def _places(stores: Stores) -> tuple[str, ...]:
    return stores.state, stores.online, stores.folder, stores.journal
