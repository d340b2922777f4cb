"""JSON Lines -> record batches of text: each value exactly as it stands in the file, strings without their quotes.

Nothing is inferred: `0.1`, `12345678901234567890` and `true` arrive as those letters, and cleaning does the parsing.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.ports import SourceColumn
from mainstay.sources.csv_rows import arrow_schema
from mainstay.sources.files_bytes import Utf8, refused, unfinished, unpacked
from mainstay.sources.files_found import Drop
from mainstay.sources.files_options import FilesOptions

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST = 16 * 1024 * 1024
LOOKED_AT = 10_000
"""Lines of a file in which its columns are looked for."""
_ROWS, _BYTES = 65_536, 16 * 1024 * 1024

Line = dict[str, msgspec.Raw]


def columns(drop: Drop, options: FilesOptions) -> tuple[SourceColumn, ...]:
    """The names in its first lines, in the order in which they come, all of them text."""
    names: dict[str, None] = {}
    for at, (_, line) in enumerate(_lines(drop, options)):
        if at >= LOOKED_AT:
            break
        names.update(dict.fromkeys(line))
    return tuple(SourceColumn(name=name, native="json", kind="text") for name in names)


def rows(drop: Drop, wanted: Sequence[SourceColumn], options: FilesOptions) -> Iterator[pa.RecordBatch]:
    """The columns `wanted` of every line; what a line does not name is NULL."""
    import pyarrow as pa

    schema = arrow_schema([(column.name, column.kind) for column in wanted])
    text = msgspec.json.Decoder(str)
    names = [column.name for column in wanted]
    held: list[list[str | None]] = [[] for _ in names]
    size = 0

    def batch() -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(values, pa.string()) for values in held], schema=schema)

    for number, line in _lines(drop, options):
        for name, values in zip(names, held, strict=True):
            raw = bytes(line.get(name, b"null"))
            if raw == b"null":
                values.append(None)
                continue
            try:
                values.append(text.decode(raw) if raw[:1] == b'"' else raw.decode())
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise refused(drop, f"line {number:,} holds a string that is no text, in {name}") from None
            size += len(raw)
        if len(held[0]) >= _ROWS or size >= _BYTES:
            yield batch()
            held, size = [[] for _ in names], 0
    if held[0]:
        yield batch()


def _lines(drop: Drop, options: FilesOptions) -> Iterator[tuple[int, Line]]:
    """Each line's number and its object; blank lines are passed over."""
    decoder = msgspec.json.Decoder(Line)
    with unpacked(drop, options.most) as (content, _):
        stream = io.BufferedReader(Utf8(drop, content, options.encoding), 1024 * 1024)
        number = 0
        while line := stream.readline(LONGEST):
            number += 1
            if len(line) >= LONGEST:
                raise refused(drop, f"line {number:,} is longer than {LONGEST // 2**20} MB")
            if line.isspace():
                continue
            try:
                yield number, decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                if not line.endswith(b"\n"):
                    raise unfinished(drop, f"its last line, {number:,}, is cut off") from None
                mend = "have one JSON object on each line; nothing of the file was taken"
                raise refused(drop, f"line {number:,} is not a JSON object", mend=mend) from None
