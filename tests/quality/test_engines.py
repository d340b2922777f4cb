"""One generator for every engine: the same condition counts the same rows in DuckDB, SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.errors import Refused
from mainstay.core.nouns import Check
from mainstay.quality.checks import engine_condition
from mainstay.testing.postgres import Database

CREATE = 'CREATE TABLE t ("Tenure" BIGINT, charges DOUBLE PRECISION, plan VARCHAR, since DATE)'
ROWS: list[tuple[Any, ...]] = [
    (1, 10.5, "One year", "2020-01-01"),
    (None, None, None, None),
    (-3, 1e9, "one year", "1999-12-31"),
    (200, -0.5, "it's", "2030-06-30"),
    (40, 0.0, "", "2020-02-29"),
]
CHECKS = [
    Check(name="a", kind="required", column="Tenure"),
    Check(name="b", kind="min", column="Tenure", args={"value": 0}),
    Check(name="c", kind="max", column="charges", args={"value": 100.25}),
    Check(name="d", kind="values", column="plan", args={"values": ["One year", "it's"]}),
    Check(name="e", kind="min", column="since", args={"value": "2020-01-01"}),
    Check(name="f", kind="sql", args={"condition": '"Tenure" < 100 OR plan IS NULL'}),
    Check(name="h", kind="length", column="plan", args={"min": 1, "max": 7}),
    Check(name="g", kind="sql", args={"condition": "charges BETWEEN 0 AND 11 AND plan <> ''"}),
]


def in_duckdb(checks: list[Check], rows: list[tuple[Any, ...]]) -> list[int]:
    with duckdb.connect() as db:
        db.execute(CREATE)
        for row in rows:
            db.execute("INSERT INTO t VALUES (?, ?, ?, ?)", row)
        counts = [f"SELECT count(*) FROM t WHERE {engine_condition(check, 'duckdb')}" for check in checks]
        return [db.execute(count).fetchall()[0][0] for count in counts]


def in_sqlite(checks: list[Check], rows: list[tuple[Any, ...]]) -> list[int]:
    db = sqlite3.connect(":memory:")
    db.execute(CREATE)
    db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    counts = [f"SELECT count(*) FROM t WHERE {engine_condition(check, 'sqlite')}" for check in checks]
    found = [db.execute(count).fetchone()[0] for count in counts]
    db.close()
    return found


def test_the_rows_counted_are_the_ones_meant() -> None:
    assert in_duckdb(CHECKS, ROWS) == [1, 1, 1, 2, 1, 1, 3, 3]


row = st.tuples(
    st.one_of(st.none(), st.integers(-10, 250)),
    st.one_of(st.none(), st.floats(-200, 200)),
    st.one_of(st.none(), st.sampled_from(["One year", "one year", "it's", "", "ü"])),
    st.one_of(st.none(), st.dates().map(str)),
)


@given(st.lists(row, max_size=6))
@settings(max_examples=20)
def test_duckdb_and_sqlite_count_the_same(rows: list[tuple[Any, ...]]) -> None:
    assert in_sqlite(CHECKS, rows) == in_duckdb(CHECKS, rows)


def test_postgresql_counts_the_same(postgres_db: Database) -> None:
    patterns = [
        Check(name="p", kind="pattern", column="plan", args={"regex": "[Oo]ne year|x"}),
        Check(name="q", kind="pattern", column="plan", args={"regex": "it's"}),
        Check(name="r", kind="pattern", column="plan", args={"regex": "two.lines"}),
    ]
    postgres_db.exec(CREATE)
    rows = [*ROWS, (5, 1.0, "two\nlines", None), (6, 1.0, "two lines", None)]
    for values in rows:
        postgres_db.exec("INSERT INTO t VALUES (%s, %s, %s, %s)", values)
    checks = [*CHECKS, *patterns]
    found = [
        postgres_db.exec(f"SELECT count(*) FROM t WHERE {engine_condition(check, 'postgres')}".replace("%", "%%"))
        for check in checks
    ]
    assert [count[0][0] for count in found] == in_duckdb(checks, rows)


def test_an_engine_without_the_means_is_refused() -> None:
    pattern = Check(name="p", kind="pattern", column="plan", args={"regex": "x"})
    with pytest.raises(Refused, match="no regular expressions"):
        engine_condition(pattern, "sqlite")
    with pytest.raises(Refused, match="not a condition on one row"):
        engine_condition(Check(name="u", kind="unique", column="plan"), "postgres")
