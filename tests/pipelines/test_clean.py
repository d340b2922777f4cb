from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mainstay.core.errors import Refused
from mainstay.core.nouns import Cleaning, Column, ColumnType, Dataset
from mainstay.core.ports import SourceKind
from mainstay.pipelines.clean import CleaningSql, cleaning

RAW = 'raw "column"'
"""A source name that only quoting survives."""

LANDED = {"integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "bytes": "BLOB"}
BERLIN = "Europe/Berlin"
BAD = "bad"


def step(kind: str, **args: Any) -> Cleaning:
    return Cleaning(kind=kind, args=args)


def of(kind: SourceKind, type: ColumnType, *steps: Cleaning, timezone: str | None = None) -> CleaningSql:
    column = Column(name="value", type=type, source_name=RAW, clean=steps)
    dataset = Dataset(name="d", source="crm", table="t", key="value", columns=(column,))
    return cleaning(dataset, {RAW: kind}, timezone)


def cleaned(
    kind: SourceKind, type: ColumnType, values: list[Any], *steps: Cleaning, timezone: str | None = None
) -> list[Any]:
    """Each value cleaned: as DuckDB shows it, None, or BAD. By the layered query and by the lone expressions alike."""
    made = of(kind, type, *steps, timezone=timezone)
    relation = f'(SELECT unnest(?::{LANDED.get(kind, "VARCHAR")}[]) AS "raw ""column""")'
    layered = duckdb.execute(
        f"SELECT CAST(value AS VARCHAR), value__bad FROM ({made.select(relation)})", [values]
    ).fetchall()
    (column,) = made.columns
    alone = duckdb.execute(
        f"SELECT CAST(v AS VARCHAR), b FROM (SELECT {column.value_sql} AS v, {column.bad_sql} AS b FROM {relation})",
        [values],
    ).fetchall()
    assert layered == alone
    return [BAD if bad else value for value, bad in layered]


TEXT_STEPS = [
    (step("trim"), " \t\xa0a b\u3000\ufeff", "a b"),
    (step("trim"), "plain", "plain"),
    (step("trim"), "  ", ""),
    (step("trim"), "Ünï ", "Ünï"),
    (step("lower"), "ÄB", "äb"),
    (step("upper"), "äb", "ÄB"),
    (step("title"), "o'NEIL mac-donald  ÉCOLE", "O'neil Mac-donald  École"),
    (step("collapse_spaces"), "a  b\t\nc\xa0d", "a b c d"),
    (step("collapse_spaces"), "a b", "a b"),
    (step("blank_to_null"), " \t\xa0", None),
    (step("blank_to_null"), "", None),
    (step("blank_to_null"), " a ", " a "),
    (step("null_if", values=["N/A", -1]), "N/A", None),
    (step("null_if", values=["N/A", -1]), "-1.00", None),
    (step("null_if", values=["N/A", -1]), "n/a", "n/a"),
    (step("map", values={"m": "male", "?": None}), "m", "male"),
    (step("map", values={"m": "male", "?": None}), "?", None),
    (step("map", values={"m": "male", "?": None}), "x", "x"),
    (step("map", values={"it's": "x"}), "it's", "x"),
    (step("date", formats=["%d.%m.%Y"]), "1.2.2024", "2024-02-01"),
    (step("number", decimal=","), " 1,50", "1.50"),
    (step("number", decimal=","), "n/a", BAD),
]


@pytest.mark.parametrize(("one", "value", "expected"), TEXT_STEPS)
def test_a_step_on_text(one: Cleaning, value: str, expected: str | None) -> None:
    assert cleaned("text", "string", [value, None], one) == [expected, None]


def test_steps_run_in_the_order_written() -> None:
    assert cleaned("text", "string", [" N/A "], step("trim"), step("null_if", values=["N/A"])) == [None]
    assert cleaned("text", "string", [" N/A "], step("null_if", values=["N/A"]), step("trim")) == ["N/A"]


INTEGERS = {
    "12": "12", "12.0": "12", "-3": "-3", "1e3": "1000", "12.5": BAD, "0x1F": BAD, "0b11": BAD, "1_000": BAD, "": BAD,
    "nan": BAD, "twelve": BAD, "9223372036854775807": "9223372036854775807", "9223372036854775808": BAD,
    "9007199254740993.5": BAD,
}  # fmt: skip
NUMBERS = {"1.5": "1.5", "-.5": "-0.5", " 3 ": "3.0", "1e5": "100000.0", "nan": BAD, "inf": BAD, "1e400": BAD,
           "1_0": BAD, "1,5": BAD, "": BAD}  # fmt: skip
GERMAN = {"1.234,56": "1234.56", "-1.234.567,5": "-1234567.5", "1234,5": "1234.5", "12.5": BAD, "12.34,5": BAD,
          "1,2,3": BAD, "1.2345": BAD}  # fmt: skip
DAYS = {"2020-02-29": "2020-02-29", "2020-01-01 00:00:00": "2020-01-01", "2020-01-01 01:00:00": BAD, "2021-02-29": BAD,
        "2020/01/01": BAD, "epoch": BAD, "infinity": BAD, "12020-01-01": BAD, "20200101": BAD}  # fmt: skip
INSTANTS = {
    "2020-03-01T02:30:00Z": "2020-03-01 02:30:00", "2020-03-01 02:30+05:30": "2020-02-29 21:00:00",
    "2020-03-01 02:30:00": BAD, "2020-03-01 02:30:00 Europe/Berlin": BAD, "1700000000": BAD, "infinity": BAD,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "type", "expected", "steps"),
    [
        ("text", "integer", INTEGERS, ()),
        ("text", "number", NUMBERS, ()),
        ("text", "number", GERMAN, (step("number", decimal=",", thousands="."),)),
        ("text", "number", {"1\u202f234,5": "1234.5", "1 234": "1234.0", "12 5": BAD},
         (step("number", decimal=",", thousands=" "),)),
        ("numeric", "number", {"1.50": "1.5", "NaN": "nan", "-Infinity": "-inf"}, ()),
        ("float", "integer", {1.0: "1", 1.5: BAD, float("nan"): BAD, 9.3e18: BAD}, ()),
        ("float", "number", {-1.0: None, 2.0: "2.0"}, (step("null_if", values=[-1]),)),
        ("integer", "boolean", {0: "false", 1: "true", 2: BAD}, ()),
        ("integer", "boolean", {2: "true", 1: "false", 0: BAD}, (step("boolean", true=[2], false=[1]),)),
        ("text", "boolean", {"JA": "true", "0": "false", "perhaps": BAD},
         (step("boolean", true=["Ja", 1], false=["nein", 0]),)),
        ("text", "boolean", {"Y": "true", "N": "false", "x": BAD}, (step("map", values={"Y": True, "N": False}),)),
        ("text", "integer", {"low": "1", "?": None, "7": "7", "x": BAD}, (step("map", values={"low": 1, "?": None}),)),
        ("integer", "string", {1: "one", 2: "two", 3: "3"}, (step("map", values={1: "one", "2": "two"}),)),
        ("text", "date", DAYS, ()),
        ("text", "date", {"1.2.2024": "2024-02-01", "1.2.24": "2024-02-01", "2/28/2024": "2024-02-28", "2024": BAD},
         (step("date", formats=["%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y"]),)),
        ("date", "date", {"2020-01-01": "2020-01-01", "infinity": BAD, "0044-03-15 BC": BAD, "20200-01-01": BAD}, ()),
        ("timestamp", "date", {"2020-01-01 00:00:00": "2020-01-01", "2020-01-01 10:00:00": BAD}, ()),
        ("text", "timestamp", INSTANTS, ()),
        ("timestamptz", "timestamp",
         {"2020-01-01 00:00:00+00": "2020-01-01 00:00:00", "2020-01-01 00:00:00.12+00": "2020-01-01 00:00:00.12",
          "2020-01-01 00:00:00+02": "2019-12-31 22:00:00", "infinity": BAD, "0044-03-15 00:00:00+00 BC": BAD}, ()),
        ("text", "timestamp", {"1.7.2024 10:00+02": "2024-07-01 08:00:00"},
         (step("date", formats=["%d.%m.%Y %H:%M%z"]),)),
        ("json", "json", {'{"a": 1}': '{"a": 1}', "{a}": BAD}, ()),
        ("bytes", "string", {b"a\xc3\xa9": "aé", b"\xff": BAD}, ()),
        ("boolean", "string", {True: "true"}, ()),
        ("boolean", "number", {True: "1.0"}, ()),
    ],
)  # fmt: skip
def test_what_each_type_takes(
    kind: SourceKind, type: ColumnType, expected: dict[Any, Any], steps: tuple[Cleaning, ...]
) -> None:
    assert dict(zip(expected, cleaned(kind, type, list(expected), *steps), strict=True)) == expected


def test_an_underscore_groups_only_where_it_is_declared() -> None:
    assert cleaned("text", "integer", ["1_000", "1_00"], step("number", thousands="_")) == ["1000", BAD]
    with pytest.raises(Refused, match="two different separators"):
        of("text", "integer", step("number", decimal="5"))


def test_ambiguous_dates_take_the_first_format_that_fits() -> None:
    american = step("date", formats=["%m/%d/%Y", "%d/%m/%Y"])
    assert cleaned("text", "date", ["02/03/2024", "28/03/2024"], american) == ["2024-02-03", "2024-03-28"]


def test_local_time_becomes_utc_by_the_stated_rule() -> None:
    """Summer, winter, the hour that is skipped (read as the hour after), the hour that comes twice (the later one)."""
    local = ["2020-07-01 12:00:00", "2020-01-01 12:00:00", "2020-03-29 02:30:00", "2020-10-25 02:30:00", "infinity"]
    assert cleaned("timestamp", "timestamp", local, timezone=BERLIN) == [
        "2020-07-01 10:00:00",
        "2020-01-01 11:00:00",
        "2020-03-29 01:30:00",
        "2020-10-25 01:30:00",
        BAD,
    ]


@settings(max_examples=30)
@given(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)))  # noqa: DTZ001 - a local time has no zone
def test_local_time_agrees_with_zoneinfo(local: datetime) -> None:
    zoned = local.replace(tzinfo=ZoneInfo(BERLIN), fold=1)
    utc = zoned.astimezone(UTC)
    assume(utc.astimezone(ZoneInfo(BERLIN)).replace(tzinfo=None) == local)  # not in the gap
    (found,) = cleaned("timestamp", "timestamp", [local.isoformat(sep=" ")], timezone=BERLIN)
    assert datetime.fromisoformat(found).replace(tzinfo=UTC) == utc


@settings(max_examples=50, deadline=None)
@given(st.lists(st.datetimes(), max_size=20))
def test_utc_is_read_without_a_calendar_and_as_any_zone_without_offset(local: list[datetime]) -> None:
    moments = [f"{one:%m-%d %H:%M:%S.%f}" for one in local]
    texts = [f"{one.year:04}-{text}" for one, text in zip(local, moments, strict=True)] + ["infinity", "nonsense"]
    kinds: tuple[tuple[SourceKind, ColumnType], ...] = (
        ("timestamp", "timestamp"),
        ("text", "timestamp"),
        ("timestamp", "date"),
    )
    for kind, wanted in kinds:
        assert cleaned(kind, wanted, texts, timezone="UTC") == cleaned(kind, wanted, texts, timezone="GMT")
    zoned = [f"{text}+00" for text in texts]
    assert cleaned("timestamptz", "date", zoned, timezone="UTC") == cleaned("timestamptz", "date", zoned)
    assert "timezone(" not in of("timestamp", "timestamp", timezone="UTC").select("t")


def test_midnight_of_an_instant_is_the_sources_own() -> None:
    assert cleaned("timestamptz", "date", ["2020-06-30 22:00:00+00"], timezone=BERLIN) == ["2020-07-01"]
    assert cleaned("timestamptz", "date", ["2020-06-30 22:00:00+00"]) == [BAD]


@pytest.mark.parametrize(
    ("kind", "type", "steps", "why"),
    [
        ("integer", "timestamp", (), "seconds or milliseconds since 1970"),
        ("float", "date", (), "is not a date"),
        ("timestamp", "timestamp", (), "no time zone"),
        ("text", "timestamp", (step("date", formats=["%d.%m.%Y %H:%M"]),), "no time zone"),
        ("date", "timestamp", (), "is not a timestamp"),
        ("text", "boolean", (), "which of its values are true"),
        ("bytes", "integer", (), "is not an integer"),
        ("bytes", "string", (step("date", formats=["%Y"]),), "cannot read bytes"),
        ("text", "date", (step("date", formats=["DD.MM.YYYY"]),), "not a date format"),
        ("text", "date", (step("date", formats=["%Q"]),), "not a date format"),
        ("text", "date", (step("date", formats=["%Y", "%Y %z"]),), "all an offset"),
        ("text", "number", (step("number", decimal=",", thousands=","),), "two different separators"),
        ("text", "string", (step("null_if", values="N/A"),), "needs a list"),
        ("text", "string", (step("map", values={}),), "values to map"),
        ("text", "string", (step("reverse"),), "no cleaning step called reverse"),
    ],
)
def test_what_could_never_be_read_is_refused(
    kind: SourceKind, type: ColumnType, steps: tuple[Cleaning, ...], why: str
) -> None:
    with pytest.raises(Refused, match=why) as refused:
        of(kind, type, *steps)
    assert refused.value.mend


def test_a_column_that_the_source_lacks_is_refused() -> None:
    column = Column(name="value", type="string", source_name="gone")
    dataset = Dataset(name="d", source="crm", table="crm.t", key="value", columns=(column,))
    with pytest.raises(Refused, match=r"crm\.t has no column gone"):
        cleaning(dataset, {}, None)


def test_the_digest_covers_what_changes_the_cleaning_and_nothing_else() -> None:
    base = of("text", "string", step("trim"))
    column = Column(name="value", type="string", source_name=RAW, clean=(step("trim"),), description="x", pii=True)
    described = Dataset(name="e", source="x", table="u", key="value", columns=(column,), owner="someone")
    assert cleaning(described, {RAW: "text"}, None).digest == base.digest
    others = [
        of("text", "string"),
        of("text", "string", step("lower")),
        of("text", "json", step("trim")),
        of("json", "string", step("trim")),
        of("text", "string", step("trim"), timezone=BERLIN),
        of("text", "string", step("null_if", values=["a"])),
        of("text", "string", step("null_if", values=["b"])),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1


NUMBER = st.integers(-(10**12), 10**12)


@settings(max_examples=30)
@given(st.lists(st.tuples(NUMBER, st.integers(0, 99)), min_size=1, max_size=5))
def test_a_german_number_reads_as_it_was_printed(pairs: list[tuple[int, int]]) -> None:
    printed = [f"{whole:,}".replace(",", ".") + f",{cents:02}" for whole, cents in pairs]
    found = cleaned("text", "number", printed, step("number", decimal=",", thousands="."))
    assert [float(value) for value in found] == [float(f"{whole}.{cents:02}") for whole, cents in pairs]


@settings(max_examples=40)
@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=4), st.sampled_from(["trim", "collapse_spaces", "blank_to_null"])
)
def test_tidying_twice_is_tidying_once(values: list[str], kind: str) -> None:
    values = [value.replace("\0", "") for value in values]
    once = cleaned("text", "string", values, step(kind))
    assert cleaned("text", "string", once, step(kind)) == once


@settings(max_examples=40)
@given(st.lists(st.text("0123456789.,-+eE_xXnaif \t", max_size=10), min_size=1, max_size=6))
def test_a_value_is_good_null_or_bad_and_never_guessed(values: list[str]) -> None:
    """Whatever is read as a number, Python reads as that number too."""
    for value, found in zip(values, cleaned("text", "integer", values), strict=True):
        if found != BAD:
            assert float(value) == int(found)
    for value, found in zip(values, cleaned("text", "number", values), strict=True):
        if found != BAD:
            assert float(value) == float(found)


def test_what_one_query_keeps_comes_first() -> None:
    made = of("text", "integer", step("trim"))
    rows = duckdb.execute(made.select('(SELECT \' 7 \' AS "raw ""column""", 3 AS _ord)', keep=["_ord"], bad=False))
    assert [name for name, *_ in rows.description or ()] == ["_ord", "value"]
    assert rows.fetchall() == [(3, 7)]


def test_columns_are_records() -> None:
    (column,) = of("text", "string").columns
    assert msgspec.structs.asdict(column)["name"] == "value"
    assert column.bad_sql == "FALSE"


def test_an_instant_survives_as_text_and_back() -> None:
    start = datetime(2024, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    texts = [(start + timedelta(hours=hours)).isoformat(sep=" ").replace("+00:00", "+00") for hours in range(0, 72, 7)]
    found = cleaned("timestamptz", "timestamp", texts)
    assert [f"{value}+00" for value in found] == texts
