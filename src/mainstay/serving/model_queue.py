"""Requests before a model of another process: who is taken, whose turn is next, and who is asked of it together.

Taken is who need not wait long, by what the model's calls have cost so far; all others are told at once to come again.
A burst may wait, but where more is asked than the model can do, nobody waits longer than until the next request would
have come: a full queue would only make all answers late. Callers take turns, whatever each of them sends, and who asks
for less than a fair share may wait as in a burst. Rows of several requests are asked together where the import has
found that it pays and changes no bit.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

from mainstay.core.clock import SECOND, Clock
from mainstay.core.errors import MainstayError
from mainstay.core.records import Cost
from mainstay.serving.work import Call, Work

BURST_US = SECOND // 20
"""How long a request may wait, by estimate; or four calls, if that is longer."""
OVERLOAD_US = SECOND // 100
"""The same while more is asked than the model can do; or one call, if that is longer. Less, see COMING."""
COMING = 3
"""How many requests should come, on average, while one may wait: so many times as is asked what the model can do, the
sooner the next one is there, and the less need anybody wait so that the model is never idle."""
WINDOW_US = SECOND // 2
"""What is asked is weighed over about this time; or over twenty calls, if that is longer."""
_LEARNT = 0.2
"""Share of the newest call in what a call is thought to cost."""
_NOTHING = 0.001
"""Who asks for less of what the model can do is no caller to share it with."""

Ask = Callable[[Sequence[Sequence[Work]]], None]
"""Asks the model for the works of several requests at once; called in a thread, and returns with each work settled."""
Run = Callable[[Ask, Sequence[Sequence[Work]]], asyncio.Future[None]]
"""Runs it there."""


class Overloaded(MainstayError):
    """The request would wait too long for those before it."""

    transient = True

    def __init__(self, wait_us: int) -> None:
        super().__init__("too many requests are waiting for the model", mend="ask again after Retry-After")
        self.retry_after = 1 + wait_us // SECOND


class TooLate(MainstayError):
    """The caller's own deadline has passed, or would before the model answers."""

    transient = True

    def __init__(self) -> None:
        super().__init__(
            "there was no answer within the time that the caller gave", mend="give more time, or ask later"
        )


class Costs:
    """What a call costs by its rows: the curve of the import, and how this machine differs from it just now.

    Args:
        curve: As measured; empty: rows cost alike, and how much is learnt.
    """

    def __init__(self, curve: Sequence[Cost]) -> None:
        self._sizes = [one.rows for one in curve] or [1]
        self._us = [max(one.us, 1) for one in curve] or [1]
        self._factor = 1.0
        self._learnt = bool(curve)

    def us(self, rows: int) -> int:
        """Microseconds of a call for so many rows, as thought now."""
        return int(self._measured(rows) * self._factor)

    def learn(self, rows: int, took_us: int) -> None:
        """A call has taken this long."""
        factor = max(took_us, 1) / self._measured(rows)
        self._factor = self._factor * (1 - _LEARNT) + factor * _LEARNT if self._learnt else factor
        self._learnt = True

    def _measured(self, rows: int) -> float:
        place = bisect_left(self._sizes, rows)
        if place == len(self._sizes):
            return self._us[-1] * rows / self._sizes[-1]
        if self._sizes[place] == rows or place == 0:
            return float(self._us[place])
        low, high = self._sizes[place - 1], self._sizes[place]
        share = (rows - low) / (high - low)
        return self._us[place - 1] + share * (self._us[place] - self._us[place - 1])


class Demand:
    """What is asked, by each caller and by all, in times of what the model can do.

    An average in which old requests count less, by exp(-age/window).
    """

    def __init__(self) -> None:
        self.all = 0.0
        self._by: dict[str, tuple[float, int]] = {}
        """Caller -> its part, as it was when it last asked; and when that was."""
        self._at_us = 0
        self._swept_us = 0

    def add(self, caller: str, takes_us: float, window_us: int, now_us: int) -> float:
        """Counts a request that takes the model so long. The caller's part of what the model can do, in fair shares."""

        def faded(value: float, at_us: int) -> float:
            return value * math.exp((at_us - now_us) / window_us)

        own = faded(*self._by.get(caller, (0.0, now_us))) + takes_us / window_us
        self._by[caller] = own, now_us
        self.all = faded(self.all, self._at_us) + takes_us / window_us
        self._at_us = now_us
        if now_us - self._swept_us > window_us:
            self._swept_us = now_us
            self._by = {name: one for name, one in self._by.items() if faded(*one) > _NOTHING}
        return own * len(self._by)


class _Waiting:
    """A request, or as much of one as a call takes, in the queue and then in a call."""

    __slots__ = ("call", "done", "weight", "works")

    def __init__(self, works: Sequence[Work], call: Call, weight: int, done: asyncio.Future[None]) -> None:
        self.works = works
        self.call = call
        self.weight = weight
        self.done = done


class _Flight:
    """A call that is on its way."""

    __slots__ = ("began_us", "rows")

    def __init__(self, rows: int, began_us: int) -> None:
        self.rows = rows
        self.began_us = began_us


class ModelQueue:
    """For one model of one worker; used on the event loop alone.

    Args:
        ask: Asks the model.
        run: Runs `ask` where it may take its time.
        costs: What calls cost.
        clock: For waits and deadlines.
        together: Rows of several requests that are asked at once; 1: each request is asked alone.
        at_once: Calls that the model works on at the same time.
        most: Rows of a call at the most; a request with more is asked in several calls.
        patience_us: How long a request may wait, by estimate; None: as above.
        told: Hears of each call how many rows it asks for.
    """

    def __init__(
        self,
        ask: Ask,
        run: Run,
        costs: Costs,
        clock: Clock,
        *,
        together: int = 1,
        at_once: int = 1,
        most: int = 1000,
        patience_us: int | None = None,
        told: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        self._ask = ask
        self._run = run
        self._costs = costs
        self._clock = clock
        self._most = max(most, 1)
        self._together = min(max(together, 1), self._most)
        self._at_once = at_once
        self._patience_us = patience_us
        self._told = told
        self._lines: dict[str, deque[_Waiting]] = {}
        """Caller -> its requests; whose turn is next stands first."""
        self._weights: dict[str, int] = {}
        """Caller -> what waits of it: rows where they are asked together, else what their calls cost."""
        self._flights: list[_Flight] = []
        self._landed_us = 0
        self._demand = Demand()

    async def through(self, works: Sequence[Work], call: Call, *, more: int = 0, begun: bool = False) -> None:
        """Waits until the model was asked for `works`. Whoever is cancelled meanwhile is asked for no more.

        `more`: rows of the same request that follow; `begun`: some went before, so that it is not refused any more.
        Raises Overloaded and TooLate.
        """
        if not works:
            return
        now_us = self._clock.monotonic_us()
        rows = len(works) + more
        weight = self._weight(rows)
        wait_us = self._wait_us(call.caller, weight, now_us)
        if not begun:
            if wait_us > self._patience(call.caller, rows, now_us):
                raise Overloaded(wait_us)
            calls = -(-len(works) // self._most)
            lasts_us = self._costs.us(rows) // min(calls, self._at_once)
            if call.deadline_us is not None and now_us + wait_us + lasts_us > call.deadline_us:
                raise TooLate
        waiting = self._lined_up(works, call, weight)
        ended = waiting[0].done if len(waiting) == 1 else asyncio.gather(*(one.done for one in waiting))
        self._start()
        try:
            if call.deadline_us is None:
                await ended
            else:
                async with asyncio.timeout((call.deadline_us - self._clock.monotonic_us()) / SECOND):
                    await ended
        except TimeoutError:
            raise TooLate from None
        finally:
            for one in waiting:
                if not one.done.done() or one.done.cancelled():
                    self._withdraw(one)

    def _weight(self, rows: int) -> int:
        return rows if self._together > 1 else self._costs.us(rows)

    def _lined_up(self, works: Sequence[Work], call: Call, weight: int) -> list[_Waiting]:
        """The request at the end of its caller's line, in as many parts as it takes calls; `weight` is of them all."""
        loop = asyncio.get_running_loop()
        parts = [works[start : start + self._most] for start in range(0, len(works), self._most)]
        weights = [self._weight(len(part)) for part in parts[1:]]
        weights.insert(0, max(weight - sum(weights), 0))
        line = self._lines.setdefault(call.caller, deque())
        waiting = [_Waiting(part, call, each, loop.create_future()) for part, each in zip(parts, weights, strict=True)]
        line.extend(waiting)
        self._weights[call.caller] = self._weights.get(call.caller, 0) + sum(weights)
        return waiting

    def _patience(self, caller: str, rows: int, now_us: int) -> int:
        """How long may be waited, by estimate. Weighs the request that asks, whether it is taken or not."""
        if self._patience_us is not None:
            return self._patience_us
        call_us = self._costs.us(self._together)
        takes_us = rows * call_us / self._together / self._at_once
        shares = self._demand.add(caller, takes_us, max(WINDOW_US, 20 * call_us), now_us)
        if self._demand.all <= 1 or shares <= 1:
            return max(BURST_US, 4 * call_us)
        return int(max(OVERLOAD_US, call_us) * min(1, COMING / self._demand.all))

    def _wait_us(self, caller: str, weight: int, now_us: int) -> int:
        """How long a request of the caller would wait: for calls on their way, and for those whose turn comes before.

        Callers take turns, so of every other caller no more comes before it than of its own.
        """
        flying_us = 0
        if len(self._flights) >= self._at_once:
            spent_us = now_us - max(self._flights[0].began_us, self._landed_us)
            flying_us = max(0, sum(self._costs.us(one.rows) for one in self._flights) - spent_us)
        own = self._weights.get(caller, 0)
        before = own + sum(min(have, own + weight) for name, have in self._weights.items() if name != caller)
        if self._together > 1:  # with those of the last call it goes along
            before = before // self._together * self._costs.us(self._together)
        return (flying_us + before) // self._at_once

    def _start(self) -> None:
        """Sends calls off while the model takes any."""
        while self._lines and self._room():
            taken = self._next()
            if not taken:
                break
            rows = sum(len(one.works) for one in taken)
            flight = _Flight(rows, self._clock.monotonic_us())
            self._flights.append(flight)
            self._told(rows)
            ended = self._run(self._ask, [one.works for one in taken])
            ended.add_done_callback(lambda done, flight=flight, taken=taken: self._ended(flight, taken, done))  # type: ignore[misc]

    def _room(self) -> bool:
        """Whether a call may be sent off: as many as the model works on.

        Where it does one thing at a time, one more, so that it need not wait for the next; and that one only when it is
        full: until then others may come and go along.
        """
        room = self._at_once - len(self._flights)
        if room == 0 and self._at_once == 1:
            return self._together == 1 or sum(self._weights.values()) >= self._together
        return room > 0

    def _next(self) -> list[_Waiting]:
        """Those that are asked together next: a request of each caller in turn. Those gone or late are left out."""
        taken: list[_Waiting] = []
        rows = 0
        while self._lines:
            caller = next(iter(self._lines))
            line = self._lines[caller]
            one = line[0]
            if taken and rows + len(one.works) > self._together:
                break
            line.popleft()
            self._weights[caller] -= one.weight
            del self._lines[caller]
            if line:
                self._lines[caller] = line  # behind all others
            else:
                del self._weights[caller]
            if not one.done.done():
                taken.append(one)
                rows += len(one.works)
            if rows >= self._together:
                break
        return taken

    def _ended(self, flight: _Flight, taken: Sequence[_Waiting], done: asyncio.Future[None]) -> None:
        now_us = self._clock.monotonic_us()
        # It began when the one before it ended, where the model does one thing at a time.
        began_us = flight.began_us if self._at_once > 1 else max(flight.began_us, self._landed_us)
        if any(work.output is not None for one in taken for work in one.works):  # failing says nothing of what it costs
            self._costs.learn(flight.rows, now_us - began_us)
        self._landed_us = now_us
        self._flights.remove(flight)
        error = None if done.cancelled() else done.exception()
        for one in taken:
            if one.done.done():
                continue
            if error is None:
                one.done.set_result(None)
            else:
                one.done.set_exception(error)
        self._start()

    def _withdraw(self, waiting: _Waiting) -> None:
        """Its caller is gone, or its time is over: the model is not asked for it any more."""
        waiting.done.cancel()
        caller = waiting.call.caller
        line = self._lines.get(caller)
        if line is None or waiting not in line:
            return
        line.remove(waiting)
        self._weights[caller] -= waiting.weight
        if not line:
            del self._lines[caller], self._weights[caller]
