"""Quoting: the one place where a name or a value becomes SQL text (standard SQL, as DuckDB and PostgreSQL read it)."""

from __future__ import annotations

from mainstay.core.nouns import ColumnType

DUCKDB_TYPES: dict[ColumnType, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "json": "VARCHAR",
    "bytes": "BLOB",
}
"""Column types as DuckDB holds them. A TIMESTAMP has no zone and is UTC."""

WHITESPACE = (
    " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\u200b\ufeff"
)
"""Unicode's white space, and what spreadsheets leave unseen: zero-width space and byte order mark."""


def identifier(name: str) -> str:
    """The name in double quotes, every quote in it doubled."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text in single quotes, every quote in it doubled."""
    return "'" + text.replace("'", "''") + "'"


def columns(names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    """The names quoted and joined by commas, each behind `prefix`."""
    return ", ".join(prefix + identifier(name) for name in names)
