"""One SQLite file as a store: one writer behind a lock, as many readers as threads ask for, our errors.

WAL, so that readers and the writer never wait for each other. `synchronous=FULL` for every fact: a commit that returned
survives a power loss. NORMAL would save the fsync of each commit and lose the last commits with the power; that is
safe only for a store that is redone afterwards, and nothing redoes `online` once `state` says that a plan is
published. Measured, the difference is below the noise, because a commit here carries thousands of rows.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from mainstay.core.errors import Corrupt, Fenced, NotFound, StoreBusy, StoreError, StoreFull
from mainstay.store.durable import beside, sync_file, sync_folder, translated
from mainstay.store.schema_number import compare

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for another; a hundred times the longest transaction that we allow ourselves."""

FENCE = "CREATE TABLE fence (id INTEGER PRIMARY KEY CHECK (id = 1), token INTEGER NOT NULL) STRICT;"

_UNWRITTEN = {
    sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_TRUNCATE,
}  # fmt: skip
"""The system took no bytes; SQLite does not say why, so the disk is asked."""
_NO_ROOM = 1 << 20
"""With less left than this the disk is full for SQLite, which writes pages."""
_REFUSED = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def told(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error as ours: full, failing or not writable, busy, corrupt, or something else."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    where = str(path)
    if code & 0xFF == sqlite3.SQLITE_FULL or (code in _UNWRITTEN and _is_full(path)):
        return StoreFull(f"no space to write: {error}", mend="free space on this disk", where=where)
    if code in _UNWRITTEN:
        mend = "there is space: look at the disk's quota and errors, and how large a file may be (ulimit -f)"
        return StoreFull(f"could not be written: {error}", mend=mend, where=where)
    if code & 0xFF in _REFUSED:
        mend = "make this file and its folder writable for the user that runs Mainstay"
        return StoreFull(f"not allowed to write: {error}", mend=mend, where=where)
    if code & 0xFF in _BUSY:
        sentence = f"another process held the file for more than {BUSY_TIMEOUT_S:.0f} s: {error}"
        return StoreBusy(sentence, mend="mainstay status names it; try again when it has let go", where=where)
    if code & 0xFF in _CORRUPT:
        return Corrupt(f"the file is damaged: {error}", mend="restore it from a backup", where=where)
    return StoreError(f"SQLite refused: {error}", where=where)


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NO_ROOM
    except OSError:
        return False


class _Telling:
    """Turns SQLite's errors into ours. A class, because a generator would cost a microsecond on the hot path."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise told(error, self._path) from error


class SqliteFile:
    """A store's file.

    Args:
        path: The file; made whole, in one step, when it is not there and `writable`.
        store: What a message calls it, e.g. `state`.
        schema: The schema number that this version writes and reads.
        tables: The statements that make an empty store.
        writable: Whether `writing` may be called. A reader raises NotFound when the file is not there.
        page_size: Bytes, of a file that is made.
        log_pages: How long the write-ahead log may grow before a commit moves it into the file.
        power: Whether a commit survives a power loss, at the price of an fsync; without, it survives kill -9.
        read_kib: Pages that a reading connection keeps in memory.
    """

    def __init__(
        self,
        path: Path,
        *,
        store: str,
        schema: int,
        tables: str,
        writable: bool,
        page_size: int = 4096,
        log_pages: int = 1000,
        power: bool = True,
        read_kib: int = 2000,
    ) -> None:
        self.path = path
        self.writable = writable
        self.telling = _Telling(path)
        self._page_size = page_size
        self._log_pages = log_pages
        self._power = power
        self._read_kib = read_kib
        self._lock = threading.Lock()
        self._free: deque[sqlite3.Connection] = deque()
        self._all: list[sqlite3.Connection] = []
        if not path.exists():
            if not writable:
                raise NotFound(f"there is no {store} store here yet", mend="run `mainstay up`", where=str(path))
            with translated(path):
                self._make(schema, tables)
        with self.telling:
            self._writer = self._connect(reader=not writable)
            found: int = self._writer.execute("PRAGMA user_version").fetchone()[0]
        try:
            compare(found, schema, store=f"the {store} store", where=str(path))
        except StoreError:
            self.close()
            raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, BEGIN IMMEDIATE to COMMIT; rolled back when anything is raised inside."""
        with self._lock, self.telling:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                # SQLite has already rolled back after some errors, a full disk among them.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def row(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """The first row of a query, or None. Never waits for the writer."""
        with self.telling:
            connection = self._reader()
            try:
                return connection.execute(sql, parameters).fetchone()
            finally:
                self._free.append(connection)

    def rows(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query."""
        with self.telling:
            connection = self._reader()
            try:
                return connection.execute(sql, parameters).fetchall()
            finally:
                self._free.append(connection)

    def own_connection(self) -> sqlite3.Connection:
        """A reading connection that nobody else uses, closed with the store."""
        with self.telling:
            return self._connect(reader=True)

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file as far as readers allow, without waiting: so it stays short."""
        with self._lock, self.telling:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def scrub(self) -> None:
        """Empties the write-ahead log, so that nothing removed is left in its old frames either (erasure).

        Raises StoreBusy when a reader or writer would not let go of it.
        """
        with self._lock, self.telling:
            if self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] != 0:
                raise StoreBusy("the log could not be emptied: somebody is reading it", where=str(self.path))

    def close(self) -> None:
        with self._lock:
            for connection in self._all:
                connection.close()
            self._all.clear()
            self._free.clear()

    def _reader(self) -> sqlite3.Connection:
        # A pool instead of one connection per thread: threads of an event loop come and go, and nobody closes for them.
        try:
            return self._free.pop()
        except IndexError:
            return self._connect(reader=True)

    def _connect(self, *, reader: bool) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path.absolute()))}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_S,
        )
        self._all.append(connection)
        if reader:
            # Not mode=ro: a reader of a write-ahead log must be able to make its shared index after a crash.
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{self._read_kib}")
        else:
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._power else 'NORMAL'}")
            # What was removed or replaced is overwritten in the file: an erased person must not lie in free pages.
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA cache_size = -16000")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self._log_pages}")
            # A log that a long reader let grow is cut when it starts anew.
            connection.execute(f"PRAGMA journal_size_limit = {4 * self._log_pages * self._page_size}")
        return connection

    def _make(self, schema: int, tables: str) -> None:
        """Makes the file elsewhere and links it into place, so that nobody ever opens half of one."""
        made = beside(self.path)
        try:
            with self.telling:
                connection = sqlite3.connect(made, isolation_level=None)
                try:
                    connection.execute(f"PRAGMA page_size = {self._page_size}")
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(f"BEGIN; {tables} PRAGMA user_version = {schema}; COMMIT;")
                finally:
                    connection.close()
            made.chmod(0o600)
            sync_file(made)
            with suppress(FileExistsError):  # Another process made it in the same moment: that one counts.
                self.path.hardlink_to(made)
            sync_folder(self.path.parent)
        finally:
            made.unlink(missing_ok=True)


class Watch:
    """Tells whether a file was written. Thread-safe.

    SQLite's data_version tells commits of *other* connections, and is comparable only with itself on one connection: so
    this one only asks.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._telling = file.telling
        self._connection = file.own_connection()
        self._lock = threading.Lock()

    def changed(self) -> int:
        """Another number after each commit."""
        with self._lock, self._telling:
            number: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
            return number


def fence(connection: sqlite3.Connection, token: int, path: Path) -> None:
    """Within a transaction: remembers the highest lease token seen, and raises Fenced for a lower one."""
    row = connection.execute("SELECT token FROM fence WHERE id = 1").fetchone()
    highest: int = 0 if row is None else row[0]
    if token < highest:
        raise fenced(token, highest, str(path))
    if token > highest:
        connection.execute(
            "INSERT INTO fence VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET token = excluded.token", (token,)
        )


def fenced(token: int, highest: int, where: str) -> Fenced:
    """The error for a writer whose lease was taken over."""
    return Fenced(
        f"lease token {token} writes where {highest} has written: another process owns the integration",
        mend="stop this process; the owner carries on",
        where=where,
    )
