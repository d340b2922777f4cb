"""Current: the newest good row per key and dataset, in a DuckDB file that only the lease's owner opens.

A cache: everything in here can be made again from landing and history. Each dataset has a schema `ds_<name>`:

| table        | one row per                | holds                                                              |
|--------------|----------------------------|--------------------------------------------------------------------|
| `rows`       | key                        | the newest good version, cleaned; tombstones have `_deleted`       |
| `newest`     | key                        | position and digest of the newest landed version, where not `rows` |
| `held`       | key                        | why and since which as-of a newer version is not shown             |
| `quarantine` | rejected version           | the row as cleaned, its raw values, every reason, and its state    |
| `settled`    | batch                      | what became of its versions, by count                              |

A batch is applied in one transaction with its line in `settled`, so after kill -9 it is in whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.core.errors import StoreError, StoreFull, StoreTooNew
from mainstay.core.nouns import Dataset
from mainstay.core.sql import DUCKDB_TYPES, identifier, literal
from mainstay.store.durable import sync_file, sync_folder

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SCHEMA = 1

MOST_VALUES, LEAST_ROWS = 2_000_000, 2_048
"""Values of an Arrow batch, and the rows that it has all the same: DuckDB works on so many at once."""

FOLDED = 0
"""Stands in `settled` for all batches that are kept no longer; real ones are numbered from 1."""

VERSION_COLUMNS = (
    "_batch BIGINT, _ord BIGINT, _digest UHUGEINT, _event BIGINT, _landed BIGINT, _cursor VARCHAR, _warn VARCHAR"
)

ROW_COLUMNS = "_k, _batch, _ord, _digest, _event, _landed, _cursor, _warn, _deleted, _filled"
"""Our columns of `rows`, in the order in which rows are inserted; the contract's columns follow."""


class Current:
    """An open DuckDB file. Not thread-safe: one loop owns it.

    Args:
        path: The file; made with its folder when absent. None: in memory, for looking at single rows.
        memory: What DuckDB may hold in memory before it spills to a folder beside the file.
        threads: Worker threads of a query.
    """

    def __init__(self, path: Path | None, *, memory: str = "384MB", threads: int = 2) -> None:
        self.path = path or Path(":memory:")
        self._inside = False
        self._config: dict[str, Any] = {
            "memory_limit": memory,
            "threads": threads,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
        }
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._config["temp_directory"] = str(path.with_suffix(".tmp"))
            self._copy_path.unlink(missing_ok=True)  # of a `scrub` that was killed
        self.db = self._connect()
        self._check_schema()

    @property
    def _copy_path(self) -> Path:
        return self.path.with_suffix(".copy")

    def _connect(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        try:
            connection = duckdb.connect(str(self.path), config=self._config)
        except duckdb.IOException as error:
            raise StoreError(
                f"current could not be opened: {error}",
                where=str(self.path),
                mend="another process has it open; stop that process",
            ) from error
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        self._defined: set[str] = set()
        return connection

    def scrub(self) -> None:
        """Writes the file anew, so that no freed block keeps what was removed (erasure). Temporary tables go too."""
        copy = self._copy_path
        copy.unlink(missing_ok=True)
        self.sql(f"ATTACH {literal(str(copy))} AS scrubbed")
        try:
            self.sql(f"COPY FROM DATABASE {identifier(self.one('SELECT current_database()')[0])} TO scrubbed")
            self.sql("CHECKPOINT scrubbed")
        finally:
            self.sql("DETACH scrubbed")
        self.db.close()
        try:
            sync_file(copy)
            copy.replace(self.path)
            sync_folder(self.path.parent)
        finally:
            self.db = self._connect()

    def _check_schema(self) -> None:
        self.sql("CREATE TABLE IF NOT EXISTS mainstay_schema (number INTEGER)")
        row = next(iter(self.sql("SELECT number FROM mainstay_schema")), None)
        if row is None:
            self.sql("INSERT INTO mainstay_schema VALUES (?)", [SCHEMA])
        elif row[0] > SCHEMA:
            raise StoreTooNew(
                f"current has schema {row[0]}, this Mainstay knows up to {SCHEMA}",
                where=str(self.path),
                mend="install the Mainstay that wrote it, or a later one",
            )
        elif row[0] < SCHEMA:  # a cache: instead of being upgraded it is begun anew, and made again like a lost one
            self.db.close()
            self.path.unlink()
            self.db = self._connect()
            self._check_schema()

    def close(self) -> None:
        self.db.close()

    def define(self, name: str, make: Callable[[], Callable[..., str | None]], arguments: int) -> None:
        """Lets SQL call a function of Python over texts, from now on. NULL comes as None; what it raises is NULL."""
        if name in self._defined:
            return
        how: dict[str, Any] = {"null_handling": "special", "exception_handling": "return_null"}
        self.db.create_function(name, make(), ["VARCHAR"] * arguments, "VARCHAR", **how)
        self._defined.add(name)

    def sql(self, statement: str, parameters: Sequence[Any] | dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Runs one statement to its end and returns its rows; a full disk comes out as StoreFull."""
        import duckdb

        try:
            return self.db.execute(statement, parameters).fetchall()
        except duckdb.IOException as error:
            raise StoreFull(f"current could not be written: {error}", where=str(self.path)) from error
        except duckdb.OutOfMemoryException as error:
            raise StoreFull(f"current ran out of memory and disk: {error}", where=str(self.path)) from error

    def one(self, statement: str, parameters: Sequence[Any] | None = None) -> tuple[Any, ...]:
        """The first row of a statement that always has one."""
        rows = self.sql(statement, parameters)
        if not rows:
            raise StoreError(f"no row came back from: {statement[:120]}", where=str(self.path))
        return rows[0]

    def reader(self, statement: str, rows: int = 65_536) -> pa.RecordBatchReader:
        """The statement's rows as an Arrow stream of batches of at most `rows`; of fewer where they are wide."""
        relation = self.relation(statement)
        fitting = max(LEAST_ROWS, MOST_VALUES // max(1, len(relation.columns)))
        found: pa.RecordBatchReader = relation.to_arrow_reader(min(rows, fitting))
        return found

    def table(self, statement: str) -> pa.Table:
        """The statement's rows as one Arrow table: for what is known to be small."""
        return self.reader(statement).read_all()

    def relation(self, statement: str) -> duckdb.DuckDBPyRelation:
        """The statement as a relation, evaluated when it is read: Arrow without a copy of the rows."""
        return self.db.sql(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside, or none. One inside another is part of it."""
        if self._inside:
            yield
            return
        self.sql("BEGIN")
        self._inside = True
        try:
            yield
            self.sql("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._inside = False

    @contextmanager
    def in_any_order(self) -> Iterator[None]:
        """Inside, DuckDB may write rows in another order than it reads them: on all its threads instead of one."""
        self.sql("SET preserve_insertion_order = false")
        try:
            yield
        finally:
            self.sql("SET preserve_insertion_order = true")

    def _roll_back(self) -> None:
        """DuckDB rolls back by itself when a COMMIT fails; a second ROLLBACK is then refused, and nothing is lost."""
        import duckdb

        with suppress(duckdb.Error):
            self.db.execute("ROLLBACK")

    # --- one dataset's tables ----------------------------------------------------------------------------------

    def ensure(self, dataset: Dataset) -> None:
        """Makes the dataset's tables where they are not there; columns that the contract gained are added as NULL."""
        schema = schema_of(dataset.name)
        typed = ", ".join(f"{identifier(c.name)} {DUCKDB_TYPES[c.type]}" for c in dataset.columns)
        with self.transaction():
            self.sql(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            self.sql(
                f"CREATE TABLE IF NOT EXISTS {schema}.rows (_k VARCHAR, {VERSION_COLUMNS}, _deleted BOOLEAN, {typed})"
            )
            self.sql(
                f"CREATE TABLE IF NOT EXISTS {schema}.newest "
                "(_k VARCHAR, _batch BIGINT, _ord BIGINT, _digest UHUGEINT, _cursor VARCHAR, _op VARCHAR)"
            )
            self.sql(
                f"CREATE TABLE IF NOT EXISTS {schema}.held "
                "(_k VARCHAR, _batch BIGINT, _ord BIGINT, as_of BIGINT, sentence VARCHAR)"
            )
            self.sql(
                f"CREATE TABLE IF NOT EXISTS {schema}.quarantine "
                f"(_k VARCHAR, {VERSION_COLUMNS}, _reasons VARCHAR, _raw VARCHAR, _state VARCHAR, "
                f"_changed BIGINT, _note VARCHAR, _through BIGINT, {typed})"
            )
            self.sql(f"ALTER TABLE {schema}.quarantine ADD COLUMN IF NOT EXISTS _through BIGINT")
            self.sql(f"CREATE TABLE IF NOT EXISTS {schema}.settled (batch BIGINT, state VARCHAR, n BIGINT)")
            for table in ("rows", "quarantine"):
                self.sql(f"ALTER TABLE {schema}.{table} ADD COLUMN IF NOT EXISTS _filled VARCHAR")
                self._add_columns(schema, table, dataset)

    def _add_columns(self, schema: str, table: str, dataset: Dataset) -> None:
        empty = self.db.execute(f"SELECT * FROM {schema}.{table} LIMIT 0")  # a tenth of what the catalogue's view costs
        there = {str(name): str(kind) for name, kind, *_ in empty.description or ()}
        for column in dataset.columns:
            kind = DUCKDB_TYPES[column.type]
            if column.name not in there:
                self.sql(f"ALTER TABLE {schema}.{table} ADD COLUMN {identifier(column.name)} {kind}")
            elif there[column.name] != kind:
                self.sql(
                    f"ALTER TABLE {schema}.{table} ALTER COLUMN {identifier(column.name)} TYPE {kind} "
                    f"USING TRY_CAST({identifier(column.name)} AS {kind})"
                )

    def settled(self, dataset: str, batch: int) -> dict[str, int] | None:
        """What became of the batch's versions, by state; None when it was not applied here."""
        rows = self.sql(f"SELECT state, n FROM {schema_of(dataset)}.settled WHERE batch = ?", [batch])
        return {str(state): int(n) for state, n in rows} if rows else None

    def counts(self, dataset: str) -> dict[str, int]:
        """Versions by state over all batches applied here."""
        rows = self.sql(f"SELECT state, sum(n)::BIGINT FROM {schema_of(dataset)}.settled GROUP BY state")
        return {str(state): int(n) for state, n in rows}

    def move(self, dataset: str, batch: int, before: str, after: str, n: int) -> None:
        """`n` versions of the batch change state; the sum over states stays as it is."""
        schema = schema_of(dataset)
        if self.settled(dataset, batch) is None:
            batch = FOLDED
        self.sql(f"UPDATE {schema}.settled SET n = n - ? WHERE batch = ? AND state = ?", [n, batch, before])
        self._count(schema, batch, after, n)

    def fold(self, dataset: str, batch: int) -> None:
        """Counts the batch's versions among those of all batches that are kept no longer."""
        schema = schema_of(dataset)
        with self.transaction():
            for state, n in (self.settled(dataset, batch) or {}).items():
                self._count(schema, FOLDED, state, n)
            self.sql(f"DELETE FROM {schema}.settled WHERE batch = ?", [batch])

    def _count(self, schema: str, batch: int, state: str, n: int) -> None:
        """`n` more versions of the batch in `state`."""
        changed = self.one(f"UPDATE {schema}.settled SET n = n + ? WHERE batch = ? AND state = ?", [n, batch, state])
        if not changed[0]:
            self.sql(f"INSERT INTO {schema}.settled VALUES (?, ?, ?)", [batch, state, n])

    def last_applied(self, dataset: str) -> int:
        """The highest batch number applied; 0 when none."""
        return int(self.one(f"SELECT coalesce(max(batch), 0) FROM {schema_of(dataset)}.settled")[0])


def schema_of(dataset: str) -> str:
    """The quoted DuckDB schema that holds a dataset's tables."""
    return identifier(f"ds_{dataset}")
