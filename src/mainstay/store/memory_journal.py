"""The journal in memory: for tests, and to read what a journal is without its files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from mainstay.core.clock import DAY, Clock
from mainstay.core.errors import Conflict
from mainstay.core.ports import Entry, JournalKind, Segment
from mainstay.store.receipt_ids import ReceiptIds


class _Records:
    """One segment: its offsets count records, and its bytes count them too."""

    def __init__(self, day: int, number: int) -> None:
        self.day = day
        self.number = number
        self.name = f"{day}-{number:06d}"
        self.entries: list[Entry] = []


class MemoryJournal:
    """`Journal` without files; one process only. Thread-safe."""

    def __init__(self, *, secret: bytes, clock: Clock) -> None:
        self._ids = ReceiptIds(secret)
        self._clock = clock
        self._lock = threading.RLock()
        self._segments: dict[str, _Records] = {}
        self._open: _Records | None = None
        self._numbers = 0

    def next_id(self) -> str:
        with self._lock:
            segment = self._current()
            return self._ids.make(segment.day, segment.number, len(segment.entries))

    def append(self, kind: JournalKind, payload: bytes) -> str:
        return self.append_with(kind, lambda _id: payload)

    def append_with(self, kind: JournalKind, build: Callable[[str], bytes]) -> str:
        return self.append_each(kind, (build,))[0]

    def append_each(self, kind: JournalKind, builds: Sequence[Callable[[str], bytes]]) -> list[str]:
        with self._lock:
            segment, made = self._current(), []
            for place, build in enumerate(builds, len(segment.entries)):
                given = self._ids.make(segment.day, segment.number, place)
                made.append(Entry(given, kind, build(given)))
            segment.entries.extend(made)
            return [one.id for one in made]

    def _current(self) -> _Records:
        if self._open is None:
            self._numbers += 1
            self._open = _Records(self._clock.now_us() // DAY, self._numbers)
            self._segments[self._open.name] = self._open
        return self._open

    def seal(self) -> None:
        with self._lock:
            self._open = None

    def close(self) -> None:
        self.seal()

    def get(self, id: str) -> Entry | None:
        place = self._ids.read(id)
        segment = self._segments.get(f"{place.day}-{place.number:06d}")
        if segment is None or place.offset >= len(segment.entries):
            return None
        return segment.entries[place.offset]

    def segments(self) -> tuple[Segment, ...]:
        with self._lock:
            return tuple(
                Segment(name=one.name, day=one.day, number=one.number, bytes=len(one.entries), open=one is self._open)
                for one in self._segments.values()
            )

    def scan(self, segment: str, offset: int = 0) -> Iterator[tuple[Entry, int]]:
        found = self._segments.get(segment)
        entries = [] if found is None else found.entries[offset:]
        yield from zip(entries, range(offset + 1, offset + 1 + len(entries)), strict=True)

    def remove(self, segment: str) -> None:
        with self._lock:
            self._sealed(segment)
            self._segments.pop(segment, None)

    def rewrite(self, segment: str, change: Callable[[Entry], bytes | None]) -> int:
        with self._lock:
            self._sealed(segment)
            changed = 0
            found = self._segments.get(segment)
            for place, entry in enumerate([] if found is None else found.entries):
                payload = change(entry)
                if payload is not None and found is not None:
                    found.entries[place] = Entry(entry.id, entry.kind, payload)
                    changed += 1
            return changed

    def scrub(self) -> None:
        """Nothing is left to do."""

    def _sealed(self, segment: str) -> None:
        if self._open is not None and self._open.name == segment:
            raise Conflict("this segment is still being written", mend="seal it first", where=segment)
