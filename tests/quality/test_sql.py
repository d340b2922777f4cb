from __future__ import annotations

import sqlite3
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp
from sqlglot.errors import SqlglotError

from mainstay.quality import sql

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(TEXTS)
def test_a_text_literal_reads_back_as_it_was(value: str) -> None:
    statement = f"SELECT {sql.text(value)}"
    assert duckdb.execute(statement).fetchone() == (value,)
    assert sqlite3.connect(":memory:").execute(statement).fetchone() == (value,)


@given(TEXTS.filter(bool))
def test_a_quoted_name_is_that_name(value: str) -> None:
    described = duckdb.execute(f"SELECT 1 AS {sql.name(value)}").description
    assert described is not None
    assert described[0][0] == value


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans(), st.none()))
def test_a_value_reads_back_as_it_was(value: Any) -> None:
    row = duckdb.execute(f"SELECT CAST({sql.literal(value)} AS VARCHAR), CAST(? AS VARCHAR)", [value]).fetchone()
    assert row is not None
    assert row[0] == row[1] or float(row[0]) == float(row[1])


def test_dates_become_their_iso_text() -> None:
    assert sql.literal(date(2024, 2, 1)) == "'2024-02-01'"
    assert sql.literal(datetime(2024, 2, 1, 10)) == "'2024-02-01 10:00:00'"  # noqa: DTZ001 - columns have no zone
    assert sql.literal(Decimal("1.50")) == "1.50"


def test_a_list_is_no_single_value() -> None:
    with pytest.raises(TypeError, match="a list cannot"):
        sql.literal([1])


def test_every_function_that_duckdb_calls_volatile_is_refused() -> None:
    names = duckdb.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE stability <> 'CONSISTENT' AND function_type = 'scalar'"
    ).fetchall()
    assert {name for (name,) in names} - sql.UNREPEATABLE == set()


def test_every_aggregate_of_duckdb_is_known_as_one() -> None:
    names = duckdb.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    unknown = {name for (name,) in names if _parsed_as_function(name)} - sql.AGGREGATES
    assert unknown == set()


def _parsed_as_function(name: str) -> bool:
    for arguments in ("a", "a, b", "a, b, c"):
        try:
            tree = sqlglot.parse_one(f"{name}({arguments})", dialect="duckdb")
        except SqlglotError:
            continue
        return not isinstance(tree, exp.AggFunc) and tree.find(exp.AggFunc) is None
    raise AssertionError(name)
