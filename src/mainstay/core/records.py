"""The small records that state keeps, and the receipts that the journal keeps.

Each carries `v`, its own version. Fields that a record of a later version has and this one does not are kept
when it is written back (`merged`), so an older process never strips what a newer one wrote.

| space         | name                      | record            | written by      |
|---------------|---------------------------|-------------------|-----------------|
| `dataset`     | dataset                   | DatasetState      | the loop        |
| `batch`       | dataset/number, 12 digits | BatchRecord       | the loop        |
| `plan`        | number, 12 digits         | PublishPlan       | the loop        |
| `feature_set` | digest                    | FeatureSetState   | the loop, apply |
| `model`       | number, 6 digits          | ModelVersion      | model add       |
| `answering`   | `champion`                | Answering         | model use       |
| `api_key`     | SHA-256 of the key, hex   | ApiKey            | key create      |
| `applied`     | `file`                    | Applied           | apply           |
| `not_applied` | `file`                    | NotApplied        | up, apply       |
| `request`     | id                        | Request           | the CLI         |
| `response`    | id                        | Response          | the loop        |
| `suppressed`  | keyed hash of the key     | Suppressed        | erase           |
| `erase_again` | keyed hash of the key     | Suppressed        | restore         |
| `backfill`    | id                        | Backfill          | the loop        |
| `seal`        | `wanted`                  | Seal              | erase           |
| `process`     | name                      | ProcessState      | each process    |
| `ages`        | dataset/hour, 10 digits   | AgeHour           | the loop        |
| `disk`        | instant, 20 digits        | DiskSample        | the loop        |
| `check_result`| dataset                   | CheckResult       | the loop        |
| `landed`      | dataset/day, 6 digits     | LandedDay         | the loop        |
| `contract`    | dataset/number, 6 digits  | DatasetContract   | apply           |
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mainstay.core.keys import key_names
from mainstay.core.nouns import ColumnType, Field, PostStep, PreStep, Signature
from mainstay.core.ports import SourceKind
from mainstay.core.rate import Rate
from mainstay.core.receipt import Receipt as Receipt  # noqa: PLC0414 - found here by everybody
from mainstay.core.receipt import ReceiptOutcome as ReceiptOutcome  # noqa: PLC0414 - the same
from mainstay.core.verdicts import Finding, Verdict


class DiskSample(msgspec.Struct, frozen=True, kw_only=True):
    """What the home took and what was left on its disk, at one instant. Bytes."""

    v: int = 1
    at_us: int
    used: int
    free: int
    total: int
    roles: dict[str, int] = {}
    """Role -> bytes of `used`."""


class Drifted(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a source's table that did not block its dataset."""

    change: Literal["added", "lost", "widened", "nullable", "renamed"]
    column: str
    sentence: str
    mend: str = ""
    verdict: Verdict
    """WARN: a person should look; PASS: only to be known."""
    at_us: int
    """When it was seen."""


class DatasetState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a dataset has been read and published, and what it promises now."""

    v: int = 1
    read: int = 0
    """The last batch number landed. 0: none."""
    published: int = 0
    """The last batch number published or discarded; every earlier one is settled."""
    as_of_us: int | None = None
    """When the last published read began, by our clock. None: nothing was ever published."""
    as_of_source_us: int | None = None
    """The same instant by the source's clock; serves `$as_of` and cursor bounds, never age."""
    cursor: str | None = None
    """The greatest cursor value landed, in the source's own text."""
    reconciled_us: int | None = None
    newest_us: int | None = None
    """max(event time) over current."""
    rows: int = 0
    """Keys in current that are not deleted."""
    held: int = 0
    quarantined: int = 0
    counts: dict[str, int] = {}
    """Versions by state: landed, published, superseded, quarantined, discarded, waiting, erased; and `noop` apart."""
    last_read_us: int | None = None
    """When the last successful read began, published or not."""
    run_us: int = 0
    """How long the last run took, from beginning to published."""
    next_us: int = 0
    failures: int = 0
    """Failed reads in a row."""
    error: str = ""
    """The last failure, a sentence and its mend; empty after a success."""
    error_since_us: int | None = None
    blocked: str = ""
    """Why nothing can be landed (a lost or retyped column); empty when reading is possible."""
    source_schema: tuple[tuple[str, str], ...] = ()
    """(column, native type) as of the last read: what drift is measured against."""
    cleaning: str = ""
    """Digest of the cleaning that current was made with."""
    kinds: dict[str, SourceKind] = {}
    """Raw column -> kind as of the last read, those included that are gone and read as NULL."""
    not_null: tuple[str, ...] = ()
    """Columns read that the source's table never let be NULL, as of the last read."""
    drift: tuple[Drifted, ...] = ()
    """Changes of the source's table that did not block, since the file was last applied; `lost` until it is back."""
    misfit: str = ""
    """What is wrong of `blocked`, without what was proposed."""
    blocked_mend: str = ""
    """What to do about `blocked`."""
    read_all: bool = False
    """Whether the next read is of the whole table: a column that was read as NULL is back."""


BatchStatus = Literal["landed", "blocked", "error", "published", "discarded"]


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One landed read. `landed`: waits for its turn; `blocked`: a verdict stopped it; `error`: could not be judged."""

    v: int = 1
    dataset: str
    number: int
    mode: Literal["snapshot", "increment", "reconcile", "replay", "backfill"]
    status: BatchStatus
    began_us: int
    began_source_us: int
    landed_us: int
    rows: int
    """Versions landed, deletes included, no-op re-reads not."""
    deletes: int = 0
    noops: int = 0
    digest: str
    trail_us: int | None = None
    """Began-time of the last empty read that queues merged behind this batch."""
    trail_source_us: int | None = None
    cursor: str | None = None
    findings: tuple[Finding, ...] = ()
    settled_us: int | None = None
    settled_by: str = ""
    reason: str = ""
    """Why a person released or discarded it."""
    released: tuple[str, ...] = ()
    """Checks whose findings a release overrides for this batch."""
    contract: int = 0
    """The version of the dataset contract that it was last judged by. 0: from before there were versions."""
    before_us: int | None = None
    """The dataset's as-of when this batch was published: what the keys that it holds keep."""

    @property
    def settled(self) -> bool:
        """Whether nothing more is to become of it."""
        return self.status in ("published", "discarded")

    counts: dict[str, int] = {}
    backfill: str = ""
    """The id of the backfill that this batch is a chunk of."""

    @property
    def moves_us(self) -> int | None:
        """The as-of that its publishing gives the dataset: its read's beginning.

        A chunk of a backfill looked at part of the table only, so it leaves the as-of that it found.
        """
        return self.before_us if self.mode == "backfill" else self.began_us


class Backfill(msgspec.Struct, frozen=True, kw_only=True):
    """A range of a dataset that is read again, chunk by chunk, and how far it got."""

    v: int = 1
    id: str
    dataset: str
    by: str
    """The column of the range, by its name in the source."""
    asked_from: str | None = None
    """As it was typed; a range that is asked for in the same words goes on where it was."""
    asked_to: str | None = None
    low: str | None = None
    """In the source's own text, included; None: from the least value on."""
    high: str | None = None
    """The same, not included; None: up to the greatest."""
    deletes: bool = False
    """Whether keys of the range that the source no longer has are deleted."""
    rate: int
    """At most so many rows a second."""
    size: int
    """Rows of a chunk, about."""
    estimate: int | None = None
    """Rows of the range, as the source said before the first chunk; None: it could not tell."""
    measured: bool = True
    """False: asked for outside the hours of its source; the range is looked at before the first chunk."""
    status: Literal["running", "done", "cancelled"] = "running"
    next: str | None = None
    """Where the next chunk begins; None: at `low`."""
    chunks: int = 0
    """Chunks done: read, and landed where they had news."""
    read: int = 0
    noops: int = 0
    changed: int = 0
    """Versions landed, deletes included."""
    deleted: int = 0
    """Of those, deletes."""
    published: int = 0
    rejected: int = 0
    """Versions that went to quarantine."""
    started_us: int
    asked_by: str = ""
    next_us: int = 0
    """Not before: the throttle, or the pause after a failure."""
    waits: str = ""
    """Why no chunk is read now, beside the throttle; empty while chunks are read."""
    blocked: str = ""
    """The batch that a person has to release or discard before it goes on, as `dataset/number`; else empty."""
    error: str = ""
    failures: int = 0
    """Failed chunks in a row."""
    ended_us: int | None = None
    reason: str = ""
    """Why it was cancelled."""


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks that are asked at each read, an empty one too, said at the last one."""

    v: int = 1
    at_us: int
    """When that read began."""
    findings: tuple[Finding, ...] = ()
    until_us: dict[str, int] = {}
    """Check -> the instant from which it would look at a later window."""


class LandedDay(msgspec.Struct, frozen=True, kw_only=True):
    """Versions landed on one day in UTC, deletes aside, by the quarter of an hour in which their read began."""

    v: int = 1
    quarters: dict[int, int] = {}
    """Number of the quarter, 0 to 95 -> versions. One that is not here: nothing was read in it."""


class PublishPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What publishing a batch will touch, recorded before anything is written."""

    v: int = 1
    number: int
    dataset: str
    batch: int
    keys: dict[str, int]
    """Feature-set digest -> affected keys; -1: all of them."""
    file: str = ""
    """Where the affected keys lie (Arrow), relative to the integration's home; empty when there are none."""
    token: int = 0
    cause: Literal["batch", "refresh", "build", "discard", "erase", "reclean"] = "batch"


class FeatureSetState(msgspec.Struct, frozen=True, kw_only=True):
    """A feature set that is kept current: SQL, key, mapping and types by digest."""

    v: int = 1
    digest: str
    view: str
    key: str
    key_type: ColumnType
    key_types: tuple[ColumnType, ...] = ()  # of each column of a key of several; `key_type` is then `string`
    sql: str
    mapping: dict[str, str]
    columns: tuple[tuple[str, ColumnType], ...]
    """Feature columns in SQL order, the key left out."""
    personal: tuple[str, ...] = ()
    """Outputs of the SQL made of columns marked `pii`, in lower case: by the applied file, not part of the digest."""
    uses_as_of: bool = False
    refresh_us: int | None = None
    complete: bool = False
    """Whether every key has been computed once."""
    warn: str = ""
    """Why every row of the set is WARN (a quarantined version whose mapping cannot be evaluated); else empty."""
    plan: int = 0
    refreshed_us: int | None = None
    rows: int = 0
    retired: bool = False

    @property
    def key_columns(self) -> tuple[tuple[str, ColumnType], ...]:
        """The columns that name a row, each with its type."""
        return tuple(zip(key_names(self.key), self.key_types or (self.key_type,), strict=True))

    @property
    def key_names(self) -> tuple[str, ...]:
        return key_names(self.key)


class Cost(msgspec.Struct, frozen=True):
    """What one call of a model took."""

    rows: int
    """Rows given at once."""
    us: int


class ModelVersion(msgspec.Struct, frozen=True, kw_only=True):
    """An immutable artifact with a signature."""

    v: int = 1
    number: int
    name: str
    digest: str
    """Of the artifact that answers."""
    original_digest: str = ""
    """Of the artifact as handed over, where a conversion answers in its place."""
    runtime: str
    options: dict[str, Any] = {}
    signature: Signature
    """What callers may rely on: its inputs are those before `pre`, its outputs those after `post`."""
    pre: tuple[PreStep, ...] = ()
    """Steps between what a feature row gives and what the model eats; only those that the model needs."""
    fed: tuple[Field, ...] = ()
    """The model's own inputs, where `pre` makes them of others."""
    post: tuple[PostStep, ...] = ()
    """Steps between what the model gives and what leaves."""
    raw: tuple[Field, ...] = ()
    """The model's own outputs, where `post` makes others of them."""
    feature_set: str = ""
    """The digest it pins, that of its first feature view; empty for a version that reads no features."""
    also: tuple[str, ...] = ()
    """The digests of its other feature views, in the order of `model.input`."""
    origin: Literal["file", "imported"]
    created_us: int
    created_by: str = ""
    parity: dict[str, Any] = {}
    """What the import measured: rows, largest difference, band, share of rows in it, why a conversion was refused."""
    cost: tuple[Cost, ...] = ()
    """Microseconds of a call for 1, 2, 4, ... 1,024 rows at once, as measured at import."""
    together: int = 1
    """Rows of several requests that may be asked at once: that pays, and changed no bit, as measured at import."""
    build: str = ""
    """The runtime's libraries and versions, for `receipt verify`."""
    retired_us: int | None = None

    @property
    def feature_sets(self) -> tuple[str, ...]:
        """Every digest it pins; none for a version that reads no features."""
        return (self.feature_set, *self.also) if self.feature_set else ()

    @property
    def given(self) -> Signature:
        """The signature of the model itself: after `pre`, before `post`."""
        inputs = self.fed if self.pre else self.signature.inputs
        return Signature(inputs=inputs, outputs=self.raw if self.post else self.signature.outputs)


class Answering(msgspec.Struct, frozen=True, kw_only=True):
    v: int = 1
    version: int
    previous: int | None = None
    since_us: int
    by: str = ""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    v: int = 1
    id: str
    name: str
    roles: tuple[str, ...]
    """Of `predict`, `operate`, `admin`; each includes the ones before it."""
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    rate: Rate | None = None
    """How many requests it may send; None: what `settings.rate` of the file says."""
    replaced_us: int | None = None
    """When `key rotate` gave it another secret; this one goes on until `expires_us`."""


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The file that every process runs."""

    v: int = 1
    digest: str
    folder: str
    files: dict[str, str]
    """Path relative to `folder` -> text, as applied; secrets unresolved."""
    at_us: int
    by: str = ""
    landed_as: dict[str, dict[str, str]] = {}
    """Dataset -> column -> the name that its raw values land under, where the file names it otherwise now."""


class NotApplied(msgspec.Struct, frozen=True, kw_only=True):
    """A changed file that `up` found and did not apply: the last applied one runs."""

    v: int = 1
    digest: str
    """Of the file that was refused; empty when it could not even be read."""
    sentence: str
    mend: str = ""
    at_us: int


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a command asks of the process that owns the lease. Performed once, by id."""

    v: int = 1
    id: str
    command: str
    args: dict[str, Any] = {}
    by: str = ""
    at_us: int


class Response(msgspec.Struct, frozen=True, kw_only=True):
    v: int = 1
    id: str
    ok: bool
    body: dict[str, Any] = {}
    error: str = ""
    mend: str = ""
    exit_code: int = 0
    at_us: int


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """An erased person, under a keyed hash of the key."""

    v: int = 1
    at_us: int
    reason: str
    by: str = ""
    seen: dict[str, str] = {}
    """Keyed hash of a dataset's row -> keyed hash of its newest version: what was counted as erased already."""


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """Asks every process that writes the journal to close its open segment, because something in it is to be erased."""

    v: int = 1
    at_us: int


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """A process of `up` as it last said of itself."""

    v: int = 1
    name: str
    pid: int
    since_us: int
    seen_us: int
    restarts: int = 0
    note: str = ""
    ports: dict[str, int] = {}


class AgeSample(msgspec.Struct, frozen=True, array_like=True):
    """The age of a dataset as the loop saw it, about once a minute."""

    at_us: int
    as_of_us: int
    """As of then."""
    worst_us: int
    """The greatest age since the sample before it, or since the loop began to look."""


class AgeHour(msgspec.Struct, frozen=True, kw_only=True):
    """The samples of one hour since 1970, oldest first."""

    v: int = 1
    samples: tuple[AgeSample, ...] = ()


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Anything else the journal keeps: decisions, outcomes, audit lines and what the loop did."""

    v: int = 1
    kind: str
    """`decision`, `outcome`, `audit.*`, `dataset.*`, `batch.*`, `backfill.*`, `features.*`, `model.*`, `process.*`."""
    at_us: int
    receipt: str = ""
    by: str = ""
    body: dict[str, Any] = {}


def encode(record: msgspec.Struct, previous: bytes | None = None) -> bytes:
    """The record as JSON. Fields of `previous` (JSON of the same record) unknown to our version are kept."""
    if previous is None:
        return msgspec.json.encode(record)
    kept: dict[str, Any] = msgspec.json.decode(previous)
    known = set(record.__struct_fields__)
    merged = {name: value for name, value in kept.items() if name not in known}
    merged.update(msgspec.to_builtins(record))
    return msgspec.json.encode(merged)
