"""State on one machine: a SQLite file of small records with compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mainstay.core.errors import Conflict
from mainstay.core.ports import Versioned, Write
from mainstay.store.sqlite_file import FENCE, SqliteFile, Watch, fence

SCHEMA = 1

_TABLES = f"""
CREATE TABLE record (
    space TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (space, name)
) STRICT, WITHOUT ROWID;
{FENCE}
"""  # fmt: skip

_GET = "SELECT version, body FROM record WHERE space = ? AND name = ?"
# Names are compared as UTF-8 bytes; those that begin with the prefix are one run of the index, cut off in Python.
_SCAN = "SELECT name, version, body FROM record WHERE space = ? AND name >= ? ORDER BY name LIMIT ?"
_PAGE = 500


class SqliteState:
    """The `State` of `core.ports` in one SQLite file. Thread-safe; any number of processes.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = SqliteFile(path, store="state", schema=SCHEMA, tables=_TABLES, writable=True)
        self._watch = Watch(self._file)

    def get(self, space: str, name: str) -> Versioned | None:
        row = self._file.row(_GET, (space, name))
        return None if row is None else Versioned(space=space, name=name, version=row[0], body=row[1])

    def scan(self, space: str, prefix: str = "") -> tuple[Versioned, ...]:
        found: list[Versioned] = []
        # One query sees one state of the file; a longer run of names is read again, whole, with a higher limit.
        limit = _PAGE
        while True:
            rows = self._file.rows(_SCAN, (space, prefix, limit))
            if len(rows) < limit or not rows[-1][0].startswith(prefix):
                break
            limit *= 8
        for name, version, body in rows:
            if not name.startswith(prefix):
                break
            found.append(Versioned(space=space, name=name, version=version, body=body))
        return tuple(found)

    def changed(self) -> int:
        return self._watch.changed()

    def commit(self, writes: Sequence[Write], *, token: int | None = None) -> None:
        with self._file.writing() as connection:
            if token is not None:
                fence(connection, token, self._path)
            for write in writes:
                row = connection.execute(
                    "SELECT version FROM record WHERE space = ? AND name = ?", (write.space, write.name)
                ).fetchone()
                version: int = 0 if row is None else row[0]
                if write.expect is not None and write.expect != version:
                    raise conflict(write, version)
                if write.body is None:
                    connection.execute("DELETE FROM record WHERE space = ? AND name = ?", (write.space, write.name))
                else:
                    connection.execute(
                        "INSERT INTO record VALUES (?1, ?2, ?3, ?4)"
                        " ON CONFLICT (space, name) DO UPDATE SET version = ?3, body = ?4",
                        (write.space, write.name, version + 1, write.body),
                    )

    def scrub(self) -> None:
        """Leaves no byte of what was removed or replaced, in the file or its log (erasure). Raises StoreBusy."""
        self._file.scrub()

    def close(self) -> None:
        self._file.close()


def conflict(write: Write, version: int) -> Conflict:
    """The error for a compare-and-set that lost. Names the record, never what is in it."""
    return Conflict(
        f"state {write.space}/{write.name} stands at version {version}, not {write.expect}: somebody wrote first",
        mend="read it again and decide anew",
        where=f"{write.space}/{write.name}",
    )
