"""SQLite files, opened read-only, read in one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import SourceAway, SourceError, SourceRefused
from mainstay.core.keys import key_names
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import Capabilities, ReadRequest, SourceColumn, SourceHealth, SourceRead, TableInfo
from mainstay.core.ranges import Measure, Range
from mainstay.sources import sqlite_range
from mainstay.sources.csv_rows import arrow_schema
from mainstay.sources.guard import ConnectionCap, admit
from mainstay.sources.missing import missing_column, missing_table
from mainstay.sources.references import joined_references
from mainstay.sources.sqlite_sql import Statement, greatest, identifier, statements, wanted
from mainstay.sources.sqlite_types import Declared, array, source_column, text_of

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 65_536
MOST_BYTES = 16 * 1024 * 1024
_FIRST_ROWS = 256
_STEPS = 10_000
"""Virtual machine steps between two looks at the clock: well under a millisecond."""


class SqliteOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of `kind: sqlite`."""

    path: str
    """The database file, absolute or relative to the working directory."""


class SqliteSource:
    """A SQLite file. Thread-safe; each read has a connection of its own."""

    Options: ClassVar[type[msgspec.Struct]] = SqliteOptions
    capabilities = Capabilities(incremental=True, ranges=True)

    def __init__(self, config: SourceConfig, options: SqliteOptions, clock: Clock) -> None:
        self._guard = config.guard
        self._path = Path(options.path)
        self._clock = clock
        self._where = f"source {config.name}"
        self._cap = ConnectionCap(
            config.guard.connections,
            wait_us=config.guard.statement_timeout_us,
            where=self._where,
            places=config.places,
        )

    def health(self) -> SourceHealth:
        with self._open() as session:
            began = self._clock.monotonic_us()
            read_only = session.rows(Statement("PRAGMA query_only"))[0][0] == 1
            session.rows(Statement("SELECT count(*) FROM sqlite_schema"))
            latency_us = self._clock.monotonic_us() - began
        version = f"SQLite {sqlite3.sqlite_version}"
        return SourceHealth(version=version, read_only=read_only, latency_us=latency_us, clock_us=None)

    def tables(self) -> tuple[str, ...]:
        with self._open() as session:
            return _tables(session)

    def describe(self, table: str) -> TableInfo:
        with self._open() as session:
            declared, columns = self._columns(session, table)
            indexed = _leading(session, table)
            references = _references(session, table)
        keys = sorted((column.key_place, column.name) for column in declared if column.key_place)
        rowid = [column.name for column in columns.values() if column.kind == "integer" and len(keys) == 1]
        leading = [name for name in rowid if name == keys[0][1]] + indexed
        return TableInfo(
            name=table,
            columns=tuple(columns.values()),
            primary_key=tuple(name for _, name in keys),
            indexed=tuple(dict.fromkeys(leading)),
            references=references,
            rows=None,
        )

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[SourceRead]:
        now_us = self._clock.now_us()
        admit(self._guard, request, now_us, where=self._where)
        with self._open() as session:
            _, columns = self._columns(session, request.table)
            cursor = columns.get(request.cursor or "")
            self._need(request, columns)
            table = identifier(request.table)
            top: str | None = None
            if cursor is not None and request.mode in {"snapshot", "increment"}:
                found = session.rows(greatest(table, request, cursor, where=self._where))
                top = text_of(found[0][0]) if found else None
            if request.mode == "range" and request.part is not None:
                select, top = self._chunk(session, request, columns[request.part.by], request.part)
                selects = [select]
            else:
                selects = statements(table, request, cursor, where=self._where)
            yield _Read(
                session, selects, [columns[name] for name in wanted(request)], request.table, top=top, began_us=now_us
            )

    def measure(self, request: ReadRequest) -> Measure:
        """See `core.ranges.RangeSource`."""
        admit(self._guard, request, self._clock.now_us(), where=self._where)
        part = request.part or Range(by=key_names(request.key)[0])
        with self._open() as session:
            _, columns = self._columns(session, request.table)
            self._need(request, columns)
            table = identifier(request.table)
            return sqlite_range.measured(session.rows, table, columns[part.by], part, where=self._where)

    def _need(self, request: ReadRequest, columns: dict[str, SourceColumn]) -> None:
        """Raises SourceRefused for a column that the request names and the table has not."""
        for name in (
            *wanted(request),
            *key_names(request.key),
            request.cursor,
            request.part.by if request.part else None,
        ):
            if name is not None and name not in columns:
                raise missing_column(name, request.table, list(columns), where=self._where)

    def _chunk(
        self, session: _Session, request: ReadRequest, column: SourceColumn, part: Range
    ) -> tuple[Statement, str | None]:
        """The SELECT of one chunk, and where the next one begins: looked up in the same snapshot."""
        table, where = identifier(request.table), self._where
        following = sqlite_range.following(session.rows, table, column, part, where=where)
        chunk = msgspec.structs.replace(part, high=part.high if following is None else following)
        rows, params = sqlite_range.condition(column, chunk, where=where)
        names = ", ".join(identifier(name) for name in wanted(request))
        return Statement(f"SELECT {names} FROM {table} WHERE {rows}", params), following

    def close(self) -> None:
        """Nothing is kept open between reads."""

    @contextmanager
    def _open(self) -> Iterator[_Session]:
        with self._cap.one():
            session = _Session(
                self._path, self._guard.connect_timeout_us, self._guard.statement_timeout_us, self._where
            )
            with closing(session):
                yield session

    def _columns(self, session: _Session, table: str) -> tuple[list[Declared], dict[str, SourceColumn]]:
        tables = _tables(session)
        if table not in tables:
            raise missing_table(table, tables, where=self._where)
        declared = [
            Declared(name=name, type=native or "", not_null=bool(not_null), key_place=place)
            for name, native, not_null, place in session.rows(
                # Generated columns are read, the hidden ones of virtual tables are not.
                Statement('SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden <> 1', (table,))
            )
        ]
        strict, without_rowid = session.rows(
            Statement("SELECT strict, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?", (table,))
        )[0]
        alone = sum(1 for column in declared if column.key_place) == 1
        columns = {
            column.name: source_column(
                column,
                strict=bool(strict),
                rowid=alone and column.key_place == 1 and column.type.upper() == "INTEGER" and not without_rowid,
            )
            for column in declared
        }
        return declared, columns


class _Session:
    """One read-only connection in one transaction, its statements watched."""

    def __init__(self, path: Path, busy_us: int, statement_us: int, where: str) -> None:
        self.where = where
        self._statement_s = statement_us / 1e6
        self._deadline = 0.0
        if not path.is_file():
            raise SourceAway(f"there is no file {path}", mend="check `path`, or bring the file back", where=where)
        with self._told():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=busy_us / 1e6,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            self._connection.set_progress_handler(self._late, _STEPS)
            self.rows(Statement("PRAGMA query_only = ON"))
            self.rows(Statement("BEGIN"))
            self.rows(Statement("SELECT count(*) FROM sqlite_schema"))  # takes the snapshot
        except SourceError:
            self.close()
            raise

    def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        with self._told():
            self._touch()
            return self._connection.execute(statement.sql, statement.params).fetchall()

    def chunks(self, statement: Statement, size: _Size) -> Iterator[list[tuple[Any, ...]]]:
        """The rows in chunks of `size.rows`, which the caller may change between two. Each has its own deadline."""
        with self._told():
            self._touch()
            cursor = self._connection.execute(statement.sql, statement.params)
        with closing(cursor):
            while True:
                with self._told():
                    self._touch()
                    rows = cursor.fetchmany(size.rows)
                if not rows:
                    return
                yield rows

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def _touch(self) -> None:
        self._deadline = time.monotonic() + self._statement_s

    def _late(self) -> int:
        return time.monotonic() > self._deadline

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translated(error, self._statement_s, self.where) from None


class _Size:
    """How many rows to fetch so that a batch stays within MOST_BYTES, learnt from the batch before."""

    def __init__(self) -> None:
        self.rows = _FIRST_ROWS

    def learn(self, rows: int, nbytes: int) -> None:
        self.rows = max(16, min(MOST_ROWS, rows * MOST_BYTES // max(nbytes, 1)))


class _Read:
    """One read: the SELECTs of one transaction."""

    complete = True

    def __init__(
        self,
        session: _Session,
        selects: list[Statement],
        columns: list[SourceColumn],
        table: str,
        *,
        top: str | None,
        began_us: int,
    ) -> None:
        self.began_source_us = began_us
        self.schema: pa.Schema = arrow_schema([(column.name, column.kind) for column in columns])
        self._session = session
        self._selects = selects
        self._columns = columns
        self._table = table
        self._top = top

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        size = _Size()
        while self._selects:
            for rows in self._session.chunks(self._selects.pop(0), size):
                values = zip(*rows, strict=True)
                arrays = [
                    array(each, column, self._table, where=self._session.where)
                    for each, column in zip(values, self._columns, strict=True)
                ]
                batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
                size.learn(batch.num_rows, batch.nbytes)
                yield batch
        self._session.close()

    def cursor(self) -> str | None:
        return self._top


def _tables(session: _Session) -> tuple[str, ...]:
    sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    return tuple(name for (name,) in session.rows(Statement(sql + " ORDER BY name")))


def _leading(session: _Session, table: str) -> list[str]:
    sql = """
    SELECT i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i
     WHERE i.seqno = 0 AND l.partial = 0 AND i.name IS NOT NULL ORDER BY l.seq
    """
    return [name for (name,) in session.rows(Statement(sql, (table,)))]


def _references(session: _Session, table: str) -> tuple[tuple[str, str, str], ...]:
    """A reference that names no column means the primary key there."""
    sql = """
    SELECT id, "from", "table", coalesce("to", (SELECT name FROM pragma_table_info(l."table") WHERE pk = l.seq + 1))
      FROM pragma_foreign_key_list(?) AS l ORDER BY id DESC, seq
    """
    return joined_references(session.rows(Statement(sql, (table,))))


def _translated(error: sqlite3.Error, statement_s: float, where: str) -> SourceError:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary == sqlite3.SQLITE_INTERRUPT:
        return SourceAway(
            f"it gave nothing for {statement_s:g} s, so the statement was cancelled",
            mend="index what the read filters by, or raise `guard.statement_timeout`",
            where=where,
        )
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}:
        return SourceAway(str(error), mend="it is tried again", where=where)
    if "UTF-8" in str(error):
        # SQLite's message quotes the value.
        return SourceRefused("it holds text that is not valid UTF-8", mend="leave that column out", where=where)
    return SourceRefused(str(error), where=where)
