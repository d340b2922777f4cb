"""`mainstay profile`: what stands in a dataset, beside its contract."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainstay.cli.main import run

FILE = """
integration: churn
sources: {crm: {kind: sqlite, path: crm.db}}
datasets:
  people:
    source: crm
    table: people
    key: id
    columns:
      id: {type: integer}
      mail: {type: string, pii: true}
      contact: {type: string}
      plan: {type: string}
      age: {type: integer, min: 18}
      score: {type: number}
      city: {type: string, values: [Bonn, Ulm], on_fail: warn}
features: {person: {key: id, sql: "SELECT id, age FROM people"}}
model: {name: churn, input: person, constant: {x: 1}}
"""


@pytest.fixture
def profiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    with closing(sqlite3.connect(tmp_path / "crm.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE people (id INTEGER PRIMARY KEY, mail, contact, plan, age INTEGER, score REAL, city)"
        )
        rows = [
            (
                n,
                f"p{n}@x.de",
                f"c{n}@x.de",
                "gold" if n % 4 else "basic",
                20 + n % 50,
                None if n % 3 == 0 else n / 10,
                "Bonn",
            )
            for n in range(1200)
        ]
        connection.executemany("INSERT INTO people VALUES (?,?,?,?,?,?,?)", rows)
    (tmp_path / "mainstay.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert run(["apply", "--yes"]) == 0
    assert run(["run"]) == 0
    capsys.readouterr()
    assert run(["profile", "people", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def column(profiled: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in profiled["columns"] if one["name"] == name)


def test_rows_are_counted_column_by_column(profiled: dict[str, Any]) -> None:
    assert (profiled["rows"], profiled["looked_at"]) == (1200, 1200)
    age, score, plan = (column(profiled, name)["seen"] for name in ("age", "score", "plan"))
    assert (age["low"], age["high"], age["distinct"], age["nulls"]) == ("20", "69", 50, 0)
    assert (score["nulls"], score["low"], score["high"]) == (400, "0.1", "119.9")
    assert plan["common"] == [["gold", 900], ["basic", 300]]


def test_the_contract_stands_beside_and_only_what_it_lacks_is_proposed(profiled: dict[str, Any]) -> None:
    assert column(profiled, "age")["contract"] == ["min 18"]
    assert column(profiled, "age")["proposed"] == ["required: true"]
    assert column(profiled, "city")["contract"] == ["values [Bonn, Ulm] (warn)"]
    assert column(profiled, "city")["proposed"] == ["required: true"]
    assert column(profiled, "plan")["proposed"] == ["required: true", "values: [basic, gold], on_fail: warn"]
    assert column(profiled, "score")["proposed"] == ["min: 0"]
    assert column(profiled, "id")["proposed"] == []


def test_personal_columns_show_no_value_and_unmarked_ones_are_told(profiled: dict[str, Any]) -> None:
    mail = column(profiled, "mail")["seen"]
    assert (mail["low"], mail["high"], mail["common"], mail["distinct"]) == (None, None, [], 1200)
    assert "pii: true" in column(profiled, "contact")["proposed"]


def test_a_person_reads_a_table_and_the_lines_to_type(
    profiled: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["profile", "people"]) == 0
    out = capsys.readouterr().out
    assert "people: 1,200 rows" in out
    assert "  plan: {values: [basic, gold], on_fail: warn}" in out
    assert "p7@x.de" not in out
    assert run(["profile", "nobody"]) == 4
