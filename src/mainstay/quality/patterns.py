"""Regular expressions of one fixed shape as GLOB, which DuckDB matches sooner than RE2: `C[0-9]{8}`.

Only what means the same to both is taken: plain ASCII characters, classes of them, `{n}`. All else stays with RE2.
GLOB compares bytes, and no byte of another character lies in ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

_DIGITS = frozenset("0123456789")
_WORD = _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")

_ITEM = re.compile(
    r"""(?:
        \[ (?P<members> (?: [^\\\[\]^-] (?:-[^\\\[\]^-])? )+ -? ) \]   # a class: characters and ranges, a last dash
      | \\ (?P<named> [dw] )
      | \\ (?P<escaped> [^\w\s] )
      | (?P<plain> [^\\.^$|?*+()\[\]{}] )
    ) (?: \{ (?P<times> [1-9][0-9]? ) \} )?""",
    re.VERBOSE,
)

_MOST_RANGES = 10
"""GLOB takes its time range by range, RE2 once for the whole: beyond ten or so, RE2 is as fast or faster."""

_LONGEST = 32


def glob_of(regex: str) -> str | None:
    """The GLOB that the same texts match as a whole, where there is one and it is worth it; None otherwise."""
    positions = _positions(regex.removeprefix("^").removesuffix("$"))
    if positions is None or not 0 < len(positions) <= _LONGEST:
        return None
    parts = [_ranges(position) for position in positions]
    if sum(len(ranges) for ranges in parts if not _single(ranges)) > _MOST_RANGES:
        return None
    written = [_written(ranges) for ranges in parts]
    return None if None in written else "".join(filter(None, written))


def _positions(regex: str) -> list[frozenset[str]] | None:
    """What may stand at each place; None where the expression says more than that."""
    found: list[frozenset[str]] = []
    at = 0
    while at < len(regex):
        item = _ITEM.match(regex, at)
        if item is None:
            return None
        characters = _characters(item)
        if not characters or not all(" " <= character <= "~" for character in characters):
            return None
        found += [characters] * int(item["times"] or 1)
        at = item.end()
    return found


def _characters(item: re.Match[str]) -> frozenset[str]:
    if item["named"]:
        return _DIGITS if item["named"] == "d" else _WORD
    if item["members"] is None:
        return frozenset(item["escaped"] or item["plain"])
    members, found = item["members"], set[str]()
    while members:
        if len(members) > 2 and members[1] == "-":
            found.update(map(chr, range(ord(members[0]), ord(members[2]) + 1)))
            members = members[3:]
        else:
            found.add(members[0])
            members = members[1:]
    return frozenset(found)


def _ranges(characters: Iterable[str]) -> list[tuple[str, str]]:
    """The characters as ranges, first and last of each."""
    numbered = enumerate(sorted(characters))
    runs = ([one for _, one in run] for _, run in groupby(numbered, key=lambda pair: ord(pair[1]) - pair[0]))
    return [(run[0], run[-1]) for run in runs]


def _single(ranges: list[tuple[str, str]]) -> bool:
    return len(ranges) == 1 and ranges[0][0] == ranges[0][1]


def _written(ranges: list[tuple[str, str]]) -> str | None:
    """One place of a GLOB. A class that begins with `!` would be its opposite; a bracket would end it."""
    if _single(ranges):
        character = ranges[0][0]
        return f"\\{character}" if character in "*?[\\" else character
    if any(bound in "!]\\" for one in ranges for bound in one):
        return None
    return "[" + "".join(f"{first}-{last}" for first, last in ranges) + "]"
