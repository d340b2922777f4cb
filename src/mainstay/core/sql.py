"""Quoting: the one place where a name or a value becomes SQL text (standard SQL, as DuckDB and PostgreSQL read it)."""

from __future__ import annotations


def identifier(name: str) -> str:
    """The name in double quotes, every quote in it doubled."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text in single quotes, every quote in it doubled."""
    return "'" + text.replace("'", "''") + "'"


def columns(names: tuple[str, ...] | list[str], prefix: str = "") -> str:
    """The names quoted and joined by commas, each behind `prefix`."""
    return ", ".join(prefix + identifier(name) for name in names)
