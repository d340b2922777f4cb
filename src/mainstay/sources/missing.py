"""The sentences for a table or column that is not there, each with what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from mainstay.core.errors import SourceRefused
from mainstay.core.ports import SourceColumn


def closest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` probably meant, whatever its case; empty when none is near."""
    by_folded = {each.casefold(): each for each in names}
    near = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[near[0]] if near else ""


def missing_table(table: str, tables: Sequence[str], *, where: str) -> SourceRefused:
    """No such table; `tables` are those that there are."""
    meant = closest(table, tables)
    if meant:
        mend = f"did you mean {meant!r}?"
    elif tables:
        mend = "there are " + ", ".join(sorted(tables)[:8]) + (", ..." if len(tables) > 8 else "")
    else:
        mend = "this login can read no table at all: grant it SELECT"
    return SourceRefused(f"there is no table or view {table!r} that this login can see", mend=mend, where=where)


def missing_column(column: str, table: str, columns: Sequence[str], *, where: str) -> SourceRefused:
    """No such column; `columns` are those that there are."""
    meant = closest(column, columns)
    mend = f"did you mean {meant!r}?" if meant else "its columns are " + ", ".join(columns)
    return SourceRefused(f"table {table!r} has no column {column!r}", mend=mend, where=where)


def refused_column(column: SourceColumn, table: str, *, where: str) -> SourceRefused:
    """The column is there, but its type has no exact form here."""
    return SourceRefused(
        f"column {column.name!r} of table {table!r} is {column.native}: {column.refused}",
        mend="leave it out of `columns:`, or read a view that turns it into text",
        where=where,
    )
