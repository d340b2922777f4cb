"""CSV rows as PostgreSQL's COPY writes them -> Arrow record batches, exactly."""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mainstay.core.counts import counted
from mainstay.core.errors import SourceRefused
from mainstay.core.ports import SourceKind

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.csv as pacsv


def arrow_schema(columns: Sequence[tuple[str, SourceKind]]) -> pa.Schema:
    """Integer, float, boolean and bytes as int64, float64, bool and binary; every other kind as string."""
    import pyarrow as pa

    types: dict[SourceKind, pa.DataType] = {
        "integer": pa.int64(),
        "float": pa.float64(),
        "boolean": pa.bool_(),
        "bytes": pa.binary(),
    }
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in columns])


class CsvRows:
    """Turns whole rows of CSV into record batches of one schema.

    Booleans are `t` and `f`, bytes come as hexadecimal digits; an unquoted empty field is NULL, a quoted one is the
    empty string. A value may hold line breaks.
    """

    def __init__(self, schema: pa.Schema, *, where: str) -> None:
        import pyarrow as pa
        import pyarrow.csv as pacsv

        self.schema = schema
        self._where = where
        self._binary = [index for index, field in enumerate(schema) if pa.types.is_binary(field.type)]
        # Columns are named by their place: a table may be asked for the same column twice.
        self._names = [str(index) for index in range(len(schema))]
        types = [pa.string() if index in self._binary else field.type for index, field in enumerate(schema)]
        self._parse = pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        self._convert: pacsv.ConvertOptions = pacsv.ConvertOptions(
            column_types=dict(zip(self._names, types, strict=True)),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )

    def batch(self, data: bytes | bytearray, rows: int) -> pa.RecordBatch:
        """The batch that `data` holds; `rows` is how many rows the source sent.

        Raises SourceRefused when the text is not valid UTF-8 or not that many rows: better no rows than wrong ones.
        """
        import pyarrow as pa
        import pyarrow.csv as pacsv

        # One block, so that no value, however long, lies across a block's border.
        read = pacsv.ReadOptions(column_names=self._names, block_size=len(data) + 1, use_threads=False)
        source: Any = pa.BufferReader(data)
        try:
            table = pacsv.read_csv(source, read_options=read, parse_options=self._parse, convert_options=self._convert)
        except pa.ArrowInvalid as error:
            invalid = "UTF8" in str(error)
            raise SourceRefused(
                "it sent text that is not valid UTF-8" if invalid else "it sent rows that cannot be parsed",
                mend="set the database's encoding right, or leave the column out" if invalid else "",
                where=self._where,
            ) from None  # Arrow's message holds the value
        if table.num_rows != rows:
            raise SourceRefused(f"it sent {counted(rows, 'row')} of which {table.num_rows} arrived", where=self._where)
        arrays: list[Any] = [column.combine_chunks() for column in table.columns]
        for index in self._binary:
            arrays[index] = _unhex(arrays[index])
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _unhex(texts: Any) -> Any:
    """Decodes all values at once: two digits a byte, so every offset halves."""
    import numpy as np
    import pyarrow as pa

    validity, offsets, data = texts.buffers()
    if len(texts) == 0 or data is None:
        return texts.cast(pa.binary())
    ends = np.frombuffer(offsets, dtype=np.int32)[: len(texts) + 1]
    raw = unhexlify(memoryview(data)[: int(ends[-1])])
    halves = pa.py_buffer((ends // 2).astype(np.int32).tobytes())
    return pa.BinaryArray.from_buffers(pa.binary(), len(texts), [validity, halves, pa.py_buffer(raw)])
