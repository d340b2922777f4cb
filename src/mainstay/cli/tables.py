"""How wide the columns of a table are, on whatever screen: words stay whole.

Texts in, widths out; nothing is printed here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

GAPS = (3, 2)
"""Blanks between two columns, the better first."""
LONGEST = (48, 24, 16)
"""A word longer than this, a digest say, may be broken; tried in this order."""
_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|min|h|d)\b)")
"""A number is not parted from its unit by the end of a line."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are shown, how wide, and how far apart."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    gap: int
    tight: bool = False
    """Whether texts are broken; then they are shown as `tightened` says."""


def laid_out(cells: Sequence[Sequence[str]], room: int) -> Layout | None:
    """The layout of a table whose first row are its headings, or None where it does not fit by any means.

    As wide as it is; else without columns that are empty but for their heading; else with texts broken between words.
    """
    every = range(len(cells[0]))
    filled = tuple(at for at in every if any(row[at] for row in cells[1:])) or tuple(every)
    for columns in (tuple(every), filled):
        widths = tuple(max(len(row[at]) for row in cells) for at in columns)
        for gap in GAPS:
            if _total(widths, gap) <= room:
                return Layout(columns, widths, gap)
    cells = [[tightened(text) for text in row] for row in cells]
    for longest in LONGEST:
        for gap in GAPS:
            least = [max(min(_word(row[at]), longest) for row in cells) for at in filled]
            if _total(least, gap) <= room:
                most = [max(len(row[at]) for row in cells) for at in filled]
                return Layout(filled, _shared(least, most, room - _total(least, gap)), gap, tight=True)
    return None


def tightened(text: str) -> str:
    """`5.9 s` as `5.9s`."""
    return _UNIT.sub("", text)


def _shared(least: list[int], most: list[int], left: int) -> tuple[int, ...]:
    """What is left goes, one by one, to the column that lacks the greatest part of what it wants."""
    widths = list(least)
    for _ in range(left):
        lacking = max(range(len(widths)), key=lambda at: most[at] / widths[at])
        if most[lacking] <= widths[lacking]:
            break
        widths[lacking] += 1
    return tuple(widths)


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _word(text: str) -> int:
    return max(map(len, text.split()), default=0)
