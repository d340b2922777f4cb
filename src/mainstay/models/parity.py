"""Whether the converted model is the original, measured on rows that exist and where trees decide.

Compared are all current rows; around each split the nearest values seen on either side of it and 1e-4 relative of it to
either side, put into rows that exist; each category, a category never seen, and a null wherever the original takes one.
Closer to a split than one float32 step, float32 cannot decide: that band is measured apart, with the largest difference
in it and the share of current rows that lie in it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import floor
from typing import Any

import msgspec

from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row
from mainstay.models.inputs import null

TOLERANCE = 1e-6
NEVER_SEEN = "mainstay: a category never seen"
_AT_ONCE = 2000
_PATIENCE_US = 300 * SECOND
_BASES = 3

Splits = Mapping[str, Sequence[tuple[float, float]]]
"""Column -> (threshold, one float32 step) in the column's own units, ascending."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison: rows compared, rows that differ by more than the tolerance, the largest difference of any."""

    rows: int = 0
    differ: int = 0
    largest: float = 0.0
    refusals: int = 0
    """Rows that one of the two answers and the other refuses."""

    @property
    def equal(self) -> bool:
        return self.differ == 0 and self.refusals == 0


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured. Differences are absolute; of texts, 1 where they differ."""

    tolerance: float
    current: Compared
    around: Compared
    """Around each split, each category, and nulls."""
    band: Compared
    """Closer to a split than one float32 step; not judged."""
    band_rows: int
    """Current rows that lie in the band."""
    splits: int

    @property
    def equal(self) -> bool:
        return self.current.rows > 0 and self.current.equal and self.around.equal

    @property
    def band_share(self) -> float:
        return self.band_rows / self.current.rows if self.current.rows else 0.0


def compare(
    original: LoadedModel,
    converted: LoadedModel,
    signature: Signature,
    rows: Sequence[Row],
    splits: Splits,
    *,
    clock: Clock,
    closed: Sequence[str] = (),
    tolerance: float = TOLERANCE,
) -> Parity:
    """Runs both on everything the module names. `closed`: inputs whose unknown categories both are known to refuse."""

    def measured(given: Sequence[Row]) -> Compared:
        return difference(answers(original, given, clock), answers(converted, given, clock), tolerance)

    points = [*around(signature, rows, splits), *oddities(signature, rows, closed)]

    return Parity(
        tolerance=tolerance,
        current=measured(rows),
        around=measured(points),
        band=measured(list(inside(signature, rows, splits))),
        band_rows=sum(in_band(signature, row, splits) for row in rows),
        splits=sum(map(len, splits.values())),
    )


def difference(left: Sequence[Row | None], right: Sequence[Row | None], tolerance: float) -> Compared:
    """Row by row; None stands for a refusal."""
    differ = refusals = 0
    largest = 0.0
    for one, other in zip(left, right, strict=True):
        if one is None or other is None:
            refusals += (one is None) != (other is None)
            continue
        apart = max(map(_apart, one, other), default=0.0)
        largest = max(largest, apart)
        differ += apart > tolerance
    return Compared(rows=len(left), differ=differ, largest=largest, refusals=refusals)


def _apart(one: Any, other: Any) -> float:
    if null(one) or null(other):
        return float(null(one) != null(other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other)
    return float(one != other)


def answers(model: LoadedModel, rows: Sequence[Row], clock: Clock) -> list[tuple[Any, ...] | None]:
    """The model's answer to each row, None where it refuses that row (found by halving, so one row spoils no other)."""
    found: list[tuple[Any, ...] | None] = []
    for begin in range(0, len(rows), _AT_ONCE):
        found.extend(_answers(model, rows[begin : begin + _AT_ONCE], clock))
    return found


def _answers(model: LoadedModel, rows: Sequence[Row], clock: Clock) -> list[tuple[Any, ...] | None]:
    try:
        return list(model.predict(rows, deadline_us=clock.monotonic_us() + _PATIENCE_US))
    except ModelRefused:
        if len(rows) == 1:
            return [None]
    middle = len(rows) // 2
    return [*_answers(model, rows[:middle], clock), *_answers(model, rows[middle:], clock)]


def around(signature: Signature, rows: Sequence[Row], splits: Splits) -> Iterator[Row]:
    """Existing rows with one value replaced by one near a split; none of them closer than one float32 step."""
    for place, field in enumerate(signature.inputs):
        known = splits.get(field.name, ())
        seen = sorted((row[place], number) for number, row in enumerate(rows) if not null(row[place]))
        if not seen:
            continue
        values = [value for value, _ in seen]
        for count, (split, _) in enumerate(known):
            after = bisect_right(values, split)
            near = max(after - 1, 0)
            far = 1e-4 * abs(split) or 1e-4
            candidates = [values[near], values[min(after, len(values) - 1)], split - far, split + far]
            if field.type == "integer":
                candidates.extend((floor(split), floor(split) + 1))
            for value in candidates:
                fitting = _fitting(value, field.type)
                if fitting is None or _close(fitting, known):
                    continue
                yield _replaced(rows[seen[near][1]], place, fitting)
                yield _replaced(rows[(count * 7919) % len(rows)], place, fitting)


def inside(signature: Signature, rows: Sequence[Row], splits: Splits) -> Iterator[Row]:
    """Existing rows with one value replaced by one that float32 cannot tell from a split."""
    if not rows:
        return
    for place, field in enumerate(signature.inputs):
        for count, (split, step) in enumerate(splits.get(field.name, ())):
            for shift in (-1.0, -0.5, 0.0, 0.5, 1.0):
                fitting = _fitting(split + shift * step, field.type)
                if fitting is not None:
                    yield _replaced(rows[(count * 7919) % len(rows)], place, fitting)


def in_band(signature: Signature, row: Row, splits: Splits) -> bool:
    """Whether any value of the row lies within one float32 step of a split."""
    return any(
        not null(row[place]) and _close(row[place], splits.get(field.name, ()))
        for place, field in enumerate(signature.inputs)
        if field.name in splits
    )


def oddities(signature: Signature, rows: Sequence[Row], closed: Sequence[str] = ()) -> Iterator[Row]:
    """A few existing rows with each category in turn, one never seen unless `closed`, and a null where allowed."""
    for base in _bases(rows):
        for place, field in enumerate(signature.inputs):
            if not field.required:
                yield _replaced(base, place, None)
            if field.type == "string":
                for category in (*field.categories, *(() if field.name in closed else (NEVER_SEEN,))):
                    yield _replaced(base, place, category)


def probe(
    original: LoadedModel, signature: Signature, rows: Sequence[Row], clock: Clock
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the original refuses: the inputs that must not be null, and those that take known categories only."""
    bases = [base for base in _bases(rows) if answers(original, [base], clock) != [None]]
    required, closed = [], []
    for place, field in enumerate(signature.inputs):
        if field.required or (bases and _refuses(original, bases, place, None, clock)):
            required.append(field.name)
        if field.categories and bases and _refuses(original, bases, place, NEVER_SEEN, clock):
            closed.append(field.name)
    return tuple(required), tuple(closed)


def _refuses(model: LoadedModel, bases: Iterable[Row], place: int, value: Any, clock: Clock) -> bool:
    """Whether any of the rows is refused with this value, asked in one question."""
    rows = [_replaced(base, place, value) for base in bases]
    try:
        model.predict(rows, deadline_us=clock.monotonic_us() + _PATIENCE_US)
    except ModelRefused:
        return True
    return False


def _bases(rows: Sequence[Row]) -> list[Row]:
    return [rows[number * len(rows) // _BASES] for number in range(min(_BASES, len(rows)))]


def _replaced(row: Row, place: int, value: Any) -> Row:
    return (*row[:place], value, *row[place + 1 :])


def _fitting(value: Any, kind: str) -> Any:
    """The value as the input's type takes it; None where it has no room for it."""
    if kind == "integer":
        return int(value) if float(value).is_integer() else None
    return float(value) if kind == "number" else None


def _close(value: float, known: Sequence[tuple[float, float]]) -> bool:
    """Whether the value lies within one float32 step of any split. Steps grow with the split, so neighbours suffice."""
    after = bisect_left(known, (value, 0.0))
    return any(abs(value - split) <= step for split, step in known[max(after - 2, 0) : after + 2])


def failing(parity: Parity) -> str:
    """The numbers against it, e.g. `differs by up to 0.9 on 12 of 7,043 rows`."""
    parts = []
    for compared, what in ((parity.current, "rows"), (parity.around, "points around its splits, categories and nulls")):
        if compared.differ:
            parts.append(f"differs by up to {compared.largest:.2g} on {compared.differ:,} of {compared.rows:,} {what}")
        if compared.refusals:
            parts.append(f"one answers and the other refuses {compared.refusals:,} of {compared.rows:,} {what}")
    return ", ".join(parts)
