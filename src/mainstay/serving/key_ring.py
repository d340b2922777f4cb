"""The API keys that a worker knows."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from mainstay.core.errors import MainstayError
from mainstay.core.ports import StateReader
from mainstay.core.records import ApiKey
from mainstay.serving import keys


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
