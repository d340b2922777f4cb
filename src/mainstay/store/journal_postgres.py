"""The journal of an integration that several machines serve: appended to on each machine's disk, read from PostgreSQL.

A record is on this machine's disk when `append` returned, and in PostgreSQL a moment later: see `journal_shared`. What
is still here is read here; everything else, from whichever machine, is read there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import Conflict, StoreError
from mainstay.core.ports import Entry, JournalKind, Segment
from mainstay.store import segment as bytes_of
from mainstay.store.journal import parts_of
from mainstay.store.journal_shared import SCHEMA, TABLES, LocalSegments, Machine, Shipper, allot, machine_of
from mainstay.store.postgres import ANSWER_S, Postgres
from mainstay.store.receipt_ids import ReceiptIds

if TYPE_CHECKING:
    from mainstay.store.postgres import Connection

GONE_S = 24 * 3600
"""A machine not heard of for so long is gone: what it has not closed counts as closed."""

_ALIVE = f"""
segment.open AND EXISTS (
    SELECT 1 FROM mainstay_journal_machine AS machine
     WHERE machine.integration = segment.integration AND machine.machine = segment.machine
       AND machine.seen > clock_timestamp() - interval '{GONE_S} seconds'
)
"""
_SEGMENTS = f"""
SELECT number, day, bytes, {_ALIVE} FROM mainstay_journal_segment AS segment
 WHERE integration = %s AND NOT removed ORDER BY number
"""
_LOCKED = f"""
SELECT {_ALIVE}, segment.open FROM mainstay_journal_segment AS segment
 WHERE integration = %s AND number = %s AND NOT removed FOR UPDATE
"""
# From the piece that holds an offset on: pieces may be joined between two looks.
_PIECES = """
SELECT start, body FROM mainstay_journal_piece
 WHERE integration = %s AND number = %s AND start >= coalesce(
     (SELECT max(start) FROM mainstay_journal_piece WHERE integration = %s AND number = %s AND start <= %s), %s)
 ORDER BY start LIMIT %s
"""
_STARTS = "SELECT start FROM mainstay_journal_piece WHERE integration = %s AND number = %s ORDER BY start"
_PIECE = "SELECT body FROM mainstay_journal_piece WHERE integration = %s AND number = %s AND start = %s"
_REPLACE = "UPDATE mainstay_journal_piece SET body = %s WHERE integration = %s AND number = %s AND start = %s"
_DROP = "DELETE FROM mainstay_journal_piece WHERE integration = %s AND number = %s"
_FORGET = "DELETE FROM mainstay_journal_segment WHERE integration = %s AND number = %s"
_REMOVE = "UPDATE mainstay_journal_segment SET removed = true WHERE integration = %s AND number = %s"
_MACHINES = """
SELECT machine, host, (extract(epoch FROM clock_timestamp() - seen) * 1000000)::bigint,
       (SELECT count(*) FROM mainstay_journal_segment AS segment
         WHERE segment.integration = machine.integration AND segment.machine = machine.machine AND segment.open)
  FROM mainstay_journal_machine AS machine WHERE integration = %s ORDER BY host, machine
"""
_ENDS = "SELECT number, day, bytes FROM mainstay_journal_segment WHERE integration = %s AND machine = %s"
_PAGE = 8


class MachineSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that brings its segments here."""

    machine: str
    host: str
    silent_us: int
    """Since it was heard of last, by the database's clock."""
    open: int
    """Segments that it has not closed: their newest records may be on its disk alone."""


class PostgresJournal:
    """The `Journal` of `core.ports` for many machines. One writer per process, any number of readers; thread-safe.

    Args:
        url: The database; the tables are made in the first schema of its search path.
        integration: Whose journal it is: integrations may share a database.
        folder: This machine's own, for segments that are not wholly in the database yet.
        host: What people call this machine.
        secret: The installation's; signs ids.
        clock: Says the day.
        durability: `power`: an append returns after an fdatasync of this machine's disk.
        writable: False for readers: appending raises StoreError.
        ships: Whether closing ships what this machine still has; False where another process does so all the time.
        answer_s: How long a database that hangs may keep a caller.
    """

    def __init__(
        self,
        url: str,
        integration: str,
        *,
        folder: Path,
        host: str,
        secret: bytes,
        clock: Clock,
        durability: Literal["process", "power"] = "process",
        writable: bool = True,
        ships: bool = True,
        answer_s: float = ANSWER_S,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._integration = integration
        self._ids = ReceiptIds(secret)
        self._ships = ships
        self.machine: Machine = machine_of(folder, host)
        self.postgres = Postgres(url, store="journal", answer_s=answer_s)
        try:
            self.postgres.make(SCHEMA, TABLES)
        except BaseException:
            self.postgres.close()
            raise
        self._local = LocalSegments(
            folder,
            secret=secret,
            clock=clock,
            allot=partial(allot, self.postgres, integration),
            durability=durability,
            writable=writable,
        )
        self.shipper = Shipper(self._local, self.postgres, integration, self.machine)

    # --- writing ---------------------------------------------------------------------------------------------

    def next_id(self) -> str:
        return self._local.next_id()

    def append(self, kind: JournalKind, payload: bytes) -> str:
        return self._local.append(kind, payload)

    def append_with(self, kind: JournalKind, build: Callable[[str], bytes]) -> str:
        return self._local.append_with(kind, build)

    def append_each(self, kind: JournalKind, builds: Sequence[Callable[[str], bytes]]) -> list[str]:
        return self._local.append_each(kind, builds)

    def seal(self) -> None:
        self._local.seal()

    def close(self) -> None:
        """Closes the open segment. What cannot be shipped now stays on this disk for the next who ships from here."""
        self._local.close()
        if self._ships:
            with suppress(StoreError):
                self.shipper.ship()
        self.postgres.close()

    # --- reading ---------------------------------------------------------------------------------------------

    def get(self, id: str) -> Entry | None:
        entry = self._local.get(id)
        if entry is not None:
            return entry
        place = self._ids.read(id)
        for start, body in self._page(place.number, place.offset, 1):
            where = self._where(f"{place.day}-{place.number:06d}")
            if start <= place.offset:  # else the piece that had it is removed
                for found in bytes_of.records_in(body, place.offset, start, where):
                    return Entry(id, found.kind, found.payload)
        return None

    def segments(self) -> tuple[Segment, ...]:
        """Every segment, in order of number. One that is still on this disk is told as it is here."""
        here = {one.name: one for one in self._local.segments()}
        for number, day, size, alive in self.postgres.rows(_SEGMENTS, (self._integration,)):
            name = f"{day}-{number:06d}"
            here.setdefault(name, Segment(name=name, day=day, number=number, bytes=size, open=alive))
        return tuple(sorted(here.values(), key=lambda one: one.number))

    def scan(self, segment: str, offset: int = 0) -> Iterator[tuple[Entry, int]]:
        path = self._local.path(segment)
        for entry, following in self._local.scan(segment, offset):
            yield entry, following
            offset = following
        if not path.exists():  # It is not here, or left this disk just now.
            yield from self._scan(segment, offset)

    def behind(self) -> int:
        """Bytes that are on this machine's disk alone."""
        rows = self.postgres.rows(_ENDS, (self._integration, self.machine.name))
        there = {f"{day}-{number:06d}": size for number, day, size in rows}
        return sum(max(0, one.bytes - max(there.get(one.name, 0), bytes_of.FIRST)) for one in self._local.segments())

    def machines(self) -> tuple[MachineSeen, ...]:
        """Every machine that ever brought a segment, and is not forgotten."""
        rows = self.postgres.rows(_MACHINES, (self._integration,))
        return tuple(MachineSeen(machine=name, host=host, silent_us=us, open=many) for name, host, us, many in rows)

    def _scan(self, segment: str, offset: int) -> Iterator[tuple[Entry, int]]:
        day, number = parts_of(segment)
        at = offset
        while pieces := self._page(number, at, _PAGE):
            before = at
            for start, body in pieces:
                for found in bytes_of.records_in(body, max(at, start), start, self._where(segment)):
                    yield Entry(self._ids.make(day, number, found.offset), found.kind, found.payload), found.next
                at = start + len(body)
            if at <= before:
                return

    def _page(self, number: int, offset: int, most: int) -> list[tuple[int, bytes]]:
        whose = (self._integration, number)
        return self.postgres.rows(_PIECES, (*whose, *whose, offset, offset, most))

    # --- keeping ---------------------------------------------------------------------------------------------

    def remove(self, segment: str) -> None:
        """Deletes a sealed segment; one that is gone already is no error. Raises Conflict while a machine writes it."""
        self.shipper.need_whole(segment)
        _, number = parts_of(segment)

        def work(connection: Connection) -> None:
            row = self._locked(connection, segment)
            if row is not None:
                connection.execute(_DROP, (self._integration, number))
                # A machine that comes back after all goes on where it stood, and does not begin anew.
                connection.execute(_REMOVE if row[1] else _FORGET, (self._integration, number))

        self.postgres.transact(work)

    def rewrite(self, segment: str, change: Callable[[Entry], bytes | None]) -> int:
        self.shipper.need_whole(segment)
        return self.postgres.transact(lambda connection: self._rewrite(connection, segment, change))

    def scrub(self) -> None:
        """The server's write-ahead log and its backups are the operator's to keep short."""
        self.postgres.alone("VACUUM (FULL) mainstay_journal_piece")

    def _rewrite(self, connection: Connection, segment: str, change: Callable[[Entry], bytes | None]) -> int:
        if self._locked(connection, segment) is None:
            return 0
        day, number = parts_of(segment)
        changed = 0
        for (start,) in connection.execute(_STARTS, (self._integration, number)).fetchall():
            row = connection.execute(_PIECE, (self._integration, number, start), binary=True).fetchone()
            data = bytearray(b"" if row is None else row[0])
            before = changed
            for found in bytes_of.records_in(bytes(data), start, start, self._where(segment)):
                name = self._ids.make(day, number, found.offset)
                payload = change(Entry(name, found.kind, found.payload))
                if payload is not None:
                    data[found.offset - start : found.next - start] = self._fitted(segment, found, payload)
                    changed += 1
            if changed > before:
                connection.execute(_REPLACE, (bytes(data), self._integration, number, start))
        return changed

    def _fitted(self, segment: str, found: bytes_of.Found, payload: bytes) -> bytes:
        room = found.next - found.offset - bytes_of.RECORD.size
        record = bytes_of.pack_into(found.kind, payload, room)
        if record is None:
            sentence = f"a record of {len(payload)} bytes does not fit where one of {room} stood"
            raise StoreError(sentence, where=f"{self._where(segment)} at offset {found.offset}")
        return record

    def _locked(self, connection: Connection, segment: str) -> tuple[Any, ...] | None:
        """(whether its machine may still write it, whether it was never closed); None: there is no such segment."""
        _, number = parts_of(segment)
        row = connection.execute(_LOCKED, (self._integration, number)).fetchone()
        if row is not None and row[0]:
            mend = "ask it to seal, then try again; a machine that is gone counts as closed after a day"
            raise Conflict("a machine still writes this segment", mend=mend, where=self._where(segment))
        return row

    def _where(self, segment: str) -> str:
        return f"segment {segment}, {self.postgres.where}"
