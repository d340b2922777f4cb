"""Where an installation keeps its state: one folder of its own, and in it one folder per integration."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from mainstay.core.errors import Corrupt
from mainstay.core.ids import Random, system_random
from mainstay.store.durable import contained, sync_folder, translated, write_whole
from mainstay.store.schema_number import SchemaNumber, compare

SCHEMA = 1
"""Of the layout below."""

SECRET_BYTES = 32


class Home:
    """The paths of one integration. Making one touches no disk.

    Args:
        root: The installation's state folder (`--home`, else `.mainstay/`).
        integration: The integration's name; Refused when it could lead out of `root`.
        random: Where the secret comes from.

    ```
    root/installation.json   the schema number of this layout
    root/secret              32 random bytes, 0600: signs receipts' ids, names erased people
    root/.guards/SOURCE/     a file for each connection that all integrations together may hold of a shared source
    root/INTEGRATION/        0700
        state.sqlite  online.sqlite  current.duckdb  lease  up
        landing/  history/  journal/  artifacts/  sockets/  plans/  logs/
    ```
    """

    def __init__(self, root: Path, integration: str, *, random: Random = system_random) -> None:
        self.root = root
        self.integration = contained(integration, what="integration")
        self.folder = root / integration
        self.state = self.folder / "state.sqlite"
        self.online = self.folder / "online.sqlite"
        self.current = self.folder / "current.duckdb"
        self.lease = self.folder / "lease"
        self.up = self.folder / "up"
        self.landing = self.folder / "landing"
        self.history = self.folder / "history"
        self.journal = self.folder / "journal"
        self.artifacts = self.folder / "artifacts"
        self.sockets = self.folder / "sockets"
        self.plans = self.folder / "plans"
        self.logs = self.folder / "logs"
        self.guards = root / ".guards"
        self._installation = root / "installation.json"
        self._secret = root / "secret"
        self._random = random

    def create(self) -> None:
        """Makes what is not there yet; calling it again changes nothing.

        Raises StoreTooNew or StoreOld for another version's layout, StoreFull when nothing can be written.
        """
        with translated(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._compare()
        self.secret()
        with translated(self.folder):
            if not self._installation.exists():
                write_whole(self._installation, msgspec.json.encode(SchemaNumber(schema=SCHEMA)))
            self.folder.mkdir(mode=0o700, exist_ok=True)
            # The folder may stand from elsewhere (a restore, a mount) with wider permissions.
            self.folder.chmod(0o700)
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
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
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
