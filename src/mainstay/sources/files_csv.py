"""CSV files in a declared dialect -> record batches of text, block by block. An unquoted empty field is NULL."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mainstay.core.errors import SourceRefused
from mainstay.core.ports import SourceColumn
from mainstay.sources.csv_rows import arrow_schema
from mainstay.sources.files_bytes import Utf8, refused, unpacked
from mainstay.sources.files_found import Drop
from mainstay.sources.files_options import FilesOptions

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 8 * 1024 * 1024
"""The longest row; also how much is parsed at once."""
HEAD = 256 * 1024
"""How much of a file is looked at for its header."""


def columns(drop: Drop, options: FilesOptions) -> tuple[SourceColumn, ...]:
    """The columns that the first row names, all of them text."""
    names, _ = _first(drop, options)
    return tuple(
        SourceColumn(
            name=name,
            native="csv",
            kind="text",
            refused="the first row names it more than once" if names.count(name) > 1 else "",
        )
        for name in dict.fromkeys(names)
    )


def rows(drop: Drop, wanted: Sequence[SourceColumn], options: FilesOptions) -> Iterator[pa.RecordBatch]:
    """The columns `wanted` of every row. Raises SourceRefused naming the row that does not fit."""
    import pyarrow as pa

    names, skip = _first(drop, options)
    places = [str(names.index(column.name)) for column in wanted]
    schema = arrow_schema([(column.name, column.kind) for column in wanted])
    with unpacked(drop, options.most) as (content, name):
        text = Utf8(drop, content, options.encoding, "" if options.escape else options.quote)
        try:
            with _stream(text, len(names), places, options, delimiter=options.delimiter_of(name), skip=skip) as batches:
                for batch in batches:
                    arrays = [batch.column(place) for place in places]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except pa.ArrowInvalid as error:  # its message holds the row
            if text.failed is None:
                raise _explained(drop, len(names), options, straddles="straddl" in str(error)) from None
            raise text.failed from None
        if text.failed is not None:
            raise text.failed


@contextmanager
def _stream(
    text: Utf8, width: int, places: list[str], options: FilesOptions, *, delimiter: str, skip: int
) -> Iterator[Iterator[pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    all_names = [str(at) for at in range(width)]
    read = pacsv.ReadOptions(column_names=all_names, skip_rows_after_names=skip, block_size=BLOCK, use_threads=False)
    parse = pacsv.ParseOptions(
        delimiter=delimiter,
        quote_char=options.quote or False,
        escape_char=options.escape or False,
        newlines_in_values=bool(options.quote),
    )
    included = list(dict.fromkeys(places))
    convert: Any = pacsv.ConvertOptions(
        include_columns=included,
        column_types=dict.fromkeys(included, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        check_utf8=False,
    )
    source: Any = pa.PythonFile(text, mode="r")
    with pacsv.open_csv(source, read_options=read, parse_options=parse, convert_options=convert) as reader:
        yield iter(reader)


def _first(drop: Drop, options: FilesOptions) -> tuple[list[str], int]:
    """The names of the columns, and how many rows come before the first of values: empty lines, and the names."""
    for at, row in enumerate(_parsed(drop, options, most=HEAD)):
        if row:
            return (row, at + 1) if options.header else ([f"column_{place + 1}" for place in range(len(row))], 0)
    raise refused(drop, "it is empty", mend="even a table without rows has a row of names; send it again")


def _parsed(drop: Drop, options: FilesOptions, *, most: int | None = None) -> Iterator[list[str]]:
    """Rows as Python's own parser reads them, an empty line as none: for headers, and to find the row at fault."""
    with unpacked(drop, options.most) as (content, name):
        text: io.RawIOBase = Utf8(drop, content, options.encoding)
        if most is not None:
            text = io.BytesIO(_head(text, most))  # type: ignore[assignment]
        lines = io.TextIOWrapper(io.BufferedReader(text), "utf-8", errors="replace", newline="")
        parsed = csv.reader(
            lines,
            delimiter=options.delimiter_of(name),
            quotechar=options.quote or None,
            quoting=csv.QUOTE_MINIMAL if options.quote else csv.QUOTE_NONE,
            escapechar=options.escape or None,
        )
        try:
            yield from parsed
        except csv.Error:
            return  # a value longer than its own limit, or a NUL


def _head(text: io.RawIOBase, most: int) -> bytes:
    found = b""
    while len(found) < most and (more := text.read(most - len(found))):
        found += more
    return found


def _explained(drop: Drop, width: int, options: FilesOptions, *, straddles: bool) -> SourceRefused:
    """What Arrow refused, told without its values: the row is counted from 1, the row of names left out."""
    mend = "mend that row, or check `delimiter` and `quote`; nothing of the file was taken"
    if straddles:
        return refused(drop, f"a row is longer than {BLOCK // 2**20} MB, or a quoted value does not end", mend=mend)
    for at, row in enumerate(row for row in _parsed(drop, options) if row):
        if len(row) != width:
            number = at if options.header else at + 1
            first = "the first row" if not options.header else "the row of names"
            return refused(drop, f"row {number:,} has {len(row)} values where {first} has {width}", mend=mend)
    return refused(drop, "its rows cannot be parsed", mend=mend)
