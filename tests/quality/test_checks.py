from __future__ import annotations

import re
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND
from mainstay.core.errors import Refused
from mainstay.core.nouns import Check, Column, ColumnType, Dataset, Freshness
from mainstay.core.verdicts import OnFail, Verdict
from mainstay.quality.checks import (
    freshness_finding,
    judge_row_count,
    judge_rows,
    judge_unique,
    row_checks,
    unique_count,
    unique_failures,
)

COLUMNS: dict[str, ColumnType] = {
    "id": "string",
    "Tenure": "integer",
    "charges": "number",
    "plan": "string",
    "active": "boolean",
    "since": "date",
    "seen": "timestamp",
}
STORED = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE"}


def check(kind: str, column: str | None = None, on_fail: OnFail = "quarantine", **args: Any) -> Check:
    return Check(name=f"{column or 'rows'}.{kind}", kind=kind, column=column, args=args, on_fail=on_fail)


def dataset(*checks: Check) -> Dataset:
    columns = tuple(Column(name=name, type=kind, source_name=name) for name, kind in COLUMNS.items())
    return Dataset(name="customers", source="crm", table="customers", key="id", columns=columns, checks=checks)


def failing(one: Check, values: list[Any], *, bad: bool = False) -> list[bool]:
    """Which of the values, in the check's column, fail."""
    column = one.column or "Tenure"
    kind = STORED.get(COLUMNS[column], "TIMESTAMP")
    (ready,) = row_checks(dataset(one))
    rows = f'(SELECT unnest(?::{kind}[]) AS "{column}", {bad} AS "{column}__bad")'
    return [row[0] for row in duckdb.execute(f"SELECT ({ready.failed_sql}) IS TRUE FROM {rows}", [values]).fetchall()]


@given(st.lists(st.one_of(st.none(), st.integers(-200, 200)), min_size=1, max_size=8), st.integers(-100, 100))
@settings(max_examples=30)
def test_limits_fail_what_is_beyond_them_and_never_null(values: list[int | None], limit: int) -> None:
    assert failing(check("min", "Tenure", value=limit), values) == [v is not None and v < limit for v in values]
    assert failing(check("max", "Tenure", value=limit), values) == [v is not None and v > limit for v in values]


def test_nan_is_within_no_limit() -> None:
    assert failing(check("min", "charges", value=0), [float("nan"), 1.0, float("inf")]) == [True, False, False]
    assert failing(check("max", "charges", value=9), [float("nan"), 1.0, float("inf")]) == [True, False, True]


def test_limits_of_dates_are_dates() -> None:
    assert failing(check("min", "since", value="2020-01-02"), ["2020-01-01", "2020-01-02", None]) == [
        True,
        False,
        False,
    ]
    assert failing(check("max", "seen", value="2020-01-02"), ["2020-01-02 00:00:01", "2020-01-02"]) == [True, False]


def test_required_fails_what_is_absent_not_what_is_unreadable() -> None:
    assert failing(check("required", "Tenure"), [None, 0]) == [True, False]
    assert failing(check("required", "Tenure"), [None], bad=True) == [False]
    assert failing(check("type", "Tenure"), [None], bad=True) == [True]
    assert failing(check("type", "Tenure"), [None]) == [False]


@given(st.lists(st.text("ab1\n", max_size=4), min_size=1, max_size=5))
@settings(max_examples=30)
def test_a_pattern_is_matched_whole(values: list[str]) -> None:
    expected = [re.fullmatch("a+|b1", value) is None for value in values]
    assert failing(check("pattern", "plan", regex="a+|b1"), values) == expected


def test_a_pattern_that_re2_does_not_know_is_refused() -> None:
    with pytest.raises(Refused, match="look-ahead"):
        row_checks(dataset(check("pattern", "plan", regex="(?!x)y")))


def test_values_are_compared_in_the_columns_type() -> None:
    assert failing(check("values", "plan", values=["One year", 1, None]), ["One year", "1", "2", None]) == [
        False,
        False,
        True,
        False,
    ]
    assert failing(check("values", "Tenure", values=[1, 2]), [1, 3]) == [False, True]
    assert failing(check("values", "active", values=[True]), [True, False]) == [False, True]
    assert failing(check("values", "Tenure", values=[None]), [1, None]) == [True, False]


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=12), st.lists(st.one_of(st.none(), st.integers(-20, 20))))
@settings(max_examples=30, deadline=None)
def test_few_values_and_many_are_judged_alike(allowed: list[int], values: list[int | None]) -> None:
    wanted = [v is not None and v not in allowed for v in values]
    assert failing(check("values", "Tenure", values=list(allowed)), values) == wanted


@pytest.mark.parametrize(
    ("column", "value"), [("Tenure", "many"), ("active", 1), ("since", "01.02.2020"), ("charges", True)]
)
def test_a_limit_of_another_type_is_refused(column: str, value: Any) -> None:
    with pytest.raises(Refused, match="is not a value of a"):
        row_checks(dataset(check("min", column, value=value)))


def test_a_condition_fails_where_it_is_false_and_passes_where_it_is_null() -> None:
    assert failing(check("sql", condition="tenure > 1 -- months"), [0, 2, None]) == [True, False, False]


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("tenure +", "does not parse"),
        ("", "not one expression"),
        ("true; drop table t", "not one expression"),
        ("select 1", "not one expression"),
        ("tenure + 1", "not true or false"),
        ("plan", "not true or false"),
        ("tenure > (select max(tenure) from customers)", "beyond its row"),
        ("tenure > avg(tenure)", "beyond its row"),
        ("favg(tenure) > 1", "beyond its row"),
        ("row_number() over () > 1", "beyond its row"),
        ("exists (select 1)", "beyond its row"),
        ("since < current_date", "another answer each time"),
        ("seen < now()", "another answer each time"),
        ("random() > 0.5", "another answer each time"),
        ("plan = getvariable('x')", "another answer each time"),
        ("tenure > $limit", "placeholder"),
        ("tenur > 1", "no column tenur"),
        ("other.tenure > 1", "no column other.tenure"),
    ],
)
def test_a_condition_that_is_none_is_refused(condition: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        row_checks(dataset(check("sql", condition=condition)))


def test_checks_of_the_whole_dataset_are_not_row_checks() -> None:
    checks = (check("unique", "id"), check("row_count", min=1), check("required", "id"))
    assert [ready.check.kind for ready in row_checks(dataset(*checks))] == ["required"]


@given(st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.sampled_from("abc"))), max_size=12))
@settings(max_examples=40)
def test_unique_fails_incoming_rows_beyond_the_first_of_each_value(rows: list[tuple[bool, str | None]]) -> None:
    """Rows already there come first, then incoming ones as read."""
    with duckdb.connect() as db:
        db.execute("CREATE TABLE current (id BIGINT, plan VARCHAR); CREATE TABLE batch (k VARCHAR, _ord BIGINT)")
        for number, (incoming, value) in enumerate(rows):
            db.execute("INSERT INTO current VALUES (?, ?)", [number, value])
            if incoming:
                db.execute("INSERT INTO batch VALUES (?, ?)", [str(number), number])
        one = check("unique", "plan")
        found = db.execute(
            unique_failures(one, relation_sql="current", key="id", incoming_sql="SELECT k, _ord FROM batch")
        ).fetchall()
        counted = db.execute(unique_count(one, relation_sql="current")).fetchone()
    seen: set[str] = {value for incoming, value in rows if not incoming and value is not None}
    expected = []
    for number, (incoming, value) in enumerate(rows):
        if incoming and value is not None:
            if value in seen:
                expected.append((str(number), number))
            seen.add(value)
    present = [value for _, value in rows if value is not None]
    assert found == expected
    assert counted == (len(present) - len(set(present)), len(present))


def test_rows_are_judged_by_what_the_file_says_follows() -> None:
    checks = (
        check("max", "Tenure", "block", value=120),
        check("min", "Tenure", "warn", value=0),
        check("required", "id"),
        check("type", "charges"),
    )
    findings = judge_rows(dataset(*checks), {"Tenure.max": 2, "Tenure.min": 1, "id.required": 0}, 1000)
    assert [finding.verdict for finding in findings] == [Verdict.FAIL, Verdict.WARN, Verdict.PASS, Verdict.ERROR]
    assert findings[0].sentence == "2 of 1,000 rows have Tenure above 120"
    assert findings[0].on_fail == "block"
    assert findings[3].sentence == "the check was not run"


def test_an_empty_batch_passes() -> None:
    (finding,) = judge_rows(dataset(check("required", "id")), {"id.required": 0}, 0)
    assert finding.verdict is Verdict.PASS
    assert finding.sentence == "there were no rows to check"


@pytest.mark.parametrize(
    ("count", "verdict"), [(999, Verdict.FAIL), (1000, Verdict.PASS), (2000, Verdict.PASS), (2001, Verdict.FAIL)]
)
def test_row_count_has_inclusive_limits(count: int, verdict: Verdict) -> None:
    finding = judge_row_count(check("row_count", None, "block", min=1000, max=2000), count)
    assert finding.verdict is verdict
    assert f"{count:,} rows" in finding.sentence


def test_unique_is_judged_with_its_numbers() -> None:
    finding = judge_unique(check("unique", "plan", "warn"), 3, 10)
    assert (finding.verdict, finding.sentence) == (
        Verdict.WARN,
        "3 of 10 rows repeat a plan that another row has",
    )
    assert judge_unique(check("unique", "plan"), 0, 10).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("age", "newest", "verdict", "words"),
    [
        (None, None, Verdict.UNKNOWN, "nothing has been published"),
        (-SECOND, 0, Verdict.UNKNOWN, "ahead of our clock"),
        (MINUTE, 0, Verdict.PASS, "1 min old, within 5 min"),
        (5 * MINUTE, 0, Verdict.PASS, "within"),
        (6 * MINUTE, 0, Verdict.WARN, "warned past 5 min"),
        (2 * HOUR, 0, Verdict.FAIL, "data 2 h old, promise 1 h"),
        (MINUTE, 2 * DAY, Verdict.FAIL, "newest event 2 d old, promise 1 d"),
        (2 * HOUR, 2 * DAY, Verdict.FAIL, "data 2 h old"),
        (MINUTE, None, Verdict.UNKNOWN, "no row has an event time"),
        (6 * MINUTE, None, Verdict.UNKNOWN, "no row has an event time"),
        (MINUTE, -MINUTE, Verdict.PASS, "within"),
        (MINUTE, -DAY, Verdict.UNKNOWN, "in the future"),
    ],
)
def test_freshness_says_the_worse_of_its_two_promises(
    age: int | None, newest: int | None, verdict: Verdict, words: str
) -> None:
    promise = Freshness(warn_us=5 * MINUTE, fail_us=HOUR, newest_us=DAY)
    finding = freshness_finding(promise, age, newest)
    assert finding.verdict is verdict
    assert words in finding.sentence


def test_nothing_promised_still_needs_something_published() -> None:
    assert freshness_finding(Freshness(), HOUR, None).verdict is Verdict.PASS
    assert freshness_finding(Freshness(), None, None).verdict is Verdict.UNKNOWN


@given(st.lists(st.one_of(st.none(), st.text("aé\u0301😀", max_size=6)), min_size=1, max_size=6))
@settings(max_examples=30)
def test_a_length_counts_characters_and_never_null(values: list[str | None]) -> None:
    expected = [value is not None and not 2 <= len(value) <= 4 for value in values]
    assert failing(check("length", "plan", min=2, max=4), values) == expected
    assert failing(check("length", "plan", max=4), values) == [v is not None and len(v) > 4 for v in values]


def test_a_length_says_its_limits() -> None:
    one = check("length", "plan", min=2, max=4)
    (finding,) = judge_rows(dataset(one), {one.name: 2}, 9)
    assert finding.sentence == "2 of 9 rows have a plan shorter than 2 characters or longer than 4 characters"


pairs = st.tuples(st.booleans(), st.one_of(st.none(), st.sampled_from("ab")), st.one_of(st.none(), st.integers(0, 1)))


@given(st.lists(pairs, max_size=12))
@settings(max_examples=40)
def test_unique_over_several_columns_compares_them_together(rows: list[tuple[bool, str | None, int | None]]) -> None:
    one = Check(name="plan+number.unique", kind="unique", args={"columns": ["plan", "number"]})
    with duckdb.connect() as db:
        db.execute(
            "CREATE TABLE current (id BIGINT, plan VARCHAR, number BIGINT); CREATE TABLE b (k VARCHAR, _ord INT)"
        )
        for number, (incoming, *values) in enumerate(rows):
            db.execute("INSERT INTO current VALUES (?, ?, ?)", [number, *values])
            if incoming:
                db.execute("INSERT INTO b VALUES (?, ?)", [str(number), number])
        found = db.execute(
            unique_failures(one, relation_sql="current", key="id", incoming_sql="SELECT k, _ord FROM b")
        ).fetchall()
        counted = db.execute(unique_count(one, relation_sql="current")).fetchone()
    whole = [(incoming, values) for incoming, *values in rows if None not in values]
    seen = [values for incoming, values in whole if not incoming]
    expected = []
    for number, (incoming, *values) in enumerate(rows):
        if incoming and None not in values:
            if values in seen:
                expected.append((str(number), number))
            seen.append(values)
    assert found == expected
    assert counted == (len(whole) - len({tuple(values) for _, values in whole}), len(whole))
    assert judge_unique(one, 1, 4).sentence == "1 of 4 rows repeat a plan and number that another row has"


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("sum(tenure) +", "does not parse"),
        ("tenure > 1", "no aggregate"),
        ("sum(tenure)", "not true or false"),
        ("sum(tenure) > charges", "charges stands outside"),
        ("sum(tenur) > 1", "no column tenur"),
        ("max(seen) > now()", "another answer each time"),
        ("first(plan) = 'a'", "may give another answer"),
        ("approx_count_distinct(plan) > 1", "may give another answer"),
        ("sum(tenure) > (select 1)", "beyond its dataset"),
        ("sum(tenure) over () > 1", "beyond its dataset"),
        ("sum(tenure) > $limit", "placeholder"),
        ("count(*) > 0; select 1", "not one expression"),
    ],
)
def test_a_condition_over_the_dataset_that_is_none_is_refused(condition: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        row_checks(dataset(check("aggregate", condition=condition)))


@pytest.mark.parametrize(
    "condition",
    [
        "count(*) > 0",
        "count(*) FILTER (WHERE plan IS NULL) < 0.1 * count(*)",
        "favg(Tenure) < 100 AND max(seen) > min(since)",
        "stddev(charges) / avg(charges) < 3",
        "sum(CASE WHEN active THEN tenure END) > 0",
    ],
)
def test_a_condition_over_the_dataset_is_taken(condition: str) -> None:
    assert row_checks(dataset(check("aggregate", condition=condition))) == ()
