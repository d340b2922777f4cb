"""A read request -> the SQL that answers it. Pure: columns and request in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mainstay.core.errors import SourceRefused
from mainstay.core.keys import key_names, parted_key
from mainstay.core.ports import ReadRequest
from mainstay.sources.postgres_types import NativeColumn, expression

KEYS_AT_ONCE = 10_000
_HAS_NUMERIC_INFINITY = 140000
_TIMES = frozenset({"date", "timestamp", "timestamptz"})
_LEAST, _GREATEST = -(2**63), 2**63 - 1


class CursorRule(msgspec.Struct, frozen=True):
    """How a cursor column bounds a read, as SQL conditions."""

    lower: str | None
    """Which rows an increment returns; None: all."""
    greatest: str
    """Which rows can name the greatest value: those whose value could be a bound without losing rows."""


def identifier(*names: str) -> str:
    """The names quoted and joined by dots."""
    from psycopg import sql

    return sql.Identifier(*names).as_string()


def literal(text: str) -> str:
    """The text as a literal under standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"


def wanted(request: ReadRequest) -> tuple[str, ...]:
    """The columns that the read returns, in order."""
    if request.mode != "keys":
        return request.columns
    return tuple(dict.fromkeys(name for name in (*key_names(request.key), request.cursor) if name))


def cursor_rule(native: NativeColumn, request: ReadRequest, *, version: int, where: str) -> CursorRule:
    """The rule of a cursor column. Raises SourceRefused for a type without a reliable order, or a lag it cannot take.

    Infinite values are no bounds: after 'infinity' nothing would ever be new. Such rows count as rows without a cursor.
    """
    name = identifier(native.column.name)
    _refuse_lag(native, request, where=where)
    kind = native.column.kind
    endless: list[str] = []
    greatest = f"{name} IS NOT NULL"
    if kind in _TIMES:
        endless = [f"{name} = '-infinity'"]
        greatest = f"{name} > '-infinity' AND {name} < 'infinity'"
    elif kind == "numeric" and version >= _HAS_NUMERIC_INFINITY:
        endless = [f"{name} = '-Infinity'"]
        greatest = f"{name} > '-Infinity' AND {name} < 'Infinity'"
    elif kind == "numeric":
        greatest = f"{name} < 'NaN'"
    if request.mode != "increment" or request.since is None:
        return CursorRule(None, greatest)
    bound = f"{name} >= {_bound(native, request, request.since)}"
    lower = " OR ".join([bound, f"{name} IS NULL", *endless])
    return CursorRule(f"({lower})", f"{bound} AND {greatest}")


def select_statements(
    table: str,
    columns: Mapping[str, NativeColumn],
    request: ReadRequest,
    rule: CursorRule | None,
    within: str | None = None,
) -> list[str]:
    """The SELECTs whose rows together answer the request. `table` is quoted already, `within` a range's condition."""
    chosen = ", ".join(expression(columns[name], identifier(name)) for name in wanted(request))
    select = f"SELECT {chosen} FROM {table}"
    if request.mode == "by_keys":
        keys = [columns[name] for name in key_names(request.key)]
        return [f"{select} WHERE {_is_one_of(keys, chunk)}" for chunk in _chunks(request.keys, len(keys))]
    if within is not None:
        return [f"{select} WHERE {within}"]
    if rule is not None and rule.lower is not None:
        return [f"{select} WHERE {rule.lower}"]
    return [select]


def greatest_statement(table: str, native: NativeColumn, rule: CursorRule) -> str:
    """One row with the greatest cursor value as text, or none.

    ORDER BY, for max() does not know every type; with an alias, or it would order by the text that is selected.
    """
    name = identifier(native.column.name)
    return f"SELECT {name}::text FROM {table} AS t WHERE {rule.greatest} ORDER BY t.{name} DESC LIMIT 1"


def _bound(native: NativeColumn, request: ReadRequest, since: str) -> str:
    kind = native.column.kind
    if kind == "integer":
        lowest = min(max(int(since) - request.lag_number, _LEAST), _GREATEST)
        return f"'{lowest}'::bigint"
    typed = f"{literal(since)}::{native.cast}"
    if kind == "numeric" and request.lag_number:
        return f"({typed} - {request.lag_number})"
    if kind in _TIMES and request.lag_us:
        return f"({typed} - interval '{request.lag_us / 1e6:.6f} seconds')"
    return typed


def _refuse_lag(native: NativeColumn, request: ReadRequest, *, where: str) -> None:
    column = native.column
    numbers = column.kind in {"integer", "numeric"}
    if not numbers and column.kind not in _TIMES and column.kind not in {"text", "uuid"}:
        raise SourceRefused(
            f"column {column.name!r} is {column.native}, which cannot be a cursor",
            mend="use an integer, numeric, date, timestamp, text or uuid column, or leave the cursor out",
            where=where,
        )
    if request.lag_us and column.kind not in _TIMES:
        mend = "give a lag in numbers" if numbers else "leave `lag` out; reconciliation finds late commits"
        raise SourceRefused(
            f"cursor {column.name!r} is {column.native}: its lag cannot be a time", mend=mend, where=where
        )
    if request.lag_number and not numbers:
        mend = "give a lag in time, such as 5m" if column.kind in _TIMES else "leave `lag` out"
        raise SourceRefused(
            f"cursor {column.name!r} is {column.native}: its lag cannot be a number", mend=mend, where=where
        )


def _is_one_of(columns: Sequence[NativeColumn], keys: Sequence[str]) -> str:
    parts = list(zip(*(parted_key(key, len(columns)) for key in keys), strict=True))
    listed = [
        f"ARRAY[{','.join(literal(value) for value in values)}]::{column.cast}[]"
        for column, values in zip(columns, parts, strict=True)
    ]
    if len(columns) == 1:
        return f"{identifier(columns[0].column.name)} = ANY ({listed[0]})"
    names = ", ".join(identifier(column.column.name) for column in columns)
    return f"({names}) IN (SELECT * FROM unnest({', '.join(listed)}))"


def _chunks(keys: Sequence[str], columns: int) -> list[list[str]]:
    # PostgreSQL has no text with NUL in it, so no row can have such a key.
    distinct = [key for key in dict.fromkeys(keys) if not any("\0" in part for part in parted_key(key, columns))]
    return [distinct[start : start + KEYS_AT_ONCE] for start in range(0, len(distinct), KEYS_AT_ONCE)]
