"""What the loop and people did of late, followed at the journal's end.

Decisions and outcomes, which are about persons and belong to receipts, are left out.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import msgspec

from mainstay.app.stores import open_journal
from mainstay.core.clock import Clock, iso
from mainstay.core.errors import Corrupt
from mainstay.core.ports import JournalReader
from mainstay.core.records import Event
from mainstay.store.home import Home

MOST = 200
FIRST_BYTES = 32 * 1024 * 1024
KINDS = ("audit.", "batch.", "dataset.", "model.", "process.", "quarantine.")


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    at_us: int
    at: str
    kind: str
    by: str
    said: str
    """The event's body as `name: value`, joined by commas."""


class EventTail:
    """The newest events. Safe between threads.

    Args:
        home: Where the journal is.
        clock: The journal's.
        first_bytes: How much of the journal the first look reads; what lies before that is in history.
    """

    def __init__(self, home: Home, clock: Clock, *, first_bytes: int = FIRST_BYTES) -> None:
        self._home = home
        self._clock = clock
        self._first_bytes = first_bytes
        self._lock = threading.Lock()
        self._journal: JournalReader | None = None
        self._read: dict[str, int] = {}
        """Segment -> offset of what was not read yet."""
        self._found: deque[EventLine] = deque(maxlen=MOST)

    def look(self) -> tuple[EventLine, ...]:
        """The newest `MOST` events, newest first. Reads what was written since the last look."""
        with self._lock:
            if self._journal is None:
                self._journal = open_journal(self._home, self._clock, writable=False, ships=False)
            new = self._new(self._journal)
            self._found = deque(sorted((*self._found, *new), key=lambda one: one.at_us), maxlen=MOST)
            return tuple(reversed(self._found))

    def _new(self, journal: JournalReader) -> list[EventLine]:
        found: list[EventLine] = []
        first = not self._read
        left = self._first_bytes
        for segment in reversed(journal.segments()):
            if first and segment.bytes > left:
                self._read[segment.name] = segment.bytes
                continue
            left -= segment.bytes
            offset = self._read.setdefault(segment.name, 0)
            if offset >= segment.bytes:
                continue
            try:
                for entry, following in journal.scan(segment.name, offset):
                    offset = following
                    if entry.kind == "event":
                        found += _line(msgspec.msgpack.decode(entry.payload, type=Event))
            except Corrupt:
                offset = segment.bytes  # `status` and the loop tell of it; a page goes on behind it
            self._read[segment.name] = offset
        return found


def _line(event: Event) -> list[EventLine]:
    if not event.kind.startswith(KINDS):
        return []
    said = ", ".join(f"{name}: {_text(value)}" for name, value in event.body.items() if value or value is False)
    return [EventLine(at_us=event.at_us, at=iso(event.at_us), kind=event.kind, by=event.by, said=said[:500])]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
