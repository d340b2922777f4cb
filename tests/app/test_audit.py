"""Every change that a person makes is in the audit, with who made it, and no secret or person; backups keep it."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app import commands
from mainstay.app.place import whoami
from mainstay.app.wiring import own
from mainstay.cli.main import run
from mainstay.core.clock import SystemClock
from mainstay.core.records import Request
from mainstay.store import audit
from mainstay.store.home import Home
from mainstay.store.shelf import Shelf
from tests.app.shop import Shop

COLUMNS = """
      customer_id: {type: string, required: true}
      tenure: {type: integer, min: 0, max: 120}
      city: {type: string, values: [Bonn, Köln], clean: [{map_file: cities.csv}]}
"""
CHECKS = """
    checks: [{row_count: {max: 8}, on_fail: block}]
"""
PERSON = "person-0003"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    shop = Shop(tmp_path)
    (tmp_path / "cities.csv").write_text("old,new\nKoeln,Köln\n")
    shop.write(columns=COLUMNS.rstrip() + CHECKS)
    monkeypatch.chdir(tmp_path)
    assert run(["apply", "--yes"]) == 0
    capsys.readouterr()
    return shop


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == code, capsys.readouterr().out
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def whats(capsys: pytest.CaptureFixture[str], *filters: str) -> list[str]:
    return [one["what"] for one in told(capsys, "audit", *filters)["records"]]


def test_a_person_who_changes_anything_is_in_the_audit(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "run")
    token = told(capsys, "key", "create", "crm", "--rate", "10/s")["key"]
    made = token.split("_")[1]
    second = told(capsys, "key", "rotate", made)["key"]
    told(capsys, "key", "revoke", made)
    world.write(columns=COLUMNS.rstrip() + CHECKS, model="constant: {churn_probability: 0.3}")
    told(capsys, "apply", "--yes")
    told(capsys, "model", "use", "1")
    told(capsys, "model", "retire", "2")
    world.exec(f"UPDATE customers SET city = 'Bonnn', tenure = 121 WHERE customer_id = '{PERSON}'")
    world.exec("INSERT INTO customers VALUES ('person-0007', 300, 'Bonn', 'gold')")
    told(capsys, "run")
    told(capsys, "map", "customers", "city", "--yes", "--accept-above", "0.5")
    (gone,) = [one["id"] for one in told(capsys, "quarantine", "list")["rows"] if one["key"] == "person-0007"]
    told(capsys, "quarantine", "discard", gone, "--reason", f"it is {PERSON} again")
    world.write(columns=COLUMNS.replace("120", "130").rstrip() + CHECKS)
    told(capsys, "apply", "--yes")
    world.exec(*(f"INSERT INTO customers VALUES ('more-{n}', 5, 'Bonn', 'gold')" for n in range(4)))
    told(capsys, "run", code=1)
    told(capsys, "batch", "release", "customers/3", "--reason", f"{PERSON} brought friends")
    world.exec("INSERT INTO customers VALUES ('more-9', 5, 'Bonn', 'gold')")
    told(capsys, "run", code=1)
    told(capsys, "batch", "discard", "customers/4", "--reason", "none of ours")
    one = told(capsys, "backfill", "customers", "--from", PERSON, "--detach")["backfill"]
    told(capsys, "backfill", "--cancel", one["id"])
    told(capsys, "erase", "--yes", "--key", PERSON, "--reason", "asked by letter")
    told(capsys, "backup", "b.tar")
    found = told(capsys, "audit", "--limit", "1000")["records"]
    assert " ".join(one["what"] for one in found) == (
        "model.add apply model.use key.create key.rotate key.revoke model.add apply model.use model.use model.retire "
        "map.confirm quarantine.discard apply batch.release batch.discard backfill.start backfill.cancel erase backup"
    )
    assert [one["number"] for one in found] == list(range(1, len(found) + 1))
    for one in found:
        assert f"of {pwd.getpwuid(os.geteuid()).pw_name} on " in one["by"], one
        assert one["object"], one
    text = json.dumps(found, ensure_ascii=False)
    for secret in (token, second, token.split("_")[2], PERSON, "person-0007", "Bonnn"):
        assert secret not in text
    assert told(capsys, "audit", "verify")["fault"] is None


def test_events_of_model_versions_name_their_record(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world.write(columns=COLUMNS.rstrip() + CHECKS, model="constant: {churn_probability: 0.3}")
    told(capsys, "run")
    told(capsys, "apply", "--yes")
    for arguments in (("use", "1"), ("use", "1"), ("retire", "2")):
        told(capsys, "model", *arguments)
    records = {one["number"]: one for one in told(capsys, "audit", "--limit", "1000")["records"]}
    with own(world.place, "a test") as works:
        payloads = [entry.payload for one in works.journal.segments() for entry, _ in works.journal.scan(one.name)]
    events = [msgspec.msgpack.decode(payload) for payload in payloads]
    kinds = [one for one in events if one.get("kind", "").startswith("audit.model.")]
    by_hand, applied = ["audit.model.use", "audit.model.retire"], ["audit.model.add", "audit.model.use"]
    assert [one["kind"] for one in kinds] == [*applied, *applied, *by_hand], "whether applied or done by hand"
    for one in kinds:
        record = records[one["body"].pop("number")]
        assert one["kind"] == f"audit.{record['what']}"
        assert one["body"].pop("object") == record["object"]
        assert one["body"] == record["details"]


def test_the_list_can_be_asked_for_a_part(world: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    made = told(capsys, "key", "create", "crm")["id"]
    told(capsys, "key", "revoke", made)
    told(capsys, "key", "revoke", made)  # twice changes nothing
    assert whats(capsys, "--what", "key") == ["key.create", "key.revoke"]
    assert whats(capsys, "--object", made, "--by", "key revoke") == ["key.revoke"]
    assert whats(capsys, "--limit", "1") == ["key.revoke"]
    assert whats(capsys, "--since", "1h", "--what", "apply") == ["apply"]
    assert whats(capsys, "--by", "nobody") == []
    assert run(["audit", "--since", "soon"]) == 3
    assert "`--since`" in capsys.readouterr().err
    assert run(["audit", "--what", "key"]) == 0
    assert "key.revoke" in capsys.readouterr().out


def test_who_left_a_request_is_named_not_the_process_that_performed_it(world: Shop) -> None:
    with own(world.place, whoami("mainstay up")) as works:
        asked = Request(id="req-1", command="erase", by="ada", at_us=1, args={"key": PERSON, "reason": "asked"})
        Shelf(works.state, "request", Request).put("req-1", asked)
        assert commands.perform_requests(works) == 1
        assert works.by == whoami("mainstay up"), "what the loop does next is its own"
        (record,) = [one for one in audit.records(works.state) if one.what == "erase"]
    assert record.by == "ada"


def test_verify_names_the_first_record_that_was_changed_and_takes_a_hash_from_elsewhere(
    world: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "key", "create", "crm")
    head = told(capsys, "audit", "verify")["head"]
    assert run(["audit", "verify"]) == 0
    assert head in capsys.readouterr().out
    told(capsys, "key", "create", "erp")
    for asked in (head, head.removeprefix("sha256:")):
        assert told(capsys, "audit", "verify", "--head", asked)["anchored"] == 4
    assert told(capsys, "audit", "verify", "--head", "0" * 64, code=1)["fault"]["kind"] == "unknown"
    with closing(sqlite3.connect(world.place.home.state)) as file, file:
        file.execute(
            "UPDATE record SET body = CAST(replace(body, 'crm', 'eve') AS BLOB)"
            " WHERE space = 'audit' AND name LIKE '%4'"
        )
    assert run(["audit", "verify"]) == 1
    assert "record 4 was changed" in capsys.readouterr().out


def test_a_restored_home_goes_on_with_the_audit_of_its_backup(
    world: Shop, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told(capsys, "key", "create", "crm")
    told(capsys, "backup", "b.tar")
    elsewhere = tmp_path / "elsewhere"
    told(capsys, "restore", "b.tar", "--home", str(elsewhere))
    assert Home(elsewhere, "churn").state.is_file()
    found = told(capsys, "audit", "--home", str(elsewhere))["records"]
    # The backup's own record is made after its copy was taken.
    assert [one["what"] for one in found] == ["model.add", "apply", "model.use", "key.create", "restore"]
    assert found[-1]["details"]["backup_made_us"] < SystemClock().now_us()
    assert "mainstay restore" in found[-1]["by"]
    assert told(capsys, "audit", "verify", "--home", str(elsewhere))["fault"] is None


def test_before_the_first_apply_there_is_no_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Shop(tmp_path).write()
    monkeypatch.chdir(tmp_path)
    assert told(capsys, "audit", "verify", code=4)["error"]["mend"] == "mainstay apply"
