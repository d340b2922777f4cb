"""What a CSV file's first bytes look like: advice for a person, never used by a read. Pure."""

from __future__ import annotations

import codecs
import csv
import io
import re
from itertools import islice

import msgspec

MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
DELIMITERS = (",", ";", "\t", "|", ":")
LINE_END = re.compile(r"\r\n|\n|\r")
_ROWS = 200
_TITLES = 20
_NUMBER = re.compile(r"-?[0-9]+([.,][0-9]+)?")
_C1 = re.compile(rb"[\x80-\x9f]")
_NOT_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a CSV file is written."""

    delimiter: str
    quote: str
    encoding: str
    header: bool
    skip_lines: int

    def lines(self, other: Dialect) -> tuple[str, ...]:
        """The lines of YAML, under the source, that say what differs from `other`."""
        written = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value != getattr(other, name):
                shown = _quoted(value) if isinstance(value, str) else str(value).lower()
                written.append(f"{name}: {shown}")
        return tuple(written)


def _quoted(value: str) -> str:
    if value.isalnum() or "-" in value:
        return value
    return {"\t": '"\\t"', '"': "'\"'"}.get(value, f'"{value}"')


def encoding_of(head: bytes, declared: str) -> str:
    """The encoding that the bytes look like; `declared` where nothing speaks against it."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return declared if _same(declared, name) else name
    if _decoded(head, "utf-8") is not None and b"\x00" not in head:
        return declared if head.isascii() and "16" not in declared and "32" not in declared else "utf-8"
    if head[1::2].count(0) > len(head) // 8:
        return declared if _same(declared, "utf-16-le") else "utf-16-le"
    if head[0::2].count(0) > len(head) // 8:
        return declared if _same(declared, "utf-16-be") else "utf-16-be"
    if _decoded(head, declared) is not None:
        return declared  # one byte a letter: the owner knows which
    return (
        "cp1252"
        if _C1.search(head) and not _NOT_CP1252.search(head)
        else "iso-8859-1"
        if _C1.search(head)
        else "cp1252"
    )


def dialect_of(head: bytes, declared: Dialect, *, cut: bool) -> Dialect:
    """How the file looks to be written; what nothing speaks against is as declared.

    Args:
        head: Its first bytes, unpacked.
        declared: The dialect in which it would be read.
        cut: Whether the file goes on after `head`.
    """
    encoding = encoding_of(head, declared.encoding)
    text = (_decoded(head, encoding) or "").removeprefix("\ufeff")
    if cut:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    quote = _quote(text, declared)
    text = _behind(text, declared.skip_lines)
    before = _before_names(text, quote, declared) if declared.header else 0
    text = _behind(text, before)
    delimiter = _delimiter(text, quote, declared.delimiter)
    return Dialect(
        delimiter=delimiter,
        quote=quote,
        encoding=encoding,
        header=_header(_rows(text, delimiter, quote), declared=declared.header),
        skip_lines=declared.skip_lines + before,
    )


def _behind(text: str, lines: int) -> str:
    """The text without its first lines."""
    ends = [found.end() for found in islice(LINE_END.finditer(text), lines)]
    return text[ends[-1] if ends else 0 :]


def _before_names(text: str, quote: str, declared: Dialect) -> int:
    """How many lines, such as a title and a date, stand before a row of names that fits the rows below it."""
    for count in range(_TITLES):
        rest = _behind(text, count)
        delimiter = _delimiter(rest, quote, declared.delimiter)
        rows = _rows(rest, delimiter, quote)
        width = _width(rows)
        if len(rows) < 2 or width < 2:
            continue
        names = [name.strip() for name in rows[0]]
        if all(names) and len(set(names)) == width and _header(rows, declared=True):
            titles = _rows(text.removesuffix(rest), delimiter, quote)
            sparse = all(2 * sum(bool(value.strip()) for value in row) <= width for row in titles)
            return count if titles and sparse else 0
    return 0


def _same(one: str, other: str) -> bool:
    return codecs.lookup(one).name.removesuffix("-sig") == codecs.lookup(other).name.removesuffix("-sig")


def _decoded(head: bytes, encoding: str) -> str | None:
    """The text, a letter cut in two at its end left out; None when it is no text of this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        return None


def _quote(text: str, declared: Dialect) -> str:
    """A single quote where fields are wrapped in it, and in nothing else."""
    if declared.quote != '"' or '"' in text:
        return declared.quote
    wrapped = len(re.findall(r"(?:^|[,;\t|])'[^'\n]*'(?=[,;\t|\r\n]|$)", text, re.MULTILINE))
    return "'" if wrapped >= 4 and wrapped * 2 >= text.count("'") * 0.9 else declared.quote


def _rows(text: str, delimiter: str, quote: str) -> list[list[str]]:
    parsed = csv.reader(
        io.StringIO(text),
        delimiter=delimiter,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
    )
    found = []
    try:
        for row in parsed:
            if row:
                found.append(row)
            if len(found) >= _ROWS:
                break
    except csv.Error:
        pass
    return found


def _delimiter(text: str, quote: str, declared: str) -> str:
    """The declared one while it makes rows of one width, of more than one value; else the one that does it best."""
    widths = {sign: _width(_rows(text, sign, quote)) for sign in dict.fromkeys((declared, *DELIMITERS))}
    if widths[declared] > 1:
        return declared
    best = max(widths, key=lambda sign: widths[sign])
    return best if widths[best] > 1 else declared


def _width(rows: list[list[str]]) -> int:
    """How many values each row has; 0 when rows differ."""
    widths = {len(row) for row in rows}
    return widths.pop() if len(widths) == 1 else 0


def _header(rows: list[list[str]], *, declared: bool) -> bool:
    """Whether the first row is one of names: numbers in it, above numbers, are values."""
    if not declared or len(rows) < 2:
        return declared
    first, second = rows[0], rows[1]
    numbers = [at for at, value in enumerate(first) if _NUMBER.fullmatch(value.strip())]
    return not any(at < len(second) and _NUMBER.fullmatch(second[at].strip()) for at in numbers)
