"""Time, handed in. All instants are UTC microseconds since 1970 as integers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where the time comes from."""

    def now_us(self) -> int:
        """UTC microseconds since 1970, by the machine's wall clock."""
        ...

    def monotonic_us(self) -> int:
        """Microseconds of a clock that never goes back; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1_000


def iso(instant_us: int) -> str:
    """`2026-11-01T09:30:00.000000Z` for an instant in UTC microseconds."""
    moment = _EPOCH + timedelta(microseconds=instant_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def naive_utc(instant_us: int) -> datetime:
    """The instant as a datetime in UTC without a zone, as DuckDB's TIMESTAMP wants it."""
    return (_EPOCH + timedelta(microseconds=instant_us)).replace(tzinfo=None)


def span(duration_us: int) -> str:
    """A duration for people: `21 s`, `5 min`, `2.5 h`, `3.2 d`."""
    sign, duration = ("-", -duration_us) if duration_us < 0 else ("", duration_us)
    if duration < SECOND:
        return f"{sign}{duration / 1_000:.0f} ms"
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s")):
        if duration >= size:
            return f"{sign}{duration / size:.1f}".removesuffix(".0") + f" {unit}"
    return "0 s"
