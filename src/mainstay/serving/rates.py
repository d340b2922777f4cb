"""How many requests each API key may send: a bucket of tokens that refills at the key's rate.

Each worker has a bucket of its own for each API key, and takes out of it what the others gave, which it reads of their
counters every second. So all workers of a machine together keep the rate: for a second a caller with many connections
may get more, up to what is left in each of their buckets, and then owes it. Machines do not know of each other.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mainstay.core.clock import SECOND, Clock
from mainstay.core.rate import Rate
from mainstay.core.records import ApiKey
from mainstay.serving.faults import Fault
from mainstay.serving.meter import Meter, read_counts

BUCKETS_MOST = 1_000
"""Buckets from which on those that are full are forgotten: an issuer's tokens may be of any number of callers."""


class Taken(NamedTuple):
    """What came of asking for a request."""

    allowed: bool
    rate: Rate
    left: int
    """Requests that may follow at once."""
    reset_s: int
    """Seconds until as many are left as there can be."""
    wait_s: int
    """Seconds until one may follow; 0 where one may now."""


def spent(taken: Taken) -> Fault:
    """What a caller is told whose rate is used up."""
    wait = max(1, taken.wait_s)
    return Fault(
        code="rate",
        status=429,
        detail=f"this caller may send {taken.rate.text.replace('/', ' requests/')}, and has",
        mend=f"ask again in {wait} s, or ask for a higher rate",
        retry_after=wait,
    )


class _Bucket:
    __slots__ = ("at_us", "rate", "tokens")

    def __init__(self, rate: Rate, at_us: int) -> None:
        self.rate = rate
        self.tokens = float(rate.requests)
        self.at_us = at_us


class Rates:
    """The buckets of one worker. `take` is for one thread, `look` may be another's.

    Args:
        clock: Its monotonic half refills the buckets.
        meter: Tells the other workers what was taken here.
    """

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self._clock = clock
        self._meter = meter
        self._buckets: dict[str, _Bucket] = {}
        self._elsewhere: deque[dict[str, int]] = deque(maxlen=1)
        self._seen: dict[Path, dict[str, int]] = {}
        self._sweep_at = BUCKETS_MOST

    def take(self, caller: ApiKey, usual: Rate | None) -> Taken | None:
        """A request of the caller's rate, else of the `usual` one; None where there is neither."""
        rate = caller.rate or usual
        if rate is None:
            return None
        while self._elsewhere:
            self._owe(self._elsewhere.popleft())
        now_us = self._clock.monotonic_us()
        bucket = self._buckets.get(caller.id)
        if bucket is None or bucket.rate != rate:
            if len(self._buckets) >= self._sweep_at:
                self._sweep(now_us)
            bucket = self._buckets[caller.id] = _Bucket(rate, now_us)
        full = rate.requests
        bucket.tokens = min(full, bucket.tokens + (now_us - bucket.at_us) * full / rate.per_us)
        bucket.at_us = now_us
        allowed = bucket.tokens >= 1
        if allowed:
            bucket.tokens -= 1
            rated = self._meter.counts.rated
            rated[caller.id] = rated.get(caller.id, 0) + 1
        each_us = rate.per_us / full
        wait_us = max(0.0, (1 - bucket.tokens) * each_us)
        return Taken(
            allowed,
            rate,
            max(0, int(bucket.tokens)),
            math.ceil((full - bucket.tokens) * each_us / SECOND),
            math.ceil(wait_us / SECOND),
        )

    def look(self, folder: Path) -> None:
        """Reads what the other workers have taken since the last look."""
        taken: dict[str, int] = {}
        for file in folder.glob("*.json"):
            counts = read_counts(file) if file != self._meter.file else None
            if counts is None:
                continue
            before = self._seen.get(file, counts.rated)
            self._seen[file] = counts.rated
            for caller, count in counts.rated.items():
                was = before.get(caller, 0)
                more = count - was if count >= was else count  # it was forgotten there, and came again
                if more:
                    taken[caller] = taken.get(caller, 0) + more
        if taken:
            with suppress(IndexError):  # where nobody has asked here since the last look
                for caller, count in self._elsewhere.popleft().items():
                    taken[caller] = taken.get(caller, 0) + count
            self._elsewhere.append(taken)

    def _sweep(self, now_us: int) -> None:
        """Forgets whose bucket is full again, as it would be for a caller that was never seen."""
        for caller, bucket in list(self._buckets.items()):
            missing = bucket.rate.requests - bucket.tokens
            if (now_us - bucket.at_us) * bucket.rate.requests >= missing * bucket.rate.per_us:
                del self._buckets[caller]
        rated = self._meter.counts.rated
        for caller in rated.keys() - self._buckets.keys():
            del rated[caller]
        self._sweep_at = max(BUCKETS_MOST, 2 * len(self._buckets))

    def _owe(self, taken: dict[str, int]) -> None:
        """What others gave goes out of the buckets here too; nobody owes more than one bucket."""
        for caller, count in taken.items():
            bucket = self._buckets.get(caller)
            if bucket is not None:
                bucket.tokens = max(bucket.tokens - count, -bucket.rate.requests)
