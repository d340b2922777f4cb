"""Age over time: what the loop notes of each dataset once a minute, and the line that is drawn of it.

An empty read advances as-of and leaves no batch, so batches alone cannot tell what the age was. The loop notes the
greatest age between two samples, for that is what a promise is about. Where it did not run, nothing was published, so
the age is reckoned from the last as-of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from mainstay.core.clock import DAY, HOUR, MINUTE
from mainstay.core.ports import State, StateReader
from mainstay.core.records import AgeHour, AgeSample, DatasetState
from mainstay.store.shelf import Shelf, ShelfReader

EVERY_US = MINUTE
KEPT_US = 2 * DAY
_GAP_US = 3 * EVERY_US
"""Above this distance of two samples the loop was not there to look."""
POINTS_MOST = 240
SPACE = "ages"


class Ages:
    """What the loop notes.

    Args:
        state: Where the samples are kept.
        token: Of the lease.
    """

    def __init__(self, state: State, token: int) -> None:
        self._state = state
        self._shelf = Shelf(state, SPACE, AgeHour)
        self._token = token
        self._as_of: dict[str, int] = {}
        self._worst: dict[str, int] = {}
        self._noted_us = 0

    def look(self, states: Mapping[str, DatasetState], now_us: int) -> bool:
        """One look at every dataset; once a minute it is written. Returns whether it was."""
        for name, one in states.items():
            if one.as_of_us is not None:
                worst = max(self._worst.get(name, 0), now_us - one.as_of_us, self._peak(name, one, now_us))
                self._worst[name], self._as_of[name] = worst, one.as_of_us
        if 0 <= now_us - self._noted_us < EVERY_US or not self._as_of:
            return False
        self._note(now_us)
        return True

    def _peak(self, name: str, one: DatasetState, now_us: int) -> int:
        """The age just before the publish that was seen in this look; 0 when there was none."""
        before = self._as_of.get(name)
        if before is None or one.as_of_us is None or before == one.as_of_us:
            return 0
        return min(now_us, one.as_of_us + one.run_us) - before

    def _note(self, now_us: int) -> None:
        self._noted_us = now_us
        hour, oldest = now_us // HOUR, (now_us - KEPT_US) // HOUR
        writes = []
        for name, as_of_us in self._as_of.items():
            record = f"{name}/{hour:010d}"
            there = (self._shelf.get(record) or AgeHour()).samples
            sample = AgeSample(now_us, as_of_us, self._worst[name])
            writes.append(self._shelf.write(record, AgeHour(samples=(*there, sample))))
            if not there:
                old = (one for one in self._shelf.all(f"{name}/") if int(one.rsplit("/", 1)[1]) < oldest)
                writes += [self._shelf.remove(one) for one in old]
        self._state.commit(writes, token=self._token)
        self._worst.clear()


class AgePoint(msgspec.Struct, frozen=True):
    """The greatest age in one stretch of time; None where there is nothing to tell it from."""

    from_us: int
    to_us: int
    worst_us: int | None


def read_samples(state: StateReader, dataset: str, since_us: int, now_us: int) -> tuple[AgeSample, ...]:
    """What was noted from the last sample before `since_us` on, oldest first."""
    hours = ShelfReader(state, SPACE, AgeHour).all(f"{dataset}/").values()
    every = sorted((one for hour in hours for one in hour.samples if one.at_us <= now_us), key=lambda one: one.at_us)
    before = [one for one in every if one.at_us < since_us]
    return (*before[-1:], *(one for one in every if one.at_us >= since_us))


def age_line(samples: Iterable[AgeSample], as_of_us: int | None, now_us: int, window_us: int) -> tuple[AgePoint, ...]:
    """The window up to now in equal stretches, each with its greatest age.

    Args:
        samples: Oldest first.
        as_of_us: As of now; None: never published, which gives no ages.
        now_us: Where the window ends.
        window_us: How long it is.
    """
    count = min(POINTS_MOST, max(1, window_us // EVERY_US))
    start, width = now_us - window_us, window_us / count
    worst: list[int | None] = [None] * count

    def put(from_us: int, to_us: int, at_end: int, *, grows: bool) -> None:
        """An age that was `at_end` at `to_us`, and all the time since `from_us` at most that, or growing up to it."""
        first = max(0, int((from_us - start) / width))
        last = min(count - 1, int((to_us - start) / width))
        for n in range(first, last + 1):
            ends = min(start + int((n + 1) * width), to_us)
            age = at_end - (to_us - ends) if grows else at_end
            worst[n] = max(worst[n] or 0, age)

    before: AgeSample | None = None
    ends = () if as_of_us is None else (AgeSample(now_us, as_of_us, now_us - as_of_us),)
    for one in (*samples, *ends):
        if one.at_us >= start:
            if before is None:
                put(max(start, one.as_of_us), one.at_us, one.at_us - one.as_of_us, grows=True)
            elif one.at_us - before.at_us <= _GAP_US:
                put(before.at_us, one.at_us, one.worst_us, grows=False)
            else:
                until = one.at_us if one.as_of_us == before.as_of_us else max(one.as_of_us, before.at_us)
                put(before.at_us, until, until - before.as_of_us, grows=True)
                put(max(until, one.as_of_us), one.at_us, one.at_us - one.as_of_us, grows=True)
            if one.worst_us and before is None:
                put(one.at_us, one.at_us, one.worst_us, grows=False)
        before = one
    return tuple(AgePoint(start + int(n * width), start + int((n + 1) * width), age) for n, age in enumerate(worst))
