"""Part of a table, as a backfill reads it: in order of one column, a bounded number of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from mainstay.core.ports import ReadRequest


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Rows whose column `by` is at least `low` and less than `high`, in the source's own order of values.

    A row without a value in that column is in no range.
    """

    by: str
    """The column's name in the source."""
    low: str | None = None
    """In the source's own text; None: from the least value on."""
    high: str | None = None
    """The same; None: up to the greatest value, which is then included."""
    most: int = 0
    """A read ends after about so many rows, between two values: rows of one value are never parted. 0: all of it."""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """What a source says of a range before it is read."""

    low: str | None
    """As given, in the source's own text."""
    high: str | None
    rows: int | None
    """How many rows it holds, counted or estimated, whatever costs little; None: it would cost too much."""


class RangeSource(Protocol):
    """What a source does whose capabilities say `ranges`, beside the reads of mode `range`."""

    def measure(self, request: ReadRequest) -> Measure:
        """Looks at `request.part` in one short statement or two.

        Raises SourceRefused where its bounds are not values of the column, in the wrong order, or the column has none.
        """
        ...


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of which backfill a landed batch is: enough to record it as done after a crash."""

    backfill: str
    number: int
    """Counted from 1."""
    read: int
    """Rows that the source returned for it."""
    next: str | None
    """Where the next one begins; None: this was the last."""
