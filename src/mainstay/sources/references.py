"""Foreign keys as catalogs list them, column by column, as `TableInfo.references` holds them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from mainstay.core.keys import joined_key


def joined_references(rows: Iterable[tuple[object, ...]]) -> tuple[tuple[str, str, str], ...]:
    """Foreign keys out of (which, column here, table there, column there); those without a column there are left out.

    Args:
        rows: One for each column of each foreign key, in the key's order, those of one key beside each other.
    """
    found = []
    for _, group in groupby(rows, key=lambda row: row[0]):
        columns = [(here, str(table), there) for _, here, table, there in group]
        if all(there is not None for _, _, there in columns):
            here, there = (joined_key([str(one[at]) for one in columns]) for at in (0, 2))
            found.append((here, columns[0][1], there))
    return tuple(found)
