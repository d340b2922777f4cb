"""Parquet -> record batches, by row groups. What has no exact form among the kinds of a column is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import SourceRefused
from mainstay.core.ports import SourceColumn, SourceKind
from mainstay.sources.csv_rows import arrow_schema
from mainstay.sources.files_bytes import CHUNK, opened, refused, unfinished
from mainstay.sources.files_found import PACKED, Drop
from mainstay.sources.files_options import FilesOptions

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 65_536
HELD = 32 * 2**20
"""Bytes of values that one batch may hold, but for a single row that has more."""
_MAGIC = b"PAR1"


def columns(drop: Drop, options: FilesOptions) -> tuple[SourceColumn, ...]:
    """The columns of its schema."""
    with _file(drop, options) as file:
        schema: pa.Schema = file.schema_arrow
        names = schema.names
        return tuple(
            SourceColumn(
                name=field.name,
                native=str(field.type),
                kind=kind_of(field.type)[0],
                nullable=field.nullable,
                refused="its name stands there twice" if names.count(field.name) > 1 else kind_of(field.type)[1],
            )
            for field in schema
        )


def count(drop: Drop, options: FilesOptions) -> int:
    """How many rows it holds, from its footer."""
    with _file(drop, options) as file:
        return int(file.metadata.num_rows)


def rows(drop: Drop, wanted: Sequence[SourceColumn], options: FilesOptions) -> Iterator[pa.RecordBatch]:
    """The columns `wanted` of every row."""
    import pyarrow as pa

    schema = arrow_schema([(column.name, column.kind) for column in wanted])
    names = [column.name for column in wanted]
    texts = {column.name for column in wanted if column.kind in ("text", "bytes")}
    left = max(options.most, drop.size)
    with _file(drop, options, texts) as file:
        try:
            for read in file.iter_batches(batch_size=_batch_rows(file.metadata), columns=list(dict.fromkeys(names))):
                for batch, size in _parts(read):
                    left -= size
                    if left < 0:
                        raise _too_large(drop, options)
                    arrays = [_exact(batch.column(name)) for name in names]
                    yield pa.RecordBatch.from_arrays(
                        [array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema
                    )
        except (pa.ArrowException, OSError, ValueError, OverflowError):
            raise refused(drop, "its data is damaged, or holds a value that has no exact form here") from None


def _batch_rows(footer: pq.FileMetaData) -> int:
    """How many rows are read at once, by what its largest rows take: documents lie in Parquet as well as numbers."""
    groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
    widest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(1, min(ROWS, HELD // max(widest, 1)))


def _parts(batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The batch in parts that hold no more than HELD once unpacked, each with its size in bytes.

    A long text that a dictionary holds once may stand in every row: its rows are counted before they are written out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    columns: list[Any] = batch.columns
    for column in columns:
        if pa.types.is_dictionary(column.type):
            lengths: Any = pc.binary_length(column.dictionary)
            size += pc.sum(lengths.take(column.indices)).as_py() or 0
        else:
            size += column.nbytes
    if size <= HELD or batch.num_rows <= 1:
        yield batch, size
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


@contextmanager
def _file(drop: Drop, options: FilesOptions, texts: Collection[str] = ()) -> Iterator[pq.ParquetFile]:
    """The file, opened. `texts`: columns whose dictionaries may stay as they are: nothing is to be unpacked unseen."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if drop.name.lower().endswith(PACKED):
        raise refused(drop, "it is a compressed Parquet file", mend="send it as it is: Parquet is compressed inside")
    with opened(drop) as stream:
        head = stream.read(4)
        stream.seek(-min(4, drop.size), 2)
        if drop.size < 12 or head != _MAGIC or stream.read(4) != _MAGIC:
            if drop.size >= 4 and head != _MAGIC:
                raise refused(drop, "it is not a Parquet file")
            raise unfinished(drop, "it has no Parquet footer")
        stream.seek(0)
        try:
            footer = pq.read_metadata(stream)
            stream.seek(0)
            kept = _dictionaries(footer, texts)
            file = pq.ParquetFile(  # by pages, never a whole column of a row group
                stream, metadata=footer, buffer_size=CHUNK, pre_buffer=False, read_dictionary=kept
            )
        except (pa.ArrowException, OSError):
            raise refused(drop, "its Parquet footer is damaged") from None
        size = sum(file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups))
        if size > max(options.most, drop.size):
            raise _too_large(drop, options)
        with file:
            yield file


def _dictionaries(footer: pq.FileMetaData, texts: Collection[str]) -> list[str]:
    """Those of the columns that are small as they lie there: the reader gathers a dictionary of all their values."""
    large = set()
    for at in range(footer.num_row_groups):
        group = footer.row_group(at)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.total_uncompressed_size > HELD or not column.has_dictionary_page:
                large.add(column.path_in_schema)
    return [name for name in texts if name not in large]


def _too_large(drop: Drop, options: FilesOptions) -> SourceRefused:
    mend = "raise `unpacked_most_mb` if it is meant to be so large, or move it away"
    return refused(drop, f"it unpacks to more than {options.unpacked_most_mb:,} MB", mend=mend)


def kind_of(found: pa.DataType) -> tuple[SourceKind, str]:
    """The kind of an Arrow type, and why it is refused, or empty."""
    from pyarrow import types

    if types.is_dictionary(found):
        return kind_of(found.value_type)
    plain: tuple[tuple[Any, SourceKind], ...] = (
        (types.is_uint64, "numeric"),
        (types.is_integer, "integer"),
        (types.is_floating, "float"),
        (types.is_boolean, "boolean"),
        (types.is_string, "text"),
        (types.is_large_string, "text"),
        (types.is_string_view, "text"),
        (types.is_null, "text"),
        (types.is_binary, "bytes"),
        (types.is_large_binary, "bytes"),
        (types.is_fixed_size_binary, "bytes"),
        (types.is_decimal, "numeric"),
        (types.is_date, "date"),
        (types.is_time, "time"),
    )
    for asks, kind in plain:
        if asks(found):
            return kind, ""
    if types.is_timestamp(found):
        return ("timestamptz" if found.tz else "timestamp"), ""
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        return "array", _inside(found)
    if types.is_struct(found):
        return "json", _inside(found)
    return "text", f"{found} has no exact text form here"


def _inside(found: pa.DataType) -> str:
    """Why values of a nested type cannot be written as JSON exactly; empty when they can."""
    from pyarrow import types

    if types.is_struct(found):
        return next((why for at in range(found.num_fields) if (why := _inside(found.field(at).type))), "")
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        return _inside(found.value_type)
    fine: tuple[Callable[[pa.DataType], bool], ...] = (
        types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string,
        types.is_decimal, types.is_date, types.is_null,
    )  # fmt: skip
    seconds = types.is_timestamp(found) and found.unit != "ns"
    return "" if seconds or any(asks(found) for asks in fine) else f"{found} inside it has no exact form in JSON"


def _exact(column: Any) -> Any:
    """The column as its kind lands: numbers and bytes as they are, everything else as its exact text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind, _ = kind_of(column.type)
    if kind in ("json", "array"):
        texts = [None if value is None else msgspec.json.encode(_json(value)).decode() for value in column.to_pylist()]
        return pa.array(texts, pa.string())
    if kind == "timestamptz":
        utc: Any = column.cast(pa.timestamp(column.type.unit, "UTC")).cast(pa.timestamp(column.type.unit))
        offset: Any = "+00"
        return pc.binary_join_element_wise(utc.cast(pa.string()), offset, "")
    if kind in ("integer", "float", "boolean", "bytes"):
        return column
    return column.cast(pa.string())


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Decimal):
        return msgspec.Raw(str(value).encode()) if value.is_finite() else str(value)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, date) else value
