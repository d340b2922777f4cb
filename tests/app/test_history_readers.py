"""History is read by whoever reads Delta Lake, also after the loop has joined its small files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset
import pytest
from deltalake import DeltaTable

from mainstay.app.commands import ask
from mainstay.app.loop import Loop
from mainstay.app.wiring import own
from mainstay.core.clock import HOUR
from tests.app.shop import RULE, Shop
from tests.app.test_commands import Late

ROUNDS = 4


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    for number in range(1, ROUNDS + 1):
        shop.exec(f"UPDATE customers SET tenure = {number} WHERE customer_id = 'person-0003'")
        shop.run()
        shop.predict("person-0003")
        ask(shop.place, "flush", {})
    return shop


def readings(folder: Path) -> list[list[dict[str, Any]]]:
    """The table's rows, as deltalake, pyarrow and DuckDB read them, in one order."""
    table = DeltaTable(folder)
    files = table.file_uris()
    by_delta = table.to_pyarrow_table()
    by_arrow = pyarrow.dataset.dataset(files, schema=by_delta.schema).to_table()
    with duckdb.connect() as duck:
        relation = duck.sql(f"SELECT * FROM read_parquet({files!r}, union_by_name => true)")
        assert relation is not None
        by_duck = relation.to_arrow_table()
    return [sorted(one.select(by_delta.column_names).to_pylist(), key=str) for one in (by_delta, by_arrow, by_duck)]


def compacted(shop: Shop) -> None:
    clock = Late()
    with own(shop.place, "a test", clock=clock) as works:
        loop = Loop(works)
        loop.start()
        clock.ahead_us += 2 * HOUR
        while loop.beat():
            pass


def test_history_is_read_by_others_before_and_after_it_was_compacted(shop: Shop) -> None:
    history = shop.place.home.history
    tables = {"customers": 6 + ROUNDS, "receipts": ROUNDS}
    before = {}
    for name, rows in tables.items():
        by_delta, by_arrow, by_duck = readings(history / name)
        assert by_delta == by_arrow == by_duck
        assert len(by_delta) == rows
        assert len(DeltaTable(history / name).file_uris()) >= ROUNDS
        before[name] = by_delta
    compacted(shop)
    for name in tables:
        assert len(DeltaTable(history / name).file_uris()) == 1
        assert readings(history / name) == [before[name]] * 3
