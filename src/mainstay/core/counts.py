"""How many, for people."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`1 row`, `0 rows`, `1,200 rows`. `many`: where it is not `one` with an s behind it, a verb included."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
