"""What an old system may be asked of: how many connections, at which hours, and how soon again after a failure.

`is_open`, `opens_us` and `retry_delay_us` are pure; `ConnectionCap` counts; `admit` is what every source calls first.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import monotonic, sleep
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from mainstay.core.clock import iso, naive_utc
from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.ids import Random
from mainstay.core.nouns import Guard
from mainstay.core.ports import ReadRequest

_HOURS = re.compile(r"^(\d{2}):(\d{2})-(\d{2}):(\d{2}) (\S+)$")
_MOST_DOUBLINGS = 40
_LOOK_S = 0.02
"""How often a place that another process holds is looked at again."""


class Hours(msgspec.Struct, frozen=True):
    """A daily window of a zone's own wall clock, `begins` included, `ends` not; it may span midnight."""

    begins: time
    ends: time
    zone: str


def parse_hours(text: str) -> Hours:
    """`20:00-06:00 Europe/Berlin` as a window. Equal ends mean the whole day. Raises SourceRefused."""
    found = _HOURS.match(text)
    mend = 'write hours as "20:00-06:00 Europe/Berlin"'
    if found is None:
        raise SourceRefused(f"{text!r} is not a window of hours", mend=mend)
    first, second, third, fourth, zone = found.groups()
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise SourceRefused(f"there is no time zone called {zone!r}", mend=mend) from None
    try:
        begins = time(int(first), int(second))
        ends = time(0) if (third, fourth) == ("24", "00") else time(int(third), int(fourth))
    except ValueError:
        raise SourceRefused(f"{text!r} holds an hour that no clock shows", mend=mend) from None
    return Hours(begins, ends, zone)


def is_open(hours: str, now_us: int) -> bool:
    """Whether the instant lies in the window; always, when `hours` is empty."""
    if not hours:
        return True
    window = parse_hours(hours)
    local = naive_utc(now_us).replace(tzinfo=UTC).astimezone(ZoneInfo(window.zone)).time().replace(fold=0)
    if window.begins < window.ends:
        return window.begins <= local < window.ends
    return local >= window.begins or local < window.ends


def opens_us(hours: str, now_us: int) -> int:
    """The instant, not before `now_us`, from which the window is open."""
    if is_open(hours, now_us):
        return now_us
    window = parse_hours(hours)
    zone = ZoneInfo(window.zone)
    today = naive_utc(now_us).replace(tzinfo=UTC).astimezone(zone).date()
    openings = (
        _instant_us(datetime.combine(today + timedelta(days=days), window.begins, tzinfo=zone)) for days in range(3)
    )
    return next(opening for opening in openings if opening >= now_us)


def retry_delay_us(failures: int, guard: Guard, random: Random) -> int:
    """How long to wait after `failures` failures in a row: doubling up to the most, half of it by chance.

    Chance keeps several installations from knocking at the same instant when a database comes back.
    """
    doublings = min(max(failures - 1, 0), _MOST_DOUBLINGS)
    delay = min(guard.retry_most_us, guard.retry_first_us << doublings)
    chance = int.from_bytes(random(4), "big") / 2**32
    return int(delay / 2 + delay / 2 * chance)


def admit(guard: Guard, request: ReadRequest, now_us: int, *, where: str) -> None:
    """Raises SourceAway when this read is not allowed at this hour."""
    full = request.mode in {"snapshot", "keys", "range"} or (request.mode == "increment" and request.since is None)
    windows = [guard.allowed_hours, guard.backfill_hours] if full else [guard.allowed_hours]
    for hours in windows:
        if not is_open(hours, now_us):
            raise SourceAway(
                f"{'full reads' if hours == guard.backfill_hours else 'reads'} are allowed {hours} only",
                mend=f"it opens at {iso(opens_us(hours, now_us))}; `guard:` in mainstay.yaml sets the hours",
                where=where,
            )


class ConnectionCap:
    """At most `most` holders at once; the next one waits up to `wait_us`, then is told so. Thread-safe.

    With `places`, a folder, the holders of every process that names it are counted together: each holds the
    operating system's lock on one of `most` files there, which a process that dies lets go.
    """

    def __init__(self, most: int, *, wait_us: int, where: str, places: str = "") -> None:
        self._most = most
        self._wait_us = wait_us
        self._where = where
        self._places = Path(places) if places else None
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Holds one place. Raises SourceAway when none became free in time."""
        until = monotonic() + self._wait_us / 1e6
        if not self._free.acquire(timeout=self._wait_us / 1e6):
            raise self._full()
        try:
            if self._places is None:
                yield
                return
            with self._place(self._places, until):
                yield
        finally:
            self._free.release()

    @contextmanager
    def _place(self, folder: Path, until: float) -> Iterator[None]:
        """One of the files, locked."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            for number in range(1, self._most + 1):
                descriptor = os.open(folder / str(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    continue
                try:
                    yield
                finally:
                    os.close(descriptor)
                return
            if monotonic() >= until:
                raise self._full()
            sleep(_LOOK_S)

    def _full(self) -> SourceAway:
        return SourceAway(
            f"all {self._most} connections that the guard allows are in use",
            mend="raise `guard.connections`, or read fewer datasets at once",
            where=self._where,
        )


def _instant_us(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000
