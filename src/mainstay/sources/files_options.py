"""Options of `kind: files`."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Literal

import msgspec

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_SETTLE = r"^[0-9]{1,6}(ms|s|m|h)$"


class FilesOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `kind: files`. A dialect is never guessed when a file is read: what is not written is RFC 4180's."""

    path: str
    """The folder, or a pattern with * ? ** that begins with it; relative to the folder of mainstay.yaml."""
    mode: Literal["snapshot", "increment"]
    """`snapshot`: a drop is the whole table. `increment`: each file adds and updates rows."""
    whole: Literal["newest", "together"] | None = None
    """In snapshot mode, what the whole table is: the newest file, or all of them together. Needed for more than one."""
    order: Literal["modified", "name"] = "modified"
    """In which order files are read, and which is the newest."""
    format: Literal["auto", "csv", "jsonl", "parquet", "excel"] = "auto"
    settle: Annotated[str, msgspec.Meta(pattern=_SETTLE)] = "5s"
    """How long a file must have been at rest."""
    done_suffix: str = ""
    """A file is taken once another with this at the end of its name lies beside it; `settle` is not asked then."""
    delimiter: Annotated[str, msgspec.Meta(max_length=1)] = ""
    """Empty: a tab in .tsv, else a comma."""
    quote: Annotated[str, msgspec.Meta(max_length=1)] = '"'
    escape: Annotated[str, msgspec.Meta(max_length=1)] = ""
    encoding: str = "utf-8"
    header: bool = True
    """Whether the first row names the columns; else they are column_1, column_2, ..."""
    skip_lines: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    """Of CSV: how many lines stand before the row of names, or before the first row where there are none."""
    misfits: str = ""
    """Of CSV: a column, to be declared by each dataset, that takes rows with too many or too few values as text."""
    sheet: str = ""
    """Of an Excel file; empty: the first."""
    unpacked_most_mb: Annotated[int, msgspec.Meta(ge=1)] = 10_240

    def __post_init__(self) -> None:
        if not _is_text(self.encoding):
            raise ValueError(f"`encoding` names no text encoding known here: {self.encoding[:40]}")
        if not self.done_suffix.startswith((".", "_", "-")) and self.done_suffix:
            raise ValueError("`done_suffix` begins with a dot, such as .done")
        signs = [sign for sign in (self.delimiter, self.quote, self.escape) if sign]
        if len(set(signs)) < len(signs) or any(sign in "\r\n" or not sign.isascii() for sign in signs):
            raise ValueError("`delimiter`, `quote` and `escape` are different signs of ASCII, and no line break")
        if self.misfits and self.mode == "snapshot":
            raise ValueError("`misfits` is for `mode: increment`: a key that cannot be read would be taken for deleted")
        if self.whole is not None and self.mode == "increment":
            raise ValueError("`whole` is for `mode: snapshot`")

    @property
    def settle_us(self) -> int:
        found = re.fullmatch(r"([0-9]+)([a-z]+)", self.settle)
        return int(found[1]) * _UNITS[found[2]] if found else 0

    @property
    def most(self) -> int:
        """Bytes that a compressed file may unpack to."""
        return self.unpacked_most_mb * 2**20

    def delimiter_of(self, name: str) -> str:
        """The delimiter in the file `name`, as it is called inside its compression."""
        return self.delimiter or ("\t" if name.lower().endswith(".tsv") else ",")


def _is_text(encoding: str) -> bool:
    try:
        return "a".encode(encoding).decode(encoding) == "a" and codecs.getincrementaldecoder(encoding) is not None
    except (LookupError, UnicodeError, ValueError):
        return False
