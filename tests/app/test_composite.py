"""Keys of several columns, the whole road: read, reconciled, held, answered, explained, erased."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mainstay.app.answers import readers, why
from mainstay.app.commands import ask
from mainstay.app.stores import open_state
from mainstay.app.training_set import Wanted, training_set
from mainstay.cli.main import run as run_command
from mainstay.core.clock import SystemClock, iso
from mainstay.core.errors import MainstayError, Refused
from mainstay.core.records import FeatureSetState
from mainstay.serving.reply import Answer
from mainstay.store.shelf import ShelfReader
from mainstay.testing.postgres import Database
from tests.app.orders import Orders, k, line


@pytest.fixture(params=["sqlite", "postgres"])
def orders(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Orders:
    if request.param == "sqlite":
        return Orders(tmp_path)
    database: Database = request.getfixturevalue("postgres_db")
    monkeypatch.setenv("SHOP_URL", database.url)
    return Orders(tmp_path, database)


@pytest.fixture
def here(tmp_path: Path) -> Orders:
    made = Orders(tmp_path)
    made.begin()
    return made


def quarantined(orders: Orders, **args: Any) -> list[tuple[str, str]]:
    return [(one["key"], one["reasons"]) for one in ask(orders.place, "quarantine.list", args)["rows"]]


def test_rows_are_answered_by_every_column_of_their_key_and_by_one_of_them(orders: Orders) -> None:
    orders.begin()
    assert orders.score("A", 1) == 2 + 3 / 1000
    assert orders.score("A", 2) == 4 + 3 / 1000
    assert orders.score("C,1", 1) == 2 + 1 / 1000
    assert orders.score("A", 3) == 404
    orders.put("A", 2, qty=5)
    orders.put("A", 3, qty=1)
    orders.run()
    assert [orders.score("A", number) for number in (1, 2, 3)] == [2 + 7 / 1000, 10 + 7 / 1000, 2 + 7 / 1000]
    assert orders.score("B", 1) == 2 + 1 / 1000


def test_reconciliation_finds_what_the_cursor_does_not_tell(orders: Orders) -> None:
    orders.begin()
    orders.drop("A", 2)
    orders.drop("C,1", 1)
    orders.put("B", 2, qty=9, changed=0)  # a late commit, below the cursor
    orders.put("B", 1, qty=4, changed=0)
    orders.run()
    assert (orders.score("A", 2), orders.score("C,1", 1)) == (410, 410)
    assert orders.score("A", 1) == 2 + 1 / 1000
    assert orders.score("B", 2) == 18 + 13 / 1000
    assert orders.score("B", 1) == 8 + 13 / 1000
    orders.put("A", 2, qty=3)
    orders.run()
    assert orders.score("A", 2) == 6 + 4 / 1000


def test_a_rejected_line_is_held_alone_and_comes_back(orders: Orders) -> None:
    orders.begin()
    orders.put("A", 2, qty=1000)
    orders.run()
    assert quarantined(orders) == [("order_id=A,line_no=2", "qty.max")]
    assert quarantined(orders, key="order_id=A,line_no=2") == quarantined(orders)
    assert quarantined(orders, key=k("A", 2)) == quarantined(orders)
    assert quarantined(orders, key="order_id=A,line_no=1") == []
    assert orders.score("A", 2) == 409
    found = orders.predict(line("B", 1))
    assert isinstance(found, Answer)
    assert found.verdict == "PASS"
    with pytest.raises(MainstayError, match="the key of lines has 2 columns"):
        quarantined(orders, dataset="lines", key="A")
    done = ask(orders.place, "quarantine.replay", {"dataset": "lines", "key": "order_id=A,line_no=2"})["results"]
    assert (done["lines"]["tried"], done["lines"]["published"]) == (1, 0)
    orders.file.write_text(orders.file.read_text().replace("max: 100", "max: 1000"))
    ask(orders.place, "apply", {})
    ask(orders.place, "quarantine.replay", {"dataset": "lines", "key": "order_id=A,line_no=2"})
    assert quarantined(orders) == []
    assert orders.score("A", 2) == 2000 + 1001 / 1000


def test_a_row_without_a_part_of_its_key_has_none(tmp_path: Path) -> None:
    made = Orders(tmp_path)
    made.sql("DROP TABLE lines")
    made.sql("CREATE TABLE lines (order_id TEXT, line_no TEXT, qty INT, price REAL, changed INT)")
    made.sql(
        "INSERT INTO lines VALUES ('A', '1', 1, 2.0, 1), ('A', NULL, 1, 2.0, 2), (NULL, '1', 1, 2.0, 3), "
        "('A', 'one', 1, 2.0, 4), (' B ', '2', 1, 2.0, 5)"
    )
    made.begin(inputs="line", model='rule: {score: "total"}')
    found = sorted(quarantined(made))
    assert [key for key, _ in found] == ["(no key)"] * 3
    assert {reasons for _, reasons in found} == {"line_no.required", "order_id.required", "line_no.type"}
    assert made.score("A", 1) == 2
    assert made.score("B", 2) == 2  # trimmed: the cleaned value names the row
    made.run()
    assert len(quarantined(made)) == 3


def test_one_line_is_erased_and_does_not_come_back(orders: Orders) -> None:
    orders.begin()
    receipts = [orders.predict(line("A", number)).receipt for number in (1, 2)]
    done = ask(orders.place, "erase", {"key": "order_id=A,line_no=2", "reason": "asked on 2026-11-20"})
    assert (done["clean"], done["traces"]) == (True, [])
    assert ask(orders.place, "erase.verify", {"key": "order_id=A,line_no=2"})["clean"]
    assert not ask(orders.place, "erase.verify", {"key": "order_id=A,line_no=1"})["clean"]
    orders.put("A", 2, qty=7)
    orders.run()
    orders.run()
    assert orders.score("A", 2) == 404
    assert orders.score("A", 1) == 2 + 1 / 1000
    with readers(orders.place) as found:
        assert any("erased on" in one.sentence for one in why(found, receipts[1] or ""))
        kept = [detail for one in why(found, receipts[0] or "") for detail in one.details]
    assert ("order_id, line_no", "order_id=A,line_no=1") in kept


def test_the_reason_of_an_erasure_does_not_name_the_key(here: Orders) -> None:
    with pytest.raises(MainstayError, match="names the person"):
        ask(here.place, "erase", {"key": "order_id=A,line_no=2", "reason": "order_id=A,line_no=2 asked"})


def test_a_part_of_a_key_erases_nothing_and_says_what_the_whole_is(tmp_path: Path) -> None:
    made = Orders(tmp_path)
    made.begin(inputs="line", model='rule: {score: "total"}')
    with pytest.raises(MainstayError, match="the key is order_id and line_no, and only order_id is named") as told:
        ask(made.place, "erase", {"key": "order_id=A", "reason": "asked"})
    assert "--key order_id=...,line_no=..." in str(told.value)


def test_a_model_over_one_view_with_such_a_key(tmp_path: Path) -> None:
    made = Orders(tmp_path)
    made.begin(inputs="line", model='rule: {score: "total"}')
    assert made.score("A", 2) == 4
    assert made.score("A", 9) == 404
    found = made.predict(line("A", 2))
    with readers(made.place) as reading:
        told = [detail for one in why(reading, found.receipt or "") for detail in one.details]
    assert ("order_id, line_no", "order_id=A,line_no=2") in told


def test_the_key_of_a_dataset_cannot_change_beneath_its_rows(here: Orders) -> None:
    with pytest.raises(Refused, match=r"had the key \(order_id, line_no\) and would get \(line_no, order_id\)"):
        here.apply(key="[line_no, order_id]")


def test_the_set_says_its_columns_and_types(here: Orders) -> None:
    with closing(open_state(here.place.home)) as state:
        every = ShelfReader(state, "feature_set", FeatureSetState).all().values()
    found = {one.view: (one.key_columns, one.mapping) for one in every}
    assert found["line"] == ((("order_id", "string"), ("line_no", "integer")), {"lines": '["order_id","line_no"]'})
    assert found["order"] == ((("order_id", "string"),), {"lines": "order_id"})


def test_labels_are_given_the_row_of_their_whole_key(tmp_path: Path) -> None:
    here = Orders(tmp_path)
    here.begin(inputs="line", model='rule: {score: "total"}')
    at = iso(SystemClock().now_us())
    labels = tmp_path / "labels.csv"
    labels.write_text(f'no,order,at,late\n1,A,{at},0\n2,A,{at},1\n1,"C,1",{at},1\n9,A,{at},0\n')
    with pytest.raises(Refused, match="--key names 1 column"):
        training_set(here.place, Wanted(labels=labels, at="at", key="order"))
    made = training_set(here.place, Wanted(labels=labels, at="at", key="order,no", out=tmp_path / "set.parquet"))
    assert (made.rows, made.labels, sum(made.left_out.values())) == (3, 4, 1)
    rows = pq.read_table(tmp_path / "set.parquet").to_pylist()
    assert [(row["order"], row["no"], row["total"], row["late"]) for row in rows] == [
        ("A", 1, 2.0, 0), ("A", 2, 4.0, 1), ("C,1", 1, 2.0, 1),
    ]  # fmt: skip


def test_notes_of_a_line_wait_until_the_line_is_there(here: Orders) -> None:
    here.sql("CREATE TABLE notes (note_id INTEGER PRIMARY KEY, order_id TEXT, line INT, said TEXT)")
    here.sql("INSERT INTO notes VALUES (1, 'A', 1, 'x'), (2, 'A', 3, 'y'), (3, 'A', NULL, 'z')")
    text = here.file.read_text()
    notes = (
        "  notes:\n    source: shop\n    table: notes\n    key: note_id\n    columns: {note_id: {type: integer}, "
        "order_id: {type: string}, line: {type: integer}, said: {type: string}}\n"
        "    checks: [{references: {column: [order_id, line], dataset: lines}}]\n"
    )
    here.file.write_text(text.replace("features:\n", notes + "features:\n"))
    ask(here.place, "apply", {})
    here.run()
    assert quarantined(here, dataset="notes") == [("2", "order_id+line.references")]
    here.put("A", 3, qty=1)
    here.run()
    assert quarantined(here, dataset="notes") == []


def test_a_key_is_typed_and_printed_by_its_columns(here: Orders, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--file", str(here.file)]
    assert run_command([*at, "predict", "--key", "order_id=A,line_no=2"]) == 0
    assert "order_id=A,line_no=2" in capsys.readouterr().out
    assert run_command([*at, "predict", "--key", '{"order_id": "C,1", "line_no": 1}']) == 0
    here.put("A", 2, qty=1000)
    here.run()
    assert run_command([*at, "quarantine", "list", "--key", "order_id=A,line_no=2"]) == 0
    assert "order_id=A,line_no=2" in capsys.readouterr().out.replace("\n", "")
    assert run_command([*at, "erase", "--key", "order_id=A,line_no=2", "--reason", "asked", "--yes"]) == 0
    assert run_command([*at, "erase", "--key", "order_id=A,line_no=2", "--verify"]) == 0
