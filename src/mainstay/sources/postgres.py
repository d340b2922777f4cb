"""PostgreSQL 12 and later: bulk reads by COPY in one snapshot, under the guard."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import SourceRefused
from mainstay.core.keys import key_names
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import Capabilities, ReadRequest, SourceHealth, SourceRead, TableInfo
from mainstay.core.ranges import Measure, Range
from mainstay.sources import postgres_range
from mainstay.sources.csv_rows import CsvRows, arrow_schema
from mainstay.sources.guard import admit
from mainstay.sources.missing import missing_column, missing_table, refused_column
from mainstay.sources.postgres_sql import (
    cursor_rule,
    greatest_statement,
    identifier,
    select_statements,
    wanted,
)
from mainstay.sources.postgres_types import COLUMNS_SQL, NativeColumn, native_column
from mainstay.sources.references import joined_references

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstay.sources.postgres_wire import Pool, Wire

MOST_ROWS = 65_536
MOST_BYTES = 16 * 1024 * 1024
"""A batch ends at either; one row alone may be larger."""

_NOW_US = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint::text"
_READABLE = "c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_temp\\_%'"
_TABLE_SQL = f"""
SELECT c.oid::text, n.nspname, c.relname, CASE WHEN c.relkind = 'v' THEN NULL ELSE c.reltuples::bigint::text END,
       {_NOW_US}
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {_READABLE} AND ((n.nspname = $1 AND c.relname = $2) OR n.nspname || '.' || c.relname = $2)
 ORDER BY n.nspname = $1 AND c.relname = $2 DESC LIMIT 1
"""
_TABLES_SQL = f"""
SELECT CASE WHEN n.nspname = $1 THEN c.relname ELSE n.nspname || '.' || c.relname END
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE {_READABLE} AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
   AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
 ORDER BY n.nspname <> $1, 1
"""
_INDEXES_SQL = """
SELECT a.attname, i.indisprimary::int::text, k.place::text
  FROM pg_catalog.pg_index i
 CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL
 ORDER BY i.indexrelid, k.place
"""
_REFERENCES_SQL = """
SELECT c.oid::text, here.attname,
       CASE WHEN n.nspname = $2 THEN there.relname ELSE n.nspname || '.' || there.relname END, other.attname
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class there ON there.oid = c.confrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = there.relnamespace
 CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (mine, theirs, place)
  JOIN pg_catalog.pg_attribute here ON here.attrelid = c.conrelid AND here.attnum = k.mine
  JOIN pg_catalog.pg_attribute other ON other.attrelid = c.confrelid AND other.attnum = k.theirs
 WHERE c.conrelid = $1::oid AND c.contype = 'f'
 ORDER BY c.conkey[1], 3, c.oid, k.place
"""
# Others' transactions are shown only to members of pg_read_all_stats; without it we must not claim that none is open.
_HEALTH_SQL = """
SELECT current_setting('server_version'), current_setting('transaction_read_only'),
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text,
       CASE WHEN pg_is_in_recovery() OR NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN NULL ELSE (
         SELECT coalesce(max(extract(epoch FROM clock_timestamp() - began)) * 1000000, 0)::bigint::text FROM (
           SELECT xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database()
           UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()
         ) AS writing (began)
       ) END,
       current_setting('TimeZone')
"""


class PostgresOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options of `kind: postgres`."""

    url: str
    """`postgresql://user:password@host:5432/database?sslmode=require`; anything that libpq takes."""
    schema: str = "public"
    """Where tables named without a schema are."""
    application_name: str = "mainstay"
    """How we appear in pg_stat_activity."""

    def __repr__(self) -> str:
        return f"PostgresOptions(url=..., schema={self.schema!r})"  # the url holds the password


class PostgresSource:
    """A PostgreSQL database. Thread-safe; each read in progress takes one connection of the guard's few."""

    Options: ClassVar[type[msgspec.Struct]] = PostgresOptions
    capabilities = Capabilities(incremental=True, ranges=True)

    def __init__(self, config: SourceConfig, options: PostgresOptions, clock: Clock) -> None:
        self._config = config
        self._options = options
        self._clock = clock
        self._where = f"source {config.name}"
        self._pool_now: Pool | None = None
        self._opening = threading.Lock()

    def health(self) -> SourceHealth:
        with self._pool().wire() as wire:
            began = self._clock.monotonic_us()
            wire.query("SELECT 1")
            latency_us = self._clock.monotonic_us() - began
            wire.begin()
            version, read_only, clock_us, oldest_us, timezone = wire.query(_HEALTH_SQL)[0]
            wire.commit()
        return SourceHealth(
            version=f"PostgreSQL {version}",
            read_only=read_only == "on",
            latency_us=latency_us,
            clock_us=int(clock_us or 0),
            oldest_transaction_us=None if oldest_us is None else max(0, int(oldest_us)),
            timezone=str(timezone or ""),
        )

    def tables(self) -> tuple[str, ...]:
        with self._pool().wire() as wire:
            return self._tables(wire)

    def describe(self, table: str) -> TableInfo:
        with self._pool().wire() as wire:
            wire.begin()
            found = self._find(wire, table)
            indexes = wire.query(_INDEXES_SQL, [found.oid])
            references = wire.query(_REFERENCES_SQL, [found.oid, self._options.schema])
            wire.commit()
        return TableInfo(
            name=table,
            columns=tuple(native.column for native in found.columns.values()),
            primary_key=tuple(str(name) for name, primary, _ in indexes if primary == "1"),
            indexed=tuple(dict.fromkeys(str(name) for name, _, place in indexes if place == "1")),
            references=joined_references(references),
            rows=found.rows,
        )

    @contextmanager
    def read(self, request: ReadRequest) -> Iterator[SourceRead]:
        admit(self._config.guard, request, self._clock.now_us(), where=self._where)
        with self._pool().wire() as wire:
            wire.begin()
            found = self._find(wire, request.table)
            columns = self._asked(found, request)
            rule = None
            greatest = None
            if request.cursor is not None and request.mode in {"snapshot", "increment"}:
                native = columns[request.cursor]
                rule = cursor_rule(native, request, version=wire.version, where=self._where)
                top = wire.query(greatest_statement(found.quoted, native, rule))
                greatest = top[0][0] if top else None
            within = None
            if request.mode == "range" and request.part is not None:
                within, greatest = self._chunk(wire, found, columns[request.part.by], request.part)
            selects = select_statements(found.quoted, columns, request, rule, within)
            schema = arrow_schema([(name, columns[name].column.kind) for name in wanted(request)])
            yield _CopyRead(wire, selects, schema, greatest, found.began_us, where=f"{self._where}, {request.table}")

    def measure(self, request: ReadRequest) -> Measure:
        """See `core.ranges.RangeSource`."""
        admit(self._config.guard, request, self._clock.now_us(), where=self._where)
        part = request.part or Range(by=key_names(request.key)[0])
        with self._pool().wire() as wire:
            wire.begin()
            found = self._find(wire, request.table)
            native = self._asked(found, request)[part.by]
            measure = postgres_range.measured(wire.query, found.quoted, native, part, where=self._where)
            wire.commit()
        return measure

    def _chunk(self, wire: Wire, found: _Table, native: NativeColumn, part: Range) -> tuple[str, str | None]:
        """The condition of one chunk, and where the next one begins: looked up in the same snapshot."""
        following = postgres_range.following(wire.query, found.quoted, native, part, where=self._where)
        chunk = msgspec.structs.replace(part, high=part.high if following is None else following)
        return postgres_range.condition(native, chunk, where=self._where), following

    def close(self) -> None:
        with self._opening:
            pool, self._pool_now = self._pool_now, None
        if pool is not None:
            pool.close()

    def _pool(self) -> Pool:
        with self._opening:  # two threads must not make two pools, or the cap would be twice as high
            if self._pool_now is None:
                self._pool_now = self._new_pool()
            return self._pool_now

    def _new_pool(self) -> Pool:
        try:
            from mainstay.sources.postgres_wire import Pool, parse_url

            target = parse_url(
                self._options.url,
                application_name=self._options.application_name,
                guard=self._config.guard,
                where=self._where,
                places=self._config.places,
            )
        except ImportError as error:
            raise SourceRefused(
                f"the PostgreSQL driver cannot be loaded: {error}",
                mend="pip install 'mainstay[postgres]'",
                where=self._where,
            ) from error
        return Pool(target)

    def _tables(self, wire: Wire) -> tuple[str, ...]:
        return tuple(str(name) for (name,) in wire.query(_TABLES_SQL, [self._options.schema]))

    def _find(self, wire: Wire, table: str) -> _Table:
        rows = wire.query(_TABLE_SQL, [self._options.schema, table])
        if not rows:
            raise missing_table(table, self._tables(wire), where=self._where)
        oid, schema, name, estimate, began_us = rows[0]
        columns = [native_column(row) for row in wire.query(COLUMNS_SQL, [oid])]
        return _Table(
            oid=str(oid),
            quoted=identifier(str(schema), str(name)),
            columns={native.column.name: native for native in columns},
            rows=int(estimate) if estimate is not None and int(estimate) >= 0 else None,
            began_us=int(began_us or 0),
        )

    def _asked(self, found: _Table, request: ReadRequest) -> dict[str, NativeColumn]:
        """The columns that the request needs. Raises SourceRefused for one that is missing or has no exact form."""
        needed = (
            *wanted(request),
            *key_names(request.key),
            *([request.cursor] if request.cursor else []),
            *([request.part.by] if request.part else []),
        )
        for name in needed:
            native = found.columns.get(name)
            if native is None:
                raise missing_column(name, request.table, list(found.columns), where=self._where)
            if native.column.refused:
                raise refused_column(native.column, request.table, where=self._where)
        return {name: found.columns[name] for name in needed}


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    oid: str
    quoted: str
    columns: dict[str, NativeColumn]
    rows: int | None
    began_us: int
    """The server's clock when the query that took the snapshot began."""


class _CopyRead:
    """One read: the COPYs of one transaction, one after the other."""

    complete = True

    def __init__(
        self,
        wire: Wire,
        selects: list[str],
        schema: pa.Schema,
        greatest: str | None,
        began_us: int,
        *,
        where: str,
    ) -> None:
        self.began_source_us = began_us
        self.schema = schema
        self._wire = wire
        self._selects = selects
        self._greatest = greatest
        self._where = where

    def batches(self) -> Iterator[pa.RecordBatch]:
        rows = CsvRows(self.schema, where=self._where)
        # Arrow parses one chunk on a thread of its own while the next one is being received.
        with ThreadPoolExecutor(1, thread_name_prefix="mainstay-csv") as parser:
            parsing: Future[pa.RecordBatch] | None = None
            for count, data in self._chunks():
                before, parsing = parsing, parser.submit(rows.batch, data, count)
                if before is not None:
                    yield before.result()
            if parsing is not None:
                yield parsing.result()

    def _chunks(self) -> Iterator[tuple[int, bytearray]]:
        while self._selects:
            copy = f"COPY ({self._selects.pop(0)}) TO STDOUT (FORMAT csv)"
            yield from self._wire.copy(copy, most_rows=MOST_ROWS, most_bytes=MOST_BYTES)
        # The snapshot is let go at once, whatever the reader still does with the last batch.
        self._wire.commit()

    def cursor(self) -> str | None:
        return self._greatest
