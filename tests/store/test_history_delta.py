from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from mainstay.core.errors import StoreError
from mainstay.store.history_delta import DeltaHistory
from mainstay.testing.history_suite import HistorySuite, rows_of

PERSON = "7590-VHVEG"


@pytest.fixture
def history(tmp_path: Path) -> DeltaHistory:
    return DeltaHistory(tmp_path / "with a space" / "history")


class TestDeltaHistory(HistorySuite):
    pass


def holding(folder: Path, text: str) -> list[str]:
    """Names of the files that hold `text` in their bytes, name included."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and (text.encode() in path.read_bytes() or text in path.name)
    ]


def plain(*ids: str) -> pa.Table:
    return pa.table({"id": list(ids), "at_us": list(range(len(ids)))})


@pytest.mark.promise(7)
def test_an_erased_key_stands_nowhere_in_the_folder(history: DeltaHistory, tmp_path: Path) -> None:
    history.append("customers", plain(PERSON), writer="w", sequence=1)  # alone: it would be min and max of its file
    history.append("customers", plain("a", "b"), writer="w", sequence=2)
    assert not holding(tmp_path / "with a space" / "history" / "customers" / "_delta_log", PERSON)
    table = tmp_path / "with a space" / "history" / "customers"
    (table / "part-00000-torn.snappy.parquet").write_bytes(PERSON.encode())  # left by a killed append
    (table / "part-00000-staged.snappy.parquet#1").write_bytes(PERSON.encode())
    assert history.erase("customers", f"id = '{PERSON}'") == 1
    assert holding(tmp_path, PERSON) == []
    assert [row["id"] for row in rows_of(history, "customers")] == ["a", "b"]


@pytest.mark.promise(7)
def test_an_erasure_that_was_killed_before_its_vacuum_is_finished_by_the_next(
    history: DeltaHistory, tmp_path: Path
) -> None:
    history.append("customers", plain(PERSON, "a"), writer="w", sequence=1)
    there = history._open("customers")
    assert there is not None
    there.delete(f"id = '{PERSON}'")
    assert holding(tmp_path, PERSON) != []
    assert history.replace("customers", plain().slice(0, 0), key="id") == 0
    assert holding(tmp_path, PERSON) == []


def test_a_second_handle_that_lags_behind_appends_nothing_twice(history: DeltaHistory, tmp_path: Path) -> None:
    other = DeltaHistory(tmp_path / "with a space" / "history")
    assert history.append("t", plain("a"), writer="w", sequence=1)
    assert not other.append("t", plain("a"), writer="w", sequence=1)


def test_instants_are_kept_as_integer_microseconds(history: DeltaHistory) -> None:
    moment = datetime(2039, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    rows = pa.table(
        {
            "id": ["a"],
            "zoned": pa.array([moment], pa.timestamp("us", "UTC")),
            "naive": pa.array([moment.replace(tzinfo=None, microsecond=0)], pa.timestamp("s")),
        }
    )
    history.append("t", rows, writer="w", sequence=1)
    (row,) = rows_of(history, "t")
    assert row["zoned"] == 2_188_278_489_123_456
    assert row["naive"] == 2_188_278_489_000_000


def test_a_column_whose_type_changes_goes_on_beside_the_old_one(history: DeltaHistory) -> None:
    history.append("t", pa.table({"id": ["a"], "age": [1]}), writer="w", sequence=1)
    history.append("t", pa.table({"id": ["b"], "age": [1.5]}), writer="w", sequence=2)
    history.append("t", pa.table({"id": ["c"], "age": pa.array([3], pa.int8())}), writer="w", sequence=3)
    history.append("t", pa.table({"id": ["d"], "age": pa.nulls(1)}), writer="w", sequence=4)
    assert rows_of(history, "t") == [
        {"id": "a", "age": 1, "age__double": None},
        {"id": "b", "age": None, "age__double": 1.5},
        {"id": "c", "age": 3, "age__double": None},
        {"id": "d", "age": None, "age__double": None},
    ]


def test_a_name_that_leaves_the_folder_is_refused(history: DeltaHistory) -> None:
    with pytest.raises(StoreError, match="cannot name a history table"):
        history.append("../state", plain("a"), writer="w", sequence=1)
