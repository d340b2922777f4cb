"""Amounts in many currencies, over a real SQLite file and a real PostgreSQL: from the file to the answer and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mainstay.app.answers import predict, readers, why
from mainstay.app.commands import ask
from mainstay.app.place import Place
from mainstay.app.training_set import Wanted, training_set
from mainstay.cli.main import run
from mainstay.core.clock import SystemClock, iso
from mainstay.serving.reply import Answer
from mainstay.serving.request import PredictRequest
from mainstay.store.home import Home
from mainstay.testing.postgres import Database
from tests.retraining.past import write_labels

FILE = """
integration: spend
sources: {{books: {source}}}
datasets:
  payments:
    source: books
    table: payments
    key: id
    deletes: snapshot
    columns:
      id: {{type: integer}}
      amount: {{type: number, max: 1000, clean: [{{number: {{decimal: ","}}}}, {{currency: {step}}}]}}
      code: {{type: string, clean: [trim, upper]}}
      booked: {{type: date}}
  fx_rates:
    source: books
    table: fx_rates
    key: id
    columns:
      id: {{type: integer}}
      currency: {{type: string}}
      date: {{type: date}}
      rate: {{type: number}}
features: {{payment: {{key: id, sql: "SELECT id, amount FROM payments"}}}}
model: {{name: spend, input: payment, rule: {{euros: amount}}}}
"""
STEP = "{from: code, to: EUR, rates: fx_rates, at: booked}"
TABLES = (
    "CREATE TABLE payments (id INTEGER PRIMARY KEY, amount TEXT, code TEXT, booked DATE)",
    "CREATE TABLE fx_rates (id INTEGER PRIMARY KEY, currency TEXT, date DATE, rate DOUBLE PRECISION)",
    "INSERT INTO fx_rates VALUES (1, 'USD', '2026-10-30', 0.8)",
    "INSERT INTO payments VALUES (1, '100,50', ' usd', '2026-11-01'), (2, '10', 'EUR', '2026-11-01')",
    "INSERT INTO payments VALUES (3, '100', 'CHF', '2026-11-01')",
)
Execute = Callable[[str], object]


@pytest.fixture(params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Execute, str]:
    monkeypatch.chdir(tmp_path)
    if request.param == "postgres":
        database: Database = request.getfixturevalue("postgres_db")
        monkeypatch.setenv("BOOKS", database.url)
        return database.exec, '{kind: postgres, url: "${BOOKS}"}'

    def execute(sql: str) -> None:
        with closing(sqlite3.connect(tmp_path / "books.db")) as connection, connection:
            connection.execute(sql)

    return execute, "{kind: sqlite, path: books.db}"


def told(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*command, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_amounts_are_converted_explained_and_given_to_training(
    books: tuple[Execute, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute, source = books
    for statement in TABLES:
        execute(statement)
    (tmp_path / "mainstay.yaml").write_text(FILE.format(source=source, step=STEP))
    assert run(["apply", "--yes"]) == 0
    assert run(["check"]) == 0
    assert run(["run"]) == 0
    place = Place(Home(tmp_path / ".mainstay", "spend"), tmp_path / "mainstay.yaml")

    def euros(key: int) -> Answer:
        found = predict(place, PredictRequest(key=key))
        assert isinstance(found, Answer)
        return found

    first = euros(1)
    assert first.output == {"euros": pytest.approx(80.4)}
    assert euros(2).output == {"euros": 10.0}
    (row,) = told(capsys, "quarantine", "list")["rows"]
    assert row["reasons"] == "amount.currency (no rate for CHF on or before 2026-11-01, nor older than 7 d)"
    assert first.receipt is not None

    def cleaned(receipt: str) -> dict[str, str]:
        with readers(place) as found:
            links = why(found, receipt)
        return dict(next(one for one in links if one.what == "cleaning").details)

    later = "'100,50' → '100.5 (before it was converted; history has the rate within minutes)'"
    assert cleaned(first.receipt)["amount"] == later
    ask(place, "flush", {})
    assert cleaned(first.receipt)["amount"] == "'100,50' → '80.4 (100.5 USD * 0.8 of 2026-10-30)'"
    execute("INSERT INTO fx_rates VALUES (2, 'CHF', '2026-11-01', 1.1)")
    assert run(["run"]) == 0
    taken_up = euros(3)
    assert taken_up.output == {"euros": pytest.approx(110)}
    assert taken_up.receipt is not None
    assert "mainstay quarantine show payments/1/2" in cleaned(taken_up.receipt)["amount"]
    row = told(capsys, "quarantine", "show", "payments/1/2")
    assert row["note"] == "replayed; amount: 100.0 CHF * 1.1 of 2026-11-01"
    ask(place, "flush", {})
    rows = [(key, iso(SystemClock().now_us())) for key in (1, 2, 3)]
    labels = write_labels(tmp_path / "labels.csv", rows)
    assert training_set(place, Wanted(labels=labels, at="at", out=tmp_path / "set.parquet")).rows == 3
    kept = {one["id"]: one["amount"] for one in pq.read_table(tmp_path / "set.parquet").to_pylist()}
    assert kept == {1: pytest.approx(80.4), 2: 10.0, 3: pytest.approx(110)}
