"""What every history must do. Subclass it in a test file that has a fixture `history`, a fresh and empty History."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from mainstay.core.ports import History


def rows_of(history: History, table: str) -> list[dict[str, Any]]:
    """The newest snapshot's rows, read from its files, in order of `id`."""
    files = history.files(table)
    if not files:
        return []
    with duckdb.connect() as database:
        cursor = database.execute("SELECT * FROM read_parquet(?, union_by_name=true) ORDER BY id", [list(files)])
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _rows(*ids: str, **more: str) -> pa.Table:
    columns = {"id": list(ids)} | {name: [value] * len(ids) for name, value in more.items()}
    return pa.table(columns)


class HistorySuite:
    """Conformance of `History`: run over every implementation."""

    def test_a_table_that_is_not_there_is_empty(self, history: History) -> None:
        assert history.files("nothing") == ()
        assert history.sequence("nothing", "w") == 0
        assert history.erase("nothing", "id = 'a'") == 0
        assert history.replace("nothing", _rows("a"), key="id") == 0
        history.compact("nothing")
        assert history.tables() == ()

    def test_a_sequence_is_appended_once_per_writer(self, history: History) -> None:
        assert history.append("t", _rows("a"), writer="w", sequence=10)
        assert not history.append("t", _rows("again"), writer="w", sequence=10)
        assert not history.append("t", _rows("older"), writer="w", sequence=9)
        assert history.append("t", _rows("b"), writer="other", sequence=1)
        assert history.append("t", _rows("c"), writer="w", sequence=11)
        assert [row["id"] for row in rows_of(history, "t")] == ["a", "b", "c"]
        assert (history.sequence("t", "w"), history.sequence("t", "other")) == (11, 1)
        assert history.tables() == ("t",)

    def test_an_append_without_rows_moves_the_sequence(self, history: History) -> None:
        assert history.append("t", _rows("a").slice(0, 0), writer="w", sequence=5)
        assert history.sequence("t", "w") == 5
        assert rows_of(history, "t") == []

    def test_new_columns_are_added_and_absent_ones_are_null(self, history: History) -> None:
        history.append("t", _rows("a", old="x"), writer="w", sequence=1)
        history.append("t", _rows("b", new="y"), writer="w", sequence=2)
        assert rows_of(history, "t") == [
            {"id": "a", "old": "x", "new": None},
            {"id": "b", "old": None, "new": "y"},
        ]

    def test_erased_rows_are_gone_and_sequences_stay(self, history: History) -> None:
        history.append("t", _rows("a", "b", who="x"), writer="w", sequence=1)
        history.append("t", _rows("c", who="y"), writer="w", sequence=2)
        assert history.erase("t", "who = 'x'") == 2
        assert rows_of(history, "t") == [{"id": "c", "who": "y"}]
        assert history.erase("t", "who = 'x'") == 0
        assert history.sequence("t", "w") == 2
        assert history.append("t", _rows("d", who="z"), writer="w", sequence=3)
        assert [row["id"] for row in rows_of(history, "t")] == ["c", "d"]

    def test_replaced_rows_take_the_place_of_the_old(self, history: History) -> None:
        history.append("t", _rows("a", "b", who="x"), writer="w", sequence=1)
        history.append("t", _rows("c", who="x"), writer="w", sequence=2)
        assert history.replace("t", _rows("a", "c", "unknown", who="gone"), key="id") == 2
        assert rows_of(history, "t") == [
            {"id": "a", "who": "gone"},
            {"id": "b", "who": "x"},
            {"id": "c", "who": "gone"},
        ]
        assert history.sequence("t", "w") == 2

    def test_compacting_changes_files_and_no_rows(self, history: History) -> None:
        for number in range(5):
            history.append("t", _rows(f"r{number}"), writer="w", sequence=number + 1)
        before = rows_of(history, "t")
        many = len(history.files("t"))
        history.compact("t")
        assert rows_of(history, "t") == before
        assert len(history.files("t")) < many
        assert history.sequence("t", "w") == 5
