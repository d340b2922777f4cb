"""History in a folder of Delta Lake tables, which Spark, Trino and DuckDB read as they are.

What is erased must be nowhere in the folder, so no copy of a value stands outside the Parquet files: column statistics
are kept out of the log (the files' own row-group statistics serve readers as well), and after an erasure the log is
folded into a checkpoint, because Delta writes a deletion's predicate, and with it the key, into its commit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mainstay.core.clock import HOUR
from mainstay.core.errors import Conflict, StoreError
from mainstay.core.sql import identifier

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable, WriterProperties

ROW_GROUP = 10_000
"""Rows per row group: what one look-up by id has to decompress."""

_FILE_BYTES = 32 * 1024 * 1024  # bounds what an erasure has to rewrite, and the memory that it takes
_TABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PROPERTIES = {"delta.dataSkippingNumIndexedCols": "0", "delta.logRetentionDuration": "interval 7 days"}
_LOG_FILE = re.compile(r"(\d{20})\.(?:json|crc|checkpoint.*\.parquet)")
_STAGED = re.compile(r".*#\d+|_commit_.*\.tmp")


class DeltaHistory:
    """Every version of every row, in `folder`/<table>. One writing process (the holder of the lease); thread-safe.

    Columns are strings, 64-bit integers, doubles, booleans, dates and binaries: narrower types are widened, timestamps
    become integer microseconds. A column whose type changes goes on beside the old one as `name__type` (`age__double`).

    Args:
        folder: Created when first written.
        keep_us: How long `compact` leaves replaced files to those who may still be reading them. Microseconds.
    """

    def __init__(self, folder: Path, *, keep_us: int = HOUR) -> None:
        self._folder = folder
        self._keep_hours = -(-keep_us // HOUR)
        self._lock = threading.Lock()

    def append(self, table: str, rows: pa.Table | pa.RecordBatchReader, *, writer: str, sequence: int) -> bool:
        from deltalake import CommitProperties, Transaction, write_deltalake

        path = self._path(table)
        with self._lock, _told(table):
            there = self._open(table)
            if there is not None and sequence <= (there.transaction_version(writer) or 0):
                return False
            ready = _appending(rows, there)
            path.mkdir(parents=True, exist_ok=True)
            write_deltalake(
                there or path,
                ready,
                mode="append",
                schema_mode="merge",
                configuration=None if there else _PROPERTIES,
                writer_properties=_writing(),
                target_file_size=_FILE_BYTES,
                commit_properties=CommitProperties(app_transactions=[Transaction(writer, sequence)]),
            )
        return True

    def sequence(self, table: str, writer: str) -> int:
        there = self._open(table)
        return 0 if there is None else int(there.transaction_version(writer) or 0)

    def files(self, table: str) -> tuple[str, ...]:
        there = self._open(table)
        return () if there is None else tuple(unquote(uri) for uri in there.file_uris())

    def erase(self, table: str, predicate: str) -> int:
        with self._lock, _told(table):
            there = self._open(table)
            if there is None:
                return 0
            deleted = there.delete(predicate, writer_properties=_writing())["num_deleted_rows"]
            self._clear(table, there)
        return int(deleted or 0)

    def remove(self, table: str, rows: pa.Table) -> int:
        with self._lock, _told(table):
            there = self._open(table)
            if there is None or not rows.num_rows:
                return 0
            equal = " AND ".join(f"target.{identifier(one)} = source.{identifier(one)}" for one in rows.column_names)
            merge = there.merge(
                _plain(rows),
                predicate=equal,
                source_alias="source",
                target_alias="target",
                writer_properties=_writing(),
            )
            return int(merge.when_matched_delete().execute()["num_target_rows_deleted"])

    def replace(self, table: str, rows: pa.Table, *, key: str) -> int:
        with self._lock, _told(table):
            there = self._open(table)
            if there is None:
                return 0
            replaced = 0
            if rows.num_rows:
                name = identifier(key)
                merge = there.merge(
                    _plain(rows),
                    predicate=f"target.{name} = source.{name}",
                    source_alias="source",
                    target_alias="target",
                    writer_properties=_writing(),
                )
                replaced = merge.when_matched_update_all().execute()["num_target_rows_updated"]
            self._clear(table, there)
        return int(replaced)

    def tables(self) -> tuple[str, ...]:
        if not self._folder.is_dir():
            return ()
        return tuple(sorted(path.name for path in self._folder.iterdir() if (path / "_delta_log").is_dir()))

    def compact(self, table: str) -> None:
        """Joins small files, and deletes those replaced longer ago than `keep_us`."""
        with self._lock, _told(table):
            there = self._open(table)
            if there is None:
                return
            there.optimize.compact(target_size=_FILE_BYTES, writer_properties=_writing())
            there.vacuum(retention_hours=self._keep_hours, enforce_retention_duration=False, dry_run=False)

    def _clear(self, table: str, there: DeltaTable) -> None:
        """Leaves only the newest snapshot in the table's folder: no old file, no old log, nothing half written."""
        there.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
        path = self._path(table)
        for staged in [file for file in path.rglob("*") if _STAGED.fullmatch(file.name)]:
            staged.unlink()
        there.update_incremental()
        there.create_checkpoint()
        newest = there.version()
        for file in sorted((path / "_delta_log").iterdir()):
            match = _LOG_FILE.fullmatch(file.name)
            if match is not None and int(match[1]) < newest:
                file.unlink()

    def _open(self, table: str) -> DeltaTable | None:
        from deltalake import DeltaTable

        path = self._path(table)
        return DeltaTable(path) if DeltaTable.is_deltatable(str(path)) else None

    def _path(self, table: str) -> Path:
        if _TABLE.fullmatch(table) is None:
            raise StoreError(
                f"{table!r} cannot name a history table", mend="use letters, digits, '_', '-' and '.', a letter first"
            )
        return (self._folder / table).absolute()


def _writing() -> WriterProperties:
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP)


def _plain(rows: pa.Table) -> pa.Table:
    """`rows` in the types that history keeps; columns of nulls only are left out, since they have no type yet."""
    import pyarrow as pa

    names, columns = [], []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_null(column.type):
            continue
        wanted = _plain_type(column.type)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", column.type.tz))  # noqa: PLW2901 - one column, two steps
        names.append(name)
        columns.append(column if column.type == wanted else column.cast(wanted))
    return pa.Table.from_arrays(columns, names=names)


def _plain_type(found: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_dictionary(found):
        return _plain_type(found.value_type)
    if kinds.is_timestamp(found) or kinds.is_integer(found):
        return pa.int64()
    if kinds.is_floating(found):
        return pa.float64()
    if kinds.is_large_string(found) or kinds.is_string_view(found):
        return pa.string()
    if kinds.is_large_binary(found) or kinds.is_binary_view(found) or kinds.is_fixed_size_binary(found):
        return pa.binary()
    return found


def _appending(rows: pa.Table | pa.RecordBatchReader, there: DeltaTable | None) -> pa.RecordBatchReader:
    """`rows` piece by piece, ready for the table. What has a million versions is never in memory as a whole."""
    import pyarrow as pa

    pieces = rows.to_reader() if isinstance(rows, pa.Table) else rows
    names = _renamed(_plain(pieces.schema.empty_table()).schema, there)

    def ready() -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            plain = _plain(pa.Table.from_batches([piece]))
            yield from plain.rename_columns(names.names).to_batches()

    return pa.RecordBatchReader.from_batches(names, ready())


def _renamed(columns: pa.Schema, there: DeltaTable | None) -> pa.Schema:
    """`columns` as `name__type` where the table has them in another type: Delta would cast, and lose."""
    import pyarrow as pa

    if there is None:
        return columns
    known = {field.name: field.type for field in pa.schema(there.schema().to_arrow())}
    named = []
    for field in columns:
        other = known.get(field.name)
        same = other is None or _plain_type(other) == field.type
        named.append(field if same else field.with_name(f"{field.name}__{field.type}"))
    return pa.schema(named)


@contextmanager
def _told(table: str) -> Iterator[None]:
    """Turns Delta's errors into ours. Their texts may quote values, so they are not passed on."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError:
        raise Conflict("another writer changed this history table first", where=table) from None
    except (DeltaError, OSError) as error:
        raise StoreError(
            f"this history table could not be written ({type(error).__name__})",
            mend="see that its disk has space and that this user may write there",
            where=table,
        ) from None
