"""A range of a column -> the statements that measure it, find where its next chunk begins, and read one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.ports import SourceColumn
from mainstay.core.ranges import Measure, Range
from mainstay.sources.sqlite_sql import Statement, identifier, nearest, number_of
from mainstay.sources.sqlite_types import text_of

Query = Callable[[Statement], list[tuple[Any, ...]]]
_ENDLESS = {"Infinity": float("inf"), "-Infinity": float("-inf")}


def condition(column: SourceColumn, part: Range, *, where: str) -> tuple[str, tuple[Any, ...]]:
    """Which rows are in the range, with parameters. Raises SourceRefused for a type without an order to rely on.

    Values of another class than the column's own (text among numbers) are in no range.
    """
    name = identifier(column.name)
    if column.kind in {"integer", "numeric"}:
        terms = [f"typeof({name}) IN ('integer', 'real')"]
    elif column.kind == "text":
        terms = [f"typeof({name}) = 'text'"]
    else:
        raise SourceRefused(
            f"column {column.name!r} is {column.native}, which has no ranges",
            mend="use a column of integers, of numbers or of text",
            where=where,
        )
    params = []
    for sign, bound in ((">=", part.low), ("<", part.high)):
        if bound is not None:
            terms.append(f"{name} {sign} ?")
            params.append(_value(column, bound, where=where))
    return " AND ".join(terms), tuple(params)


def measured(query: Query, table: str, column: SourceColumn, part: Range, *, where: str) -> Measure:
    """The bounds, and the rows counted; no count where that takes longer than a statement may."""
    rows, params = condition(column, part, where=where)
    if len(params) == 2 and not params[0] < params[1]:
        raise SourceRefused(
            f"there is nothing from {part.low} to {part.high}: the end is not after the beginning",
            mend="--from is the first value that is read, --to the first that is not",
            where=where,
        )
    counted: int | None = None
    try:
        counted = int(query(Statement(f"SELECT count(*) FROM {table} WHERE {rows}", params))[0][0])
    except SourceAway:
        counted = None
    return Measure(low=part.low, high=part.high, rows=counted)


def following(query: Query, table: str, column: SourceColumn, part: Range, *, where: str) -> str | None:
    """Where the chunk after this one begins, as text; None when this one reaches the end of the range."""
    if not part.most:
        return None
    rows, params = condition(column, part, where=where)
    name = identifier(column.name)
    ordered = f"SELECT {name} FROM {table} WHERE {rows}"
    found = query(Statement(f"{ordered} ORDER BY {name} LIMIT 1 OFFSET {part.most}", params))
    if not found:
        return None
    bound = found[0][0]
    if query(Statement(f"SELECT 1 FROM {table} WHERE {rows} AND {name} < ? LIMIT 1", (*params, bound))):
        return text_of(bound)
    greater = query(Statement(f"{ordered} AND {name} > ? ORDER BY {name} LIMIT 1", (*params, bound)))
    return text_of(greater[0][0]) if greater else None


def _value(column: SourceColumn, text: str, *, where: str) -> Any:
    if column.kind == "text":
        return text
    found = _ENDLESS.get(text, number_of(text))
    if found is None:
        raise SourceRefused(
            f"{text!r} does not fit column {column.name!r} ({column.native}), which holds numbers",
            mend="give --from and --to as values of that column",
            where=where,
        )
    return nearest(found)
