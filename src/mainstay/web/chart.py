"""Age against promise as a drawing: numbers in, points of an SVG and the sentence that says the same out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from mainstay.app.ages import AgePoint
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND, iso, span
from mainstay.core.nouns import Freshness

WIDTH, HEIGHT = 760.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 84.0, 12.0, 28.0
TICKS = 4
ROWS_MOST = 24
_STEPS = (
    SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE,
    15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 5 * DAY, 10 * DAY, 30 * DAY,
    100 * DAY, 365 * DAY,
)  # fmt: skip


Scale = Callable[[float], float]


class Mark(msgspec.Struct, frozen=True):
    """A line of the grid: where, and what stands beside it."""

    at: float
    label: str


class Promise(msgspec.Struct, frozen=True):
    word: str
    """`warn` or `fail`."""
    at: float
    label_at: float
    label: str


class Stretch(msgspec.Struct, frozen=True):
    """A row of the table: the worst of one stretch of time."""

    from_: str
    to: str
    age: str
    said: str


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    lines: tuple[str, ...]
    """`points` of a polyline for each run of known ages."""
    areas: tuple[str, ...]
    """`points` of the polygon below each."""
    promises: tuple[Promise, ...]
    ages: tuple[Mark, ...]
    times: tuple[Mark, ...]
    sentence: str
    table: tuple[Stretch, ...]


def draw(points: Sequence[AgePoint], freshness: Freshness) -> Chart:
    """The chart of at least one stretch of time."""
    promised = [(word, us) for word, us in (("warn", freshness.warn_us), ("fail", freshness.fail_us)) if us is not None]
    known = [one.worst_us for one in points if one.worst_us is not None]
    step, top = _scale(max([*known, *(us for _, us in promised), SECOND]))
    start, end = points[0].from_us, points[-1].to_us

    def y(age_us: float) -> float:
        return round(HEIGHT - BOTTOM - age_us / top * (HEIGHT - TOP - BOTTOM), 1)

    def x(at_us: float) -> float:
        return round(LEFT + (at_us - start) / max(1, end - start) * (WIDTH - LEFT - RIGHT), 1)

    runs = [
        [
            (x(run[0].from_us), y(run[0].worst_us or 0)),
            *((x((one.from_us + one.to_us) / 2), y(one.worst_us or 0)) for one in run),
            (x(run[-1].to_us), y(run[-1].worst_us or 0)),
        ]
        for run in _runs(points)
    ]
    return Chart(
        lines=tuple(_points(run) for run in runs),
        areas=tuple(_points([(run[0][0], y(0)), *run, (run[-1][0], y(0))]) for run in runs),
        promises=_promises(promised, y),
        ages=tuple(Mark(y(n * step), span(n * step) if n else "0") for n in range(int(top // step) + 1)),
        times=tuple(_time(start + (end - start) * n // TICKS, x, days=end - start > DAY) for n in range(TICKS + 1)),
        sentence=_sentence(points, promised),
        table=_table(points, freshness),
    )


def _scale(most_us: int) -> tuple[int, int]:
    """The step between marks, and the top of the axis: a whole number of steps, at most five, above `most_us`."""
    room = int(most_us * 1.08)
    step = next((one for one in _STEPS if one * 5 >= room), room // 5 + 1)
    return step, -(-room // step) * step


def _runs(points: Sequence[AgePoint]) -> list[list[AgePoint]]:
    runs: list[list[AgePoint]] = [[]]
    for one in points:
        if one.worst_us is not None:
            runs[-1].append(one)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _points(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in places)


def _promises(promised: Sequence[tuple[str, int]], y: Scale) -> tuple[Promise, ...]:
    """Labels keep their distance where the lines lie close together."""
    found: list[Promise] = []
    for word, us in promised:
        at = y(us)
        label_at = at + 4 if not found else min(at + 4, found[-1].label_at - 14)
        found.append(Promise(word, at, label_at, f"{word} {span(us)}"))
    return tuple(found)


def _time(at_us: int, x: Scale, *, days: bool) -> Mark:
    text = iso(at_us)
    return Mark(x(at_us), f"{text[5:10]} {text[11:16]}" if days else text[11:16])


def said(age_us: int | None, freshness: Freshness) -> str:
    """An age against its promise, in words."""
    if age_us is None:
        return "not known"
    if freshness.fail_us is not None and age_us > freshness.fail_us:
        return "past fail"
    if freshness.warn_us is not None and age_us > freshness.warn_us:
        return "past warn"
    return "no promise" if freshness.warn_us is None and freshness.fail_us is None else "kept"


def _sentence(points: Sequence[AgePoint], promised: Sequence[tuple[str, int]]) -> str:
    window = span(points[-1].to_us - points[0].from_us)
    known = [(one.worst_us, one) for one in points if one.worst_us is not None]
    if not known:
        return f"No age is known for the last {window}."
    worst, when = max(known, key=lambda one: one[0])
    text = f"In the last {window} the greatest age was {span(worst)}, about {_minute(when.to_us)} UTC."
    if not promised:
        return f"{text} No age is promised."
    words = " and ".join(f"{word} {span(us)}" for word, us in promised)
    broken = [
        f"past {word} for about {span(sum(one.to_us - one.from_us for age, one in known if age > us))}"
        for word, us in promised
        if worst > us
    ]
    return f"{text} Promised: {words}; " + (f"it was {' and '.join(broken)}." if broken else "it was kept throughout.")


def _minute(at_us: int) -> str:
    return iso(at_us)[:16].replace("T", " ")


def _table(points: Sequence[AgePoint], freshness: Freshness) -> tuple[Stretch, ...]:
    """The same as rows, the newest first: neighbours taken together, each with its worst."""
    size = -(-len(points) // ROWS_MOST)
    rows = []
    for n in range(0, len(points), size):
        part = points[n : n + size]
        ages = [one.worst_us for one in part if one.worst_us is not None]
        worst = max(ages, default=None)
        age = "not known" if worst is None else span(worst)
        rows.append(Stretch(_minute(part[0].from_us), _minute(part[-1].to_us), age, said(worst, freshness)))
    return tuple(reversed(rows))
