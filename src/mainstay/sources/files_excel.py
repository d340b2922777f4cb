"""Excel -> record batches of text, row by row: numbers as stored, dates in ISO form, formulas by their stored value."""

from __future__ import annotations

import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from mainstay.core.errors import SourceRefused
from mainstay.core.ports import SourceColumn
from mainstay.sources.csv_rows import arrow_schema
from mainstay.sources.files_bytes import CHUNK, archive, opened, refused
from mainstay.sources.files_found import PACKED, Drop
from mainstay.sources.files_options import FilesOptions
from mainstay.sources.missing import closest

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 8_192
MOST = 4096 * 2**20
"""Bytes that one may unpack to; its sheets are read row by row."""
HELD = 256 * 2**20
"""Bytes of it that are no sheets: its table of strings, above all, which is held in memory."""
_OLD = b"\xd0\xcf\x11\xe0"
_FAULTS = (
    KeyError, ValueError, TypeError, AttributeError, SyntaxError, EOFError, NotImplementedError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What openpyxl raises on a damaged file; it has no error of its own for it."""
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_CLOCK = re.compile(r"[hs]", re.IGNORECASE)

Cells = tuple[Any, ...]


def columns(drop: Drop, options: FilesOptions) -> tuple[SourceColumn, ...]:
    """The columns that the first row names, all of them text: in Excel each cell has a type of its own."""
    with _sheet(drop, options) as lines:
        names = _names(drop, next(lines, (0, ()))[1], options)
    return tuple(
        SourceColumn(
            name=name,
            native="excel",
            kind="text",
            refused="the first row names it more than once" if names.count(name) > 1 else "",
        )
        for name in dict.fromkeys(names)
        if name
    )


def rows(drop: Drop, wanted: Sequence[SourceColumn], options: FilesOptions) -> Iterator[pa.RecordBatch]:
    """The columns `wanted` of every row that has any value."""
    import pyarrow as pa

    schema = arrow_schema([(column.name, column.kind) for column in wanted])
    with _sheet(drop, options) as lines:
        first = next(lines, (0, ()))
        names = _names(drop, first[1], options)
        places = [names.index(column.name) for column in wanted]
        held: list[list[str | None]] = []

        def batch() -> pa.RecordBatch:
            values = zip(*held, strict=True)
            return pa.RecordBatch.from_arrays([pa.array(each, pa.string()) for each in values], schema=schema)

        for number, cells in lines if options.header else _and_first(first, lines):
            texts = [text_of(cell) for cell in cells]
            if any(text is not None for text in texts[len(names) :]):
                raise refused(drop, f"row {number:,} has a value beyond the {len(names)} columns of the first row")
            texts += [None] * (len(names) - len(texts))
            held.append([texts[place] for place in places])
            if len(held) >= ROWS:
                yield batch()
                held = []
        if held:
            yield batch()


def _and_first(first: tuple[int, Cells], rest: Iterator[tuple[int, Cells]]) -> Iterator[tuple[int, Cells]]:
    yield first
    yield from rest


@contextmanager
def _sheet(drop: Drop, options: FilesOptions) -> Iterator[Iterator[tuple[int, Cells]]]:
    """The rows of the sheet that have any value, each with its number as Excel shows it."""
    try:
        import openpyxl
    except ImportError:
        mend = "install it: pip install 'mainstay[excel]'"
        raise SourceRefused("openpyxl, which reads Excel files, is not installed", mend=mend, where=drop.name) from None
    if drop.name.lower().endswith(PACKED):
        raise refused(drop, "it is a compressed Excel file", mend="send it as it is: .xlsx is compressed inside")
    with opened(drop) as stream:
        if stream.read(4) == _OLD:
            raise refused(drop, "it is an old .xls file, or encrypted", mend="save it as .xlsx, without a password")
        stream.seek(0)
        books = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about styles and extensions, which hold no values
                for cached in (True, False) if _has_formulas(drop, stream, options) else (True,):
                    stream.seek(0)
                    books.append(openpyxl.load_workbook(stream, read_only=True, data_only=cached, keep_links=False))
                yield _lines(drop, *(_named(drop, book, options.sheet) for book in books))
        except _FAULTS as error:
            raise refused(drop, f"it cannot be read as an Excel file ({type(error).__name__})") from None
        finally:
            for book in books:
                book.close()


def _has_formulas(drop: Drop, stream: BinaryIO, options: FilesOptions) -> bool:
    """Whether any sheet has a formula, so that those without a stored value are looked for."""
    with archive(drop, stream, min(options.most, MOST)) as found:
        parts = found.infolist()
        if sum(one.file_size for one in parts if "/worksheets/" not in one.filename) > HELD:
            mend = "save it in parts, or as CSV"
            raise refused(drop, f"its texts unpack to more than {HELD // 2**20} MB", mend=mend)
        for one in parts:  # a sheet may have any name
            if "sharedStrings" in one.filename or not one.filename.endswith(".xml"):
                continue
            with found.open(one) as part:
                tail = b""
                while data := part.read(CHUNK):
                    if _FORMULA.search(tail + data):
                        return True
                    tail = data[-64:]
    return False


def _named(drop: Drop, book: Any, name: str) -> Any:
    if not name:
        sheets = book.worksheets
        if not sheets:
            raise refused(drop, "it has no sheet")
        found = sheets[0]
    elif name in book.sheetnames:
        found = book[name]
    else:
        meant = closest(name, book.sheetnames)
        mend = f"did you mean {meant!r}?" if meant else "its sheets are " + ", ".join(book.sheetnames[:8])
        raise refused(drop, f"it has no sheet {name!r}", mend=mend)
    found.reset_dimensions()  # what the file says of its own size is often wrong
    return found


def _lines(drop: Drop, values: Any, formulas: Any = None) -> Iterator[tuple[int, Cells]]:
    if formulas is None:
        numbered = enumerate(values.iter_rows(), start=1)
        yield from ((number, cells) for number, cells in numbered if any(cell.value is not None for cell in cells))
        return
    for number, (cells, written) in enumerate(zip(values.iter_rows(), formulas.iter_rows(), strict=True), start=1):
        for cell, formula in zip(cells, written, strict=True):
            if cell.value is None and formula.value is not None and formula.data_type == "f":
                mend = "open it in Excel and save it, so that values are stored beside formulas"
                raise refused(drop, f"cell {cell.coordinate} is a formula without a stored value", mend=mend)
        if any(cell.value is not None for cell in cells):
            yield number, cells


def _names(drop: Drop, cells: Cells, options: FilesOptions) -> list[str]:
    if not cells:
        raise refused(drop, "its sheet is empty", mend="even a table without rows has a row of names; send it again")
    if not options.header:
        return [f"column_{at}" for at in range(1, len(cells) + 1)]
    names = [text_of(cell) or "" for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def text_of(cell: Any) -> str | None:
    """A cell's value as exact text."""
    value = cell.value
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        timed = _CLOCK.search(cell.number_format or "") or value.time() != time(0)
        return value.isoformat(" ") if timed else value.date().isoformat()
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = value // timedelta(seconds=1)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return repr(value) if isinstance(value, float) else str(value)
