"""What only SQLite has: values that ignore their column's type, and files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import SystemClock
from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.nouns import Guard, SourceConfig
from mainstay.core.ports import ReadRequest, Source
from mainstay.sources import open_source
from mainstay.sources.sqlite_sql import earlier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "legacy.db"


def write(path: Path, sql: str, *rows: tuple[Any, ...]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if rows:
            connection.executemany(sql, rows)
        else:
            connection.executescript(sql)


def opened(path: Path, guard: Guard | None = None) -> Source:
    config = SourceConfig(name="old", kind="sqlite", options={"path": str(path)}, guard=guard or Guard())
    return open_source(config, SystemClock())


def read(path: Path, *columns: str, mode: Any = "snapshot", **more: Any) -> tuple[list[tuple[Any, ...]], str | None]:
    request = ReadRequest(table="t", columns=columns, key=more.pop("key", "id"), mode=mode, **more)
    with opened(path).read(request) as begun:
        found = [tuple(row.values()) for batch in begun.batches() for row in batch.to_pylist()]
        return found, begun.cursor()


def kinds(path: Path) -> dict[str, str]:
    return {column.name: column.kind for column in opened(path).describe("t").columns}


def test_a_number_column_of_a_lax_table_loses_nothing_and_leaves_the_judging_to_the_checks(path: Path) -> None:
    write(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, r DOUBLE, d DECIMAL(10,2))")
    write(
        path,
        "INSERT INTO t VALUES (?, ?, ?, ?)",
        (1, "twelve", 0.1, 1.5),
        (2, 2**63 - 1, 1e300, "n/a"),
        (3, 7, None, 2),
    )
    write(path, "INSERT INTO t VALUES (?, ?, ?, ?)", (4, 1.5, float("inf"), 0.30000000000000004))
    assert kinds(path) == {"id": "integer", "n": "numeric", "r": "numeric", "d": "numeric"}
    assert read(path, "id", "n", "r", "d")[0] == [
        (1, "twelve", "0.1", "1.5"),
        (2, "9223372036854775807", "1e+300", "n/a"),
        (3, "7", None, "2"),
        (4, "1.5", "Infinity", "0.30000000000000004"),
    ]


def test_a_strict_table_gives_its_own_types(path: Path) -> None:
    write(path, "CREATE TABLE t (id TEXT PRIMARY KEY, i INT, r REAL, b BLOB, x ANY) STRICT")
    write(path, "INSERT INTO t VALUES (?, ?, ?, ?, ?)", ("a", -1, 0.5, b"\x00\xff", 3), ("b", None, None, None, "x"))
    assert kinds(path) == {"id": "text", "i": "integer", "r": "float", "b": "bytes", "x": "text"}
    assert read(path, "id", "i", "r", "b", "x")[0] == [
        ("a", -1, 0.5, b"\x00\xff", "3"),
        ("b", None, None, None, "x"),
    ]


def test_dates_and_booleans_come_in_the_form_that_the_application_chose(path: Path) -> None:
    write(path, "CREATE TABLE t (id TEXT, d DATE, at TIMESTAMP, b BOOLEAN, free)")
    write(
        path,
        "INSERT INTO t VALUES (?, ?, ?, ?, ?)",
        ("a", "2024-01-01", 1700000000, 1, 2.5),
        ("b", None, "x", "yes", ""),
    )
    assert set(kinds(path).values()) == {"text"}
    assert read(path, "id", "d", "at", "b", "free")[0] == [
        ("a", "2024-01-01", "1700000000", "1", "2.5"),
        ("b", None, "x", "yes", ""),
    ]


@pytest.mark.parametrize(("native", "value"), [("TEXT", b"raw"), ("INT", b"raw"), ("BLOB", "text"), ("BLOB", 5)])
def test_what_a_column_cannot_hold_exactly_is_refused_by_name_and_not_shown(
    path: Path, native: str, value: Any
) -> None:
    write(path, f"CREATE TABLE t (id INTEGER PRIMARY KEY, c {native})")
    write(path, "INSERT INTO t VALUES (?, ?)", (1, value))
    with pytest.raises(SourceRefused, match="column 'c' of table 't'") as raised:
        read(path, "id", "c")
    assert "typeof" in raised.value.mend
    assert "raw" not in str(raised.value)
    assert read(path, "id")[0] == [(1,)]


def test_text_that_is_not_utf8_is_refused_without_showing_it(path: Path) -> None:
    write(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT); INSERT INTO t VALUES (1, CAST(x'4772f6' AS TEXT))")
    with pytest.raises(SourceRefused, match="UTF-8") as raised:
        read(path, "id", "c")
    assert "Gr" not in str(raised.value)


def test_text_in_a_column_of_numbers_does_not_become_the_cursor(path: Path) -> None:
    write(path, "CREATE TABLE t (id TEXT, c NUMERIC)")
    write(
        path,
        "INSERT INTO t VALUES (?, ?)",
        ("a", 9),
        ("b", 10),
        ("odd", "zz"),
        ("inf", float("inf")),
        ("less", float("-inf")),
    )
    found, cursor = read(path, "id", mode="increment", cursor="c", since="10")
    assert {key for (key,) in found} == {"b", "odd", "inf", "less"}
    assert cursor == "10"


def test_a_key_matches_only_what_is_written_so(path: Path) -> None:
    write(path, "CREATE TABLE t (id)")
    write(path, "INSERT INTO t VALUES (?)", (7,), ("7",), ("07",), ("1_000",), (1000,), (1.5,))
    assert sorted(read(path, "id", mode="by_keys", keys=("07", "1_000", "1.5"))[0]) == [("07",), ("1.5",), ("1_000",)]
    assert read(path, "id", mode="by_keys", keys=("7",))[0] == [("7",), ("7",)]


@pytest.mark.parametrize("form", ["2024-03-01T00:00:01.500Z", "2024-03-01 00:00:01", "2024-03-01T00:00:01.5+02:00"])
def test_a_lag_keeps_the_form_of_the_time(form: str) -> None:
    assert earlier(form, 2_000_000) == form.replace("2024-03-01", "2024-02-29").replace("00:00:01", "23:59:59")


@given(stamp=st.datetimes().map(lambda moment: moment.isoformat(" ", "microseconds")), lag=st.integers(0, 10**15))
def test_an_earlier_time_never_sorts_later(stamp: str, lag: int) -> None:
    found = earlier(stamp, lag)
    assert found is None or (found <= stamp and len(found) == len(stamp))


@pytest.mark.parametrize("text", ["", "soon", "1700000000", "2024-13-01", "20240101", "2024-01-01 10"])
def test_what_is_no_iso_time_has_no_lag(path: Path, text: str) -> None:
    assert earlier(text, 1) is None
    write(path, "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT)")
    with pytest.raises(SourceRefused, match="'c'"):
        read(path, "id", mode="increment", cursor="c", since=text, lag_us=5)


def test_seconds_since_1970_in_a_time_column_take_a_lag_in_numbers(path: Path) -> None:
    write(path, "CREATE TABLE t (id TEXT, c DATETIME)")
    write(path, "INSERT INTO t VALUES (?, ?)", ("a", 999), ("b", 1000), ("c", 1005))
    found, cursor = read(path, "id", mode="increment", cursor="c", since="1005", lag_number=5)
    assert (found, cursor) == ([("b",), ("c",)], "1005")


def test_it_describes_keys_and_indexes(path: Path) -> None:
    write(path, "CREATE TABLE t (a INTEGER, b TEXT, c TEXT, PRIMARY KEY (b, a)); CREATE INDEX i ON t (c, a)")
    described = opened(path).describe("t")
    assert described.primary_key == ("b", "a")
    assert set(described.indexed) == {"b", "c"}
    assert kinds(path)["a"] == "numeric"


def test_what_is_no_database_is_refused_and_a_locked_one_is_away(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to be looked at by it" * 20)
    with pytest.raises(SourceRefused):
        opened(path).health()
    path.unlink()
    write(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceAway):
            opened(path, Guard(connect_timeout_us=50_000)).health()
    assert opened(path).health().read_only


def test_it_makes_no_file_and_needs_no_right_to_write(path: Path) -> None:
    with pytest.raises(SourceAway, match="no file"):
        opened(path).tables()
    assert not path.exists()
