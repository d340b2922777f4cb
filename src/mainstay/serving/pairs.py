"""Rows of several feature views, put together as a request would: a bounded sample of what a model may be asked.

Views that share a key column are joined by it. Where nothing joins them, combinations are taken in a fixed order,
each row at least once.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from mainstay.core.inputs import ModelInput
from mainstay.core.keys import joined_key, parted_key
from mainstay.core.ports import OnlineReader
from mainstay.core.records import FeatureSetState
from mainstay.serving.view_rows import joined_values

LEAST = 10_000
"""Combinations that are taken at most, unless one view alone has more rows."""
_PAGE = 1_000
_LOOKED_AT = 500
"""Rows of each view among which an example is looked for."""

Values = TypeVar("Values")


class Combination(NamedTuple, Generic[Values]):
    """One row of each view, under one request's key."""

    key: dict[str, str]
    """Key column -> its text."""
    rows: tuple[Values, ...]


def combinations(
    parts: Sequence[tuple[FeatureSetState, Mapping[str, Values]]], least: int = LEAST
) -> list[Combination[Values]]:
    """Rows of each view (key -> row) put together; none where a view has none, or no keys meet."""
    found: list[Combination[Values]] = [Combination({}, ())]
    for state, rows in parts:
        names = [name for name, _ in state.key_columns]
        theirs = [
            Combination(dict(zip(names, parted_key(key, len(names)), strict=True)), (row,)) for key, row in rows.items()
        ]
        shared = [name for name in names if found and name in found[0].key]
        found = _joined(found, theirs, shared) if shared else _crossed(found, theirs, least)
    return found


def _joined(
    ours: list[Combination[Values]], theirs: list[Combination[Values]], shared: list[str]
) -> list[Combination[Values]]:
    by: dict[tuple[str, ...], list[Combination[Values]]] = defaultdict(list)
    for one in theirs:
        by[tuple(one.key[name] for name in shared)].append(one)
    return [
        Combination({**one.key, **other.key}, (*one.rows, *other.rows))
        for one in ours
        for other in by.get(tuple(one.key[name] for name in shared), ())
    ]


def _crossed(
    ours: list[Combination[Values]], theirs: list[Combination[Values]], least: int
) -> list[Combination[Values]]:
    count, other = len(ours), len(theirs)
    most, fewest = max(count, other), min(count, other)
    found = []
    for number in range(min(count * other, max(most, least))):
        # The first `most` of them show every row of both; then each round begins one further on.
        long, short = number % most, (number // most + number) % fewest
        one, two = (ours[long], theirs[short]) if count >= other else (ours[short], theirs[long])
        found.append(Combination({**one.key, **two.key}, (*one.rows, *two.rows)))
    return found


def paired_rows(online: OnlineReader, wanted: ModelInput) -> Iterator[tuple[str, bytes]]:
    """The key and the values of combined current rows, as one online row has them."""
    parts = [(one, dict(_values(online, one.digest))) for one in wanted.sets]
    names = [field.name for field in wanted.keys]
    for one in combinations(parts):
        yield joined_key([one.key[name] for name in names]), joined_values(one.rows)


def an_example(online: OnlineReader, wanted: ModelInput) -> tuple[dict[str, str], bytes] | None:
    """A request's key columns and the values it would find, for examples that work; None where none was found."""
    parts = [(one, dict(_values(online, one.digest, _LOOKED_AT))) for one in wanted.sets]
    found = next(iter(combinations(parts, 1)), None)
    return None if found is None else (found.key, joined_values(found.rows))


def _values(online: OnlineReader, digest: str, most: int | None = None) -> Iterator[tuple[str, bytes]]:
    keys = list(itertools.islice(online.keys(digest), most))
    for start in range(0, len(keys), _PAGE):
        for key, row in online.get_many(digest, keys[start : start + _PAGE]).items():
            if row.values is not None and not row.held and not row.deleted:
                yield key, row.values
