"""Rows that were asked for before are those that the store has now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import OnlineRow
from mainstay.serving.hot_rows import HotRows, laid_out
from mainstay.serving.inputs import InputPlan
from mainstay.store.memory import MemoryOnline
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.testing.online_suite import online_row

SET = "sha256:set"
A, B = Field(name="a", type="number"), Field(name="b", type="number")
COLUMNS = (("a", "number"), ("b", "number"))
PLAN = InputPlan(Signature(inputs=(A, B), outputs=()), COLUMNS)  # type: ignore[arg-type]


class Counting(MemoryOnline):
    """It tells what it was asked."""

    def __init__(self, *, tells: bool = True) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.tells = tells

    def get_many(self, feature_set: str, keys: Sequence[str]) -> dict[str, OnlineRow]:
        self.asked.append(list(keys))
        return super().get_many(feature_set, keys)

    def changed(self) -> int | None:  # type: ignore[override]
        return super().changed() if self.tells else None


def values(rows: HotRows, *keys: str) -> list[bytes | None]:
    found = rows.get_many(SET, keys)
    return [found[key].row.values if key in found else None for key in keys]


def test_a_row_is_looked_up_once_while_nothing_changes() -> None:
    online = Counting()
    online.put(SET, [online_row("x", values=b"[1,2]"), online_row("y", values=b"[3,4]")], token=1)
    rows = HotRows(online)
    assert values(rows, "x") == [b"[1,2]"]
    assert values(rows, "x", "y", "gone") == [b"[1,2]", b"[3,4]", None]
    assert values(rows, "y", "x") == [b"[3,4]", b"[1,2]"]
    assert values(rows, "gone") == [None]
    assert online.asked == [["x"], ["y", "gone"], ["gone"]]


def test_a_row_that_was_written_or_removed_is_seen_by_the_next_look_up(tmp_path: Path) -> None:
    writer = SqliteOnline(tmp_path / "online.db")
    reader = SqliteOnline(tmp_path / "online.db", writable=False)
    rows = HotRows(reader)
    assert values(rows, "x") == [None]
    for plan in (1, 2):
        writer.put(SET, [online_row("x", plan, b"[%d,0]" % plan)], token=1)
        assert values(rows, "x") == [b"[%d,0]" % plan]
    writer.put("sha256:other", [online_row("x", 1, b"[9,9]")], token=1)
    assert values(rows, "x") == [b"[2,0]"]
    writer.remove(SET, ["x"], plan=2, token=1)
    assert values(rows, "x") == [None]
    reader.close()
    writer.close()


def test_what_a_store_cannot_tell_is_looked_up_each_time() -> None:
    online = Counting(tells=False)
    online.put(SET, [online_row("x", values=b"[1,2]")], token=1)
    rows = HotRows(online)
    for _ in range(3):
        assert values(rows, "x") == [b"[1,2]"]
    assert online.asked == [["x"]] * 3


def test_no_more_rows_are_kept_than_there_is_room_for() -> None:
    online = Counting()
    online.put(SET, [online_row(f"k{number}", values=b"[1,2]") for number in range(100)], token=1)
    rows = HotRows(online, room=10 * 600)
    for number in range(100):
        assert values(rows, f"k{number}") == [b"[1,2]"]
        assert sum(map(len, rows._sets.values())) <= 11
    assert values(rows, *(f"k{number}" for number in range(100))) == [b"[1,2]"] * 100


def test_inputs_are_laid_out_anew_for_another_model_and_shared_with_nobody() -> None:
    online = Counting()
    online.put(SET, [online_row("x", values=b"[1,2]")], token=1)
    hot = HotRows(online).get_many(SET, ["x"])["x"]
    first = hot.inputs(PLAN, None)
    assert first == laid_out(PLAN, hot.row, None) == [1.0, 2.0]
    first[0] = 7.0
    hot.inputs(PLAN, None)[1] = 7.0
    assert hot.inputs(PLAN, None) == [1.0, 2.0]
    other = InputPlan(Signature(inputs=(B, A), outputs=()), COLUMNS)  # type: ignore[arg-type]
    assert hot.inputs(other, None) == [2.0, 1.0]
    assert hot.inputs(PLAN, None) == [1.0, 2.0]


@pytest.mark.parametrize("sent", [None, {"b": 5.0}, {"b": 6.0}])
def test_what_comes_with_a_request_is_of_that_request_alone(sent: dict[str, float] | None) -> None:
    plan = InputPlan(Signature(inputs=(A, B), outputs=()), COLUMNS, (B,))  # type: ignore[arg-type]
    online = Counting()
    online.put(SET, [online_row("x", values=b"[1,2]")], token=1)
    hot = HotRows(online).get_many(SET, ["x"])["x"]
    assert hot.inputs(plan, {"b": 4.0}) == [1.0, 4.0]
    assert hot.inputs(plan, sent) == [1.0, 2.0 if sent is None else sent["b"]]
