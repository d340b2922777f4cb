"""CSV files in a declared dialect -> record batches of text, block by block. An unquoted empty field is NULL."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from mainstay.core.counts import counted
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
    """The columns that the first row names, all of them text, and the one for rows that do not fit."""
    names, _ = _first(drop, options)
    if options.misfits:
        names = [*names, options.misfits]
    return tuple(
        SourceColumn(
            name=name,
            native="csv",
            kind="text",
            refused="the first row names it more than once, or `misfits` as well" if names.count(name) > 1 else "",
        )
        for name in dict.fromkeys(names)
    )


def rows(drop: Drop, wanted: Sequence[SourceColumn], options: FilesOptions) -> Iterator[pa.RecordBatch]:
    """The columns `wanted` of every row. Raises SourceRefused naming the row that does not fit, without `misfits`."""
    import pyarrow as pa

    names, skip = _first(drop, options)
    schema = arrow_schema([(column.name, column.kind) for column in wanted])
    places = {name: str(names.index(name)) for name in schema.names if name != options.misfits}
    misfits = _Misfits(schema, options.misfits, skip)
    with unpacked(drop, options.most) as (content, name):
        counted = "" if options.escape else options.quote
        text = Utf8(drop, content, options.encoding, counted, skip_lines=options.skip_lines)
        try:
            stream = _stream(text, len(names), places.values(), misfits, options, delimiter=options.delimiter_of(name))
            with stream as batches:
                for batch in batches:
                    empty = pa.nulls(batch.num_rows, pa.string())
                    arrays = [batch.column(places[each]) if each in places else empty for each in schema.names]
                    yield from misfits.among(pa.RecordBatch.from_arrays(arrays, schema=schema))
                yield from misfits.behind()
        except pa.ArrowInvalid as error:  # its message holds the row
            if text.failed is None:
                raise _explained(drop, len(names), options, straddles="straddl" in str(error)) from None
            raise text.failed from None
        if text.failed is not None:
            raise text.failed


class _Misfits:
    """Rows that have more values than there are names, or fewer: put where they stood, each as its text in one column.

    Every other column of theirs is NULL, the key too, so that they go to quarantine and no value to a wrong column.
    """

    def __init__(self, schema: pa.Schema, column: str, skip: int) -> None:
        self.skip = skip
        """Rows before the first of values."""
        self._schema = schema
        self._column = column
        self._found: deque[tuple[int, str]] = deque()
        self._at = 0

    def put(self, row: Any) -> Literal["skip", "error"]:
        """What Arrow asks for each of them, while it parses."""
        if not self._column:
            return "error"
        self._found.append((row.number - self.skip - 1, row.text))
        return "skip"

    def among(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The rows of `batch`, which Arrow gives without them, and those that stood before and between them."""
        while self._found and (before := self._found[0][0] - self._at) < batch.num_rows:
            if before:
                yield batch.slice(0, before)
            batch = batch.slice(before)
            self._at += before
            yield self._next()
        self._at += batch.num_rows
        if batch.num_rows:
            yield batch

    def behind(self) -> Iterator[pa.RecordBatch]:
        """Those that stood behind the last row."""
        while self._found:
            yield self._next()

    def _next(self) -> pa.RecordBatch:
        """The first of them, and those that followed it at once."""
        import pyarrow as pa

        texts: list[str] = []
        first = self._found[0][0]
        while self._found and self._found[0][0] == first + len(texts):
            texts.append(self._found.popleft()[1])
        self._at += len(texts)
        arrays = [pa.array(texts if name == self._column else [None] * len(texts), pa.string())
                  for name in self._schema.names]  # fmt: skip
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


@contextmanager
def _stream(
    text: Utf8, width: int, places: Iterable[str], misfits: _Misfits, options: FilesOptions, *, delimiter: str
) -> Iterator[Iterator[pa.RecordBatch]]:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    all_names = [str(at) for at in range(width)]
    read = pacsv.ReadOptions(
        column_names=all_names, skip_rows_after_names=misfits.skip, block_size=BLOCK, use_threads=False
    )
    parse = pacsv.ParseOptions(
        delimiter=delimiter,
        quote_char=options.quote or False,
        escape_char=options.escape or False,
        newlines_in_values=bool(options.quote),
        invalid_row_handler=misfits.put,
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
        text: io.RawIOBase = Utf8(drop, content, options.encoding, skip_lines=options.skip_lines)
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
    mend = "mend that row, check `delimiter` and `quote`, or let such rows go to quarantine by `misfits`"
    if straddles:
        return refused(drop, f"a row is longer than {BLOCK // 2**20} MB, or a quoted value does not end", mend=mend)
    for at, row in enumerate(row for row in _parsed(drop, options) if row):
        if len(row) != width:
            number = at if options.header else at + 1
            first = "the first row" if not options.header else "the row of names"
            return refused(
                drop, f"row {number:,} has {counted(len(row), 'value')} where {first} has {width}", mend=mend
            )
    return refused(drop, "its rows cannot be parsed", mend=mend)
