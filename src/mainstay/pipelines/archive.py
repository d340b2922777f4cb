"""The journal's way into history, and back: receipts and events are found in either, and are in history exactly once.

Two history tables, `receipts` and `events`, follow the journal. For each segment each table remembers the offset up to
which it holds everything of its kind (a Delta transaction: writer = segment, sequence = offset), so a move that was
killed anywhere goes on where it stood. A segment is removed when it is past retention, sealed, sound to its last byte
and wholly in both tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from mainstay.core.clock import DAY, Clock
from mainstay.core.errors import Corrupt, NotFound, StoreError
from mainstay.core.ports import Entry, History, Journal, JournalReader, Segment
from mainstay.core.records import Event, Receipt
from mainstay.core.sql import columns as quoted
from mainstay.core.sql import identifier
from mainstay.store.segment import CorruptRecord

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T", bound=msgspec.Struct)

RECEIPTS = "receipts"
EVENTS = "events"
RETENTION_US = 7 * DAY
"""How long the journal keeps what is in history already, counted from the end of the segment's day."""

_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)
_CHUNK_BYTES = 4 * 1024 * 1024
"""Of payload for one append. Four times as much is a tenth faster, and takes 100 MiB more."""
_LAG_BYTES = 4 * 1024 * 1024
_TRIES = 5
_NUMBERS = {RECEIPTS: ("at_us", "api", "status", "version"), EVENTS: ("at_us",)}
_TEXTS = {
    RECEIPTS: ("integration", "key", "outcome", "verdict", "feature_set"),
    EVENTS: ("kind", "receipt", "by"),
}
_TABLES = {"receipt": RECEIPTS, "event": EVENTS}


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass moved."""

    receipts: int = 0
    events: int = 0
    removed: tuple[str, ...] = ()
    """Segments deleted from the journal."""
    corrupt: tuple[str, ...] = ()
    """What could not be read, one sentence with its place for each; everything sound around it was moved."""
    behind: bool = False
    """Whether the limit stopped the pass before the journal's end."""


def archive_journal(
    journal: Journal, history: History, *, clock: Clock, limit_rows: int = 100_000, retention_us: int = RETENTION_US
) -> Archived:
    """Moves what the journal has, at most `limit_rows` records, and removes segments past retention.

    To be called by the holder of the lease. Repeating it, also after a kill, neither loses nor doubles a record.
    """
    pass_ = _Pass(journal, history, limit_rows)
    removed: list[str] = []
    for segment in journal.segments():
        if pass_.left <= 0:
            return pass_.told(removed, behind=True)
        pass_.move(segment)
        due = clock.now_us() - (segment.day + 1) * DAY > retention_us
        if due and not segment.open and pass_.whole(segment):
            journal.remove(segment.name)
            removed.append(segment.name)
    return pass_.told(removed, behind=pass_.left <= 0)


class _Pass:
    """One run over the journal: what it may still move and what it met."""

    def __init__(self, journal: Journal, history: History, limit_rows: int) -> None:
        self.left = limit_rows
        self._journal = journal
        self._history = history
        self._moved = {RECEIPTS: 0, EVENTS: 0}
        self._corrupt: list[str] = []

    def told(self, removed: list[str], *, behind: bool) -> Archived:
        return Archived(
            receipts=self._moved[RECEIPTS],
            events=self._moved[EVENTS],
            removed=tuple(removed),
            corrupt=tuple(self._corrupt),
            behind=behind,
        )

    def move(self, segment: Segment) -> None:
        done = {table: self._history.sequence(table, segment.name) for table in (EVENTS, RECEIPTS)}
        end = min(done.values())
        if end >= segment.bytes:
            return
        finished = False
        while self.left > 0 and not finished:
            chunk, end, finished = self._chunk(segment.name, end, done)
            if chunk:
                self._append(segment.name, done, chunk, end)
        if finished and not segment.open:
            self._settle(segment.name, done, end)

    def whole(self, segment: Segment) -> bool:
        """Whether every record is in history and none was unreadable: only then may the file go."""
        end = 0
        try:
            for _, end in self._journal.scan(segment.name):  # noqa: B007 - the last offset is what is asked for
                pass
        except Corrupt:
            return False
        return all(self._history.sequence(table, segment.name) >= end for table in (EVENTS, RECEIPTS))

    def _chunk(self, segment: str, end: int, done: dict[str, int]) -> tuple[list[Entry], int, bool]:
        """The next records that their table lacks, as many as one append takes; their end; whether no more follow."""
        chunk, size = [], 0
        for entry, following in self._sound(segment, end):
            end = following
            if end <= done[_TABLES[entry.kind]]:
                continue
            chunk.append(entry)
            self.left -= 1
            size += len(entry.payload)
            if self.left <= 0 or size >= _CHUNK_BYTES:
                return chunk, end, False
        return chunk, end, True

    def _sound(self, segment: str, offset: int) -> Iterator[tuple[Entry, int]]:
        """Every readable record from `offset` on; damaged ones are noted and stepped over."""
        while True:
            try:
                yield from self._journal.scan(segment, offset)
            except CorruptRecord as error:
                self._corrupt.append(str(error))
                offset = error.next
            except Corrupt as error:
                self._corrupt.append(str(error))
                return
            else:
                return

    def _append(self, segment: str, done: dict[str, int], chunk: list[Entry], end: int) -> None:
        for table in (EVENTS, RECEIPTS):
            mine = [entry for entry in chunk if _TABLES[entry.kind] == table]
            # A table without news is told how far it is only now and then: each telling is a commit.
            if mine or end - done[table] >= _LAG_BYTES:
                rows = table_of(table, [row_of(table, entry.id, entry.payload, segment) for entry in mine])
                if self._history.append(table, rows, writer=segment, sequence=end):
                    self._moved[table] += len(mine)
                done[table] = end

    def _settle(self, segment: str, done: dict[str, int], end: int) -> None:
        for table in (EVENTS, RECEIPTS):
            if done[table] < end:
                self._history.append(table, table_of(table, []), writer=segment, sequence=end)


def read_receipt(id: str, journal: JournalReader, history: History) -> Receipt | None:
    """The receipt, wherever it is; None when its retention is over. Raises NotFound for an id that we never gave."""
    entry = journal.get(id)
    if entry is not None:
        if entry.kind != "receipt":
            raise NotFound("this id names an event, not a receipt", mend="use the receipt id that stood in the answer")
        return decoded(entry.payload, None, Receipt)
    for row in history_rows(history, RECEIPTS, ("record", "exact"), where=("id", id)):
        return decoded(row["exact"], row["record"], Receipt)
    return None


def events_for(receipt_id: str, journal: JournalReader, history: History) -> tuple[Event, ...]:
    """Decisions, outcomes and whatever else names the receipt, oldest first."""
    # Where history stood is asked before the journal is read, and history is read last: an event on its way is seen
    # in one of them, or in both, and its id says that it is the same.
    tails = [(segment, history.sequence(EVENTS, segment.name)) for segment in journal.segments()]
    found: dict[str, Event] = {}
    needle = receipt_id.encode()
    for segment, offset in tails:
        if offset < segment.bytes:
            for entry in _readable(journal, segment.name, offset):
                if entry.kind == "event" and needle in entry.payload:
                    found[entry.id] = decoded(entry.payload, None, Event)
    for row in history_rows(history, EVENTS, ("id", "record", "exact"), where=("receipt", receipt_id)):
        found[row["id"]] = decoded(row["exact"], row["record"], Event)
    mine = (event for event in found.values() if event.receipt == receipt_id)
    return tuple(sorted(mine, key=lambda event: event.at_us))


def _readable(journal: JournalReader, segment: str, offset: int) -> Iterator[Entry]:
    while True:
        try:
            for entry, following in journal.scan(segment, offset):
                yield entry
                offset = following
        except CorruptRecord as error:
            offset = error.next
        else:
            return


def history_rows(
    history: History, table: str, columns: tuple[str, ...], *, where: tuple[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a history table, or those whose column `where[0]` is `where[1]`, streamed.

    Row groups that cannot hold the value are not read. Raises StoreError when files vanish again and again.
    """
    import duckdb

    statement = f"SELECT {quoted(columns)} FROM read_parquet($files, union_by_name=true)"
    given: dict[str, Any] = {}
    if where is not None:
        statement += f" WHERE {identifier(where[0])} = $value"
        given["value"] = where[1]
    for _ in range(_TRIES):
        files = history.files(table)
        if not files:
            return
        begun = False
        try:
            with duckdb.connect() as database:
                database.execute("SET enable_progress_bar = false")
                cursor = database.execute(statement, given | {"files": list(files)})
                while rows := cursor.fetchmany(5_000):
                    begun = True
                    yield from (dict(zip(columns, row, strict=True)) for row in rows)
        except duckdb.IOException:  # an erasure replaced files between listing and reading
            if begun:
                break
        else:
            return
    raise StoreError(
        "this history table was rewritten while it was read", mend="try again; an erasure may be running", where=table
    )


def history_row(history: History, table: str, batch: int, ordinal: int) -> dict[str, Any] | None:
    """A dataset's version at its position, every column by name; None when history does not have it."""
    import duckdb

    for _ in range(_TRIES):
        files = history.files(table)
        if not files:
            return None
        statement = "SELECT * FROM read_parquet($files, union_by_name=true) WHERE batch = $batch AND ordinal = $ordinal"
        try:
            with duckdb.connect() as database:
                database.execute("SET enable_progress_bar = false")
                cursor = database.execute(statement, {"files": list(files), "batch": batch, "ordinal": ordinal})
                names = [column[0] for column in cursor.description or ()]
                row = cursor.fetchone()
        except duckdb.IOException:  # an erasure replaced files between listing and reading
            continue
        return None if row is None else dict(zip(names, row, strict=True))
    return None


def _schema(table: str) -> pa.Schema:
    import pyarrow as pa

    numbers = [pa.field(name, pa.int64()) for name in _NUMBERS[table]]
    texts = [pa.field(name, pa.string()) for name in ("id", *_TEXTS[table], "segment", "record")]
    fields: list[pa.Field[Any]] = [*texts, *numbers, pa.field("exact", pa.binary())]
    return pa.schema(fields)


def table_of(table: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of `row_of` as Arrow, in the table's columns."""
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=_schema(table))


def row_of(table: str, id: str, payload: bytes, segment: str) -> dict[str, Any]:
    """The history row of a record's msgpack.

    `record` is its JSON. `exact` is the msgpack itself, kept only where JSON cannot carry the record (NaN, infinity,
    bytes) or where the record cannot be read at all: nothing is lost on the way.
    """
    try:
        record = msgspec.msgpack.decode(payload)
        text = msgspec.json.encode(record)
        exact = None if msgspec.json.decode(text) == record else payload
    except _UNREADABLE:
        record, text, exact = None, None, payload
    if not isinstance(record, dict):
        record = {}
    row: dict[str, Any] = {"id": id, "segment": segment, "exact": exact}
    row["record"] = None if text is None else text.decode()
    for names, kind in ((_NUMBERS[table], int), (_TEXTS[table], str)):
        for name in names:
            value = record.get(name)
            row[name] = value if isinstance(value, kind) else None
    return row


def decoded(exact: bytes | None, record: str | None, kind: type[T]) -> T:
    """The record of a history row (or of a journal entry, as `exact`). Raises Corrupt when it cannot be read."""
    try:
        if exact is not None:
            return msgspec.msgpack.decode(exact, type=kind)
        return msgspec.json.decode(record or "", type=kind)
    except _UNREADABLE:
        raise Corrupt(
            f"a stored {kind.__name__.lower()} cannot be read", mend="it was written by a later Mainstay; use that one"
        ) from None
