"""Online on one machine: a SQLite file of the newest feature row per key, read in process.

A row is stored whole, as the MessagePack array of its OnlineRow: binding thirteen columns costs 3.5 of the 6
microseconds that a row takes, packing them 0.3. A table with rowids and an index beside it, because rows of several
hundred bytes make the interior pages of a WITHOUT ROWID table so wide that its tree is twice as deep. Pages of 8 KiB:
a quarter faster in bulk than 4 KiB, and no slower for a thousand rows here and there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import Corrupt
from mainstay.core.ports import OnlineRow, PackedRow
from mainstay.store.sqlite_file import FENCE, SqliteFile, Watch, fence

SCHEMA = 1

AIM_US = 20_000
"""How long a transaction should take: well under the 50 ms that it must never exceed."""
FIRST_ROWS, LEAST_ROWS, MOST_ROWS = 500, 16, 16_384
"""Rows of the first transaction, and the bounds of all later ones."""
READ_KIB = 32_000
"""Of the file, what a reader keeps in memory: most of 100,000 rows of 30 numbers. A row here and there takes 2 of 4.5
microseconds less."""

_TABLES = f"""
CREATE TABLE feature_set (id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE online (
    feature_set INTEGER NOT NULL,
    key TEXT NOT NULL,
    plan INTEGER NOT NULL,
    row BLOB NOT NULL,
    PRIMARY KEY (feature_set, key)
) STRICT;
{FENCE}
"""

_SET = "(SELECT id FROM feature_set WHERE digest = ?)"
_GET = f"SELECT row FROM online WHERE feature_set = {_SET} AND key = ?"
_COUNT = f"SELECT count(*) FROM online WHERE feature_set = {_SET}"
_KEYS = f"SELECT key FROM online WHERE feature_set = {_SET} AND key > ? ORDER BY key LIMIT 10000"
_FIRST_KEYS = f"SELECT key FROM online WHERE feature_set = {_SET} ORDER BY key LIMIT 10000"
_PLANS = f"SELECT key, plan FROM online WHERE feature_set = {_SET} AND key > ? ORDER BY key LIMIT 10000"
_FIRST_PLANS = f"SELECT key, plan FROM online WHERE feature_set = {_SET} ORDER BY key LIMIT 10000"
# An equal plan is a redo after a crash and writes again.
_PUT = (
    "INSERT INTO online VALUES {} ON CONFLICT (feature_set, key)"
    " DO UPDATE SET plan = excluded.plan, row = excluded.row WHERE excluded.plan >= plan"
)
_ABREAST = 100
"""Rows of one statement: each statement costs as much as two rows, and lets another thread in."""
_REMOVE = "DELETE FROM online WHERE feature_set = {} AND key = ? AND plan <= ?"
_ORPHANS = (
    "DELETE FROM online WHERE rowid IN"
    " (SELECT rowid FROM online WHERE feature_set NOT IN (SELECT id FROM feature_set) LIMIT ?)"
)

_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.Decoder(OnlineRow).decode


class SqliteOnline:
    """The `Online` of `core.ports` in one SQLite file. Thread-safe; readers are never blocked by the writer.

    Args:
        path: The file; made when it is not there and `writable`.
        writable: False for the API's workers.
        clock: Measures how long a transaction takes, so that the next one is neither too long nor too short.
    """

    def __init__(self, path: Path, *, writable: bool = True, clock: Clock | None = None) -> None:
        self._path = path
        self._file = SqliteFile(
            path,
            store="online",
            schema=SCHEMA,
            tables=_TABLES,
            writable=writable,
            page_size=8192,
            log_pages=2000,
            read_kib=READ_KIB,
        )
        self._watch = Watch(self._file)
        self._clock = clock or SystemClock()
        self._chunk = FIRST_ROWS

    def get(self, feature_set: str, key: str) -> OnlineRow | None:
        row = self._file.row(_GET, (feature_set, key))
        return None if row is None else self._row(row[0])

    def get_many(self, feature_set: str, keys: Sequence[str]) -> dict[str, OnlineRow]:
        found: dict[str, OnlineRow] = {}
        for first in range(0, len(keys), 500):
            part = keys[first : first + 500]
            for key, row in self._file.rows(_get_many(len(part)), (feature_set, *part)):
                found[key] = self._row(row)
        return found

    def changed(self) -> int:
        return self._watch.changed()

    def count(self, feature_set: str) -> int:
        number: int = self._file.row(_COUNT, (feature_set,))[0]
        return number

    def keys(self, feature_set: str) -> Iterator[str]:
        """Keys in order, read in pages: no page sees half a write, the whole may see some of a later one."""
        page = self._file.rows(_FIRST_KEYS, (feature_set,))
        while page:
            for (key,) in page:
                yield key
            page = self._file.rows(_KEYS, (feature_set, page[-1][0]))

    def put(self, feature_set: str, rows: Iterable[OnlineRow], *, token: int) -> int:
        return self.put_packed(feature_set, ((row.key, row.plan, _pack(row)) for row in rows), token=token)

    def put_packed(self, feature_set: str, rows: Iterable[PackedRow], *, token: int) -> int:
        def write(connection: sqlite3.Connection, chunk: list[PackedRow]) -> int:
            one = f"({_set_id(connection, feature_set)}, ?, ?, ?)"
            many = _PUT.format(", ".join([one] * _ABREAST))
            whole = len(chunk) - len(chunk) % _ABREAST
            written = sum(
                connection.execute(many, tuple(chain.from_iterable(chunk[first : first + _ABREAST]))).rowcount
                for first in range(0, whole, _ABREAST)
            )
            return written + max(0, connection.executemany(_PUT.format(one), chunk[whole:]).rowcount)

        return self._in_chunks(rows, write, token)

    def remove(self, feature_set: str, keys: Iterable[str], *, plan: int, token: int) -> int:
        def write(connection: sqlite3.Connection, chunk: list[str]) -> int:
            number = _set_id(connection, feature_set)
            return connection.executemany(_REMOVE.format(number), [(key, plan) for key in chunk]).rowcount

        return self._in_chunks(keys, write, token)

    def prune(self, feature_set: str, *, below: int, token: int) -> int:
        going = (key for key, plan in self._plans(feature_set) if plan < below)
        return self.remove(feature_set, going, plan=below - 1, token=token)

    def drop(self, feature_set: str, *, token: int) -> None:
        """Forgets the set at once, then removes its rows bit by bit, and those that an earlier, killed drop left."""
        with self._file.writing() as connection:
            fence(connection, token, self._path)
            connection.execute("DELETE FROM feature_set WHERE digest = ?", (feature_set,))
        removed = -1
        while removed != 0:
            began = self._clock.monotonic_us()
            with self._file.writing() as connection:
                fence(connection, token, self._path)
                removed = connection.execute(_ORPHANS, (self._chunk,)).rowcount
            self._chunk = next_size(self._chunk, removed, self._clock.monotonic_us() - began)
        self._file.checkpoint()

    def scrub(self) -> None:
        """Leaves no byte of what was removed or replaced, in the file or its log (erasure). Raises StoreBusy."""
        self._file.scrub()

    def close(self) -> None:
        self._file.close()

    def _plans(self, feature_set: str) -> Iterator[tuple[str, int]]:
        """(key, plan) of every row, in pages, so that rows may go while we look."""
        page = self._file.rows(_FIRST_PLANS, (feature_set,))
        while page:
            yield from page
            page = self._file.rows(_PLANS, (feature_set, page[-1][0]))

    def _row(self, data: bytes) -> OnlineRow:
        try:
            return _unpack(data)
        except msgspec.DecodeError as error:
            sentence = f"a row cannot be read: {error}"
            raise Corrupt(sentence, mend="restore it from a backup", where=str(self._path)) from error

    def _in_chunks(
        self, things: Iterable[Any], write: Callable[[sqlite3.Connection, list[Any]], int], token: int
    ) -> int:
        """Writes in transactions that stay under 50 ms. Whatever feeds us runs between them, never inside one."""
        written = transactions = 0
        waiting = iter(things)
        size, chunk = 0, [None]
        while len(chunk) >= size:
            size = self._chunk
            chunk = list(islice(waiting, size))
            began = self._clock.monotonic_us()
            with self._file.writing() as connection:
                fence(connection, token, self._path)  # Also when there are no rows: a caller learns that it is fenced.
                if chunk:
                    written += write(connection, chunk)
            self._chunk = next_size(size, len(chunk), self._clock.monotonic_us() - began)
            transactions += 1
        if transactions > 2:
            self._file.checkpoint()  # After much: what waits in the log is read more slowly than what is in the file.
        return written


@cache
def _get_many(count: int) -> str:
    if count == 1:
        return f"SELECT key, row FROM online WHERE feature_set = {_SET} AND key = ?"
    return f"SELECT key, row FROM online WHERE feature_set = {_SET} AND key IN ({','.join('?' * count)})"


def next_size(size: int, rows: int, took_us: int) -> int:
    """Rows of the next transaction, by how long the last one took.

    Args:
        size: Rows that the last one was allowed.
        rows: Rows that it had.
        took_us: From BEGIN to after COMMIT, fsync included.

    At most twice the last, so that a slow disk is met gently; the same again when it had too few rows to learn from.
    """
    if rows * 2 < size and took_us < AIM_US:
        return size
    fitting = rows * AIM_US // max(took_us, 1)
    return max(LEAST_ROWS, min(fitting, size * 2, MOST_ROWS))


def _set_id(connection: sqlite3.Connection, digest: str) -> int:
    """The number of a feature set, given out once: a dropped set that comes back gets another."""
    row = connection.execute("SELECT id FROM feature_set WHERE digest = ?", (digest,)).fetchone()
    if row is None:
        row = connection.execute("INSERT INTO feature_set (digest) VALUES (?) RETURNING id", (digest,)).fetchone()
    number: int = row[0]
    return number
