"""SQLite's declared types -> kinds, and its values -> Arrow, losing nothing.

SQLite lets any value stand in any column, unless the table is STRICT. So a column is integer, float or bytes only where
SQLite itself holds every value to that; elsewhere numbers come as their exact text, and what is no number stays as
it is for the dataset's checks to judge, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import SourceRefused
from mainstay.core.ports import SourceColumn, SourceKind

if TYPE_CHECKING:
    import pyarrow as pa


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A column as its table declares it."""

    name: str
    type: str
    not_null: bool
    key_place: int
    """Its place in the primary key from 1; 0: not part of it."""


def source_column(declared: Declared, *, strict: bool, rowid: bool) -> SourceColumn:
    """The column with its kind. `rowid`: it is another name of the table's rowid, always an integer."""
    return SourceColumn(
        name=declared.name,
        native=declared.type or "no type",
        kind=_kind(declared.type.upper(), strict=strict, rowid=rowid),
        nullable=not (declared.not_null or rowid),
    )


def _kind(native: str, *, strict: bool, rowid: bool) -> SourceKind:
    if rowid or (strict and native in {"INT", "INTEGER"}):
        return "integer"
    if strict and native == "REAL":
        return "float"
    if native == "BLOB":
        return "bytes"
    if strict and native == "TEXT":
        return "text"
    # The rules of affinity, in SQLite's own order (sqlite.org/datatype3.html, 3.1).
    if "INT" in native:
        return "numeric"
    if any(part in native for part in ("CHAR", "CLOB", "TEXT")):
        return "text"
    if "BLOB" in native or not native or native == "ANY":
        return "text"
    if any(part in native for part in ("REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL")):
        return "numeric"
    return "text"  # DATE, DATETIME, BOOLEAN and the like: whatever form the application chose


def array(values: Sequence[Any], column: SourceColumn, table: str, *, where: str) -> pa.Array[Any]:
    """The values of one column. Raises SourceRefused, naming the column, for a value that its kind cannot hold."""
    import pyarrow as pa

    kind = column.kind
    if kind == "integer":
        return pa.array(values, pa.int64())
    if kind == "float":
        return pa.array(values, pa.float64())
    types = set(map(type, values)) - {type(None)}
    if kind == "bytes":
        if types <= {bytes}:
            return pa.array(values, pa.binary())
        raise _misfit(column, table, "a value that is not a BLOB", "typeof({}) NOT IN ('blob', 'null')", where)
    if bytes in types:
        raise _misfit(column, table, "a BLOB", "typeof({}) = 'blob'", where)
    if types <= {str}:
        return pa.array(values, pa.string())
    if types == {int}:
        return pa.array(values, pa.int64()).cast(pa.string())
    return pa.array([text_of(value) for value in values], pa.string())


def text_of(value: str | float | None) -> str | None:
    """Exact: the shortest text that reads back as the same number. SQL's own CAST keeps 15 digits."""
    if value is None or isinstance(value, str):
        return value
    text = repr(value)
    return {"inf": "Infinity", "-inf": "-Infinity"}.get(text, text)


def _misfit(column: SourceColumn, table: str, found: str, condition: str, where: str) -> SourceRefused:
    quoted = '"' + column.name.replace('"', '""') + '"'
    return SourceRefused(
        f"column {column.name!r} of table {table!r} is {column.native} and holds {found}",
        mend=f"find such rows with WHERE {condition.format(quoted)}, or leave the column out of `columns:`",
        where=where,
    )
