"""Patterns asked once for the values that a column mostly has, instead of once for each row.

A sample of the rows tells which values are frequent and pass; a row that has one of them is then only compared with it.
The answer never depends on the sample: every other value is put to the pattern as before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from mainstay.quality import sql
from mainstay.quality.checks import RowCheck

SAMPLE = 1024
"""Rows looked at."""

WORTH = 50_000
"""From so many rows on, asking for a sample takes less time than it saves."""

_MOST = 8
"""Values compared with: more would take as long as the pattern."""

_LONGEST = 100

_SHARE = 0.5
"""The least part of the sample that these values make up."""


def costly(checks: Sequence[RowCheck]) -> tuple[RowCheck, ...]:
    """The checks whose conditions take so long that a sample may be worth it."""
    return tuple(one for one in checks if one.check.kind == "pattern")


def sample_sql(checks: Sequence[RowCheck], relation: str) -> str:
    """A query of each check's value and whether it fails, in turn, over a few rows of the cleaned relation."""
    asked = [f"{sql.name(one.check.column or '')}, {one.failed_sql}" for one in checks]
    return f"SELECT {', '.join(asked)} FROM {relation} LIMIT {SAMPLE}"


def eased(check: RowCheck, sample: Sequence[tuple[Any, Any]]) -> RowCheck:
    """The check, frequent values of the sample that pass being compared with first.

    Args:
        check: One of the `costly` checks.
        sample: Pairs of a value and whether it fails.
    """
    passing = Counter(value for value, failed in sample if failed is False and _writable(value))
    # A value that only a few rows have costs each row a comparison and saves little.
    frequent = {value: rows for value, rows in passing.most_common(_MOST) if rows * 4 * _MOST >= len(sample)}
    if not frequent or sum(frequent.values()) < _SHARE * len(sample):
        return check
    others = " AND ".join(f"{sql.name(check.check.column or '')} <> {sql.text(value)}" for value in frequent)
    return msgspec.structs.replace(check, failed_sql=f"({others} AND {check.failed_sql})")


def eased_all(checks: Sequence[RowCheck], rows: Sequence[tuple[Any, ...]]) -> tuple[RowCheck, ...]:
    """All checks, the `costly` ones eased by the rows that `sample_sql` gave."""
    places = {id(one): place for place, one in enumerate(costly(checks))}
    return tuple(
        eased(one, [row[2 * places[id(one)] : 2 * places[id(one)] + 2] for row in rows]) if id(one) in places else one
        for one in checks
    )


def _writable(value: object) -> bool:
    """Whether it can stand in a statement, which ends at a zero byte and should stay short."""
    return isinstance(value, str) and "\0" not in value and len(value) <= _LONGEST
