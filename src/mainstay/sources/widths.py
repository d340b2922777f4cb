"""Which types hold all that another one holds: by the names that PostgreSQL, SQLite and Parquet give them. Pure."""

from __future__ import annotations

import re

_INTEGERS = {
    "tinyint": 8, "smallint": 16, "int2": 16, "mediumint": 24, "integer": 32, "int": 32, "int4": 32, "bigint": 64,
    "int8": 64, "int16": 16, "int32": 32, "int64": 64,
}  # fmt: skip
"""Bits. `int8` is PostgreSQL's, of eight bytes; Parquet's narrowest is passed over, so that the two never meet."""
_FLOATS = {"real": 24, "float4": 24, "float": 24, "double precision": 53, "float8": 53, "double": 53}
"""Bits that are exact."""
_TEXTS = {"character varying", "varchar", "text", "string", "large_string", "clob", "nvarchar"}
_NUMERICS = {"numeric", "decimal", "decimal128", "decimal256"}
_TIMES = {"timestamp", "time", "timestamp without time zone", "timestamp with time zone", "time without time zone"}
_MOST_DIGITS = {8: 3, 16: 5, 24: 8, 32: 10, 64: 19}
_TYPE = re.compile(r"([a-z0-9_ ]+?)\s*(?:\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\))?(\s+with(?:out)? time zone)?")


def wider(before: str, after: str) -> bool:
    """Whether every value of the type `before` is one of the type `after`, and keeps its value.

    Types are as the source writes them: `integer`, `character varying(20)`, `numeric(10,2)`. A type that is not known
    here is wider than none.
    """
    old, new = _read(before), _read(after)
    if old is None or new is None:
        return False
    (name, size, scale), (wide, width, places) = old, new
    if name in _TEXTS and wide in _TEXTS:
        return width is None or (size is not None and size <= width)
    if name in _NUMERICS and wide in _NUMERICS:
        if size is None or width is None:
            return width is None
        return width - places >= size - scale and places >= scale
    if name in _INTEGERS:
        return _holds_integers(_INTEGERS[name], wide, width, places)
    if name in _FLOATS:
        return _FLOATS.get(wide, 0) >= _FLOATS[name]
    if name in _TIMES and name == wide:
        return width is None or (size is not None and size <= width)
    return False


def _holds_integers(bits: int, wide: str, width: int | None, places: int) -> bool:
    if wide in _INTEGERS:
        return _INTEGERS[wide] >= bits
    if wide in _FLOATS:
        return _FLOATS[wide] >= bits
    return wide in _NUMERICS and (width is None or width - places >= _MOST_DIGITS[bits])


def _read(native: str) -> tuple[str, int | None, int] | None:
    """(name, length or precision, scale). None for arrays, domains, and whatever else is written otherwise."""
    found = _TYPE.fullmatch(native.strip().lower())
    if found is None:
        return None
    name = found[1].strip() + (found[4] or "")
    return name, None if found[2] is None else int(found[2]), int(found[3] or 0)
