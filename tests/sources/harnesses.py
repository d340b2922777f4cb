"""The legacy systems that the conformance suite of sources is run against."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from io import UnsupportedOperation
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from mainstay.core.clock import SystemClock
from mainstay.core.errors import SourceRefused
from mainstay.core.nouns import Guard, SourceConfig
from mainstay.core.ports import Source
from mainstay.sources import open_source
from mainstay.sources.files import FilesSource
from mainstay.sources.files_bytes import opened
from mainstay.sources.files_found import look
from mainstay.sources.postgres import PostgresSource
from mainstay.sources.sqlite import SqliteSource
from mainstay.sources.sqlite_sql import Statement
from mainstay.testing.postgres import Database
from mainstay.testing.source_suite import SourceHarness, SuiteType


class PostgresHarness:
    slow_view = "slow"

    def __init__(self, database: Database) -> None:
        self.database = database
        self._sources: list[Source] = []
        database.exec("CREATE VIEW slow AS SELECT 1 AS id FROM pg_sleep(60)")

    def open(self, guard: Guard) -> Source:
        config = SourceConfig(name="crm", kind="postgres", options={"url": self.database.url}, guard=guard)
        source = open_source(config, SystemClock())
        self._sources.append(source)
        return source

    def make(self, table: str, columns: Mapping[str, SuiteType]) -> None:
        types = {"integer": "bigint", "text": "text", "time": "timestamp"}
        parts = [
            sql.SQL("{} {}{}").format(sql.Identifier(name), sql.SQL(types[kind]), sql.SQL("" if at else " PRIMARY KEY"))
            for at, (name, kind) in enumerate(columns.items())
        ]
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table), sql.SQL(", ").join(parts)))

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._connect() as connection:
            for row in rows:
                self._insert(connection, table, row)

    def fill(self, table: str, rows: int) -> None:
        self.database.exec(f"INSERT INTO {table} SELECT g, 'name ' || g FROM generate_series(1, {rows}) g")

    @contextmanager
    def pending(self, table: str, row: Mapping[str, Any]) -> Iterator[None]:
        with self._connect() as connection:
            self._insert(connection, table, row)
            yield

    def write_through(self, source: Source) -> None:
        assert isinstance(source, PostgresSource)
        with source._pool().wire() as wire:
            wire.query("CREATE TABLE written (a int)")

    def stop(self) -> None:
        self.database.server.stop("fast")

    def start(self) -> None:
        self.database.server.start()

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database.url)

    @staticmethod
    def _insert(connection: psycopg.Connection[Any], table: str, row: Mapping[str, Any]) -> None:
        values = sql.SQL(", ").join(map(sql.Literal, row.values()))
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), values))


class SqliteHarness:
    slow_view = "slow"

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._connect() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE VIEW slow AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000000000)"
                " SELECT count(*) AS id FROM n"
            )

    def open(self, guard: Guard) -> Source:
        config = SourceConfig(name="crm", kind="sqlite", options={"path": str(self.path)}, guard=guard)
        return open_source(config, SystemClock())

    def make(self, table: str, columns: Mapping[str, SuiteType]) -> None:
        types = {"integer": "INTEGER", "text": "TEXT", "time": "DATETIME"}
        parts = [
            f"{self._quoted(name)} {types[kind]}{'' if at else ' PRIMARY KEY'}"
            for at, (name, kind) in enumerate(columns.items())
        ]
        with self._connect() as connection:
            connection.execute(f"CREATE TABLE {self._quoted(table)} ({', '.join(parts)})")

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with self._connect() as connection:
            for row in rows:
                self._insert(connection, table, row)

    def fill(self, table: str, rows: int) -> None:
        with self._connect() as connection:
            connection.execute(
                f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})"
                f" INSERT INTO {table} SELECT i, 'name ' || i FROM n"
            )

    @contextmanager
    def pending(self, table: str, row: Mapping[str, Any]) -> Iterator[None]:
        with self._connect() as connection:
            connection.execute("BEGIN")
            self._insert(connection, table, row)
            yield
            connection.execute("COMMIT")

    def write_through(self, source: Source) -> None:
        assert isinstance(source, SqliteSource)
        with source._open() as session:
            session.rows(Statement("CREATE TABLE written (a)"))

    def stop(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def start(self) -> None:
        self.path.with_suffix(".away").rename(self.path)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection

    def _insert(self, connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {self._quoted(table)} VALUES ({marks})", tuple(row.values()))

    @staticmethod
    def _quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'


class FilesHarness:
    """A folder in which each table is a folder, and each insert one more Parquet file: the table is all of them."""

    slow_view = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self._schemas: dict[str, pa.Schema] = {}
        self._count = 0

    def open(self, guard: Guard) -> Source:
        options = {
            "path": str(self.path), "mode": "snapshot", "whole": "together", "settle": "0s", "order": "name",
        }  # fmt: skip
        return open_source(SourceConfig(name="crm", kind="files", options=options, guard=guard), SystemClock())

    def make(self, table: str, columns: Mapping[str, SuiteType]) -> None:
        types: dict[SuiteType, pa.DataType] = {"integer": pa.int64(), "text": pa.string(), "time": pa.string()}
        self._schemas[table] = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._write(table, [])

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._write(table, rows)

    def fill(self, table: str, rows: int) -> None:
        self._write(table, [{"id": at, "name": f"name {at}"} for at in range(1, rows + 1)])

    @contextmanager
    def pending(self, table: str, row: Mapping[str, Any]) -> Iterator[None]:
        yield
        self._write(table, [row])

    def write_through(self, source: Source) -> None:
        assert isinstance(source, FilesSource)
        (self.path / "there.parquet").touch()
        (drop,) = look(source._place, "there.parquet", SystemClock().now_us()).ready
        with opened(drop) as stream, pytest.raises(UnsupportedOperation):
            stream.write(b"written")
        raise SourceRefused("files are opened for reading only")

    def stop(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def start(self) -> None:
        self.path.with_suffix(".away").rename(self.path)

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        folder = self.path / table
        folder.mkdir(exist_ok=True)
        self._count += 1
        made = pa.Table.from_pylist([dict(row) for row in rows], schema=self._schemas[table])
        pq.write_table(made, folder / f"{self._count:04}.parquet", row_group_size=50_000)


def _satisfies(
    postgres: PostgresHarness, sqlite: SqliteHarness, files: FilesHarness
) -> tuple[SourceHarness, SourceHarness, SourceHarness]:
    return postgres, sqlite, files  # read by mypy
