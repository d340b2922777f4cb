"""`mainstay new` on databases that it has never seen: what it writes, what it asks, and what it leaves behind."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainstay.cli.main import run
from mainstay.core.clock import SystemClock
from mainstay.core.nouns import SourceConfig
from mainstay.core.ports import Source, TableInfo
from mainstay.sources import open_source
from mainstay.testing.postgres import Database

Told = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An old system: customers with a key, one profile for each, many orders, and a region that several share."""
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE regions (region_no INTEGER PRIMARY KEY, income REAL);
            CREATE TABLE customers (customer_id TEXT PRIMARY KEY, email TEXT, plan TEXT, tenure INTEGER NOT NULL,
              region_no INTEGER REFERENCES regions, is_deleted INTEGER NOT NULL DEFAULT 0, updated_at TEXT,
              churned TEXT);
            CREATE TABLE profiles (customer_id TEXT, household_size INTEGER);
            CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id TEXT REFERENCES customers, amount REAL);
            """
        )
        for number in range(200):
            key, plan, churned = f"C{number:03}", ("basic", "gold")[number % 2], "yny"[number % 3]
            changed, mail = "2026-01-02 10:00:00", f"{key}@example.com"
            connection.execute(
                "INSERT INTO customers VALUES (?,?,?,?,?,?,?,?)",
                (key, mail, plan, number % 60, number % 3, number == 7, changed, churned),
            )  # fmt: skip
            connection.execute("INSERT INTO profiles VALUES (?,?)", (key, 1 + number % 5))
            connection.executemany("INSERT INTO orders VALUES (NULL,?,?)", [(key, 1.5), (key, 2.5)])
        connection.executemany("INSERT INTO regions VALUES (?,?)", [(0, 10.0), (1, 20.0), (2, 30.0)])
    return path


@pytest.fixture
def new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    def told(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = run(["new", str(tmp_path / "made"), *arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return told


def failed(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings of `check` that stand in the way."""
    areas = told.get("check", {}).get("areas", [])
    return [one for area in areas for one in area["findings"] if one["verdict"] in ("FAIL", "ERROR")]


def a_model(folder: Path, inputs: dict[str, Any]) -> list[str]:
    """A class of one's own as a model, and the options that import it."""
    place = folder / "lab"
    place.mkdir()
    (place / "model.py").write_text(
        f"class Model:\n    inputs = {inputs!r}\n"
        "    outputs = {'risk': {'type': 'number', 'unit': 'probability'}}\n"
        "    def load(self, path): pass\n"
        "    def predict(self, frame): return {'risk': [0.5] * len(frame)}\n"
    )
    return ["--model", str(place), "--python", sys.executable]


def test_a_table_becomes_an_installation_that_check_passes(shop: Path, new: Told, tmp_path: Path) -> None:
    code, told = new("--from", str(shop), "--table", "customers", "--label", "churned", "--yes", "--timezone", "UTC")
    assert code == 0
    assert told["check"]["verdict"] == "WARN"  # the purpose is for people to state
    assert not failed(told)
    text = (tmp_path / "made" / "mainstay.yaml").read_text()
    assert "key: customer_id" in text
    assert "cursor: {column: updated_at, lag: 2m}" in text
    assert "deletes: {column: is_deleted}  # guess: called is_deleted; set in 1 of 200 rows" in text
    assert "# text" not in text  # evidence names the type as the old system writes it
    assert "email" in text.split("# not read: ")[1]  # personal, and no feature
    assert "constant: {churned_probability: 0.665}" in text
    sql = (tmp_path / "made" / "features" / "customer.sql").read_text()
    assert "churned" not in sql  # the label is no feature
    assert "email" not in sql
    guesses = {one["what"]: one["taken"] for one in told["guesses"]}
    assert guesses["customers.cursor"] == "updated_at"
    assert guesses["customers.deletes"] == "is_deleted"
    assert {path.name for path in tmp_path.iterdir()} == {"made", "shop.sqlite"}  # nothing half-done stands beside


def test_new_counts_what_check_counts(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made"
    asked = ["--from", str(shop), "--table", "customers", "--label", "churned", "--yes", "--timezone", "UTC"]
    assert run(["new", str(folder), *asked]) == 0
    told = capsys.readouterr().out
    assert run(["check", "--file", str(folder / "mainstay.yaml")]) == 0
    checked = capsys.readouterr().out.splitlines()[-1]
    assert " WARN, " in checked
    assert checked in told.splitlines()
    assert "purpose   WARN     the questions stand in the file" in told


def test_a_models_inputs_are_found_in_tables_that_join_row_by_row(shop: Path, new: Told, tmp_path: Path) -> None:
    inputs = {"plan": ["basic", "gold"], "Tenure": "number", "household_size": "number", "income": "number"}
    # What --cursor says is about the customers: the other tables have no such column.
    said = ["--cursor", "updated_at", *a_model(tmp_path, inputs)]
    code, told = new("--from", str(shop), "--yes", "--timezone", "UTC", *said)
    assert code == 0, failed(told) or told
    sql = (tmp_path / "made" / "features" / "customer.sql").read_text()
    assert "LEFT JOIN profiles ON profiles.customer_id = customers.customer_id" in sql
    assert "LEFT JOIN regions ON regions.region_no = customers.region_no" in sql
    assert "customers.tenure AS Tenure" in sql
    text = (tmp_path / "made" / "mainstay.yaml").read_text()
    assert "from: {customers: customer_id, profiles: customer_id, regions: all}" in text
    assert "orders" not in text
    assert not failed(told)


def test_an_input_that_no_column_looks_like_is_asked_never_made_up(shop: Path, new: Told, tmp_path: Path) -> None:
    model = a_model(tmp_path, {"tenure": "number", "amount": "number", "weather": "number"})
    given = ["--from", str(shop), "--table", "customers", "--yes", "--timezone", "UTC", *model]
    code, told = new(*given)
    assert code == 3
    # Orders have an amount, but several rows for one customer: how they come to one number, only a person knows.
    assert "amount, weather" in told["error"]["sentence"]
    assert "--map amount=COLUMN" in told["error"]["mend"]
    assert not (tmp_path / "made").exists()
    code, told = new(*given, "--map", "amount=tenure * 2.5", "--map", "weather=tenure")
    assert code == 0, failed(told) or told
    assert "tenure * 2.5 AS amount" in (tmp_path / "made" / "features" / "customer.sql").read_text()


def test_which_table_is_meant_is_asked_with_those_that_there_are(shop: Path, new: Told) -> None:
    code, told = new("--from", str(shop), "--yes")
    assert code == 3
    assert "4 tables" in told["error"]["sentence"]
    assert told["error"]["mend"].startswith("--table ...: one of customers, orders, profiles, regions")
    code, told = new("--from", str(shop), "--yes", "--table", "customer")
    assert code == 1
    assert "customers" in told["error"]["mend"]


def test_the_table_that_has_the_label_is_the_one_that_is_meant(shop: Path, new: Told) -> None:
    code, told = new("--from", str(shop), "--label", "churned", "--yes")
    assert code == 0, failed(told)
    taken = {one["what"]: one for one in told["guesses"]}
    assert taken["table"]["taken"] == "customers"
    assert taken["table"]["evidence"] == "it alone has the column churned"


def test_without_yes_and_without_a_terminal_nothing_is_guessed(shop: Path, new: Told) -> None:
    code, told = new("--from", str(shop), "--table", "customers", "--label", "churned")
    assert code == 3
    assert "times without a zone" in told["error"]["sentence"]
    assert "--timezone" in told["error"]["mend"]
    assert "or --yes, which takes UTC (nothing says which it is)" in told["error"]["mend"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--key", "nobody"], "customers has no column nobody"),
        (["--cursor", "nothing"], "customers has no column nothing"),
        (["--label", "plan", "--deletes", "gone"], "customers has no column gone"),
        (["--label", "tenure"], "a label has two"),
        (["--constant", "risk"], "a constant is an output and a number"),
        (["--rule", "risk"], "a rule is an output and an expression"),
        (["--timezone", "Mars/Olympus"], "no time zone Mars/Olympus"),
        (["--map", "x"], "--map x is no pair"),
        (["--model", "/nowhere.onnx"], "there is no file"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left(
    shop: Path, new: Told, tmp_path: Path, more: list[str], sentence: str
) -> None:
    code, told = new("--from", str(shop), "--table", "customers", "--yes", *more)
    assert code in (1, 3, 4)
    assert sentence in told["error"]["sentence"]
    assert told["error"]["mend"]
    assert {path.name for path in tmp_path.iterdir()} == {"shop.sqlite"}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("oracle://x/y", "no source for oracle://"),
        ("/nowhere/at.all", "there is no file"),
        ("${NOT_SET_ANYWHERE}", "no variable NOT_SET_ANYWHERE"),
        ("postgresql://reader:hunter2@127.0.0.1:1/crm", "127.0.0.1"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(
    new: Told, tmp_path: Path, source: str, sentence: str
) -> None:
    code, told = new("--from", source, "--yes")
    assert code != 0
    assert sentence in json.dumps(told)
    assert "hunter2" not in json.dumps(told)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_as_it_is(shop: Path, new: Told, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "mine.txt").write_text("mine")
    code, told = new("--from", str(shop), "--table", "customers", "--yes")
    assert (code, "not empty" in told["error"]["sentence"]) == (3, True)
    assert (tmp_path / "made" / "mine.txt").read_text() == "mine"


def test_a_password_stands_in_a_file_of_its_own_that_only_its_owner_reads(
    postgres_db: Database, new: Told, tmp_path: Path
) -> None:
    postgres_db.exec(
        """
        CREATE TABLE deals (deal_id int, line int, size numeric(10,2),
          changed_at timestamp NOT NULL DEFAULT '2026-01-01', PRIMARY KEY (deal_id, line));
        INSERT INTO deals (deal_id, line, size) SELECT g / 2, g % 2, g FROM generate_series(1, 200) g
        """
    )
    code, told = new("--from", postgres_db.url, "--yes")
    assert code == 0, failed(told) or told
    made = tmp_path / "made"
    [secret] = (made / "secrets").iterdir()
    assert secret.read_text().strip() == postgres_db.url
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    text = (made / "mainstay.yaml").read_text()
    assert "key: [deal_id, line]" in text
    assert f"url: ${{file:secrets/{secret.name}}}" in text
    assert postgres_db.url not in text
    assert "secrets/" in (made / ".gitignore").read_text()
    assert "timezone:" in text  # changed_at has no zone: the server's is the guess


def test_an_address_given_as_a_variable_stays_one(
    shop: Path, new: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", str(shop))
    code, told = new("--from", "${SHOP}", "--table", "customers", "--label", "churned", "--yes")
    assert code == 0, failed(told) or told
    text = (tmp_path / "made" / "mainstay.yaml").read_text()
    assert "path: ${SHOP}" in text
    assert str(shop) not in text


def test_a_csv_file_in_another_dialect_becomes_an_installation_that_pins_it(new: Told, tmp_path: Path) -> None:
    drops = tmp_path / "drops"
    drops.mkdir()
    rows = "".join(f"K{number};{number},50;München;01.02.2024\r\n" for number in range(200))
    (drops / "Kunden 2024.csv").write_bytes(f"Kunden-Nr;Umsatz;Ort;Angelegt\r\n{rows}".encode("cp1252"))
    time.sleep(5.1)  # a file is taken once it has been at rest for five seconds
    code, told = new("--from", str(drops / "Kunden 2024.csv"), "--rule", "wert=Umsatz * 2", "--yes")
    assert code == 0, failed(told) or told
    text = (tmp_path / "made" / "mainstay.yaml").read_text()
    for line in ("kind: files", "mode: snapshot", "whole: newest", 'delimiter: ";"', "encoding: cp1252"):
        assert f"    {line}\n" in text
    assert "  kunden_2024:\n" in text
    assert 'source_name: "Umsatz"' not in text
    assert 'Umsatz:    {type: number, clean: [{number: {decimal: ",", thousands: "."}}]' in text
    assert 'Angelegt:  {type: date, clean: [{date: ["%d.%m.%Y"]}]}' in text
    assert "reconcile" not in text  # an absent row of a whole drop is deleted
    code, told = new("--from", str(drops), "--rule", "wert=Umsatz * 2", "--yes")
    assert (code, "not empty" in told["error"]["sentence"]) == (3, True)


def test_a_table_without_rows_is_written_with_nothing_guessed_of_its_values(new: Told, tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, amount REAL)")
    code, told = new("--from", str(path), "--constant", "x=1", "--yes")
    assert code == 0, failed(told) or told
    text = (tmp_path / "made" / "mainstay.yaml").read_text()
    assert "row_count" not in text
    assert "amount" in text.split("# not read: ")[1]


def test_a_person_is_asked_on_the_terminal_and_enter_takes_the_guess(shop: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "mainstay",
        "new",
        str(tmp_path / "made"),
        "--from",
        str(shop),
        "--label",
        "churned",
    ]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        os.write(ours, b"customers\n\ncrm-team@example.com\nThey leave.\nOn the page.\n")
        out, err = process.communicate(timeout=100)
    os.close(ours)
    assert process.returncode == 0, err
    assert "Which of the 4 tables" in err
    assert "guess: UTC (nothing says which it is)" in err
    assert "next:" in out
    text = (tmp_path / "made" / "mainstay.yaml").read_text()
    assert 'owner: "crm-team@example.com"' in text
    assert "problem: They leave." in text
    assert "timezone: UTC\n" in text  # what a person agreed to is no guess


def _info(source: Source, table: str) -> TableInfo:
    try:
        return source.describe(table)
    finally:
        source.close()


def test_foreign_keys_are_described_alike_by_both_databases(shop: Path, postgres_db: Database) -> None:
    pairs = (
        "CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b))",
        "CREATE TABLE beds (bed int PRIMARY KEY, y int, x int, FOREIGN KEY (y, x) REFERENCES pairs (b, a))",
        "CREATE TABLE quilts (x int, y int, z int REFERENCES beds (bed), FOREIGN KEY (x, y) REFERENCES pairs)",
    )
    postgres_db.exec("CREATE TABLE regions (region_no int PRIMARY KEY)")
    postgres_db.exec("CREATE TABLE customers (customer_id text PRIMARY KEY, region_no int REFERENCES regions)")
    with closing(sqlite3.connect(shop)) as connection, connection:
        for one in pairs:
            connection.execute(one)
            postgres_db.exec(one)
    expected = {
        "customers": (("region_no", "regions", "region_no"),),
        "beds": (('["y","x"]', "pairs", '["b","a"]'),),
        "quilts": (('["x","y"]', "pairs", '["a","b"]'), ("z", "beds", "bed")),
    }
    for kind, options in (("sqlite", {"path": str(shop)}), ("postgres", {"url": postgres_db.url})):
        config = SourceConfig(name="crm", kind=kind, options=options)
        found = {name: _info(open_source(config, SystemClock()), name).references for name in expected}
        assert {name: tuple(sorted(one)) for name, one in found.items()} == expected
