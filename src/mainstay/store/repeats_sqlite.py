"""Answers to requests with an Idempotency-Key on one machine: a SQLite file that its workers share.

A cache of a day. Commits survive kill -9 and are not fsynced: what a power loss takes is answered anew. Answers of all
callers lie in one table, and each caller has a share of its own, so that nobody pushes out another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mainstay.core.ports import Repeat
from mainstay.store.sqlite_file import SqliteFile

SCHEMA = 1
ANSWERS_MOST = 10_000
"""Answers kept for one caller; beyond them the oldest go."""
BYTES_MOST = 64 * 1024 * 1024
"""Bytes of answers kept for one caller."""
SWEPT_MOST = 500
"""Answers removed in one transaction, which stays short so."""

_TABLES = """
CREATE TABLE repeat (
    id INTEGER PRIMARY KEY,
    caller TEXT NOT NULL,
    name BLOB NOT NULL,
    payload BLOB NOT NULL,
    ticket TEXT NOT NULL UNIQUE,
    until_us INTEGER NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    kind TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL DEFAULT x'',
    UNIQUE (caller, name)
) STRICT;
CREATE INDEX repeat_until ON repeat (until_us);
CREATE INDEX repeat_share ON repeat (caller, status, until_us, size);
"""
# A row that has run out is taken over as if it were not there.
_BEGIN = """
INSERT INTO repeat (caller, name, payload, ticket, until_us) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (caller, name) DO UPDATE SET payload = excluded.payload, ticket = excluded.ticket,
    until_us = excluded.until_us, status = 0, kind = '', size = 0, body = x'' WHERE until_us <= ?
"""
_FIND = "SELECT payload, status, kind, body FROM repeat WHERE caller = ? AND name = ?"
_FINISH = "UPDATE repeat SET status = ?, kind = ?, body = ?, size = ?, until_us = ? WHERE ticket = ?"
_RAN_OUT = "DELETE FROM repeat WHERE id IN (SELECT id FROM repeat WHERE until_us <= ? LIMIT ?)"
_CALLERS = "SELECT caller FROM repeat GROUP BY caller"
_SHARE = "SELECT id, size FROM repeat WHERE caller = ? AND status > 0 ORDER BY until_us DESC, id DESC"
_REMOVE = "DELETE FROM repeat WHERE id = ?"


class SqliteRepeats:
    """The `Repeats` of `core.ports` in one SQLite file. Thread-safe; any number of processes.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, store="repeats", schema=SCHEMA, tables=_TABLES, writable=True, power=False)

    def begin(
        self, caller: str, name: bytes, payload: bytes, *, ticket: str, at_us: int, until_us: int
    ) -> Repeat | None:
        with self._file.writing() as connection:
            begun = connection.execute(_BEGIN, (caller, name, payload, ticket, until_us, at_us)).rowcount
            if begun:
                return None
            found = connection.execute(_FIND, (caller, name)).fetchone()
        return Repeat(payload=found[0], status=found[1], kind=found[2], body=found[3])

    def finish(self, ticket: str, answer: Repeat, *, until_us: int) -> bool:
        values = (answer.status, answer.kind, answer.body, len(answer.body), until_us, ticket)
        with self._file.writing() as connection:
            return connection.execute(_FINISH, values).rowcount > 0

    def release(self, ticket: str) -> None:
        with self._file.writing() as connection:
            connection.execute("DELETE FROM repeat WHERE ticket = ?", (ticket,))

    def sweep(self, now_us: int) -> None:
        removed = SWEPT_MOST
        while removed == SWEPT_MOST:
            with self._file.writing() as connection:
                removed = connection.execute(_RAN_OUT, (now_us, SWEPT_MOST)).rowcount
        for (caller,) in self._file.rows(_CALLERS):
            going = beyond(self._file.rows(_SHARE, (caller,)))
            for first in range(0, len(going), SWEPT_MOST):
                with self._file.writing() as connection:
                    connection.executemany(_REMOVE, [(number,) for number in going[first : first + SWEPT_MOST]])

    def bodies(self) -> Iterator[bytes]:
        last = 0
        while rows := self._file.rows("SELECT id, body FROM repeat WHERE id > ? ORDER BY id LIMIT 100", (last,)):
            yield from (body for _, body in rows)
            last = rows[-1][0]

    def clear(self) -> None:
        with self._file.writing() as connection:
            connection.execute("DELETE FROM repeat")
        self._file.scrub()

    def close(self) -> None:
        self._file.close()


def beyond(newest_first: Sequence[tuple[Any, ...]]) -> list[int]:
    """Of (id, size) of one caller's answers, the ids that are beyond its share."""
    total = 0
    for place, (_, size) in enumerate(newest_first):
        total += size
        if place >= ANSWERS_MOST or total > BYTES_MOST:
            return [number for number, _ in newest_first[place:]]
    return []
