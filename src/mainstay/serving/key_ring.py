"""The API keys that a worker knows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping

from mainstay.core.errors import MainstayError
from mainstay.core.ports import StateReader
from mainstay.core.records import ApiKey
from mainstay.serving import keys

APART_S = 0.02
"""Looks for a key that is not known are this far apart, whoever asks for them."""
LOOK_MOST_S = 1.0
"""Seconds in which state has to say what it knows. Where it does not, nobody waits for it again as long."""


class KeyRing:
    """The API keys, as state has them. Safe between threads; it waits for nothing but state.

    A model that takes a minute to load must not keep a revoked key alive, so workers refresh this one by itself.
    """

    def __init__(self, state: StateReader) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._seen: int | None = None
        self.now: Mapping[str, ApiKey] = {}
        """By the digest of the token. Another object after each change."""
        self._looking = asyncio.Lock()
        self._looked_s = self._blind_until_s = float("-inf")

    def refresh(self) -> None:
        """Looks whether state changed. Never raises a MainstayError: the keys that were known stay."""
        with self._lock:
            try:
                seen = self._state.changed()
                if seen == self._seen:
                    return
                found = keys.known_keys(self._state)
            except MainstayError:
                return
            self._seen = seen
            if found != self.now:
                self.now = found

    async def look(self) -> None:
        """Returns when the keys are those that state had after the call, so that nobody is refused for a new one.

        For the event loop. One look serves all who came before it began.
        """
        loop = asyncio.get_running_loop()
        came_s = loop.time()
        async with self._looking:
            if self._looked_s > came_s or loop.time() < self._blind_until_s:
                return
            await asyncio.sleep(self._looked_s + APART_S - loop.time())
            self._looked_s = loop.time()
            try:
                await asyncio.wait_for(asyncio.to_thread(self.refresh), LOOK_MOST_S)
            except TimeoutError:
                self._blind_until_s = loop.time() + LOOK_MOST_S
