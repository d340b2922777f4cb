"""`mainstay check` against real databases: what it finds, and what it leaves as it was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import psycopg
import pytest

from mainstay.app.check import Report, check, report
from mainstay.app.check_datasets import DatasetFacts, as_declared, judge_dataset
from mainstay.app.check_features import different
from mainstay.app.check_model import try_inline
from mainstay.app.check_sources import SourceFacts, judge_source
from mainstay.app.place import Place, read_file
from mainstay.cli.main import run as run_command
from mainstay.core.clock import HOUR, SECOND, SystemClock
from mainstay.core.errors import FileError
from mainstay.core.inputs import ModelInput
from mainstay.core.nouns import Check, Field, InlineModel, Signature
from mainstay.core.ports import Capabilities, SourceColumn, SourceHealth, SourceKind, TableInfo
from mainstay.core.records import ModelVersion
from mainstay.core.verdicts import Finding, OnFail, Verdict
from mainstay.models.registry import Registry, inline_draft
from mainstay.store.home import Home
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.clock import FakeClock
from mainstay.testing.postgres import Database

PURPOSE = """\
purpose:
  problem: Account managers learn that a customer has left after the fact.
  workflow: The risk stands on the CRM account page.
  users: {who: account managers, seats: 40}
  kpis: [{name: customers kept a month, unit: customers, baseline: 31, target: 45}]
  agreed_by: [{role: head of retention, on: 2026-11-01}]
  review: {after: 90d}
"""
TICKETS = """\
  tickets:
    source: crm
    table: tickets
    key: ticket
    every: 10s
    owner: crm@example.com
    freshness: {warn: 5m, fail: 1h}
    columns:
      ticket: {type: integer}
      customer_id: {type: string}
      reporter: {type: string}
      severity: {type: integer}
"""
FEATURES = """\
features:
  customer:
    key: customer_id
    sql: |
      SELECT c.customer_id, c.tenure, count(t.ticket) AS tickets
      FROM customers c LEFT JOIN tickets t ON t.customer_id = c.customer_id GROUP BY ALL
"""
MODEL = """\
model: {name: churn, input: customer, constant: {churn_probability: 0.26}}
fallback: {churn_probability: 0.26, reason: base rate}
"""
COLUMNS = """\
      customer_id: {type: string, required: true}
      tenure: {type: integer, min: 0, max: 120}
"""


def customers(*, more: str = "", columns: str = COLUMNS, freshness: str = "{warn: 5m, fail: 1h}") -> str:
    return f"""\
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    every: 10s
    owner: crm@example.com
    freshness: {freshness}
{more}    columns:
{columns}"""


CURSOR = "    cursor: {column: updated_at, lag: 5m}\n    deletes: {reconcile: 24h}\n"


def file_of(
    source: str, *, datasets: str = "", features: str = FEATURES, model: str = MODEL, purpose: str = PURPOSE
) -> str:
    datasets = datasets or customers() + TICKETS
    return f"integration: churn\napi: 1\n{purpose}sources:\n  crm: {source}\n{datasets}{features}{model}"


class Shop:
    """A folder with a SQLite database, a file over it, and short words for what tests ask."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "crm.db"
        self.home = folder / ".mainstay"
        self.exec(
            "CREATE TABLE customers (customer_id TEXT PRIMARY KEY, tenure INT, updated_at TEXT)",
            "CREATE TABLE tickets (ticket INTEGER PRIMARY KEY, customer_id TEXT, reporter TEXT, severity INT)",
        )
        with closing(sqlite3.connect(self.database)) as connection, connection:
            rows = [(f"c{n:03}", n % 70, f"2026-11-0{n % 9 + 1} 10:00:00") for n in range(60)]
            connection.executemany("INSERT INTO customers VALUES (?, ?, ?)", rows)
            tickets = [(n, f"c{n % 30:03}", f"c{n % 7:03}", n % 5) for n in range(90)]
            connection.executemany("INSERT INTO tickets VALUES (?, ?, ?, ?)", tickets)

    def exec(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def write(self, text: str) -> Path:
        file = self.folder / "mainstay.yaml"
        file.write_text(text)
        return file

    def check(self, text: str = "", **parts: str) -> Report:
        file = self.write(text or file_of("{kind: sqlite, path: crm.db, timezone: UTC}", **parts))
        return check(Place(Home(self.home, "churn"), file), read_file(file), SystemClock())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def found(checked: Report) -> dict[str, Finding]:
    return {one.check: one for area in checked.areas for one in area.findings}


def wrong(checked: Report) -> dict[str, Verdict]:
    return {name: one.verdict for name, one in found(checked).items() if one.verdict is not Verdict.PASS}


def test_an_integration_that_fits_passes_whole_and_nothing_is_written(shop: Shop) -> None:
    checked = shop.check()
    assert wrong(checked) == {}
    assert checked.ready
    assert {area.name for area in checked.areas} == {
        "file", "purpose", "sources", "datasets", "features", "model", "answer",
    }  # fmt: skip
    assert found(checked)["customers.rows"].sentence == "60 rows"
    assert found(checked)["customers.tenure.max"].total == 60
    assert found(checked)["features.customer.across_keys"].sentence.startswith("33 of 60 keys")
    assert sorted(path.name for path in shop.folder.iterdir()) == ["crm.db", "mainstay.yaml"]


def test_the_worst_comes_first() -> None:
    def one(name: str, verdict: Verdict) -> Finding:
        return Finding(check=name, verdict=verdict, sentence="")

    made = report(
        "churn",
        {
            "file": [one("a", Verdict.PASS)],
            "sources": [one("b", Verdict.WARN), one("c", Verdict.ERROR)],
            "datasets": [one("d", Verdict.WARN), one("e", Verdict.FAIL), one("f", Verdict.PASS)],
        },
    )
    assert [(area.name, area.verdict) for area in made.areas] == [
        ("datasets", Verdict.FAIL), ("sources", Verdict.ERROR), ("file", Verdict.PASS),
    ]  # fmt: skip
    assert [one.check for one in made.areas[0].findings] == ["e", "d", "f"]
    assert made.counts == {"FAIL": 1, "ERROR": 1, "UNKNOWN": 0, "WARN": 2, "PASS": 2}
    assert not made.ready


# --- the table against the contract --------------------------------------------------------------------------------


def test_a_missing_column_names_what_was_probably_meant_and_the_rest_is_still_checked(shop: Shop) -> None:
    columns = COLUMNS.replace("tenure:", "tenur:") + "      plan: {type: string}\n"
    checked = shop.check(
        datasets=customers(columns=columns) + TICKETS, features=FEATURES.replace("c.tenure", "c.tenur AS tenure")
    )
    assert found(checked)["customers.tenur"].verdict is Verdict.FAIL
    assert found(checked)["customers.tenur"].mend == "did you mean 'tenure'?"
    assert found(checked)["customers.plan"].verdict is Verdict.FAIL
    assert found(checked)["tickets.sample"].verdict is Verdict.PASS
    assert found(checked)["features.customer.across_keys"].verdict is Verdict.UNKNOWN


def test_a_missing_table_names_what_was_probably_meant(shop: Shop) -> None:
    checked = shop.check(datasets=customers().replace("table: customers", "table: customer") + TICKETS)
    assert found(checked)["customers.table"].verdict is Verdict.FAIL
    assert "customers" in found(checked)["customers.table"].mend


def test_values_that_do_not_fit_are_counted_and_judged_by_what_on_fail_would_do(shop: Shop) -> None:
    shop.exec("UPDATE customers SET tenure = 'n/a' WHERE customer_id < 'c004'")
    aside = shop.check()
    assert wrong(aside) == {"customers.tenure.type": Verdict.WARN}
    assert found(aside)["customers.tenure.type"].failed == 4
    cleaned = COLUMNS.replace("max: 120", "max: 120, clean: [{null_if: [n/a]}]")
    assert wrong(shop.check(datasets=customers(columns=cleaned) + TICKETS)) == {}


def test_a_sample_fails_where_it_would_block_or_no_row_would_pass(shop: Shop) -> None:
    dataset = read_file(shop.write(file_of("{kind: sqlite, path: crm.db}"))).datasets["customers"]

    def as_judged(on_fail: OnFail, failed: int, max_share: float | None = None) -> Verdict:
        declared = Check(name="tenure.max", kind="max", column="tenure", on_fail=on_fail, max_share=max_share)
        finding = Finding(check="tenure.max", verdict=Verdict.FAIL, sentence="", failed=failed, total=10)
        return as_declared(dataset, declared, finding).verdict

    assert as_judged("warn", 10) is Verdict.WARN
    assert as_judged("quarantine", 9) is Verdict.WARN
    assert as_judged("quarantine", 10) is Verdict.FAIL
    assert as_judged("block", 1) is Verdict.FAIL
    assert as_judged("quarantine", 2, 0.2) is Verdict.WARN
    assert as_judged("warn", 3, 0.2) is Verdict.FAIL


def test_a_repeated_and_an_absent_key_are_found(shop: Shop) -> None:
    key = customers().replace("key: customer_id", "key: tenure")
    view = "features: {customer: {key: tenure, sql: 'SELECT tenure, customer_id FROM customers'}}\n"
    shop.exec("UPDATE customers SET tenure = 7 WHERE tenure < 3", "UPDATE customers SET tenure = NULL WHERE tenure = 9")
    checked = shop.check(datasets=key, features=view)
    assert wrong(checked) == {"customers.key": Verdict.WARN, "customers.tenure.required": Verdict.WARN}
    assert found(checked)["customers.key"].failed == 3
    decided = key.replace("    columns:", "    duplicates: {keep: last, by: customer_id}\n    columns:")
    assert "customers.key" not in wrong(shop.check(datasets=decided, features=view))


def test_an_empty_table_and_a_broken_row_count(shop: Shop) -> None:
    shop.exec("DELETE FROM tickets")
    counted = TICKETS + "    checks: [{row_count: {min: 10}}]\n"
    checked = shop.check(datasets=customers() + counted)
    assert wrong(checked) == {"tickets.rows": Verdict.WARN, "tickets.row_count": Verdict.FAIL}


def test_a_condition_that_is_none_is_told_with_its_check(shop: Shop) -> None:
    counted = TICKETS + "    checks: [{sql: severity <= urgency}, {sql: sum(severity) > 3}]\n"
    bad = {
        name for name, verdict in wrong(shop.check(datasets=customers() + counted)).items() if verdict is Verdict.FAIL
    }
    assert {"tickets.sql", "tickets.sql_2"} <= bad


# --- cursor, freshness ---------------------------------------------------------------------------------------------


def test_a_cursor_without_reconciliation_warns(shop: Shop) -> None:
    assert judged(shop, more=CURSOR) == {}
    plain = CURSOR.replace("    deletes: {reconcile: 24h}\n", "")
    assert judged(shop, more=plain) == {"customers.reconcile": Verdict.WARN}


def test_a_cursor_that_cannot_take_its_lag_fails(shop: Shop) -> None:
    shop.exec("ALTER TABLE customers ADD COLUMN number INT")
    checked = shop.check(datasets=customers(more=CURSOR.replace("updated_at", "number")) + TICKETS)
    assert found(checked)["customers.sample"].verdict is Verdict.FAIL
    assert "lag" in found(checked)["customers.sample"].sentence


def judged(
    shop: Shop,
    *,
    now_us: int = 0,
    source: str = "{kind: sqlite, path: crm.db}",
    kind: SourceKind = "integer",
    **parts: str,
) -> dict[str, Verdict]:
    """What is made of `customers` with a table as told, no row of it read; only what does not pass."""
    integration = read_file(shop.write(file_of(source, datasets=customers(**parts) + TICKETS)))
    columns: dict[str, SourceKind] = {"customer_id": "text", "tenure": kind, "updated_at": "timestamptz"}
    info = TableInfo(
        name="customers",
        columns=tuple(SourceColumn(name=name, native=each, kind=each) for name, each in columns.items()),
        primary_key=("customer_id",),
        indexed=("customer_id", "updated_at"),
        rows=1_000_000,
    )
    health = SourceHealth(version="a database", read_only=True, latency_us=0, clock_us=None)
    capabilities = Capabilities(incremental=True)
    looked = SourceFacts(integration.sources["crm"], capabilities, health)
    facts = DatasetFacts(integration.datasets["customers"], looked, info, now_us=now_us)
    return {one.check: one.verdict for one in judge_dataset(facts) if one.verdict is not Verdict.PASS}


@pytest.mark.parametrize(
    ("freshness", "verdict"),
    [
        ("{warn: 30s, fail: 1h}", Verdict.PASS),  # every 10 s, and 20 s to read a million rows
        ("{warn: 29s, fail: 1h}", Verdict.WARN),
        ("{warn: 5s, fail: 29s}", Verdict.FAIL),
        ("{fail: 30s}", Verdict.PASS),
        ("{}", Verdict.WARN),
    ],
)
def test_freshness_is_held_against_every_and_the_run(shop: Shop, freshness: str, verdict: Verdict) -> None:
    expected = {} if verdict is Verdict.PASS else {"customers.freshness": verdict}
    assert judged(shop, freshness=freshness) == expected


def test_an_increment_is_taken_to_be_short(shop: Shop) -> None:
    assert judged(shop, freshness="{warn: 10s, fail: 1h}", more=CURSOR) == {}


def test_newest_needs_a_column_that_says_when_a_row_changed(shop: Shop) -> None:
    assert judged(shop, freshness="{warn: 5m, newest: 1d}") == {"customers.newest": Verdict.FAIL}
    assert judged(shop, freshness="{warn: 5m, newest: 1d}", more=CURSOR) == {}


def test_hours_that_are_closed_for_longer_than_the_promise_warn(shop: Shop) -> None:
    nightly = '{kind: sqlite, path: crm.db, guard: {backfill_hours: "20:00-06:00 UTC"}}'
    assert judged(shop, source=nightly) == {"customers.hours": Verdict.WARN}
    assert judged(shop, source=nightly, freshness="{warn: 14h}") == {}
    assert judged(shop, source=nightly, more=CURSOR) == {}
    assert judged(shop, source=nightly.replace("backfill", "allowed"), more=CURSOR) == {"customers.hours": Verdict.WARN}


def test_text_declared_as_a_number_is_doubted_where_no_rows_were_read(shop: Shop) -> None:
    assert judged(shop, kind="text") == {"customers.tenure.type": Verdict.WARN}
    cleaned = COLUMNS.replace("max: 120", "max: 120, clean: [trim]")
    assert judged(shop, kind="text", columns=cleaned) == {}


def test_rows_are_read_only_in_the_hours_that_the_guard_allows(shop: Shop) -> None:
    file = shop.write(file_of('{kind: sqlite, path: crm.db, guard: {backfill_hours: "20:00-06:00 UTC"}}'))
    checked = check(Place(Home(shop.home, "churn"), file), read_file(file), FakeClock(now_us=12 * HOUR))
    assert found(checked)["customers.sample"].verdict is Verdict.UNKNOWN
    assert found(checked)["features.customer.across_keys"].verdict is Verdict.UNKNOWN


def test_a_source_that_is_slow_writable_or_tells_another_time_warns(shop: Shop) -> None:
    config = read_file(shop.write(file_of("{kind: sqlite, path: crm.db}"))).sources["crm"]

    def told(latency_us: int, clock_us: int, *, read_only: bool = True) -> dict[str, Verdict]:
        health = SourceHealth(version="a database", read_only=read_only, latency_us=latency_us, clock_us=clock_us)
        facts = SourceFacts(config, Capabilities(incremental=True), health, asked_us=HOUR, answered_us=HOUR + SECOND)
        return {one.check: one.verdict for one in judge_source(facts) if one.verdict is not Verdict.PASS}

    assert told(1000, HOUR - 5 * SECOND) == {}
    assert told(1000, HOUR + 6 * SECOND) == {}
    assert told(1000, HOUR - 6 * SECOND) == {"crm.clock": Verdict.WARN}
    assert told(1000, HOUR + 7 * SECOND) == {"crm.clock": Verdict.WARN}
    assert told(SECOND, HOUR, read_only=False) == {"crm.latency": Verdict.WARN, "crm.read_only": Verdict.WARN}


# --- features ------------------------------------------------------------------------------------------------------

WRONG_MAPPING = """\
features:
  customer:
    key: customer_id
    from: {customers: customer_id, tickets: customer_id}
    sql: |
      SELECT c.customer_id, c.tenure, count(t.ticket) AS reported
      FROM customers c LEFT JOIN tickets t ON t.reporter = c.customer_id GROUP BY ALL
"""


def test_features_that_need_rows_of_other_keys_fail_and_name_their_columns(shop: Shop) -> None:
    checked = shop.check(features=WRONG_MAPPING)
    across = found(checked)["features.customer.across_keys"]
    assert across.verdict is Verdict.FAIL
    assert across.sentence.endswith("without the others: reported")
    assert "features.customer.across_keys" not in wrong(
        shop.check(features=WRONG_MAPPING.replace("tickets: customer_id", "tickets: reporter"))
    )


def test_sql_that_looks_across_keys_or_cannot_be_mapped_fails_with_the_line_to_type(shop: Shop) -> None:
    ranked = "SELECT customer_id, rank() OVER (ORDER BY tenure) AS place FROM customers"
    checked = shop.check(features=f"features: {{customer: {{key: customer_id, sql: '{ranked}'}}}}\n")
    assert found(checked)["features.customer"].verdict is Verdict.FAIL
    loose = "SELECT c.customer_id, (SELECT count(*) FROM tickets) AS n FROM customers c"
    checked = shop.check(features=f"features: {{customer: {{key: customer_id, sql: '{loose}'}}}}\n")
    assert "from: {customers: customer_id, tickets: all}" in found(checked)["features.customer"].mend


def test_two_rows_for_one_key_fail(shop: Shop) -> None:
    shop.exec("UPDATE customers SET tenure = 7 WHERE customer_id < 'c005'")
    view = "features: {customer: {key: tenure, sql: 'SELECT tenure, customer_id FROM customers'}}\n"
    checked = shop.check(features=view)
    assert found(checked)["features.customer.across_keys"].verdict is Verdict.FAIL
    assert "more than one row" in found(checked)["features.customer.across_keys"].sentence


def test_sql_that_fails_on_the_rows_tells_no_value(shop: Shop) -> None:
    view = "features: {customer: {key: customer_id, sql: 'SELECT customer_id, customer_id::INT AS n FROM customers'}}\n"
    checked = shop.check(features=view)
    assert found(checked)["features.customer.across_keys"].verdict is Verdict.FAIL
    assert "c00" not in found(checked)["features.customer.across_keys"].sentence


def test_rows_differ_by_column_and_sums_of_floats_may_round() -> None:
    assert different([1, 0.1 + 0.2, None], [1, 0.3, None], ["a", "b", "c"]) == []
    assert different([1, 0.3, None], [2, 0.4, 0], ["a", "b", "c"]) == ["a", "b", "c"]
    assert different(None, [1], ["a"]) == ["the whole row"]
    assert different(None, None, ["a"]) == []


# --- the model -----------------------------------------------------------------------------------------------------


def rule(expression: str, **output: object) -> str:
    return (
        f"model: {{name: churn, input: customer, rule: {{p: {json.dumps(expression)}}}, "
        f"outputs: {{p: {json.dumps(output)}}}}}\nfallback: {{p: 0.5}}\n"
    )


def test_a_rule_is_loaded_over_the_feature_columns_and_tried_on_the_sample(shop: Shop) -> None:
    assert wrong(shop.check(model=rule("tickets / 3.0", min=0, max=1))) == {}
    assert wrong(shop.check(model=rule("tikets / 3.0"))) == {"model.rule": Verdict.FAIL}


def test_a_rule_that_cannot_take_a_row_fails_and_a_strange_answer_warns() -> None:
    output = (Field(name="p", type="integer", maximum=9),)
    inline = InlineModel(kind="rule", outputs=output, rules={"p": "name::INT"})
    draft = inline_draft(inline, name="m", inputs=(Field(name="name", type="string"),), feature_set="", at_us=0, by="")
    assert [one.verdict for one in try_inline(draft, [("7",)])] == [Verdict.PASS]
    assert [one.verdict for one in try_inline(draft, [("7",), ("seven",)])] == [Verdict.FAIL]
    strange = list(try_inline(draft, [("7",), ("10",), (None,)]))
    assert [(one.verdict, one.sentence) for one in strange] == [
        (Verdict.WARN, "p is null for 1 of 3 rows"),
        (Verdict.WARN, "p is outside its own min and max for 1 of 3 rows"),
    ]


def test_no_model_at_all_warns(shop: Shop) -> None:
    checked = shop.check(model="model: {name: churn, input: customer}\nfallback: {p: 0.5}\n")
    assert wrong(checked) == {"model.version": Verdict.WARN}


@pytest.fixture
def answering(shop: Shop) -> Callable[..., None]:
    """Lets an imported version answer whose signature has the given inputs."""

    def answer(*inputs: Field) -> None:
        home = Home(shop.home, "churn")
        home.create()
        with closing(SqliteState(home.state)) as state:
            registry = Registry(state)
            version = registry.add(
                ModelVersion(
                    number=0,
                    name="churn",
                    digest="sha256:0",
                    runtime="onnx",
                    signature=Signature(inputs=inputs, outputs=(Field(name="p", type="number"),)),
                    origin="imported",
                    created_us=0,
                )
            )
            registry.use(version.number, by="test", at_us=0)

    return answer


NO_MODEL = "model: {name: churn, input: customer}\nfallback: {p: 0.5}\n"


def test_the_features_are_held_against_the_signature_of_the_version_that_answers(
    shop: Shop, answering: Callable[..., None]
) -> None:
    answering(Field(name="tenure", type="number"), Field(name="tickets", type="integer"))
    assert wrong(shop.check(model=NO_MODEL)) == {}
    answering(Field(name="tenure", type="string"), Field(name="age", type="number"))
    checked = shop.check(model=NO_MODEL)
    fails = [one for area in checked.areas for one in area.findings if one.check == "model.input"]
    assert {(one.column, one.verdict) for one in fails} == {("tenure", Verdict.FAIL), ("age", Verdict.FAIL)}
    assert found(checked)["model.unused"].verdict is Verdict.WARN
    assert "tickets" in found(checked)["model.unused"].sentence


def test_nulls_and_categories_of_the_sample_are_held_against_the_signature(
    shop: Shop, answering: Callable[..., None]
) -> None:
    shop.exec("UPDATE customers SET tenure = NULL WHERE customer_id = 'c001'")
    tenure = Field(name="tenure", type="integer", required=True)
    answering(tenure, Field(name="tickets", type="integer", categories=("0", "3")))
    checked = shop.check(model=NO_MODEL)
    assert wrong(checked) == {"model.tenure.required": Verdict.WARN}
    answering(Field(name="tenure", type="integer"), Field(name="tickets", type="integer", categories=("3",)))
    checked = shop.check(model=NO_MODEL)
    assert wrong(checked) == {"model.tickets.categories": Verdict.WARN}
    assert "30 of 60" in found(checked)["model.tickets.categories"].sentence


def test_the_fallback_is_held_against_the_outputs_of_the_version_that_answers(
    shop: Shop, answering: Callable[..., None]
) -> None:
    answering(Field(name="tenure", type="integer"), Field(name="tickets", type="integer"))
    checked = shop.check(model=NO_MODEL.replace("p: 0.5", "q: 0.5"))
    assert wrong(checked) == {"answer.fallback": Verdict.FAIL}
    checked = shop.check(model=NO_MODEL.replace("fallback: {p: 0.5}\n", ""))
    assert wrong(checked) == {"answer.fallback": Verdict.WARN}


def test_the_api_contract_in_git_is_kept(shop: Shop) -> None:
    from mainstay.app.check_model import ModelFacts, judge_model
    from mainstay.pipelines.sets import describe_set
    from mainstay.serving import contract

    integration = read_file(shop.write(file_of("{kind: sqlite, path: crm.db}")))
    features = ModelInput(sets=(describe_set(integration.features["customer"], integration.datasets),))
    outputs = Signature(inputs=(), outputs=(Field(name="churn_probability", type="string"),))
    standing = contract.build(integration, features.columns, outputs, keys=features.keys)
    findings, _ = judge_model(ModelFacts(integration, features, contract=standing))
    assert {one.check for one in findings if one.verdict is Verdict.FAIL} == {"api.outputs"}


# --- sources -------------------------------------------------------------------------------------------------------


def test_a_source_that_is_away_is_an_error_and_the_rest_is_still_checked(shop: Shop) -> None:
    text = file_of("{kind: sqlite, path: crm.db}").replace(
        "sources:\n", "sources:\n  old: {kind: sqlite, path: gone.db}\n"
    )
    checked = shop.check(text.replace("  tickets:\n    source: crm", "  tickets:\n    source: old"))
    assert found(checked)["old.connection"].verdict is Verdict.ERROR
    assert found(checked)["tickets.table"].verdict is Verdict.ERROR
    assert found(checked)["customers.sample"].verdict is Verdict.PASS
    assert found(checked)["model.constant"].verdict is Verdict.PASS
    assert not checked.ready


@pytest.fixture
def crm(postgres_db: Database) -> Database:
    postgres_db.exec(
        "CREATE TABLE customers (customer_id text PRIMARY KEY, tenure int, updated_at timestamp, price money);"
        "INSERT INTO customers SELECT 'c' || n, n % 70, now() AT TIME ZONE 'UTC', 1 FROM generate_series(1, 3000) n;"
        "CREATE TABLE tickets (ticket int PRIMARY KEY, customer_id text, reporter text, severity int);"
        "INSERT INTO tickets SELECT n, 'c' || n % 90, 'c1', n % 5 FROM generate_series(1, 300) n;"
        "ANALYZE"
    )
    return postgres_db


def over(database: Database, folder: Path, *, timezone: str = ", timezone: UTC", **parts: str) -> Report:
    file = folder / "mainstay.yaml"
    file.write_text(file_of(f'{{kind: postgres, url: "${{CRM_URL}}"{timezone}}}', **parts))
    return check(Place(Home(folder / ".mainstay", "churn"), file), read_file(file), SystemClock())


def test_postgresql_is_asked_for_all_that_it_can_tell(
    crm: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", crm.url)
    checked = over(crm, tmp_path, datasets=customers(more=CURSOR) + TICKETS)
    assert wrong(checked) == {}
    told = found(checked)
    assert told["crm.connection"].sentence.startswith("PostgreSQL 18")
    assert told["customers.rows"].sentence == "about 3,000 rows"
    assert told["customers.sample"].sentence.startswith("the first 2,000 rows")
    assert {"crm.read_only", "crm.latency", "crm.clock", "customers.late_commits"} <= set(told)


def test_an_index_that_is_missing_on_a_large_table_and_an_open_transaction_warn(
    crm: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", crm.url)
    crm.exec(
        "INSERT INTO customers SELECT 'd' || n, 1, now() AT TIME ZONE 'UTC', 1 FROM generate_series(1, 9000) n; ANALYZE"
    )
    short = CURSOR.replace("lag: 5m", "lag: 1ms")
    with psycopg.connect(crm.url) as writer:
        writer.execute("UPDATE customers SET tenure = 3 WHERE customer_id = 'c1'")
        checked = over(crm, tmp_path, datasets=customers(more=short) + TICKETS)
        assert wrong(checked) == {"customers.cursor": Verdict.WARN, "customers.late_commits": Verdict.WARN}
        assert 'CREATE INDEX ON customers ("updated_at")' in found(checked)["customers.cursor"].mend
        writer.rollback()
    crm.exec("CREATE INDEX ON customers (updated_at)")
    assert wrong(over(crm, tmp_path, datasets=customers(more=short) + TICKETS)) == {}


def test_times_without_a_zone_need_one_and_a_type_without_exact_form_is_refused(
    crm: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", crm.url)
    money = COLUMNS + "      price: {type: number}\n"
    checked = over(crm, tmp_path, timezone="", datasets=customers(more=CURSOR, columns=money) + TICKETS)
    assert found(checked)["customers.price"].verdict is Verdict.FAIL
    checked = over(crm, tmp_path, timezone="", datasets=customers(more=CURSOR) + TICKETS)
    assert found(checked)["customers.updated_at"].verdict is Verdict.FAIL
    assert "timezone:" in found(checked)["customers.updated_at"].mend


def test_a_wrong_password_is_for_a_person_to_mend_and_is_not_shown(
    crm: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", crm.server.url(crm.name, password="hunter2"))
    checked = over(crm, tmp_path)
    assert found(checked)["crm.connection"].verdict is Verdict.FAIL
    assert found(checked)["customers.table"].verdict is Verdict.ERROR
    assert b"hunter2" not in msgspec.json.encode(checked)


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_prints_findings_with_their_mend_and_exits_by_the_worst(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(shop.write(file_of("{kind: sqlite, path: crm.db}")))
    assert run_command(["check", "--file", good]) == 0
    assert "tenure" not in capsys.readouterr().out
    assert run_command(["check", "--file", good, "--all"]) == 0
    assert "customers.tenure.max" in capsys.readouterr().out
    bad = str(shop.write(file_of("{kind: sqlite, path: crm.db}", purpose="", features=WRONG_MAPPING)))
    assert run_command(["check", "--file", bad]) == 1
    shown = capsys.readouterr().out
    assert shown.index("features.customer.across_keys") < shown.index("purpose.problem")
    assert "→ let the SQL look at rows of one key only" in shown
    assert run_command(["check", "--file", bad, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "FAIL"


def test_a_file_that_is_wrong_is_told_as_everywhere(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    file = shop.write("api: 1\n")
    with pytest.raises(FileError):
        read_file(file)
    assert run_command(["check", "--file", str(file)]) == 2
    assert "integration" in capsys.readouterr().err
