"""The toy CRM: repeatable, dirty on purpose, alive, and with a reason to leave that a model can learn."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mainstay.testing import toy_crm
from mainstay.testing.postgres import Database

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DEMO = Path(toy_crm.__file__).parents[1] / "app" / "demo" / "churn"

Connection = psycopg.Connection[Any]


@pytest.fixture
def crm(postgres_db: Database) -> Iterator[Connection]:
    """A CRM of 300 customers in a database of its own."""
    with psycopg.connect(postgres_db.url) as connection:
        toy_crm.fill(connection, toy_crm.generate(seed=7, customers=300, now=NOW))
        yield connection


def one(connection: Connection, sql: str, *values: object) -> Any:
    row = connection.execute(sql.encode(), values or None).fetchone()
    return row[0] if row else None


def test_the_same_seed_gives_the_same_rows() -> None:
    first = toy_crm.generate(seed=7, customers=200, now=NOW)
    assert first == toy_crm.generate(seed=7, customers=200, now=NOW)
    assert first != toy_crm.generate(seed=8, customers=200, now=NOW)
    assert len(first.customer_ids) == 200


def test_everything_that_is_wrong_with_it_is_there(crm: Connection) -> None:
    formats = {
        one(crm, f"SELECT count(*) FROM customers WHERE signed_up LIKE '{form}'") > 0 for form in ("%-%", "%.%", "%/%")
    }
    assert formats == {True}
    for condition in (
        "FROM customers WHERE trim(region) = ''",
        "FROM customers WHERE region = 'N/A'",
        "FROM customers WHERE tenure_months = -1",
        "FROM subscriptions WHERE ends_on = '9999-12-31'",
        "FROM subscriptions s WHERE NOT EXISTS (SELECT FROM customers c WHERE c.customer_id = s.customer_id)",
        "FROM tickets t WHERE NOT EXISTS (SELECT FROM customers c WHERE c.customer_id = t.customer_id)",
        "FROM (SELECT customer_id FROM customers GROUP BY 1 HAVING count(*) > 1) twice",
        "FROM tickets WHERE deleted_at IS NOT NULL",
    ):
        assert one(crm, f"SELECT count(*) {condition}") > 0, condition


def test_a_tick_changes_rows_and_spares_whom_it_is_told_to(crm: Connection) -> None:
    crm.execute("CREATE TABLE before AS SELECT * FROM customers")
    latest = one(
        crm, "SELECT max(updated_at) FROM (SELECT updated_at FROM subscriptions UNION SELECT updated_at FROM tickets) u"
    )
    everybody = [row[0] for row in crm.execute("SELECT DISTINCT customer_id FROM customers ORDER BY 1").fetchall()]
    rng = random.Random(3)
    ticks = [toy_crm.tick(crm, rng, changes=5, dirty=0.5, spare=everybody[10:]) for _ in range(10)]
    assert {key for ticked in ticks for key in ticked.changed + ticked.dirty} <= set(everybody[:10])
    assert any(ticked.dirty for ticked in ticks)
    moved = "SELECT count(*) FROM {} WHERE updated_at > %s"
    assert one(crm, moved.format("subscriptions"), latest) + one(crm, moved.format("tickets"), latest) > 0
    spoiled = {row[0] for row in crm.execute("SELECT customer_id FROM customers WHERE tenure_months = 9999").fetchall()}
    assert spoiled == {key for ticked in ticks for key in ticked.dirty}
    assert toy_crm.mend_garbage(crm) >= len(spoiled)
    differing = "SELECT count(*) FROM customers c JOIN before b USING (row_id) WHERE c.tenure_months <> b.tenure_months"
    assert one(crm, differing) == 0


def test_garbage_hits_and_is_mended(crm: Connection) -> None:
    hit = toy_crm.garbage(crm, share=0.05)
    assert len(hit) == 15
    assert one(crm, "SELECT count(DISTINCT customer_id) FROM customers WHERE tenure_months = 9999") == 15
    assert toy_crm.mend_garbage(crm) >= 15
    assert one(crm, "SELECT count(*) FROM customers WHERE tenure_months = 9999") == 0
    assert toy_crm.mend_garbage(crm) == 0


def test_a_dropped_column_comes_back_with_type_and_values(crm: Connection) -> None:
    before = crm.execute("SELECT subscription_id, monthly_charges FROM subscriptions ORDER BY 1").fetchall()
    toy_crm.drop_column(crm)
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'subscriptions' AND column_name = %s"
    assert one(crm, columns, "monthly_charges") == 0
    toy_crm.tick(crm, random.Random(1), changes=30)
    toy_crm.restore_column(crm)
    assert crm.execute("SELECT subscription_id, monthly_charges FROM subscriptions ORDER BY 1").fetchall() == before
    kind = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'subscriptions'::regclass AND attname = %s"
    )
    assert one(crm, kind, "monthly_charges") == "numeric(10,2)"


def test_a_deleted_customer_is_gone(crm: Connection) -> None:
    key = one(crm, "SELECT customer_id FROM tickets WHERE customer_id LIKE 'C-%' LIMIT 1")
    assert toy_crm.delete_customer(crm, key) >= 3
    for table in ("customers", "subscriptions", "tickets"):
        assert one(crm, f"SELECT count(*) FROM {table} WHERE customer_id = %s", key) == 0
    assert toy_crm.delete_customer(crm, key) == 0


def test_a_model_learns_who_leaves(postgres_db: Database, tmp_path: Path) -> None:
    with psycopg.connect(postgres_db.url) as connection:
        toy_crm.fill(connection, toy_crm.generate(seed=7, now=NOW))
    files = [str(tmp_path / "model.joblib"), str(tmp_path / "example.csv")]
    command = [sys.executable, str(DEMO / "train.py"), postgres_db.url, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["rows"] == 2_000
    assert 0.2 < said["left"] < 0.5
    assert 0.75 < said["auc"] < 0.95
