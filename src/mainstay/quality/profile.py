"""What stands in the columns of a table: how many values, of which forms, between which limits. Counted, not judged.

The values are looked at as text, as a legacy system holds them: a number, a date or a yes may well stand in a text
column. `profile` works on any relation of DuckDB, raw or cleaned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.sql import WHITESPACE, identifier, literal

MOST_COMMON = 50
"""Values listed with their counts; a column with more distinct ones is listed in part."""

_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_ISO_TIME = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?"
_ZONE = r" ?(Z|[-+]\d{2}(:?\d{2})?)"

FORMS: Mapping[str, str] = {
    "integer": r"[-+]?\d{1,18}(\.0+)?",
    "number": _NUMBER,
    "decimal_comma": r"[-+]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?",
    "thousands_comma": r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?|" + _NUMBER,
    "leading_zero": r"0\d+",
    "date": r"\d{4}-\d{2}-\d{2}",
    "timestamp": _ISO_TIME,
    "timestamp_zoned": _ISO_TIME + _ZONE,
    "%d.%m.%Y": r"(0?[1-9]|[12]\d|3[01])\.(0?[1-9]|1[0-2])\.\d{4}",
    "%d/%m/%Y": r"(0?[1-9]|[12]\d|3[01])/(0?[1-9]|1[0-2])/\d{4}",
    "%m/%d/%Y": r"(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])/\d{4}",
    "email": r"[^@\s]+@[^@\s]+\.[^@\s.]+",
    "phone": r"[+(]?\d[\d ()/.-]{6,20}",
}
"""Form -> the regular expression (RE2) that a trimmed value of it matches as a whole."""


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the rows that were looked at. Counts are rows."""

    name: str
    rows: int
    nulls: int
    blanks: int = 0
    """Texts of nothing but white space."""
    padded: int = 0
    """Values with white space before or behind them, blanks aside."""
    distinct: int = 0
    """Distinct values, nulls and blanks aside."""
    low: str | None = None
    """The least value: by number where every value is one, else by text."""
    high: str | None = None
    longest: int = 0
    """Characters of the longest value."""
    forms: dict[str, int] = {}
    """Form of `FORMS` -> how many values have it; absent: none."""
    common: tuple[tuple[str, int], ...] = ()
    """The most common values, trimmed, each with its count, the most common first; at most MOST_COMMON."""

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.nulls - self.blanks

    def share(self, form: str) -> float:
        """The share of the values that have the form, 0 to 1; 0 where there are no values."""
        return self.forms.get(form, 0) / self.present if self.present else 0.0

    def all(self, form: str) -> bool:
        """Whether there are values and every one has the form."""
        return self.present > 0 and self.forms.get(form, 0) == self.present


Execute = Callable[[str], Sequence[tuple[Any, ...]]]
"""Runs one statement of DuckDB's SQL and gives its rows."""


def profile(execute: Execute, relation: str, columns: Sequence[tuple[str, str]]) -> tuple[ColumnProfile, ...]:
    """The profile of each column, in order.

    Args:
        execute: Asks the connection where the relation is.
        relation: A table's quoted name, or a SELECT in parentheses.
        columns: (name, DuckDB's type) of each column.
    """
    return tuple(_one(execute, relation, name, native) for name, native in columns)


def _one(execute: Execute, relation: str, name: str, native: str) -> ColumnProfile:
    column = identifier(name)
    if native.upper() in {"BLOB", "BYTEA"}:
        sql = f"SELECT count(*), count(*) - count({column}), count(DISTINCT {column}) FROM {relation}"
        rows, nulls, distinct = execute(sql)[0]
        return ColumnProfile(name=name, rows=rows, nulls=nulls, distinct=distinct)
    trimmed = f"nullif(trim(CAST({column} AS VARCHAR), {literal(WHITESPACE)}), '')"
    values = f"(SELECT CAST({column} AS VARCHAR) AS v, {trimmed} AS t FROM {relation})"
    row: tuple[Any, ...] = execute(f"SELECT {', '.join(_counts())} FROM {values}")[0]
    rows, nulls, blanks, padded, distinct, longest, low, high, least, most, *forms = row
    found = {form: count for form, count in zip(FORMS, forms, strict=True) if count}
    numeric = found.get("number", 0) == rows - nulls - blanks > 0
    common = execute(
        f"SELECT t, count(*) AS n FROM {values} WHERE t IS NOT NULL GROUP BY t ORDER BY n DESC, t LIMIT {MOST_COMMON}"
    )
    return ColumnProfile(
        name=name,
        rows=rows,
        nulls=nulls,
        blanks=blanks,
        padded=padded,
        distinct=distinct,
        low=shown(least) if numeric else low,
        high=shown(most) if numeric else high,
        longest=longest or 0,
        forms=found,
        common=tuple((str(value), int(count)) for value, count in common),
    )


def _counts() -> Iterator[str]:
    yield "count(*)"
    yield "count(*) - count(v)"
    yield "count(v) - count(t)"
    yield "count(*) FILTER (length(v) <> length(t))"
    yield "count(DISTINCT t)"
    yield "max(length(t))"
    yield "min(t)"
    yield "max(t)"
    yield "min(TRY_CAST(t AS DOUBLE))"
    yield "max(TRY_CAST(t AS DOUBLE))"
    for pattern in FORMS.values():
        yield f"count(*) FILTER (regexp_full_match(t, '{pattern}'))"


def shown(number: float | None) -> str | None:
    """A number as a person writes it: whole ones without a point."""
    if number is None:
        return None
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
