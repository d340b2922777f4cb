"""`volume`: rows per calendar window against the dataset's own past. Pure; the rules are in docs/checks.md.

A window is like another when it has the same name in its zone: the same weekday, the same hour of the week. How far it
may lie from the median of those before it is either a share of that median (`within`), or 3.5 robust standard
deviations: the modified z-score of Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993), as in the
NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17, |x - median| / (1.4826 MAD) > 3.5. The scale is at least the
square root of the median, the standard deviation of a Poisson count, since few counts may have hardly any MAD.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from mainstay.core.counts import counted
from mainstay.core.nouns import Check
from mainstay.core.sql import identifier
from mainstay.core.verdicts import Finding, Verdict

Per = Literal["hour", "day", "week"]

ENOUGH = 3
"""Windows of the past from which a median says something."""
STEP: Mapping[Per, int] = {"hour": 168, "day": 7, "week": 1}
"""Each so-many-th window before a window is like it."""
DEVIATIONS = 3.5
_ROBUST = 1.4826
"""MAD -> standard deviation, where the counts are normal."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Window(msgspec.Struct, frozen=True):
    """A stretch of calendar time in one zone; a day may have 23 or 25 hours."""

    begins_us: int
    ends_us: int
    """The first instant that is not in it."""
    name: str
    """`Monday 2026-11-02`, `Monday 2026-11-02 14:00` or `the week of 2026-11-02`; with the offset where an hour comes
    twice."""
    first: str
    """Local date on which it begins, in ISO: what a column of dates is compared with."""
    after: str
    """Local date on which it has ended."""


def windows(now_us: int, per: Per, zone: ZoneInfo, past: int) -> tuple[Window, ...]:
    """The last window that was over at `now_us`, then those of the `past` before it that are like it, newest first."""
    here = _local(now_us, zone)
    weeks = range(past // STEP[per] + 1)
    if per == "hour":
        this = _us(here.replace(minute=0, second=0, microsecond=0))
        return tuple(_hours(_local(this - 3_600_000_000, zone), weeks))
    today = here.date()
    if per == "day":
        return tuple(_days(today - timedelta(days=1 + 7 * back), 1, zone) for back in weeks)
    monday = today - timedelta(days=today.weekday() + 7)
    return tuple(_days(monday - timedelta(days=7 * back), 7, zone) for back in weeks)


def _hours(last: datetime, weeks: range) -> Iterator[Window]:
    for back in weeks:
        begins = last.replace(tzinfo=None, fold=last.fold) - timedelta(days=7 * back)
        begins = begins.replace(tzinfo=last.tzinfo, fold=last.fold)
        at = _us(begins)
        there = _local(at, begins.tzinfo)
        if there.replace(tzinfo=None) != begins.replace(tzinfo=None):
            continue  # the clocks skipped this hour
        name = f"{there:%A} {there:%Y-%m-%d %H:%M}"
        if there.replace(fold=0).utcoffset() != there.replace(fold=1).utcoffset():
            name += f"{there:%z}"
        yield Window(at, at + 3_600_000_000, name, str(there.date()), str(there.date()))


def _days(first: date, days: int, zone: ZoneInfo) -> Window:
    after = first + timedelta(days=days)
    begins, ends = (_us(datetime(one.year, one.month, one.day, tzinfo=zone)) for one in (first, after))
    name = f"{first:%A} {first}" if days == 1 else f"the week of {first}"
    return Window(begins, ends, name, str(first), str(after))


def _local(at_us: int, zone: Any) -> datetime:
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def counts_sql(check: Check, wanted: Sequence[Window], *, relation: str, day: bool) -> str:
    """SQL giving one row: the least value of the check's column, as microseconds, then the count of each window.

    Args:
        check: Its `of` names the column.
        wanted: The windows.
        relation: Name or bracketed query of current as it would be; timestamps are in UTC.
        day: Whether the column is a date, without a time of day.
    """
    column = identifier(str(check.args["of"]))
    instant = f"epoch_us(CAST({column} AS TIMESTAMP))"
    counted = [
        f"count(*) FILTER ({column} >= DATE '{one.first}' AND {column} < DATE '{one.after}')"
        if day
        else f"count(*) FILTER ({instant} >= {one.begins_us} AND {instant} < {one.ends_us})"
        for one in wanted
    ]
    return f"SELECT min({instant}), {', '.join(counted)} FROM {relation} WHERE isfinite({column})"


def judge_volume(check: Check, window: Window, count: int | None, past: Sequence[int]) -> Finding:
    """The finding of a `volume` check.

    Args:
        check: Its `within`, a share, or None.
        window: The last one that is over.
        count: Its rows; None when nothing was read in it, or not from its beginning.
        past: Rows of the windows before that are like it, as far as they are known.
    """
    if count is None:
        return _said(check, Verdict.UNKNOWN, f"cannot tell for {window.name}: it was not watched", 0)
    if len(past) < ENOUGH:
        sentence = f"cannot tell yet: {rows(count)} in {window.name}, and {len(past)} of the {ENOUGH} windows like it"
        return _said(check, Verdict.UNKNOWN, f"{sentence} that are needed to compare", count)
    low, high = band(past, check.args.get("within"))
    usual = f"the {len(past)} like it before have a median of {_number(median(past))}"
    told = f"{rows(count)} in {window.name}; {usual}, so {_number(low)} to {_number(high)}"
    if low <= count <= high:
        return _said(check, Verdict.PASS, f"{told} are within bounds", count)
    verdict = Verdict.WARN if check.on_fail == "warn" else Verdict.FAIL
    return _said(check, verdict, f"{told} would be within bounds", count, failed=1)


def band(past: Sequence[int], within: float | None) -> tuple[float, float]:
    """The least and the greatest count that are within bounds, themselves allowed. `within`: a share of the median."""
    middle = median(past)
    if within is not None:
        return middle * (1 - within), middle * (1 + within)
    spread = _ROBUST * median(abs(one - middle) for one in past)
    reach = DEVIATIONS * max(spread, middle**0.5)
    return max(0.0, middle - reach), middle + reach


def rows(count: int) -> str:
    """`1 row`, `12 rows`, `no rows`."""
    return counted(count, "row") if count else "no rows"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.1f}"


def _said(check: Check, verdict: Verdict, sentence: str, total: int, *, failed: int = 0) -> Finding:
    mend = ""
    if failed:
        mend = "ask the source's owner what became of its rows; if it is right so, widen `within`"
    return Finding(
        check=check.name, verdict=verdict, sentence=sentence, column=check.args.get("of"), on_fail=check.on_fail,
        failed=failed, total=total, mend=mend,
    )  # fmt: skip
