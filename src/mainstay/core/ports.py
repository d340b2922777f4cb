"""Every seam of Mainstay on one page: what to write, and what it must guarantee.

A seam is a Protocol; its conformance suite in `mainstay.testing` is run over every implementation. Readers and
writers are different types: pages, doors and planners are handed readers only. Positions are (batch, ordinal).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from mainstay.core.nouns import ColumnType, Signature
from mainstay.core.parts import Parts
from mainstay.core.ranges import Chunk, Range
from mainstay.core.verdicts import Finding, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

# --- sources -----------------------------------------------------------------------------------------------------

SourceKind = Literal[
    "integer", "float", "boolean", "text", "bytes",
    "numeric", "date", "timestamp", "timestamptz", "time", "interval", "uuid", "json", "array",
]  # fmt: skip
"""What a raw column means. The first five land as Arrow int64, float64, bool, string and binary; every other kind
lands as a string: the source's exact text in ISO form (timestamps with zone in UTC, arrays as JSON)."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a source can do, as data."""

    incremental: bool
    snapshots: bool = True
    """Whether one read sees one consistent state of the table."""
    read_only: bool = True
    """Whether the session itself is made read-only."""
    keys: bool = True
    """Whether it can read (key, cursor) alone and rows by key: needed for `reconcile`."""
    ledger: bool = False
    """Whether it tells by itself what is new, without a cursor column: each read is given the last one's `cursor()` as
    `since`. With `incremental` its reads add and update rows; without, each is the whole table, or not `complete`."""
    indifferent: tuple[str, ...] = ()
    """With `ledger`: options that change nothing about rows that were read. Others, changed, have all read again."""
    ranges: bool = False
    """Whether it reads a range of a column in chunks and is a `core.ranges.RangeSource`: needed for backfills."""
    timeouts: bool = True
    """Whether it ends a statement at `guard.statement_timeout`."""


class SourceColumn(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    native: str
    """The type as the source writes it, e.g. `numeric(10,2)`."""
    kind: SourceKind
    nullable: bool = True
    refused: str = ""
    """Why this column cannot be read exactly; empty when it can."""


class TableInfo(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...] = ()
    indexed: tuple[str, ...] = ()
    """Columns that lead an index."""
    references: tuple[tuple[str, str, str], ...] = ()
    """Foreign keys: (column here, table there, column there); several columns as `core.keys.joined_key` has them."""
    rows: int | None = None
    """The source's own estimate; None when it has none."""
    findings: tuple[Finding, ...] = ()
    """What a person should know of this table before it is read; `mainstay check` prints it."""


class SourceHealth(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    read_only: bool
    latency_us: int
    clock_us: int | None
    """The source's wall clock; None when it has none."""
    oldest_transaction_us: int | None = None
    """Age of the oldest open write transaction, where the source tells."""
    timezone: str = ""
    """The zone that the server is set to, where it says one: a hint for timestamps without zone, not proof."""


class ReadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One read of a table.

    `snapshot`: all rows. `increment`: rows with cursor >= `since` minus the lag, and rows whose cursor is NULL; all
    rows when `since` is None. `keys`: only key and cursor column, all rows. `by_keys`: the rows whose key is in `keys`.
    `range`: the rows of `part`; the read's `cursor()` is then where the next one begins, None at the end of the range.
    """

    table: str
    columns: tuple[str, ...]
    """Source names, in order, the key and the cursor among them."""
    key: str
    mode: Literal["snapshot", "increment", "keys", "by_keys", "range"]
    cursor: str | None = None
    since: str | None = None
    """The greatest cursor value landed, in the source's own text; of a source with a ledger, its last `cursor()`."""
    lag_us: int = 0
    lag_number: int = 0
    keys: tuple[str, ...] = ()
    """Key values as text. Of a key of several columns, these and `key` are `core.keys.joined_key` of its parts."""
    part: Range | None = None
    parts: Parts = Parts()
    """For tables that lie in parts."""


class SourceRead(Protocol):
    """One read in progress: one database snapshot, streamed in bounded memory."""

    began_source_us: int
    """The source's clock when its snapshot was taken."""
    schema: pa.Schema
    complete: bool
    """Whether a snapshot's rows are all of the table's. False: nothing changed since `since`, and no rows come."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, in chunks of at most 65,536; columns named and ordered as requested."""
        ...

    def cursor(self) -> str | None:
        """The greatest cursor value of this read in the source's own text and order; None when no row had one.

        To be asked after `batches` is exhausted. A source with a ledger says here what was taken up to now.
        """
        ...


class Source(Protocol):
    """A legacy system. Guarded: at most `guard.connections`, time-outs, read-only.

    Raises SourceAway for what may pass (with the driver's sentence, never the password) and SourceRefused for what a
    person must mend.
    """

    capabilities: Capabilities

    def health(self) -> SourceHealth: ...

    def tables(self) -> tuple[str, ...]:
        """Names of the tables and views that can be read, for close matches in errors."""
        ...

    def describe(self, table: str) -> TableInfo: ...

    def read(self, request: ReadRequest) -> AbstractContextManager[SourceRead]:
        """Begins a read. Leaving the context ends it and frees the connection, finished or not."""
        ...

    def close(self) -> None: ...


# --- stores ------------------------------------------------------------------------------------------------------


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """A record as state holds it. `version` counts its writes from 1."""

    space: str
    name: str
    version: int
    body: bytes


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One write of a commit. `body` None deletes.

    `expect`: the version that must stand there (0: nothing may); None: whatever stands there.
    """

    space: str
    name: str
    body: bytes | None
    expect: int | None = None


class StateReader(Protocol):
    def get(self, space: str, name: str) -> Versioned | None: ...

    def scan(self, space: str, prefix: str = "") -> tuple[Versioned, ...]:
        """Records of the space whose name begins with `prefix`, ordered by name."""
        ...

    def changed(self) -> int:
        """A number that differs after any process committed. Costs microseconds, or one round trip to a server."""
        ...


class State(StateReader, Protocol):
    """Small records with compare-and-set. Durable when `commit` returns; `scrub` leaves no byte of what was removed."""

    def commit(self, writes: Sequence[Write], *, token: int | None = None) -> None:
        """All or none. Raises Conflict when an expectation fails, Fenced when `token` is below the highest seen."""
        ...

    def scrub(self) -> None: ...

    def close(self) -> None: ...


class OnlineRow(msgspec.Struct, frozen=True, array_like=True):
    """The newest feature row of one key, as the API reads it. Stored as an array: new fields go last, with defaults."""

    key: str
    plan: int
    """The row's position: the number of the publish plan that wrote it."""
    values: bytes | None
    """JSON array in the order of the feature set's columns; non-finite numbers as "NaN", "Infinity", "-Infinity";
    timestamps as integer microseconds, dates as ISO text. None: the SQL gives no row for this key."""
    event_us: int | None
    landed_us: int
    verdict: Verdict
    """PASS or WARN, of the source rows."""
    sentence: str
    """Why it is not PASS, or which check holds it; empty otherwise."""
    held: bool
    held_as_of_us: int | None
    """The least as-of of its held rows; None when not held, or when held without ever having had a good row."""
    deleted: bool
    """The row whose own key is this key was deleted."""
    evaluated_us: int | None
    """The `$as_of` it was computed at, where the SQL uses it."""
    positions: bytes
    """JSON object: dataset -> [batch, ordinal] of its newest row in here."""
    filled: bytes = b""
    """JSON object: dataset -> columns that the SQL reads and whose `fill` stood in for an absent value; or empty."""


PackedRow = tuple[str, int, bytes]
"""An OnlineRow ready to be stored: its key, its plan, and the whole of it as MessagePack."""


class OnlineReader(Protocol):
    def get(self, feature_set: str, key: str) -> OnlineRow | None:
        """Tens of microseconds in process, a round trip to a server; never blocked by a writer."""
        ...

    def get_many(self, feature_set: str, keys: Sequence[str]) -> dict[str, OnlineRow]: ...

    def changed(self) -> int | None:
        """Another number once a row was written or removed. None where that cannot be told for less than a look-up."""
        ...

    def count(self, feature_set: str) -> int: ...

    def keys(self, feature_set: str) -> Iterator[str]: ...


class Online(OnlineReader, Protocol):
    def put(self, feature_set: str, rows: Iterable[OnlineRow], *, token: int) -> int:
        """Writes each row unless a higher plan stands there, in transactions under 50 ms. How many; raises Fenced."""
        ...

    def put_packed(self, feature_set: str, rows: Iterable[PackedRow], *, token: int) -> int:
        """`put` for rows that were packed by whoever made them: for very many at once. Fastest in the order of keys."""
        ...

    def remove(self, feature_set: str, keys: Iterable[str], *, plan: int, token: int) -> int:
        """Removes the rows of `keys` unless they have a higher plan."""
        ...

    def prune(self, feature_set: str, *, below: int, token: int) -> int:
        """Removes the rows of plans lower than `below`: what a recomputation of every key no longer gave."""
        ...

    def drop(self, feature_set: str, *, token: int) -> None: ...

    def scrub(self) -> None: ...

    def close(self) -> None: ...


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is written beside a landed batch, last: a batch without one was never landed."""

    v: int = 1
    dataset: str
    number: int
    mode: Literal["snapshot", "increment", "reconcile", "replay", "backfill"]
    began_us: int
    began_source_us: int
    landed_us: int
    rows: int
    deletes: int = 0
    noops: int = 0
    erased: int = 0
    """Versions of erased people that this read brought back and that were not landed."""
    cursor: str | None = None
    digest: str
    """Over the files' bytes, in order."""
    files: tuple[str, ...]
    source_schema: tuple[tuple[str, str], ...] = ()
    chunk: Chunk | None = None
    """Of a backfill: which part of it this is."""


class LandingReader(Protocol):
    def numbers(self, dataset: str) -> tuple[int, ...]:
        """Landed batch numbers, ascending."""
        ...

    def manifest(self, dataset: str, number: int) -> Manifest | None: ...

    def open(self, dataset: str, number: int) -> pa.RecordBatchReader:
        """The landed rows as a stream. Raises Corrupt when the digest does not fit."""
        ...


class Landing(LandingReader, Protocol):
    def land(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        """Writes the batch and fsyncs files, manifest and folder, the manifest last.

        Landing a number again replaces what a crash left without a manifest, and raises Conflict where a manifest
        stands. Returns the manifest with digest and files filled in.
        """
        ...

    def remove(self, dataset: str, number: int) -> None: ...

    def rewrite(self, manifest: Manifest, batches: pa.RecordBatchReader) -> Manifest:
        """Replaces a landed batch (erasure), atomically; the new manifest has a new digest."""
        ...


JournalKind = Literal["receipt", "event"]


class Entry(msgspec.Struct, frozen=True):
    """One journal record: where it stands and its bytes (msgpack of a Receipt or an Event)."""

    id: str
    kind: JournalKind
    payload: bytes


class JournalReader(Protocol):
    def get(self, id: str) -> Entry | None:
        """The record with this id, whichever process wrote it, as soon as `append` returned there.

        None: no such record in the journal (it may have moved to history). Raises NotFound when the id's signature is
        not ours.
        """
        ...

    def segments(self) -> tuple[Segment, ...]: ...

    def scan(self, segment: str, offset: int = 0) -> Iterator[tuple[Entry, int]]:
        """(record, offset of the next) from `offset` on; ends at the first torn or missing record."""
        ...


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    day: int
    """Days since 1970."""
    number: int
    bytes: int
    open: bool
    """Whether a live process may still append to it."""


class Journal(JournalReader, Protocol):
    """Append-only. One writer per process; readers anywhere."""

    def next_id(self) -> str:
        """The id that the next `append` will give its record: it names day, segment and offset, and is signed."""

    def append_with(self, kind: JournalKind, build: Callable[[str], bytes]) -> str:
        """`append`, with a payload that is built knowing its own id, safe between threads. Returns the id."""

    def append_each(self, kind: JournalKind, builds: Sequence[Callable[[str], bytes]]) -> list[str]:
        """Several records in one write, all or none. Returns their ids. What a `build` raises leaves none written."""

    def append(self, kind: JournalKind, payload: bytes) -> str:
        """One write(2). When it returns, kill -9 cannot lose the record.

        Raises StoreFull when nothing could be written; a torn write is cut off. `durability: power`: returns after a
        group fdatasync.
        """

    def seal(self) -> None:
        """Closes the open segment; the next append opens another."""

    def remove(self, segment: str) -> None: ...

    def rewrite(self, segment: str, change: Callable[[Entry], bytes | None]) -> int:
        """Replaces payloads of a sealed segment where `change` gives one (erasure), atomically; ids stay true.

        Returns how many were replaced. Raises Conflict while a process writes the segment, StoreError when a payload
        needs more room than the one before it.
        """

    def scrub(self) -> None:
        """Leaves no byte of what was rewritten or removed where the journal is kept (erasure). Raises StoreBusy."""

    def close(self) -> None: ...


class History(Protocol):
    """Every version of every row: one Delta Lake table per dataset, one for quarantine, receipts and events."""

    def append(self, table: str, rows: pa.Table | pa.RecordBatchReader, *, writer: str, sequence: int) -> bool:
        """Appends once per (writer, sequence), by Delta transaction identifiers; new columns are added.

        A stream is written as it comes, in one commit.

        False when that sequence or a later one was already there.
        """
        ...

    def sequence(self, table: str, writer: str) -> int:
        """The last sequence that `writer` appended; 0 when none."""
        ...

    def files(self, table: str) -> tuple[str, ...]:
        """Paths of the newest snapshot's Parquet files, for DuckDB's read_parquet; empty when there is no table."""
        ...

    def erase(self, table: str, predicate: str) -> int:
        """Deletes matching rows and vacuums so that no file holds them. Returns rows deleted."""
        ...

    def remove(self, table: str, rows: pa.Table) -> int:
        """Deletes, in one commit, the rows that equal a given row in all of its columns. Returns rows deleted.

        Files that held them go with the next `compact`.
        """
        ...

    def replace(self, table: str, rows: pa.Table, *, key: str) -> int:
        """Replaces, in one commit, the rows whose column `key` equals that of a given row. Returns rows replaced.

        Vacuums so that no file holds the old ones, also when no rows are given: so a killed replacement is finished.
        """
        ...

    def tables(self) -> tuple[str, ...]: ...

    def compact(self, table: str) -> None: ...


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a request that named itself by an Idempotency-Key."""

    payload: bytes
    """Digest of what was asked."""
    status: int
    """Of the answer; 0 while it is being made."""
    kind: str
    """The answer's content type."""
    body: bytes


class Repeats(Protocol):
    """Answers by (caller, name of the request), for as long as they may be asked for again. A cache, shared by workers.

    Several processes use it at a time; each call is atomic.
    """

    def begin(
        self, caller: str, name: bytes, payload: bytes, *, ticket: str, at_us: int, until_us: int
    ) -> Repeat | None:
        """What stands under the name and has not run out by `at_us`; None: it is the caller's until `until_us`."""

    def finish(self, ticket: str, answer: Repeat, *, until_us: int) -> bool:
        """Keeps the answer. False where the ticket has run out and another has begun, or all was cleared."""

    def release(self, ticket: str) -> None:
        """Forgets what was begun and will not be finished."""

    def sweep(self, now_us: int) -> None:
        """Removes what has run out, and each caller's oldest beyond what one may have."""

    def bodies(self) -> Iterator[bytes]:
        """Every answer that is kept (erasure looks for a person in them)."""

    def clear(self) -> None:
        """Removes everything, tickets too, and leaves no byte of it. Raises StoreBusy."""

    def close(self) -> None: ...


class Artifacts(Protocol):
    """Bytes by digest, immutable."""

    def put(self, data: bytes | Path) -> str:
        """Stores and fsyncs; returns `sha256:...`. Storing the same bytes again is a no-op."""
        ...

    def path(self, digest: str) -> Path:
        """The file, its bytes checked against the digest first. Raises Corrupt or NotFound."""
        ...


class Lease(Protocol):
    """The right to write an integration's stores: an operating-system lock, and a token that only grows."""

    token: int

    def release(self) -> None: ...


# --- models ------------------------------------------------------------------------------------------------------


class RuntimeCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    blocking: bool
    """Whether `predict` waits on another process, so that an event loop must call it from a thread."""
    batch: int = 1000
    """Rows that `predict` is given at the most; with `blocking`, whoever has more asks several times."""
    at_once: int = 1
    """With `blocking`: calls that it works on at the same time."""


Row = Sequence[Any]
"""Values in the order of the signature's inputs or outputs: str, int, float, bool, None."""


class LoadedModel(Protocol):
    """A model version ready to answer. Thread-safe."""

    capabilities: RuntimeCapabilities
    build: str
    """Libraries and versions that compute the answer, e.g. `onnxruntime 1.32.0 cpu`."""

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        """One output tuple per input row, in order. `deadline_us` is on the monotonic clock.

        Raises ModelRefused for an input it cannot take, ModelTimeout past the deadline, ModelAway when its process
        died.
        """
        ...

    def present(self) -> bool:
        """Whether what computes the answer is there: False while its process starts. Cheap; asked by readiness."""
        ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """What executes a kind of artifact."""

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:
        """`artifact` is None for models that are all options (constant, rule)."""
        ...


class FeatureColumn(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    type: ColumnType
