"""The label file: what is read, and every fault with its line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.clock import iso
from mainstay.core.errors import FileError, NotFound
from mainstay.retraining.labels import LabelFile, Labels, read_labels
from mainstay.retraining.plan import Group, plan_runs

NOV_1 = 1_793_523_600_000_000
"""2026-11-01T09:00:00Z in microseconds."""


@pytest.fixture
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA training")
        yield connection


def read(db: duckdb.DuckDBPyConnection, path: Path, **more: Any) -> tuple[Labels, list[tuple[Any, ...]]]:
    given: dict[str, Any] = {"path": path, "key": "id", "at": "at", "key_types": ("string",)}
    labels = read_labels(db, LabelFile(**(given | more)))
    return labels, db.execute("SELECT * EXCLUDE (n) FROM training.labels ORDER BY n").fetchall()


def csv_of(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def faults(db: duckdb.DuckDBPyConnection, path: Path, **more: Any) -> list[tuple[int, str, str]]:
    with pytest.raises(FileError) as caught:
        read(db, path, **more)
    return [(one.line, one.path, one.came) for one in caught.value.problems]


def test_every_form_of_an_instant_is_the_same_instant(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    forms = ["2026-11-01T09:00:00Z", "2026-11-01 10:00:00+01:00", str(NOV_1), "20261101T090000Z", "2026-11-01T09:00Z"]
    labels, rows = read(db, csv_of(tmp_path, "id,at\n" + "".join(f"k,{form}\n" for form in forms)))
    assert labels.rows == 5
    assert {row[2] for row in rows} == {NOV_1}
    assert [row[0] for row in rows] == [2, 3, 4, 5, 6]


def test_an_instant_without_its_zone_needs_one_declared(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = csv_of(tmp_path, "id,at\nk,2026-11-01T10:00:00\nk,2026-11-01T09:00:00Z\nk,2026-11-01\n")
    assert faults(db, path) == [(2, "at", "a time without a zone"), (4, "at", "a time without a zone")]
    db.execute("DROP TABLE training.labels")
    _, rows = read(db, path, timezone="Europe/Berlin")
    assert [row[2] for row in rows] == [NOV_1, NOV_1, NOV_1 - 10 * 3_600_000_000]
    with pytest.raises(NotFound, match="no time zone"):
        read(db, path, timezone="Europe/Berlinn")


def test_an_hour_that_happens_twice_is_counted(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = csv_of(tmp_path, "id,at\nk,2026-10-25T02:30:00\nk,2026-10-25T04:30:00\n")
    labels, rows = read(db, path, timezone="Europe/Berlin")
    assert labels.ambiguous == 1
    assert iso(rows[0][2]) == "2026-10-25T00:30:00.000000Z"


def test_each_fault_has_its_line_and_tells_no_value(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    text = 'id,at,note\n,2026-11-01T09:00:00Z,"two\nlines"\nk,secret,x\nk,2026-11-01T09:00:00Z\nk,12,x\nk,,x\n'
    assert faults(db, csv_of(tmp_path, text)) == [
        (5, "labels", "2"),
        (2, "id", "an empty value"),
        (4, "at", "something else"),
        (6, "at", "a number too small to be that"),
        (7, "at", "an empty value"),
    ]


def test_many_faults_are_told_in_part_and_counted(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    found = faults(db, csv_of(tmp_path, "id,at\n" + "k,x\n" * 50))
    assert len(found) == 11
    assert found[-1] == (0, "labels", "40 more")


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("id,when\nk,1\n", "none of that name"),
        ("id,at,id\nk,1,2\n", "id more than once"),
        ("id,at\n", "none"),
        ("", "none of that name"),
        ('id,at\n"k"x,1\n', "',' expected after '\"'"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    db: duckdb.DuckDBPyConnection, tmp_path: Path, text: str, came: str
) -> None:
    assert faults(db, csv_of(tmp_path, text))[0][2] == came


def test_other_files_are_refused(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no label file"):
        read(db, tmp_path / "labels.csv")
    assert faults(db, csv_of(tmp_path, "x", "labels.xlsx"))[0][2] == "the suffix .xlsx"
    assert faults(db, csv_of(tmp_path, "x", "labels.parquet"))[0][2] == "ArrowInvalid"
    (tmp_path / "latin.csv").write_bytes("id,at\nMü,1\n".encode("latin-1"))
    assert faults(db, tmp_path / "latin.csv")[0][2] == "bytes that are not"


def test_label_columns_get_the_narrowest_type_that_holds_every_value(
    db: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    text = (
        "at;n;id;x;flag;word;zip\n2026-11-01T09:00:00Z;1;k;1.5;true;a;01099\n2026-11-01T09:00:00Z;;k;2;False;;12345\n"
    )
    labels, rows = read(db, csv_of(tmp_path, text))
    assert labels.columns == ("n", "x", "flag", "word", "zip")
    assert [row[3:] for row in rows] == [(1, 1.5, True, "a", "01099"), (None, 2.0, False, None, "12345")]


def test_integer_keys_are_as_the_stores_write_them(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = csv_of(tmp_path, "id,at\n007,2026-11-01T09:00:00Z\nx7,2026-11-01T09:00:00Z\n")
    assert faults(db, path, key_types=("integer",)) == [(3, "id", "other text")]
    db.execute("DROP TABLE training.labels")
    _, rows = read(db, csv_of(tmp_path, "id,at\n007,2026-11-01T09:00:00Z\n"), key_types=("integer",))
    assert rows[0][1] == "7"


@pytest.mark.parametrize(
    "instants",
    [
        pa.array([NOV_1], pa.int64()),
        pa.array([NOV_1], pa.timestamp("us", "UTC")),
        pa.array([NOV_1 * 1000], pa.timestamp("ns", "Europe/Berlin")),
        pa.array(["2026-11-01T09:00:00Z"]),
        pa.array([NOV_1], pa.timestamp("us")),
    ],
    ids=str,
)
def test_parquet_gives_the_same(db: duckdb.DuckDBPyConnection, tmp_path: Path, instants: Any) -> None:
    table = pa.table({"id": pa.array([7]), "at": instants, "left": pa.array([True])})
    pq.write_table(table, tmp_path / "labels.parquet")
    _, rows = read(db, tmp_path / "labels.parquet", timezone="UTC")
    assert rows == [(1, "7", NOV_1, True)]


def test_a_date_is_the_midnight_of_the_declared_zone(db: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["k"], "at": pa.array([date(2026, 11, 1)])}), tmp_path / "labels.parquet")
    assert faults(db, tmp_path / "labels.parquet") == [(1, "at", "a time without a zone")]
    db.execute("DROP TABLE training.labels")
    _, rows = read(db, tmp_path / "labels.parquet", timezone="UTC")
    assert iso(rows[0][2]) == "2026-11-01T00:00:00.000000Z"


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
@settings(deadline=None)
def test_no_instant_is_rounded(moment: datetime, minutes: int) -> None:
    import tempfile

    at = moment.replace(tzinfo=UTC)
    wanted = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    shown = (at + timedelta(minutes=minutes)).replace(tzinfo=None).isoformat()
    sign = "-" if minutes < 0 else "+"
    offset = f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as db:
        db.execute("CREATE SCHEMA training")
        _, rows = read(db, csv_of(Path(folder), f"id,at\nk,{shown}{offset}\n"))
    assert rows[0][2] == wanted


@given(st.lists(st.integers(1, 50), max_size=8), st.integers(1, 20))
def test_a_plan_computes_each_state_once(sizes: list[int], keys: int) -> None:
    groups = [Group(number, 0, (), size) for number, size in enumerate(sizes)]
    runs = plan_runs(groups, keys=keys)
    assert all(0 < run.end - run.first <= keys for run in runs)
    computed = sorted((run.group, place) for run in runs for place in range(run.first, run.end))
    assert computed == [(number, place) for number, size in enumerate(sizes) for place in range(size)]


def test_a_key_of_several_columns_is_one_text_and_each_fault_names_its_column(
    db: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    pair: dict[str, Any] = {"key": '["shop","no"]', "key_types": ("string", "integer")}
    made, rows = read(db, csv_of(tmp_path, "no,shop,at,churned\n007,a,2026-01-01T00:00:00Z,1\n"), **pair)
    assert (made.columns, [row[1] for row in rows]) == (("churned",), ['["a","7"]'])
    db.execute("DROP TABLE training.labels")
    with pytest.raises(FileError) as told:
        read(db, csv_of(tmp_path, "no,shop,at\nx,,2026-01-01T00:00:00Z\n"), **pair)
    assert [one.path for one in told.value.problems] == ["shop", "no"]
