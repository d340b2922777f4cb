"""Not making it worse: a breaker that leaves a failing server alone, and a budget that keeps retries few.

The breaker is closed, open (nobody is let through until a pause is over) or half open (one request is let through to
see). The pause doubles while that one keeps failing. The budget is a bucket of tokens: each first try pays in a share,
each retry takes one out, so that a server in trouble gets at most that share more than it was asked.
"""

from __future__ import annotations

import threading
from typing import Literal

from mainstay.core.clock import SECOND, Clock

PAUSE_MOST_US = 60 * SECOND
_SAVED_MOST = 10.0
Condition = Literal["closed", "open", "half_open"]
Way = Literal["free", "shut", "probe"]
"""`probe`: this one request goes out to see."""


class Breaker:
    """Counts failures in a row.

    Args:
        failures: So many in a row open it.
        pause_us: For so long, the first time.
        clock: Its monotonic time.
    """

    def __init__(self, failures: int, pause_us: int, clock: Clock) -> None:
        self._most = failures
        self._first_us = pause_us
        self._clock = clock
        self._lock = threading.Lock()
        self._row = 0
        self._pause_us = pause_us
        self._until_us: int | None = None
        self._probing = False

    @property
    def condition(self) -> Condition:
        """As of now."""
        if self._until_us is None:
            return "closed"
        return "half_open" if self._probing or self._clock.monotonic_us() >= self._until_us else "open"

    def let_through(self) -> Way:
        """Whether a request may go out now; whoever is let through must tell how it went, by one of the three."""
        with self._lock:
            if self._until_us is None:
                return "free"
            if self._probing or self._clock.monotonic_us() < self._until_us:
                return "shut"
            self._probing = True
            return "probe"

    def answered(self) -> None:
        """The server answered: whatever it said of the row, it is there."""
        with self._lock:
            self._row, self._until_us, self._probing, self._pause_us = 0, None, False, self._first_us

    def failed(self) -> None:
        """The server did not answer, or said that it cannot."""
        with self._lock:
            self._row += 1
            if self._probing:
                self._pause_us = min(self._pause_us * 2, PAUSE_MOST_US)
            elif self._until_us is not None or self._row < self._most:
                return  # a straggler from before it opened tells nothing new
            self._until_us = self._clock.monotonic_us() + self._pause_us
            self._probing = False

    def undecided(self) -> None:
        """Nothing was learnt: the next one is let through to see."""
        with self._lock:
            self._probing = False


class Budget:
    """How many retries are left. One is there to begin with.

    Args:
        share: Retries for each request, 0.2 for one in five. 0: none at all.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = 1.0 if share else 0.0
        self._lock = threading.Lock()

    def pay_in(self) -> None:
        """A request went out for the first time."""
        with self._lock:
            self._saved = min(self._saved + self._share, _SAVED_MOST)

    def take(self) -> bool:
        """Takes a retry out, where there is one."""
        with self._lock:
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
            return True
