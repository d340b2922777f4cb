"""How long a connection may keep us waiting, and how much it may leave with us.

One look a second at every connection takes the place of timers that each request would have to set. What a connection
has reached is compared with what it had reached at the look before: a caller that sends a request a little at a time,
or takes no answers, is at the same place for long.
"""

from __future__ import annotations

import resource
from asyncio import Transport
from collections.abc import Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl

SCARCE = 0.75
"""Where more of the connections that are possible are taken, patience is a tenth."""
PLACES = 65_536
"""File descriptors that a worker asks the system for."""
KEPT_BACK = 128
"""File descriptors that connections leave to stores, models and logs."""


class Flow(FlowControl):
    """Reads nothing from a connection that has requests waiting, or answers that its other end does not take.

    Args:
        transport: The connection's.
        waiting: Its requests that are not begun.
    """

    def __init__(self, transport: Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Reads on, where nothing stands against it."""
        if not self.write_paused and not self._waiting and not self._transport.is_closing():
            super().resume_reading()

    def pause_writing(self) -> None:
        """The other end takes too little: what it asks more would only wait here."""
        super().pause_writing()
        self.pause_reading()

    def resume_writing(self) -> None:
        """The other end has taken most of what there was."""
        super().resume_writing()
        self.resume_reading()


class Patience:
    """What one connection had reached at the last look, and since when."""

    __slots__ = ("_reached", "_since")

    def __init__(self) -> None:
        self._reached: tuple[Any, ...] = ()
        self._since = 0.0

    def spent(self, reached: tuple[Any, ...], now: float) -> float:
        """For how long the connection has been at this place."""
        if reached != self._reached:
            self._reached, self._since = reached, now
        return now - self._since


def shortened(seconds: float, taken: int, most: int) -> float:
    """Patience while so many of the connections that are possible are taken."""
    return seconds if taken <= most * SCARCE else seconds / 10


def more_places() -> None:
    """For a worker's own process: as many file descriptors as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = PLACES if hard == resource.RLIM_INFINITY else min(hard, PLACES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def places() -> int:
    """How many connections this process can have, and still open its files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return PLACES if soft == resource.RLIM_INFINITY else max(1, soft - KEPT_BACK)
