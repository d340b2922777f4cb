"""`mainstay profile --pin`, and the check `distribution` that compares with it, on a real SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainstay.cli.main import run

FILE = """
integration: churn
sources: {crm: {kind: sqlite, path: crm.db, timezone: UTC}}
datasets:
  people:
    source: crm
    table: people
    key: id
    owner: crm@example.com
    event_time: booked
    columns:
      id: {type: integer}
      mail: {type: string, pii: true}
      contact: {type: string}
      plan: {type: string}
      age: {type: integer}
      booked: {type: timestamp}
    checks:
      - {row_count: {min: 1}}
features: {person: {key: id, sql: "SELECT id, age FROM people"}}
model: {name: churn, input: person, constant: {x: 1}}
"""
CHECKED = FILE.replace(
    "      - {row_count: {min: 1}}\n",
    "      - {row_count: {min: 1}}\n"
    "      - {distribution: {column: age, profile: profiles/people.json}, on_fail: block}\n"
    "      - {distribution: {column: plan, profile: profiles/people.json}}\n",
)


def fill(folder: Path, ages: Sequence[int], plans: Sequence[str]) -> None:
    with closing(sqlite3.connect(folder / "crm.db")) as connection, connection:
        connection.execute("DROP TABLE IF EXISTS people")
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, mail, contact, plan, age INTEGER, booked)")
        rows = [
            (n, f"p{n % 7}@x.de", f"c{n % 7}@x.de", plans[n % len(plans)], ages[n % len(ages)], "2026-01-01 00:00:00")
            for n in range(400)
        ]
        connection.executemany("INSERT INTO people VALUES (?,?,?,?,?,?)", rows)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    fill(tmp_path, range(20, 60), ["gold", "basic"])
    (tmp_path / "mainstay.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert run(["apply", "--yes"]) == 0
    assert run(["run"]) == 0
    capsys.readouterr()
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *command: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*command, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_profile_is_pinned_compared_with_and_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = told(capsys, "profile", "people")
    assert before["checks"] == []  # nothing speaks for any
    assert run(["profile", "people", "--pin"]) == 0
    text = (place / "profiles" / "people.json").read_text()
    assert "@" not in text  # no personal value
    pinned = json.loads(text)
    assert {name: one.get("left_out") for name, one in pinned["columns"].items()} == {
        "id": "the key", "mail": "pii", "contact": "looks personal", "plan": None, "age": None,
        "booked": "type timestamp",
    }  # fmt: skip
    assert pinned["columns"]["plan"]["values"] == {"basic": 0.5, "gold": 0.5}
    proposed = told(capsys, "profile", "people")["checks"]
    assert "{distribution: {column: age, profile: profiles/people.json, psi: 0.2}}" in proposed
    (place / "mainstay.yaml").write_text(CHECKED)
    planned = told(capsys, "apply", "--yes")
    assert "reclean" not in json.dumps(planned)
    fill(place, range(20, 60), ["gold", "basic", "basic", "silver"])
    run(["run"])
    contract = {one["name"]: one["contract"] for one in told(capsys, "profile", "people")["columns"]}
    assert contract["age"][0].startswith("age has a PSI of 0.000 over 400 rows, within 0.2")
    assert "values not pinned from 0.0 % to 25.0 %" in contract["plan"][0]
    status = told(capsys, "status", code=1)
    wrong = {one["check"]: one["verdict"] for one in status["wrong"]}
    assert wrong["people.plan.distribution"] == "WARN"
    fill(place, range(50, 60), ["gold", "basic", "basic", "silver"])
    result = told(capsys, "run", code=1)["results"][0]
    assert result["status"] == "blocked"
    status = told(capsys, "status", code=1)
    (blocked,) = [one for one in status["wrong"] if one["check"] == "people.batch"]
    assert "age has a PSI of" in blocked["sentence"]


def test_check_refuses_what_is_missing_and_what_is_older(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "mainstay.yaml").write_text(CHECKED)
    assert run(["check"]) == 2
    said = capsys.readouterr()
    assert "mainstay profile people --pin" in said.out + said.err
    assert run(["profile", "people", "--pin"]) == 0  # the applied file is enough
    (place / "mainstay.yaml").write_text(
        CHECKED.replace("plan: {type: string}", "plan: {type: string, clean: [upper]}")
    )
    found = told(capsys, "check", code=1)
    findings = [one for area in found["areas"] for one in area["findings"]]
    (older,) = [one for one in findings if one["check"] == "people.plan.distribution"]
    assert older["verdict"] == "FAIL"
    assert "is older than the contract" in older["sentence"]
    assert "mainstay profile people --pin" in older["mend"]


def test_a_count_by_day_is_proposed_where_days_were_alike(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    today = datetime.now(UTC).date()
    with closing(sqlite3.connect(place / "crm.db")) as connection, connection:
        for n in range(400):
            booked = f"{today - timedelta(days=n % 40)} 08:00:00"
            connection.execute("UPDATE people SET booked = ? WHERE id = ?", (booked, n))
    assert run(["run"]) == 0
    expected = "{volume: {per: day, of: booked, within: 50%}}"
    assert told(capsys, "profile", "people")["checks"] == [expected]
    text = FILE.replace("      - {row_count: {min: 1}}\n", f"      - {{row_count: {{min: 1}}}}\n      - {expected}\n")
    (place / "mainstay.yaml").write_text(text)
    assert run(["apply", "--yes"]) == 0
    assert run(["run"]) == 0
    assert told(capsys, "profile", "people")["checks"] == []
    assert "people.volume" not in {one["check"] for one in told(capsys, "status", code=1)["wrong"]}


def test_few_rows_cannot_be_pinned(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(place / "crm.db")) as connection, connection:
        connection.execute("DELETE FROM people WHERE id >= 99")
    run(["run"])
    run(["batch", "release", "people/2", "--reason", "it is a test"])
    capsys.readouterr()
    assert run(["profile", "people", "--pin"]) == 3
    said = capsys.readouterr()
    assert "people has 99 rows, and a profile takes 100" in said.out + said.err
