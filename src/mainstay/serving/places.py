"""Who is being answered in a worker: where it is full, callers who are there less than others still find a place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mainstay.serving.faults import Fault

FULL = Fault(code="overloaded", status=503, detail="too many requests are waiting", mend="slow down", retry_after=1)
"""What a caller is told who has its share of the places."""


class Places:
    """Places for requests that are being worked on, or wait; used on the event loop alone.

    One caller may have them all. Where none is left, a caller with fewer than its share of them is given one more, so
    that nobody is kept out by another's requests, however many those are.

    Args:
        most: How many there are. At the worst there are as many again, or one for each caller, if those are more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._all = 0
        self._of: dict[str, int] = {}
        """Caller -> its requests here; nobody who has none."""

    @contextmanager
    def one(self, caller: str) -> Iterator[bool]:
        """A place for a request of the caller, while it is inside; False where it has to come again."""
        own = self._of.get(caller, 0)
        if self._all >= self._most and own >= self._share(own):
            yield False
            return
        self._of[caller] = own + 1
        self._all += 1
        try:
            yield True
        finally:
            self._all -= 1
            self._of[caller] -= 1
            if not self._of[caller]:
                del self._of[caller]

    def _share(self, own: int) -> int:
        callers = len(self._of) + (own == 0)
        return max(1, self._most // callers)
