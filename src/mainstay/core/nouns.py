"""What the user's file says, as frozen records. `spec` makes them; every other folder reads them.

Durations are microseconds. Names are as the user wrote them. Nothing here is optional by accident: a field
that may be None says what None means.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mainstay.core.clock import SECOND
from mainstay.core.keys import key_names
from mainstay.core.nouns_callers import CallersConfig, Tls
from mainstay.core.nouns_listeners import Listener, StatusPage
from mainstay.core.rate import Rate
from mainstay.core.verdicts import OnFail

ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp", "json", "bytes"]
"""Types of a dataset's columns, a feature set's columns and a model's fields."""


class Cleaning(msgspec.Struct, frozen=True, kw_only=True):
    """One step of cleaning a column. Steps run in the order written."""

    kind: str
    """`trim`, `lower`, `upper`, `title`, `collapse_spaces`, `blank_to_null`, `null_if`, `number`, `date`, `boolean`,
    `map`, `unit`, `currency`, `unicode`, `email`, `phone` or `country`."""
    args: dict[str, Any] = {}
    """`null_if`: {values}. `number`: {decimal, thousands}. `date`: {formats}. `boolean`: {true, false}. `map`:
    {values}. `unit`: {from, to}. `currency`: {from, to, rates, at, max_age_us, inverse}. `unicode`: {form}.
    `phone`: {country}. `country`: {languages}."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A question about a dataset's rows or about the dataset as a whole."""

    name: str
    """Unique in its dataset: `tenure.max`, `row_count`, or what the user called it."""
    kind: str
    """`required`, `type`, `min`, `max`, `length`, `pattern`, `values`, `sql`, `unique`, `row_count`,
    `aggregate`, `references`, `monotone`, `volume`, `distribution`, `currency`."""
    column: str | None = None
    args: dict[str, Any] = {}
    """`min`/`max`: {value}. `length`/`row_count`: {min, max}. `pattern`: {regex}. `values`: {values}.
    `sql`/`aggregate`: {condition}. `unique` over several columns: {columns}. `references`: {dataset}.
    `volume`: {per, of, within, past, late_us}. `distribution`: {dataset, profile, psi, pinned}.
    `currency`: those of the cleaning step."""
    on_fail: OnFail = "quarantine"
    """Row checks: any of the three. What judges the dataset as a whole cannot quarantine: it warns or blocks."""
    max_share: float | None = None
    """Above this share of the dataset's keys that fail, a batch blocks; up to it `on_fail` stands. None: no limit."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of a dataset contract. Its checks stand in `Dataset.checks`."""

    name: str
    type: ColumnType
    source_name: str
    """The name that its raw values have in landing and history; the source's, unless a later file renamed it there."""
    source_names: tuple[str, ...] = ()
    """Its names in the source: the first that exists is read. Empty: `source_name` alone."""
    required: bool = False
    clean: tuple[Cleaning, ...] = ()
    fill: Any = None
    """What stands in for a value that is absent after cleaning; None: nothing does."""
    pii: bool = False
    unit: str = ""
    description: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called in the source, in the order of preference."""
        return self.source_names or (self.source_name,)


class SchemaDrift(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of the source's table does to a dataset. What is not here always blocks it."""

    added: Literal["warn", "ignore"] = "warn"
    """A column came that is not read."""
    lost: Literal["block", "as_null"] = "block"
    """A column went that is read and not required. `as_null`: it is read as NULL, and the rows carry WARN."""
    widened: Literal["accept", "block"] = "accept"
    """A column's type holds all that it held, and more."""
    nullable: Literal["warn", "ignore"] = "warn"
    """A required column may be NULL in the source from now on."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The column by which a source tells what is new."""

    column: str
    lag_us: int = 0
    """How far each read overlaps the last, for late commits. Microseconds, for cursors that are times."""
    lag_number: int = 0
    """The same for cursors that are numbers."""


class Deletes(msgspec.Struct, frozen=True, kw_only=True):
    """How a deletion in the source is seen."""

    kind: Literal["snapshot", "reconcile", "column", "none"]
    """`snapshot`: absence from a full read (only without a cursor). `reconcile`: keys compared every `every_us`."""
    every_us: int = 0
    column: str = ""
    """For `column`: a row is deleted when this is neither NULL, false nor 0."""
    max_share: float = 0.10
    """Above this share of the keys, the deletes of one batch block it."""


class Duplicates(msgspec.Struct, frozen=True, kw_only=True):
    """Which row wins when one read returns a key more than once."""

    keep: Literal["last", "first", "none"] = "last"
    by: str | None = None
    """The column that orders them; None: the cursor, then our order of reading."""
    on_fail: OnFail = "quarantine"
    """With keep `none`: what happens to every row of such a key."""


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """A promise on age (`warn`, `fail`) and one on max(event time) (`newest`). None: not promised."""

    warn_us: int | None = None
    fail_us: int | None = None
    newest_us: int | None = None


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """What the old system may be asked of."""

    connections: int = 2
    statement_timeout_us: int = 30_000_000
    connect_timeout_us: int = 5_000_000
    allowed_hours: str = ""
    """When every read may run, `HH:MM-HH:MM Zone`; empty: always."""
    backfill_hours: str = ""
    """When full reads, reconciliations and backfills may run; empty: always."""
    backfill_rows: int = 2_000
    """At most so many rows a second are read by a backfill."""
    retry_first_us: int = 500_000
    retry_most_us: int = 60_000_000


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A system that data comes from."""

    name: str
    kind: str
    options: dict[str, Any]
    """The plug-in's own options, already checked against its options record. Secrets resolved."""
    timezone: str | None = None
    """The zone of timestamps without one; None: such a column must not be read as an instant."""
    guard: Guard = Guard()
    installation: str = ""
    """Folder of the installation whose integrations share it, under one guard. Empty: it is this integration's own."""
    places: str = ""
    """Folder in which every process that reads it counts its connections; empty: each process counts alone."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A table that a pipeline keeps current out of one source."""

    name: str
    source: str
    table: str
    key: str
    """The column whose value names the row; of several columns, `core.keys.joined_key` of their names."""
    columns: tuple[Column, ...]
    """Every column that is read into current, the key among them, in file order."""
    checks: tuple[Check, ...] = ()
    cursor: Cursor | None = None
    deletes: Deletes = Deletes(kind="none")
    duplicates: Duplicates = Duplicates()
    event_time: str | None = None
    """The column that says when the row changed; None: the cursor if it is a time, else unknown."""
    every_us: int = 60_000_000
    owner: str = ""
    freshness: Freshness = Freshness()
    schema_drift: SchemaDrift = SchemaDrift()

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key's columns."""
        return key_names(self.key)

    @property
    def parents(self) -> tuple[str, ...]:
        """The other datasets that its rows are judged by: whose keys `references` asks for, whose rates convert."""
        told = {"references": "dataset", "currency": "rates"}
        named = (str(check.args[told[check.kind]]) for check in self.checks if check.kind in told)
        return tuple(dict.fromkeys(name for name in named if name != self.name))


class FeatureView(msgspec.Struct, frozen=True, kw_only=True):
    """The SQL behind feature rows, as the file gives it. Its digest with the types it reads names a feature set."""

    name: str
    key: str
    """The column that names a feature row; of several columns, `core.keys.joined_key` of their names."""
    mapping: dict[str, str] = {}
    """dataset -> column, expression over that row, or `all`; for a key of several columns `joined_key` of one for each,
    or `all`. Empty: to be inferred from the SQL."""
    sql: str
    path: str = ""
    """The file the SQL came from, for messages; empty when it stands in mainstay.yaml."""
    refresh_us: int | None = None

    @property
    def key_names(self) -> tuple[str, ...]:
        """The key's columns."""
        return key_names(self.key)


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request-time input must keep to beside its type, minimum and maximum; another value is refused."""

    values: tuple[str | int | float | bool, ...] = ()
    """The only values allowed; empty: any."""
    shortest: int | None = None
    """Characters of a text."""
    longest: int | None = None
    pattern: str = ""
    """What the whole text must match."""
    example: str | int | float | bool | None = None
    """A value that fits, for documents."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A named, typed value that goes into or comes out of a model."""

    name: str
    type: ColumnType
    required: bool = False
    """Inputs only: a null here is refused."""
    categories: tuple[str, ...] = ()
    """Inputs: the values seen in training; others may come. Outputs: all that are given. Empty: not known."""
    unit: str = ""
    meaning: str = ""
    minimum: float | None = None
    """Of a request-time input, enforced; else what is to be expected."""
    maximum: float | None = None
    limits: Limits | None = None
    """Request-time inputs only."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What a model version eats and gives, in order."""

    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]


class ImageInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a picture that comes with a request becomes the numbers that a model eats, and which pictures are taken."""

    width: int
    height: int
    mode: Literal["RGB", "L"] = "RGB"
    layout: Literal["chw", "hwc"] = "chw"
    """Channels, rows, columns; or rows, columns, channels."""
    fit: Literal["stretch", "crop"] = "stretch"
    """`crop`: scaled until it covers the size, then cut in the middle."""
    resample: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    scale: float = 255.0
    """What each value of 0 to 255 is divided by; then `mean` is taken off and `std` divides, one for each channel."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    formats: tuple[Literal["png", "jpeg", "webp"], ...] = ("png", "jpeg", "webp")
    max_bytes: int = 750_000
    max_pixels: int = 16_000_000

    @property
    def channels(self) -> int:
        """3 for colours, 1 for greys."""
        return 3 if self.mode == "RGB" else 1


class PostStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step from what a model gives to what the business is given. Steps run in the order written."""

    kind: Literal["scale", "calibrate", "threshold", "words", "top"]
    args: dict[str, Any] = {}
    """All: {of, as}. `scale`: {by, add, min, max, round, unit}. `calibrate`: {platt: {a, b}} or {isotonic: [[x, y]]}.
    `threshold`: {at, above, below}. `words`: {words, other}. `top`: {take}, its `of` a list."""


class PreStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step from what a feature row or a request gives to what a model eats. Steps run in the order written."""

    kind: Literal["impute", "scale", "clip", "map", "bin", "log1p"]
    args: dict[str, Any] = {}
    """All: {of}; all but `impute`: {as}. `impute`: {with}, a value or `median`, `mean`, `most_frequent`. `scale`: {by,
    add} or {mean, std}. `clip`: {min, max}. `map`: {values, otherwise}. `bin`: {edges, labels}."""
    pinned: dict[str, Any] = {}
    """Where `with` is a statistic: {value, rows}, as computed once when the version was made."""


class InlineModel(msgspec.Struct, frozen=True, kw_only=True):
    """A constant, a rule, or where a model is served, that stands in the file."""

    kind: Literal["constant", "rule", "http"]
    outputs: tuple[Field, ...]
    values: dict[str, Any] = {}
    """For a constant: output -> value."""
    rules: dict[str, str] = {}
    """For a rule: output -> SQL expression over the feature row's columns."""
    options: dict[str, Any] = {}
    """For http: what the file says under `model.http`, placeholders as they stand; its `inputs` are what is sent."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which model answers, and on which feature views."""

    name: str
    input: str
    """The feature view, or the first of several."""
    also: tuple[str, ...] = ()
    """The other feature views, where there are several."""
    inline: InlineModel | None = None
    request_inputs: tuple[Field, ...] = ()
    """Inputs that the caller may send beside the key."""
    images: dict[str, ImageInput] = {}
    """Of the request-time inputs those that are pictures; of every version that is made from now on."""
    timeout_us: int = 2_000_000
    queue_us: int | None = None
    """How long a request may wait for a model in another process; None: as overload allows."""
    batching: Literal["auto", "off"] = "auto"
    """Whether such a model may be asked for rows of several requests at once, where the import found that it pays."""
    pre: tuple[PreStep, ...] = ()
    """Of every version that is made from now on, from inputs to what the model eats."""
    post: tuple[PostStep, ...] = ()
    """Of every version that is made from now on; a version keeps the steps it was made with."""

    @property
    def views(self) -> tuple[str, ...]:
        """Every feature view that the model answers on, in the file's order."""
        return (self.input, *self.also)


Policy = Literal["refuse", "flag", "fallback"]


class AnswerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What to do when the row is not as promised. Strictest wins: refuse > fallback > flag."""

    on_warn: Policy = "flag"
    on_stale: Policy = "refuse"
    on_held: Policy = "refuse"
    on_missing: Policy = "refuse"
    on_deleted: Policy = "refuse"
    on_error: Policy = "fallback"


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that is given when the model's may not be."""

    values: dict[str, Any]
    reason: str = ""


class Kpi(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    unit: str = ""
    baseline: float | None = None
    target: float | None = None
    source: str = ""


class Purpose(msgspec.Struct, frozen=True, kw_only=True):
    """Why the integration exists. Empty parts are warned about, louder with time."""

    problem: str = ""
    workflow: str = ""
    users_who: str = ""
    users_seats: int | None = None
    kpis: tuple[Kpi, ...] = ()
    agreed_by: tuple[tuple[str, str], ...] = ()
    """(role, ISO date) pairs."""
    review_after_us: int | None = None


class FreeDisk(msgspec.Struct, frozen=True, kw_only=True):
    """The least that must be free on the home's disk: a share of it, or bytes."""

    share: float | None = 0.05
    size: int = 0
    """Bytes; counts when `share` is None."""

    def bytes_of(self, total: int) -> int:
        """The limit on a disk of `total` bytes."""
        return self.size if self.share is None else int(total * self.share)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How this integration is run; each has a default that is safe."""

    durability: Literal["process", "power"] = "process"
    """`power`: a receipt is on the disk, not only with the kernel, before the answer leaves."""
    without_receipt: Literal["refuse", "answer"] = "refuse"
    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 8700
    status_page: StatusPage | None = None
    """None: it is not served."""
    grpc: Listener | None = None
    """None: nothing is answered over gRPC."""
    stop_after_us: int = 2 * SECOND
    """After SIGTERM: how long a worker says that it is not ready, and answers, before it takes no new connection."""
    arrive_within_us: int = 10 * SECOND
    """How long a caller may take for each: TLS handshake, head, body, taking some of its answer."""
    free_disk: FreeDisk = FreeDisk()
    """Below it `status` warns."""
    rate: Rate | None = None
    """Requests of each API key that has no rate of its own; None: as many as can be answered."""
    tls: Tls | None = None
    """None: no listener encrypts; a proxy in front may."""
    retention_us: dict[str, int] = {}
    """Role (`landing`, `history`, `journal`, `quarantine`) -> how long; absent roles have the store's default."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The decision card in other applications' pages."""

    origins: tuple[str, ...] = ()
    """`https://crm.example.com`: whose pages may ask. Empty: none but those of the API's own address."""


class Cors(msgspec.Struct, frozen=True, kw_only=True):
    """Scripts in other origins' pages that may ask the API."""

    origins: tuple[str, ...] = ()
    """Empty: none; browsers then keep answers from every page that is not of the API's own address."""


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """The API version of the file goes."""

    on_us: int
    """From when on nothing new should be built on it."""
    sunset_us: int | None = None
    """From when on it answers no more; never before `on_us`."""
    successor: str
    """Where the next version answers: a URL or a path."""
    link: str = ""
    """A page about it."""


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """One use case: the whole of one mainstay.yaml."""

    name: str
    api: int
    purpose: Purpose
    sources: dict[str, SourceConfig]
    datasets: dict[str, Dataset]
    features: dict[str, FeatureView]
    model: ModelConfig
    answer: AnswerPolicy = AnswerPolicy()
    fallback: Fallback | None = None
    settings: Settings = Settings()
    card: Card = Card()
    cors: Cors = Cors()
    retired: Retired | None = None
    callers: CallersConfig = CallersConfig()
    digest: str = ""
    """Over the file's text and every file it names, before secrets are resolved."""
    folder: str = ""
    """Where mainstay.yaml lies; relative paths start there."""

    def parents_first(self) -> list[str]:
        """Names of the datasets in file order, but each after those that it refers to."""
        found: dict[str, None] = {}

        def visit(name: str, below: tuple[str, ...]) -> None:
            if name in found or name in below:
                return
            for parent in self.datasets[name].parents:
                visit(parent, (*below, name))
            found[name] = None

        for name in self.datasets:
            visit(name, ())
        return list(found)
