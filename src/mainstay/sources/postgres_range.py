"""A range of a column -> the SQL that measures it, finds where its next chunk begins, and reads it.

Every statement is short where the column leads an index: none looks at more rows than a chunk has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from mainstay.core.errors import SourceRefused
from mainstay.core.ranges import Measure, Range
from mainstay.sources.postgres_sql import identifier, literal
from mainstay.sources.postgres_types import NativeColumn

Query = Callable[[str], Sequence[Sequence[str | None]]]
_ORDERED = frozenset({"integer", "numeric", "date", "timestamp", "timestamptz", "text", "uuid"})


def condition(native: NativeColumn, part: Range, *, where: str) -> str:
    """Which rows are in the range. Raises SourceRefused for a type without an order to rely on."""
    column = native.column
    if column.kind not in _ORDERED:
        raise SourceRefused(
            f"column {column.name!r} is {column.native}, which has no ranges",
            mend="use an integer, numeric, date, timestamp, text or uuid column",
            where=where,
        )
    name = identifier(column.name)
    terms = [f"{name} IS NOT NULL"]
    if part.low is not None:
        terms.append(f"{name} >= {_value(native, part.low)}")
    if part.high is not None:
        terms.append(f"{name} < {_value(native, part.high)}")
    return " AND ".join(terms)


def measured(query: Query, table: str, native: NativeColumn, part: Range, *, where: str) -> Measure:
    """The bounds as the server writes them, and the planner's estimate. `table` is quoted already."""
    rows = condition(native, part, where=where)
    low, high = (None if one is None else _value(native, one) for one in (part.low, part.high))
    try:
        found = query(
            f"SELECT {_text(low)}, {_text(high)}, {'TRUE' if low is None or high is None else f'{low} < {high}'}"
        )[0]
    except SourceRefused as error:
        raise SourceRefused(
            f"the range does not fit column {native.column.name!r} ({native.column.native}): {error.sentence}",
            mend="give --from and --to as values of that column",
            where=where,
        ) from None
    if found[2] != "t" and found[2] != "true":
        raise SourceRefused(
            f"there is nothing from {found[0]} to {found[1]}: the end is not after the beginning",
            mend="--from is the first value that is read, --to the first that is not",
            where=where,
        )
    plan = query(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} WHERE {rows}")
    told = json.loads("\n".join(str(line[0]) for line in plan))
    return Measure(low=found[0], high=found[1], rows=int(told[0]["Plan"]["Plan Rows"]))


def following(query: Query, table: str, native: NativeColumn, part: Range, *, where: str) -> str | None:
    """Where the chunk after this one begins, as text; None when this one reaches the end of the range.

    Rows of one value stay together, so a chunk has more than `most` rows where more than so many have one value.
    """
    if not part.most:
        return None
    rows = condition(native, part, where=where)
    name = identifier(native.column.name)
    ordered = f"SELECT {name}::text FROM {table} AS t WHERE {rows}"
    found = query(f"{ordered} ORDER BY t.{name} OFFSET {part.most} LIMIT 1")
    if not found:
        return None
    bound = _value(native, str(found[0][0]))
    before = query(f"SELECT 1 FROM {table} AS t WHERE {rows} AND {name} < {bound} LIMIT 1")
    if before:
        return str(found[0][0])
    greater = query(f"{ordered} AND {name} > {bound} ORDER BY t.{name} LIMIT 1")
    return str(greater[0][0]) if greater else None


def _value(native: NativeColumn, text: str) -> str:
    return f"{literal(text)}::{native.cast}"


def _text(value: str | None) -> str:
    return "NULL" if value is None else f"({value})::text"
