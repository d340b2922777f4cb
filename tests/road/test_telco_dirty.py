"""Dirty rows of the real table: quarantined, held or blocked as declared; mended; every version accounted for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.road.telco import STEADY, Telco
from tests.road.test_telco import SHORT, blanks


def change(telco: Telco, key: str, values: str) -> None:
    """The CRM's people change a row."""
    telco.crm.exec(f"UPDATE customers SET {values}, updated_at = now() WHERE customer_id = %s", (key,))


def status_of(telco: Telco, key: str, status: int) -> Callable[[], Any]:
    """A condition: the API answers with this HTTP status; its value is the body."""

    def holds() -> Any:
        reply: httpx.Response = telco.ask(key)
        return reply.status_code == status and reply.json()

    return holds


def without_noops(telco: Telco) -> dict[str, int]:
    return {name: count for name, count in telco.settled().items() if name != "noop"}


def quarantined(telco: Telco, key: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = telco.json("quarantine", "list", "--key", key)["rows"]
    return rows


@pytest.mark.promise(3)
def test_a_blank_total_is_quarantined_and_refused_by_name(strict: Telco) -> None:
    found = strict.answers(blanks())
    assert len(found) == 11
    assert {item["status"] for item in found.values()} == {409}
    for item in found.values():
        assert item["reason"] == "on_held"
        assert "total_charges.required" in item["sentence"]
    assert strict.ask(STEADY).json()["verdict"] == "PASS"
    rows = strict.json("quarantine", "list", "--limit", "1000")["rows"]
    assert {row["key"] for row in rows} >= set(blanks())
    shown = strict.json("quarantine", "show", next(row["id"] for row in rows if row["key"] == blanks()[0]))
    assert shown["raw"]["total_charges"] == " "
    counts = strict.settled()
    assert counts["quarantined"] >= 11
    assert counts["landed"] >= 7_043


def test_the_mended_row_ends_its_hold(strict: Telco) -> None:
    key = blanks()[1]
    strict.until(status_of(strict, key, 409), "it is held")
    change(strict, key, "total_charges = '0'")
    answer = strict.until(status_of(strict, key, 200), "the mended row answers")
    assert answer["verdict"] == "PASS"
    strict.settled()


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("key", "dirt", "check", "mend"),
    [
        ("3668-QPYBK", "total_charges = 'n/a'", "total_charges.type", "total_charges = '108.15'"),
        ("7795-CFOCW", "contract = 'Three year'", "contract.values", "contract = 'One year'"),
        ("9237-HQITU", "monthly_charges = -3", "monthly_charges.min", "monthly_charges = 70.7"),
        ("9305-CDSKC", "senior_citizen = NULL", "senior_citizen.required", "senior_citizen = 0"),
    ],
)
def test_a_dirty_version_holds_its_key_until_it_is_mended(
    strict: Telco, key: str, dirt: str, check: str, mend: str
) -> None:
    before = strict.until(status_of(strict, key, 200), "it answers")
    change(strict, key, dirt)
    held = strict.until(status_of(strict, key, 409), "it is held")
    assert check in held["detail"]
    assert held["as_of"] <= strict.ask(STEADY).json()["as_of"]
    assert held["as_of"] >= before["as_of"]
    assert [row["reasons"] for row in quarantined(strict, key)] == [check]
    assert strict.json("receipt", "verify", held["receipt"])["verdict"] == "PASS"
    counts = strict.settled()
    change(strict, key, mend)
    strict.until(status_of(strict, key, 200), "it answers again")
    # The row answers a moment before its batch is counted.
    strict.until(lambda: strict.settled()["published"] == counts["published"] + 1, "one more is published")
    # The rejected version is older than what current shows now: a replay says so, and a second one has nothing to do.
    replayed = strict.json("quarantine", "replay", "--key", key)["results"]["customers"]
    assert (replayed["tried"], replayed["published"]) == (1, 0)
    strict.settled()


@pytest.mark.promise(3)
def test_a_wider_contract_takes_what_it_now_allows(strict: Telco) -> None:
    key = "7892-POOKP"
    change(strict, key, "contract = 'Three year'")
    strict.until(status_of(strict, key, 409), "it is held")
    before = strict.settled()
    with strict.applied({"[Month-to-month, One year, Two year]": "[Month-to-month, One year, Two year, Three year]"}):
        strict.until(status_of(strict, key, 200), "it answers")
        # Applying judged everything again from raw: nothing is left for a replay, however often.
        for _ in range(2):
            replayed = strict.json("quarantine", "replay", "--key", key)["results"]["customers"]
            assert (replayed["tried"], replayed["published"]) == (0, 0)
        after = strict.settled()
        assert after["landed"] == before["landed"]
        # From raw means every such version, those of other customers and of earlier days too.
        assert after["published"] > before["published"]
        assert after["quarantined"] < before["quarantined"]
        change(strict, key, "contract = 'Month-to-month'")
        strict.until(lambda: strict.settled()["published"] == after["published"] + 1, "the row is as it was")


@pytest.mark.promise(3)
def test_duplicate_keys_are_held_as_declared(strict: Telco) -> None:
    """`duplicates: {keep: none}`: nobody knows which of the two is right, so neither is taken."""
    key = "6388-TABGU"
    strict.crm.exec("ALTER TABLE customers DROP CONSTRAINT customers_pkey")
    columns = ", ".join(
        name
        for (name,) in strict.crm.exec(
            "SELECT column_name FROM information_schema.columns WHERE table_name='customers'"
        )
        if name not in {"tenure", "updated_at"}
    )
    strict.crm.exec(
        f"BEGIN; INSERT INTO customers ({columns}, tenure, updated_at) SELECT {columns}, tenure + 1, now() "
        f"FROM customers WHERE customer_id = '{key}'; "
        f"UPDATE customers SET updated_at = now() WHERE customer_id = '{key}'; COMMIT"
    )
    held = strict.until(status_of(strict, key, 409), "it is held")
    assert "duplicates" in held["detail"]
    assert len(quarantined(strict, key)) == 2
    before = strict.settled()
    wrong, right = sorted(quarantined(strict, key), key=lambda row: int(row["ordinal"]))
    strict.crm.exec(
        "DELETE FROM customers WHERE customer_id = %s AND tenure = %s::integer", (key, wrong["raw"]["tenure"])
    )
    strict.crm.exec("ALTER TABLE customers ADD PRIMARY KEY (customer_id)")
    replayed = strict.json("quarantine", "replay", right["id"])["results"]["customers"]
    assert (replayed["tried"], replayed["published"]) == (1, 1)
    answer = strict.until(status_of(strict, key, 200), "it answers again")
    receipt = strict.api.get(f"/v1/receipts/{answer['receipt']}").json()
    assert receipt["positions"]["customers"] == [right["batch"], right["ordinal"]]
    again = strict.json("quarantine", "replay", "--key", key)["results"]["customers"]
    assert again["published"] == 0
    assert quarantined(strict, key) == []
    after = strict.settled()
    assert after["published"] == before["published"] + 1
    assert after["superseded"] == before["superseded"] + 1


@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("lose", "back", "named"),
    [
        ("RENAME COLUMN contract TO contract_old", "RENAME COLUMN contract_old TO contract", "contract"),
        ("ALTER COLUMN tenure TYPE text", "ALTER COLUMN tenure TYPE integer USING tenure::integer", "tenure"),
    ],
)
def test_a_lost_or_retyped_column_blocks_the_dataset_and_lifts_by_itself(
    strict: Telco, lose: str, back: str, named: str
) -> None:
    before = without_noops(strict)
    with strict.applied(SHORT):
        strict.until(lambda: strict.ask(STEADY).json()["verdict"] == "PASS", "it is fresh")
        strict.crm.exec(f"ALTER TABLE customers {lose}")
        try:
            flagged = strict.until(
                lambda: (now := strict.ask(STEADY).json())["verdict"] == "WARN" and now, "its age is flagged"
            )
            assert flagged["age_seconds"] > 2
            refused = strict.until(status_of(strict, STEADY, 503), "it is refused")
            assert refused["age_seconds"] > flagged["age_seconds"]
            wrong = {one["check"]: one for one in strict.json("status", code=1)["wrong"]}
            assert named in wrong["customers.schema"]["sentence"]
            assert without_noops(strict) == before
        finally:
            strict.crm.exec(f"ALTER TABLE customers {back}")
        strict.until(lambda: strict.ask(STEADY).json()["verdict"] == "PASS", "it is fresh again")


@pytest.mark.promise(4)
@pytest.mark.promise(3)
def test_a_blocked_batch_leaves_the_last_good_state_serving_and_ageing(strict: Telco) -> None:
    """`tenure` blocks in this world; a later good batch waits behind it, in order."""
    bad, good = "1452-KIOVK", "6713-OKOMC"
    steady = strict.ask(bad).json()
    with strict.applied(SHORT):
        strict.until(lambda: strict.ask(STEADY).json()["verdict"] == "PASS", "it is fresh")
        change(strict, bad, "tenure = 999")
        waiting = strict.until(
            lambda: [one for one in strict.json("batch", "list")["batches"] if one["status"] == "blocked"], "it blocks"
        )
        number = waiting[0]["number"]
        change(strict, good, "tenure = 11")
        strict.until(lambda: len(strict.json("batch", "list", "--waiting")["batches"]) == 2, "one waits behind it")
        flagged = strict.until(
            lambda: (now := strict.ask(STEADY).json())["verdict"] == "WARN" and now, "age is flagged"
        )
        assert flagged["output"] == steady["output"]
        assert flagged["age_seconds"] > 2
        wrong = [one for one in strict.json("status", code=1)["wrong"] if one["check"] == "customers.batch"]
        assert f"customers/{number}" in wrong[0]["sentence"]
        assert "tenure above 120" in wrong[0]["sentence"]
        strict.until(status_of(strict, STEADY, 503), "it is refused")
        assert strict.settled()["waiting"] == 2
        strict.cli("batch", "release", f"customers/{number}", "--reason", "they asked for it")
        strict.until(lambda: not strict.json("batch", "list", "--waiting")["batches"], "none waits")
        strict.until(lambda: strict.ask(STEADY).json()["verdict"] == "PASS", "it is fresh again")
        released = strict.until(status_of(strict, bad, 200), "it answers")
        assert released["verdict"] == "WARN"
        receipt = strict.api.get(f"/v1/receipts/{released['receipt']}").json()
        assert receipt["positions"]["customers"][0] == number
        assert "they asked for it" in strict.cli("why", released["receipt"]).out
        change(strict, bad, "tenure = 11")
        strict.until(lambda: strict.ask(bad).json()["verdict"] == "PASS", "the mended row passes")
    counts = strict.settled()
    assert counts["waiting"] == 0


def test_source_and_published_agree_at_the_end(strict: Telco) -> None:
    """Whatever the stories did: every row that the checks accept answers, and every other one is held."""
    rows = strict.crm.exec("SELECT customer_id, btrim(total_charges) <> '' FROM customers")
    found = strict.answers([key for key, _ in rows])
    assert {key for key, item in found.items() if item["status"] == 409} == {key for key, fine in rows if not fine}
    assert {item["status"] for item in found.values()} == {200, 409}
