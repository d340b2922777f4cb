"""A clock that stands still until it is told to move."""

from __future__ import annotations

START_US = 1_793_523_600_000_000
"""2026-11-01T09:00:00Z: where a fake clock begins unless told otherwise."""


class FakeClock:
    """The `Clock` of `core.clock` for tests.

    Args:
        now_us: UTC microseconds since 1970 at which it begins.
    """

    def __init__(self, now_us: int = START_US) -> None:
        self._now_us = now_us
        self._monotonic_us = 0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_us(self) -> int:
        return self._monotonic_us

    def advance(self, duration_us: int) -> None:
        """Time passes on both clocks. Raises ValueError for a negative duration: use `set_wall` to go back."""
        if duration_us < 0:
            raise ValueError(f"time does not pass backwards ({duration_us} µs)")
        self._now_us += duration_us
        self._monotonic_us += duration_us

    def set_wall(self, now_us: int) -> None:
        """Somebody sets the machine's wall clock, back or forth; the monotonic clock does not notice."""
        self._now_us = now_us
