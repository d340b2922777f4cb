"""Which runs of a feature set's SQL give every wanted row: pure.

A feature row depends on rows of its own key alone, so one run can look at each key at an instant of its own: what it
is shown of a key is what was known then. One run holds a key once; a key that is wanted in several states takes as
many runs. Datasets mapped to `all` and `$as_of` are the same for every key of a run: states that differ in them are
apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

KEYS_PER_RUN = 20_000
"""Bounds the rows that one run is shown, and with them the memory that it takes."""


class Group(msgspec.Struct, frozen=True):
    """States that may be computed together: each of another key."""

    number: int
    as_of_us: int
    """The `$as_of` of its rows; 0 where the SQL does not use it."""
    epochs: tuple[int, ...]
    """For each dataset mapped to `all`: since when it stood as these states saw it."""
    states: int


class Run(msgspec.Struct, frozen=True):
    """One run of the SQL: the states `first` up to `end` of a group."""

    group: int
    as_of_us: int
    epochs: tuple[int, ...]
    first: int
    end: int


def plan_runs(groups: Iterable[Group], *, keys: int = KEYS_PER_RUN) -> tuple[Run, ...]:
    """The runs that give every state of the groups once, none with more than `keys`."""
    return tuple(
        Run(one.number, one.as_of_us, one.epochs, first, min(first + keys, one.states))
        for one in groups
        for first in range(0, one.states, keys)
    )
