"""A machine's part of a journal that several machines share: segments numbered for all of them, brought to PostgreSQL.

Whoever answers appends to a segment on the machine's own disk, as ever, and asks nobody. From there its bytes are
shipped as they are, by offset: a piece goes in only where what came before it ends, in one statement, so that nothing
is lost or doubled whoever ships, however often. A segment that is closed and wholly there leaves this disk.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import Conflict
from mainstay.core.ids import new_id
from mainstay.store import segment as bytes_of
from mainstay.store.durable import write_whole
from mainstay.store.journal import SegmentJournal, parts_of, written_to
from mainstay.store.postgres import Postgres
from mainstay.store.segment import CorruptRecord

if TYPE_CHECKING:
    from mainstay.store.postgres import Connection

SCHEMA = 1

TABLES = """
CREATE TABLE mainstay_journal_head (
    integration text PRIMARY KEY,
    numbers bigint NOT NULL DEFAULT 0
);
CREATE TABLE mainstay_journal_machine (
    integration text NOT NULL,
    machine text NOT NULL,
    host text NOT NULL,
    seen timestamptz NOT NULL,
    PRIMARY KEY (integration, machine)
);
CREATE TABLE mainstay_journal_segment (
    integration text NOT NULL,
    number bigint NOT NULL,
    day integer NOT NULL,
    machine text NOT NULL,
    bytes bigint NOT NULL DEFAULT 0,
    open boolean NOT NULL DEFAULT true,
    removed boolean NOT NULL DEFAULT false,
    PRIMARY KEY (integration, number)
);
CREATE TABLE mainstay_journal_piece (
    integration text NOT NULL,
    number bigint NOT NULL,
    start bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (integration, number, start)
);
"""
_HEAD = "INSERT INTO mainstay_journal_head (integration) VALUES (%s) ON CONFLICT DO NOTHING RETURNING numbers"
_ALLOT = "UPDATE mainstay_journal_head SET numbers = numbers + %s WHERE integration = %s RETURNING numbers"
_SEEN = """
INSERT INTO mainstay_journal_machine (integration, machine, host, seen) VALUES (%s, %s, %s, clock_timestamp())
    ON CONFLICT (integration, machine) DO UPDATE SET seen = excluded.seen, host = excluded.host RETURNING 1
"""
_BEGIN = """
INSERT INTO mainstay_journal_segment (integration, number, day, machine) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING RETURNING 1
"""
_SHIPPED = "SELECT bytes FROM mainstay_journal_segment WHERE integration = %s AND number = %s"
# Both or neither: a piece stands where the last one ended, and nowhere else. Sent twice, it finds that it is there.
_SHIP = """
WITH moved AS (
    UPDATE mainstay_journal_segment SET bytes = %s, open = true, removed = false
     WHERE integration = %s AND number = %s AND bytes = %s RETURNING integration, number
)
INSERT INTO mainstay_journal_piece (integration, number, start, body)
SELECT integration, number, %s, %s FROM moved RETURNING start
"""
_CLOSE = """
UPDATE mainstay_journal_segment SET open = false WHERE integration = %s AND number = %s AND bytes = %s RETURNING 1
"""
_LOCK = "SELECT 1 FROM mainstay_journal_segment WHERE integration = %s AND number = %s FOR UPDATE"
_SMALL = """
SELECT start / %s FROM mainstay_journal_piece WHERE integration = %s AND number = %s
 GROUP BY 1 HAVING count(*) > 1 ORDER BY 1
"""
_TAKE = """
DELETE FROM mainstay_journal_piece WHERE integration = %s AND number = %s AND start / %s = %s RETURNING start, body
"""
_PUT = "INSERT INTO mainstay_journal_piece (integration, number, start, body) VALUES (%s, %s, %s, %s)"

NUMBERS = 10_000
"""Segment numbers that a machine is given at once: it begins segments also while PostgreSQL is away."""
_FEW = 1_000
PIECE = 256 * 1024
_CHUNK = 1024 * 1024


class _Numbers(msgspec.Struct, frozen=True):
    """Segment numbers of this machine: the next one, and the last."""

    next: int
    last: int


class LocalSegments(SegmentJournal):
    """The segments on this machine's disk, numbered from what PostgreSQL has given to this machine.

    Args:
        folder: This machine's own.
        secret: The installation's; signs ids.
        clock: Says the day.
        allot: Gives `NUMBERS` more of them, and tells the last.
        durability: As for any journal.
        writable: False for readers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secret: bytes,
        clock: Clock,
        allot: Callable[[], int],
        durability: Literal["process", "power"] = "process",
        writable: bool = True,
    ) -> None:
        super().__init__(folder, secret=secret, clock=clock, durability=durability, writable=writable)
        self._allot = allot

    def path(self, segment: str) -> Path:
        """Where a segment of that name lies, if it does."""
        return self._path(segment)

    def provide(self) -> None:
        """Asks for numbers before the last of them is needed."""
        with self._counted() as counter:
            left = _read(counter)
            if left is None or left.last - left.next < _FEW:
                _note(counter, self._more())

    @contextmanager
    def _next_number(self) -> Iterator[int]:
        with self._counted() as counter:
            left = _read(counter)
            if left is None or left.next > left.last:
                left = self._more()
            _note(counter, _Numbers(left.next + 1, left.last))
            yield left.next

    @contextmanager
    def _counted(self) -> Iterator[int]:
        counter = os.open(self._folder / "allotted", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(counter, fcntl.LOCK_EX)
            yield counter
        finally:
            os.close(counter)

    def _more(self) -> _Numbers:
        last = self._allot()
        return _Numbers(last - NUMBERS + 1, last)


def _read(counter: int) -> _Numbers | None:
    try:
        return msgspec.json.decode(os.pread(counter, 200, 0), type=_Numbers)
    except msgspec.DecodeError:  # new, or torn by a power cut: numbers that were left are given up
        return None


def _note(counter: int, numbers: _Numbers) -> None:
    told = msgspec.json.encode(numbers).ljust(100)
    if os.pwrite(counter, told, 0) != len(told):
        raise OSError("the numbers of segments could not be noted")
    os.fsync(counter)


class Machine(NamedTuple):
    """Who this machine is among those that share a journal."""

    name: str
    host: str


def machine_of(folder: Path, host: str) -> Machine:
    """The machine whose segments lie in `folder`: a name that was drawn there once, and what people call it."""
    note = folder / "machine"
    with suppress(FileExistsError):
        write_whole(note, new_id("m").encode(), replace=False)
    return Machine(note.read_text(), host)


def allot(postgres: Postgres, integration: str) -> int:
    """Gives `NUMBERS` segment numbers to whoever asks, once; the last of them."""
    postgres.rows(_HEAD, (integration,))
    last: int = postgres.rows(_ALLOT, (NUMBERS, integration))[0][0]
    return last


class Shipper:
    """Brings this machine's segments to PostgreSQL. Any number of them may be at it at once.

    Args:
        local: Where they are.
        postgres: Where they go.
        integration: Whose they are.
        machine: This one.
    """

    def __init__(self, local: LocalSegments, postgres: Postgres, integration: str, machine: Machine) -> None:
        self._local = local
        self._postgres = postgres
        self._integration = integration
        self._machine = machine
        self._shipped: dict[str, int] = {}

    def seen(self) -> None:
        """Tells the others that this machine is there, and sees to its numbers."""
        self._postgres.rows(_SEEN, (self._integration, self._machine.name, self._machine.host))
        self._local.provide()

    def behind(self) -> int:
        """Bytes on this disk that PostgreSQL has not confirmed to this object."""
        return sum(max(0, one.bytes - self._shipped.get(one.name, 0)) for one in self._local.segments())

    def ship(self) -> bool:
        """Ships what is new; whether there was anything. Raises StoreError where PostgreSQL does not take it."""
        found = self._local.segments()
        busy = False
        for one in found:
            if not one.open or one.bytes > max(self._shipped.get(one.name, 0), bytes_of.FIRST):
                busy = self.ship_one(one.name) or busy
        for gone in self._shipped.keys() - {one.name for one in found}:
            del self._shipped[gone]
        return busy

    def ship_one(self, name: str) -> bool:
        """Ships a segment; one that nobody writes any more leaves this disk afterwards. False: it is not here."""
        path = self._local.path(name)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            live = written_to(file.fileno())  # asked first: once it is false, no record can follow
            day, number = parts_of(name)
            at = self._shipped.get(name)
            if at is None:
                at = self._begun(day, number, path)
            for start, body in _pieces(file.fileno(), at, str(path)):
                at = self._put(number, start, body)
                if at != start + len(body):  # another shipper was faster: go on from where it is the next time
                    self._shipped[name] = at
                    return True
            self._shipped[name] = at
            if not live:
                self._close(number, at)
                path.unlink(missing_ok=True)
        return True

    def need_whole(self, name: str) -> None:
        """Ships a segment that is to be changed or removed. Raises Conflict while a process writes it."""
        path = self._local.path(name)
        while path.exists():
            with suppress(FileNotFoundError), path.open("rb") as file:
                if written_to(file.fileno()):
                    mend = "ask it to seal, then try again"
                    raise Conflict("a process still writes this segment", mend=mend, where=str(path))
            self.ship_one(name)

    def _begun(self, day: int, number: int, path: Path) -> int:
        """How far a segment is there already; known there from now on."""
        rows = self._postgres.rows(_SHIPPED, (self._integration, number))
        if not rows and path.exists():
            self.seen()
            self._postgres.rows(_BEGIN, (self._integration, number, day, self._machine.name))
        return int(rows[0][0]) if rows else 0

    def _put(self, number: int, start: int, body: bytes) -> int:
        """Where the segment ends there now."""
        end = start + len(body)
        if self._postgres.rows(_SHIP, (end, self._integration, number, start, start, body)):
            return end
        rows = self._postgres.rows(_SHIPPED, (self._integration, number))
        return int(rows[0][0]) if rows else 0

    def _close(self, number: int, end: int) -> None:
        """Joins the small pieces of a segment that will not grow, and says so."""
        for (group,) in self._postgres.rows(_SMALL, (PIECE, self._integration, number)):
            self._join(number, group)
        self._postgres.rows(_CLOSE, (self._integration, number, end))

    def _join(self, number: int, group: int) -> None:
        def work(connection: Connection) -> None:
            connection.execute(_LOCK, (self._integration, number))
            rows = connection.execute(_TAKE, (self._integration, number, PIECE, group), binary=True).fetchall()
            pieces = sorted((start, bytes(body)) for start, body in rows)
            if pieces:
                whole = b"".join(body for _, body in pieces)
                connection.execute(_PUT, (self._integration, number, pieces[0][0], whole))

        self._postgres.transact(work)


def _pieces(fd: int, offset: int, where: str) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of what follows in a segment, cut between records; damaged bytes go with what follows them."""
    start, end = offset, offset
    for found in _ends(fd, offset, where):
        if found - start > PIECE and end > start:
            yield start, os.pread(fd, end - start, start)
            start = end
        end = found
    if end > start:
        yield start, os.pread(fd, end - start, start)


def _ends(fd: int, offset: int, where: str) -> Iterator[int]:
    while True:
        try:
            for found in bytes_of.records(fd, offset, where):
                offset = found.next
                yield offset
        except CorruptRecord as error:
            offset = error.next
        else:
            return
