"""The shape of mainstay.yaml: which keys there are, and what kind of value each takes.

Only shapes: what must fit together (names, types, ranges) is asked in `crosschecks`. Descriptions and examples go
into the JSON Schema for editors and into mends.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from mainstay.core.nouns import ColumnType, Policy
from mainstay.core.verdicts import OnFail
from mainstay.spec.drift_shape import SchemaDriftPart
from mainstay.spec.part import Part
from mainstay.spec.retired import RetiredPart
from mainstay.spec.shape_callers import CallersPart, TlsPart
from mainstay.spec.shape_http import HttpPart
from mainstay.spec.shape_image import ImagePart
from mainstay.spec.shape_steps import PostStepPart, PreStepPart
from mainstay.spec.values import (
    Country,
    FreeDisk,
    Hours,
    Identifier,
    Identifiers,
    IsoDate,
    KeyColumns,
    Lag,
    Language,
    Mapped,
    Name,
    Origin,
    Percent,
    RateOf,
    Regex,
    Scalar,
    SourceNames,
    Span,
    UnitName,
    Views,
    Word,
    WordOrNull,
    Zone,
)

TEXT_TAG, MAPPING_TAG = "(text)", "(mapping)"
"""Names of the two branches where a value is a word or a mapping; never part of a shown path."""


def _text_or_mapping(value: object) -> str | None:
    if isinstance(value, (str, Part)):
        return TEXT_TAG if isinstance(value, str) else MAPPING_TAG
    return MAPPING_TAG if isinstance(value, dict) else None


class Users(Part):
    who: str = Field(default="", description="Who sees the answers.", examples=["account managers"])
    seats: int | None = Field(default=None, ge=1, description="How many of them there are.", examples=[40])


class KpiPart(Part):
    name: str = Field(description="What is measured.", examples=["customers kept a month"])
    unit: str = Field(default="", examples=["customers"])
    baseline: float | None = Field(default=None, description="What it was before.", examples=[31])
    target: float | None = Field(default=None, description="What it shall become.", examples=[45])
    source: str = Field(default="", description="Where it is read.", examples=["crm"])


class Agreement(Part):
    role: str = Field(examples=["head of retention"])
    on: IsoDate


class Review(Part):
    after: Span = Field(description="When the review is due, from the first answer on.", examples=["90d"])


class PurposePart(Part):
    problem: str = Field(default="", description="What goes wrong today, in a sentence.")
    workflow: str = Field(default="", description="Where the answer stands and what a person then does.")
    users: Users = Users()
    kpis: list[KpiPart] = []
    agreed_by: list[Agreement] = []
    review: Review | None = None


class GuardPart(Part):
    connections: int = Field(default=2, ge=1, le=100, description="At most this many at a time.")
    statement_timeout: Span = Field(default=30_000_000, examples=["30s"])
    connect_timeout: Span = Field(default=5_000_000, examples=["5s"])
    allowed_hours: Hours = Field(default="", description="When every read may run; left out: always.")
    backfill_hours: Hours = Field(
        default="", description="When full reads, reconciliations and backfills may run; left out: always."
    )
    backfill_rows: int = Field(default=2_000, ge=1, description="Rows a second that a backfill reads at most.")
    retry_first: Span = Field(default=500_000, description="The first pause after a failure.", examples=["500ms"])
    retry_most: Span = Field(default=60_000_000, description="The longest pause between retries.", examples=["60s"])


class SourcePart(Part):
    """A source. Every key beside these three belongs to the kind's own options."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(description="The kind of system.", examples=["postgres", "sqlite", "files"])
    timezone: Zone | None = Field(default=None, description="The zone of timestamps that have none.")
    guard: GuardPart = GuardPart()


class NumberStep(Part):
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "_"] = ""


class BooleanStep(Part):
    true_words: list[Word] = Field(alias="true", min_length=1, examples=[["yes"]])
    false_words: list[Word] = Field(alias="false", min_length=1, examples=[["no"]])


class UnitStep(Part):
    old: UnitName = Field(alias="from", examples=["lb"])
    new: UnitName = Field(alias="to", examples=["kg"])


class CurrencyStep(Part):
    old: Identifier = Field(alias="from", description="The column that names the currency.", examples=["currency_code"])
    new: str = Field(alias="to", pattern="^[A-Z]{3}$", description="What it becomes.", examples=["EUR"])
    rates: Identifier = Field(description="The dataset of the rates.", examples=["fx_rates"])
    at: Identifier = Field(description="The column with the row's date.", examples=["booked_on"])
    max_age: Span = Field(default=604_800_000_000, description="How old a rate may be.", examples=["7d"])
    inverse: bool = Field(default=False, description="Whether a rate says how much of it one of `to` is.")


class PhoneStep(Part):
    country: Country = Field(description="The country of numbers that do not name one.", examples=["DE"])


class CountryStep(Part):
    languages: list[Language] = Field(min_length=1, description="In which names are written.", examples=[["de", "en"]])


class CleanStep(Part):
    """One step with arguments; exactly one of the keys."""

    null_if: list[Word] | None = Field(default=None, min_length=1, description="Texts that mean null.")
    number: NumberStep | None = Field(default=None, description="How numbers are written.")
    date: list[str] | None = Field(
        default=None, min_length=1, description="Formats, tried in order.", examples=[["%d.%m.%Y"]]
    )
    boolean: BooleanStep | None = Field(default=None, description="Which words mean true and false.")
    map: dict[str, WordOrNull] | None = Field(default=None, min_length=1, description="Text -> text, or null.")
    map_file: str | None = Field(
        default=None, min_length=1, description="The same, from a CSV file of two columns.", examples=["regions.csv"]
    )
    unit: UnitStep | None = Field(default=None, description="From one unit to another.")
    currency: CurrencyStep | None = Field(default=None, description="From the row's currency to one, by dated rates.")
    unicode: Literal["NFC", "NFKC"] | None = Field(default=None, description="One way to write each character.")
    phone: PhoneStep | None = Field(default=None, description="Telephone numbers as +4930123456.")
    country: CountryStep | None = Field(default=None, description="Countries as two letters.")


PlainStep = Literal["trim", "lower", "upper", "title", "collapse_spaces", "blank_to_null", "email", "country"]
Step = Annotated[
    Annotated[PlainStep, Tag(TEXT_TAG)] | Annotated[CleanStep, Tag(MAPPING_TAG)], Discriminator(_text_or_mapping)
]


class LengthPart(Part):
    minimum: int | None = Field(default=None, alias="min", ge=0, description="Characters at least.", examples=[5])
    maximum: int | None = Field(default=None, alias="max", ge=0, description="Characters at most.", examples=[5])


class ColumnPart(Part):
    type: ColumnType = Field(examples=["string"])
    source_name: SourceNames = Field(
        default=(), description="Its name in the source, where it differs; of several, the first that is there.",
        examples=["CUST_NO"],
    )  # fmt: skip
    required: bool = Field(default=False, description="Null fails.")
    unique: bool = Field(default=False, description="A value that a second key has fails.")
    minimum: Scalar | None = Field(default=None, alias="min", description="The least value, itself allowed.")
    maximum: Scalar | None = Field(default=None, alias="max", description="The greatest value, itself allowed.")
    length: LengthPart | None = Field(default=None, description="How long the text may be.", examples=["{max: 40}"])
    pattern: Regex | None = Field(default=None, description="The whole text must match.")
    values: list[Scalar] | None = Field(default=None, min_length=1, description="The only values allowed.")
    on_fail: OnFail = Field(default="quarantine", description="What a failure of this column's checks does.")
    max_share: float | None = Field(
        default=None, ge=0, lt=1, description="Above this share of failing keys, a batch blocks.", examples=[0.01]
    )
    clean: list[Step] = Field(default=[], description="Steps of cleaning, in order.")
    fill: Scalar | None = Field(default=None, description="What stands in for an absent value.", examples=[0])
    pii: bool = Field(default=False, description="It tells who a person is.")
    unit: str = ""
    description: str = ""


class Bound(Part):
    column: Identifier = Field(examples=["tenure"])
    value: Scalar = Field(examples=[0])


class LengthCheck(LengthPart):
    column: Identifier = Field(examples=["postcode"])


class PatternCheck(Part):
    column: Identifier = Field(examples=["postcode"])
    regex: Regex = Field(examples=["[0-9]{5}"])


class ValuesCheck(Part):
    column: Identifier = Field(examples=["contract"])
    values: list[Scalar] = Field(min_length=1, examples=[["One year"]])


class ReferencesCheck(Part):
    column: Identifiers = Field(description="The column; for a key of several, a list.", examples=["region_id"])
    dataset: Identifier = Field(examples=["regions"])


class RowCount(Part):
    minimum: int | None = Field(default=None, alias="min", ge=0)
    maximum: int | None = Field(default=None, alias="max", ge=0)


class VolumePart(Part):
    per: Literal["hour", "day", "week"] = Field(examples=["day"])
    of: Identifier | None = Field(
        default=None,
        description="Rows of current by this time; left out: versions as they land.",
        examples=["booked_on"],
    )
    within: Percent | None = Field(
        default=None, description="How far from the median; left out: 3.5 robust deviations.", examples=["50%"]
    )
    past: int | None = Field(default=None, ge=1, description="How many windows back it looks.", examples=[28])
    late: Span | None = Field(
        default=None, description="With `of`: how long after its end rows of a window come.", examples=["6h"]
    )


class DistributionPart(Part):
    column: Identifier = Field(examples=["tenure"])
    profile: str = Field(min_length=1, description="What was pinned.", examples=["profiles/customers.json"])
    psi: float = Field(default=0.2, gt=0, description="The greatest population stability index.", examples=[0.2])


class CheckPart(Part):
    """A check of a dataset: exactly one kind, and what a failure does."""

    row_count: RowCount | None = Field(default=None, description="How many rows current would have.")
    unique: Identifiers | None = Field(
        default=None, description="A column, or several together, without equal values.", examples=["email"]
    )
    required: Identifier | None = Field(default=None, description="A column without nulls.")
    minimum: Bound | None = Field(default=None, alias="min")
    maximum: Bound | None = Field(default=None, alias="max")
    length: LengthCheck | None = None
    pattern: PatternCheck | None = None
    values: ValuesCheck | None = None
    references: ReferencesCheck | None = Field(default=None, description="A column of keys of another dataset.")
    monotone: Identifier | None = Field(default=None, description="A column that never falls within a key.")
    volume: VolumePart | None = Field(default=None, description="Rows per calendar window, against those before.")
    distribution: DistributionPart | None = Field(default=None, description="A column against a pinned profile.")
    sql: str | None = Field(default=None, min_length=1, description="A condition that every row fulfils.")
    over: Literal["row", "dataset"] | None = Field(
        default=None, description="With `sql`: whether it is asked of each row, or of aggregates over the dataset."
    )
    name: str = Field(default="", min_length=1, max_length=100, description="What it is called in findings.")
    on_fail: OnFail | None = Field(default=None, description="quarantine; of the whole dataset: block.")
    max_share: float | None = Field(
        default=None, ge=0, lt=1, description="Above this share of failing keys, a batch blocks.", examples=[0.01]
    )


class CursorPart(Part):
    column: str = Field(min_length=1, examples=["updated_at"])
    lag: Lag = Field(default=0, description="How far each read overlaps the last.", examples=["5m"])


class DeletesPart(Part):
    column: str | None = Field(
        default=None, min_length=1, description="Set when a row is deleted.", examples=["deleted_at"]
    )
    reconcile: Span | None = Field(default=None, description="How often keys are compared.", examples=["24h"])
    max_share: float | None = Field(
        default=None, ge=0, le=1, description="Above it, a batch's deletes block.", examples=[0.1]
    )


Deletes = Annotated[
    Annotated[Literal["none", "snapshot"], Tag(TEXT_TAG)] | Annotated[DeletesPart, Tag(MAPPING_TAG)],
    Discriminator(_text_or_mapping),
]


class DuplicatesPart(Part):
    keep: Literal["last", "first", "none"] = "last"
    by: str | None = Field(default=None, min_length=1, description="The column that orders them.")
    on_fail: OnFail = Field(default="quarantine", description="With keep `none`: what happens to such rows.")


class FreshnessPart(Part):
    warn: Span | None = Field(default=None, description="Age from which answers are flagged.", examples=["5m"])
    fail: Span | None = Field(default=None, description="Age from which the row is too old.", examples=["1h"])
    newest: Span | None = Field(default=None, description="The newest event time is never older.", examples=["1d"])


class DatasetPart(Part):
    source: str = Field(examples=["crm"])
    table: str = Field(min_length=1, examples=["customers"])
    key: KeyColumns = Field(
        description="The column that names a row, or a list of those that do together.", examples=["customer_id"]
    )
    columns: dict[Identifier, ColumnPart] = Field(min_length=1, examples=["{customer_id: {type: string}}"])
    cursor: CursorPart | None = None
    deletes: Deletes | None = None
    duplicates: DuplicatesPart = DuplicatesPart()
    event_time: str | None = Field(default=None, min_length=1, description="The column that says when a row changed.")
    every: Span = Field(default=60_000_000, description="How often it is read.", examples=["10s"])
    owner: str = ""
    freshness: FreshnessPart = FreshnessPart()
    schema_drift: SchemaDriftPart = Field(
        default=SchemaDriftPart(), description="What a change of the source's table does."
    )
    checks: list[CheckPart] = []


class FeaturePart(Part):
    key: KeyColumns = Field(
        description="The column that names a row, or a list of those that do together.", examples=["customer_id"]
    )
    mapping: dict[Identifier, Mapped] = Field(
        default={}, alias="from", description="Dataset -> column, expression (of each key column, a list) or `all`."
    )
    sql: str = Field(
        min_length=1, description="A path that ends in .sql, or the SQL itself.", examples=["features.sql"]
    )
    refresh: Span | None = Field(default=None, description="For features that move with time.", examples=["1h"])


class FieldPart(Part):
    type: ColumnType | None = Field(default=None, examples=["number"])
    unit: str = ""
    meaning: str = ""
    minimum: float | None = Field(default=None, alias="min")
    maximum: float | None = Field(default=None, alias="max")


class RequestInput(FieldPart):
    type: ColumnType = Field(examples=["number"])
    required: bool = Field(default=False, description="A request without it is refused.")
    values: list[Scalar] | None = Field(default=None, min_length=1, description="The only values allowed.")
    length: LengthPart | None = Field(default=None, description="How long the text may be.", examples=["{max: 40}"])
    pattern: Regex | None = Field(default=None, description="The whole text must match.")
    example: Scalar | None = Field(default=None, description="A value that fits, for documents.")
    image: ImagePart | None = Field(default=None, description="It is a picture, and how it is decoded.")


class ModelPart(Part):
    name: Name = Field(examples=["churn"])
    views: Views = Field(
        alias="input", description="The feature view that it answers on, or a list of them.", examples=["customer"]
    )
    constant: dict[Identifier, Scalar] | None = Field(default=None, min_length=1, description="Output -> value.")
    rule: dict[Identifier, str] | None = Field(default=None, min_length=1, description="Output -> SQL expression.")
    http: HttpPart | None = Field(default=None, description="A model that is served elsewhere.")
    outputs: dict[Identifier, FieldPart] = Field(default={}, description="What the outputs of a model of the file are.")
    request_inputs: dict[Identifier, RequestInput] = Field(default={}, description="Inputs that the caller may send.")
    timeout: Span = Field(default=2_000_000, examples=["2s"])
    queue: Span | None = Field(
        default=None,
        description="How long a request may wait for a model in another process, by estimate; else it is refused.",
        examples=["250ms"],
    )
    batching: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether rows of several requests may be asked at once of such a model, where that pays.",
    )
    pre: list[PreStepPart] = Field(default=[], description="From the inputs to what the model eats.")
    post: list[PostStepPart] = Field(default=[], description="From what the model gives to what leaves.")


class AnswerPart(Part):
    on_warn: Policy = "flag"
    on_stale: Policy = "refuse"
    on_held: Policy = "refuse"
    on_missing: Literal["refuse", "fallback"] = "refuse"
    on_deleted: Literal["refuse", "fallback"] = "refuse"
    on_error: Literal["refuse", "fallback"] = "fallback"


class ListenerPart(Part):
    port: int = Field(ge=0, le=65_535, examples=[8701])
    host: str = Field(default="127.0.0.1", min_length=1)


class StatusPagePart(ListenerPart):
    control: Literal["on", "off"] = Field(default="on", description="Whether the control API is served there too.")


class SettingsPart(Part):
    durability: Literal["process", "power"] = Field(default="process", description="What a receipt survives.")
    without_receipt: Literal["refuse", "answer"] = Field(default="refuse", description="When none can be written.")
    workers: int = Field(default=1, ge=1, le=256)
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8700, ge=0, le=65_535)
    stop_after: Span = Field(default=2_000_000, le=30_000_000, examples=["2s", "10s"])
    arrive_within: Span = Field(default=10_000_000, ge=1_000_000, le=300_000_000, examples=["10s", "30s"])
    free_disk: FreeDisk | None = Field(default=None, description="The least that must be free on the home's disk.")
    rate: RateOf | None = Field(default=None, description="Requests of each API key that has no rate of its own.")
    status_page: StatusPagePart | None = Field(default=None, examples=["{port: 8701}"])
    grpc: ListenerPart | None = Field(default=None, examples=["{port: 8702}"])
    tls: TlsPart | None = Field(default=None, examples=["{certificate: tls/api.pem, key: tls/api.key}"])


class CardPart(Part):
    origins: list[Origin] = Field(
        default=[], description="Whose pages may show the decision card.", examples=[["https://crm.example.com"]]
    )


class CorsPart(Part):
    origins: list[Origin] = Field(
        default=[], description="Whose pages' scripts may ask the API.", examples=[["https://app.example.com"]]
    )


class RetentionPart(Part):
    landing: Span | None = Field(default=None, examples=["30d"])
    history: Span | None = None
    journal: Span | None = None
    quarantine: Span | None = None


class StatePart(Part):
    kind: Literal["postgres"]
    url: str = Field(min_length=1, description="The database that keeps state.", examples=["${STATE_URL}"])


class OnlinePart(Part):
    kind: Literal["redis"]
    url: str = Field(min_length=1, description="The Redis that keeps online.", examples=["${ONLINE_URL}"])


class JournalPart(Part):
    kind: Literal["postgres"]
    url: str = Field(min_length=1, description="The database that keeps the journal.", examples=["${STATE_URL}"])


class StoresPart(Part):
    """Stores that several machines share: state, online and folder or none, since another finishes what one began."""

    state: StatePart = Field(examples=['{kind: postgres, url: "${STATE_URL}"}'])
    online: OnlinePart = Field(examples=['{kind: redis, url: "${ONLINE_URL}"}'])
    folder: str = Field(pattern="^/", description="On a disk that every machine sees.", examples=["/srv/mainstay"])
    journal: JournalPart | None = Field(default=None, description="The journal in a database in place of `folder`.")


class OnlyStores(Part):
    """A file of which nothing else is read yet."""

    stores: StoresPart


class FilePart(Part):
    """The whole of mainstay.yaml."""

    integration: Name = Field(examples=["churn"])
    api: int = Field(default=1, ge=1, le=10_000, description="The API contract's version.")
    purpose: PurposePart = PurposePart()
    sources: dict[Name, SourcePart] = Field(default={}, examples=["{crm: {kind: postgres}}"])
    datasets: dict[Identifier, DatasetPart] = Field(min_length=1, examples=["{customers: {source: crm}}"])
    features: dict[Identifier, FeaturePart] = Field(min_length=1, examples=["{customer: {key: customer_id}}"])
    model: ModelPart = Field(examples=["{name: churn, input: customer}"])
    answer: AnswerPart = AnswerPart()
    fallback: dict[str, Scalar] | None = Field(
        default=None, min_length=1, description="Output -> value; `reason` beside them."
    )
    settings: SettingsPart = SettingsPart()
    card: CardPart = CardPart()
    cors: CorsPart = CorsPart()
    retired: RetiredPart | None = Field(default=None, description="This version of the API goes.")
    callers: CallersPart = CallersPart()
    retention: RetentionPart = RetentionPart()
    stores: StoresPart | None = Field(default=None, description="Stores of an integration that machines share.")


class InstallationPart(Part):
    """The whole of installation.yaml."""

    sources: dict[Name, SourcePart] = Field(default={}, min_length=1, examples=["{crm: {kind: postgres}}"])
    stores: StoresPart | None = Field(default=None, description="Stores of all integrations that name none themselves.")
