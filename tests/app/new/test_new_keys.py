"""`mainstay new` on tables whose rows several columns name together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.app.commands import ask
from mainstay.app.new.live import place_of
from mainstay.cli.main import run
from mainstay.testing.postgres import Database
from tests.app.new.test_new import a_model, failed

TABLES = (
    "CREATE TABLE orders (order_id INTEGER PRIMARY KEY, channel VARCHAR(9))",
    (
        "CREATE TABLE lines (order_id INTEGER NOT NULL REFERENCES orders, line_no INTEGER NOT NULL, "
        "qty INTEGER NOT NULL, PRIMARY KEY (order_id, line_no))"
    ),
    "CREATE TABLE weights (order_id INTEGER, line_no INTEGER, grams INTEGER NOT NULL, PRIMARY KEY (order_id, line_no))",
)
ROWS = [
    "INSERT INTO orders VALUES " + ", ".join(f"({n}, '{'web' if n % 2 else 'shop'}')" for n in range(40)),
    "INSERT INTO lines VALUES " + ", ".join(f"({n}, {m}, {n % 7 + m})" for n in range(40) for m in (1, 2)),
    "INSERT INTO weights VALUES " + ", ".join(f"({n}, {m}, {100 * m})" for n in range(40) for m in (1, 2)),
]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        database: Database = request.getfixturevalue("postgres_db")
        for one in (*TABLES, *ROWS):
            database.exec(one)
        return database.url
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.executescript(";\n".join((*TABLES, *ROWS)))
    return str(tmp_path / "shop.sqlite")


def test_a_primary_key_of_several_columns_is_taken_and_joined(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    model = a_model(tmp_path, {"qty": "number", "channel": ["shop", "web"], "grams": "number"})
    code = run(["new", str(made), "--from", url, "--table", "lines", "--yes", "--timezone", "UTC", *model, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0, failed(told) or told
    assert not failed(told)
    text = (made / "mainstay.yaml").read_text()
    assert text.count("key: [order_id, line_no]") == 3  # the lines, their weights, and the view
    assert "from: {lines: [order_id, line_no], " in text
    assert "orders: all" in text
    assert "weights: [order_id, line_no]" in text
    sql = next((made / "features").iterdir()).read_text()
    assert "ON weights.order_id = lines.order_id AND weights.line_no = lines.line_no" in sql
    assert "ON orders.order_id = lines.order_id" in sql
    place = place_of(made)
    ask(place, "apply", {})
    results = {one["dataset"]: one for one in ask(place, "run", {"datasets": []})["results"]}
    assert {name: (one["published"], one["quarantined"]) for name, one in results.items()} == {
        "lines": (80, 0), "weights": (80, 0), "orders": (40, 0),
    }  # fmt: skip


def test_the_columns_of_a_key_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("CREATE TABLE lines (order_id INTEGER, line_no INTEGER, qty INTEGER NOT NULL)")
        connection.execute(ROWS[1])
    given = ["new", str(tmp_path / "made"), "--from", str(tmp_path / "shop.sqlite"), "--yes", "--json"]
    assert run(given) == 3
    assert json.loads(capsys.readouterr().out)["error"]["mend"].startswith("--key")
    assert run([*given, "--key", "order_id,lime_no"]) == 3
    assert "no column lime_no" in json.loads(capsys.readouterr().out)["error"]["sentence"]
    assert run([*given, "--key", "order_id, line_no"]) == 0
    assert (tmp_path / "made" / "mainstay.yaml").read_text().count("key: [order_id, line_no]") == 2


PARENTS = (
    "CREATE TABLE rooms (house VARCHAR(9), room INTEGER, beds INTEGER NOT NULL, PRIMARY KEY (house, room))",
    (
        "CREATE TABLE stays (stay_id INTEGER PRIMARY KEY, nights INTEGER NOT NULL, room_no INTEGER, "
        "in_house VARCHAR(9), FOREIGN KEY (room_no, in_house) REFERENCES rooms (room, house))"
    ),
    "INSERT INTO rooms VALUES " + ", ".join(f"('{h}', {n}, {n + (h == 'b')})" for h in "ab" for n in range(1, 11)),
    "INSERT INTO stays VALUES " + ", ".join(f"({n}, {n % 5 + 1}, {n % 10 + 1}, '{'ab'[n % 2]}')" for n in range(60)),
)


@pytest.fixture(params=["sqlite", "postgres"])
def rooms(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[str], object]]:
    """The address, and what runs a statement there."""
    if request.param == "postgres":
        database: Database = request.getfixturevalue("postgres_db")
        for one in PARENTS:
            database.exec(one)
        return database.url, database.exec
    file = tmp_path / "rooms.sqlite"

    def execute(statement: str) -> None:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(statement)

    for one in PARENTS:
        execute(one)
    return str(file), execute


def test_a_parent_that_several_columns_refer_to_is_joined_and_checked(
    rooms: tuple[str, Callable[[str], object]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, execute = rooms
    made = tmp_path / "made"
    model = a_model(tmp_path, {"nights": "number", "beds": "number"})
    code = run(["new", str(made), "--from", url, "--table", "stays", "--yes", "--timezone", "UTC", *model, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == 0, failed(told) or told
    text = (made / "mainstay.yaml").read_text()
    assert "- {references: {column: [room_no, in_house], dataset: rooms}}  # guess: a foreign key" in text
    assert "key: [room, house]" in text
    sql = next((made / "features").iterdir()).read_text()
    assert "LEFT JOIN rooms ON rooms.room = stays.room_no AND rooms.house = stays.in_house" in sql
    place = place_of(made)
    ask(place, "apply", {})
    results = {one["dataset"]: one for one in ask(place, "run", {"datasets": []})["results"]}
    assert {name: (one["published"], one["quarantined"]) for name, one in results.items()} == {
        "stays": (60, 0), "rooms": (20, 0),
    }  # fmt: skip
    execute("INSERT INTO stays VALUES (100, 1, NULL, 'a')")  # refers to nothing
    results = {one["dataset"]: one for one in ask(place, "run", {"datasets": []})["results"]}
    assert (results["stays"]["published"], results["stays"]["quarantined"]) == (1, 0)


def test_a_primary_key_of_numbers_with_a_fraction_is_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE marks (mark REAL PRIMARY KEY, code TEXT NOT NULL, qty INTEGER NOT NULL)")
        connection.execute("INSERT INTO marks VALUES (0.5, 'a', 1), (1.25, 'b', 2), (2.75, 'c', 3)")
    given = ["new", str(tmp_path / "made"), "--from", str(tmp_path / "shop.sqlite"), "--yes", "--json"]
    assert run(given) == 0
    assert "key: code" in (tmp_path / "made" / "mainstay.yaml").read_text()
