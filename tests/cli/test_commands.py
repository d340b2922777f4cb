"""Every command on a real installation: exit codes, one JSON document, and sentences instead of stack traces."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from mainstay.app.wiring import own
from mainstay.cli.commands import COMMANDS
from mainstay.cli.main import run
from mainstay.core.clock import SystemClock, iso
from tests.app.shop import CONSTANT, Shop
from tests.laws.reading import ROOT

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path)
    shop.write()
    monkeypatch.chdir(tmp_path)
    return shop


def told(capsys: Capsys, *arguments: str) -> tuple[int, str]:
    code = run(list(arguments))
    found = capsys.readouterr()
    assert "Traceback" not in found.out + found.err
    return code, found.out + found.err


def document(capsys: Capsys, *arguments: str, code: int = 0) -> Any:
    assert run([*arguments, "--json"]) == code, arguments
    found = capsys.readouterr()
    assert found.err == ""
    return json.loads(found.out)


def test_apply_prints_its_plan_asks_and_performs(world: Shop, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = told(capsys, "apply", "--dry-run")
    assert code == 0
    assert "begin to read dataset customers" in said
    assert not (world.folder / "contracts").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, said = told(capsys, "apply")
    assert code == 3
    assert "nothing was changed" in said
    assert document(capsys, "apply", code=3)["error"]["mend"] == "add --yes"
    planned = document(capsys, "apply", "--dry-run")
    done = document(capsys, "apply", "--yes")
    assert done["done"] == [step["sentence"] for step in planned["plan"]["steps"]]
    assert document(capsys, "apply", "--yes")["done"] == []
    world.write(model=CONSTANT.replace("churn_probability", "risk"))
    world.file.write_text(world.file.read_text().replace("fallback: {churn_probability", "fallback: {risk"))
    error = document(capsys, "apply", "--yes", code=3)["error"]
    assert "is gone" in error["sentence"]
    assert "raise `api: 1` to 2" in error["mend"]
    world.file.write_text("integration: churn\nnonsense: 1\n")
    error = document(capsys, "apply", "--yes", code=2)["error"]
    assert error["problems"]


def test_the_life_of_an_integration_in_json(world: Shop, capsys: Capsys) -> None:
    assert "nothing has been applied" in document(capsys, "status", code=4)["error"]["sentence"]
    document(capsys, "apply", "--yes")
    assert document(capsys, "run", "--dry-run")["results"][0]["landed"] == 6
    assert document(capsys, "run")["results"][0]["published"] == 6
    world.exec("UPDATE customers SET tenure = 999 WHERE customer_id IN ('person-0002', 'person-0003')")
    assert document(capsys, "run", "customers")["results"][0]["quarantined"] == 2
    assert document(capsys, "run", "orders", code=4)["error"]["type"] == "NotFound"
    assert document(capsys, "status", code=1)["wrong"][0]["check"] == "processes.loop"

    (answer,) = document(capsys, "predict", "person-0001")["results"]
    assert answer["output"] == {"churn_probability": 0.26}
    (refused,) = document(capsys, "predict", "nobody", code=1)["results"]
    assert refused["status"] == 404
    assert document(capsys, "predict", code=3)["error"]["mend"] == "mainstay predict KEY"
    assert document(capsys, "predict", "--row", "{", code=3)["error"]["sentence"].startswith("--row is not JSON")
    receipt = answer["receipt"]
    assert document(capsys, "receipt", "show", receipt)["key"] == "person-0001"
    assert document(capsys, "receipt", "verify", receipt)["verdict"] == "PASS"
    assert document(capsys, "receipt", "verify", refused["receipt"])["verdict"] == "PASS"
    assert document(capsys, "receipt", "show", "r123", code=4)["error"]["exit_code"] == 4
    assert document(capsys, "why", receipt)["links"][0]["what"] == "source"

    rows = document(capsys, "quarantine", "list")["rows"]
    assert len(rows) == 2
    assert document(capsys, "quarantine", "show", rows[0]["id"])["raw"]["tenure"] == "999"
    assert document(capsys, "quarantine", "show", "customers/9/9", code=4)["error"]["type"] == "NotFound"
    assert document(capsys, "quarantine", "replay")["results"]["customers"]["still_rejected"] == 2
    assert document(capsys, "quarantine", "discard", rows[0]["id"], "--reason", "a test")["discarded"]
    batches = document(capsys, "batch", "list")["batches"]
    assert [one["number"] for one in batches] == [2, 1]
    assert document(capsys, "batch", "show", "customers/1")["status"] == "published"
    for arguments in (("show", "customers/9"), ("show", "x"), ("discard", "customers/9", "--reason", "x")):
        assert document(capsys, "batch", *arguments, code=4)["error"]["sentence"]

    listed = document(capsys, "model", "list")
    assert (len(listed["models"]), listed["answering"]["version"]) == (1, 1)
    assert document(capsys, "model", "show", "1")["runtime"] == "constant"
    assert document(capsys, "model", "use", "7", code=4)["error"]["mend"]
    assert document(capsys, "model", "retire", "1", code=3)["error"]["type"] == "Refused"
    world.write(model=CONSTANT.replace("0.26", "0.5"))
    document(capsys, "apply", "--yes")
    assert document(capsys, "model", "use", "1")["previous"] == 2
    assert document(capsys, "model", "retire", "2")["retired_us"]

    made = document(capsys, "key", "create", "crm")
    assert made["key"]
    (kept,) = document(capsys, "key", "list")["keys"]
    assert made["key"] not in json.dumps(kept)
    assert kept["used_us"] is None
    other = document(capsys, "key", "rotate", made["id"], "--overlap", "5m")
    assert (other["id"], other["key"] == made["key"]) == (made["id"], False)
    assert [one["expires_us"] for one in document(capsys, "key", "list")["keys"]] == [other["old_until_us"], None]
    assert "0s" in told(capsys, "key", "rotate", "--help")[1]
    assert "The old one is refused" in told(capsys, "key", "rotate", made["id"], "--overlap", "0s")[1]
    assert document(capsys, "key", "rotate", made["id"], "--overlap", "5", code=3)["error"]["mend"]
    assert document(capsys, "key", "revoke", made["id"])["revoked_us"]
    assert document(capsys, "key", "rotate", made["id"], code=3)["error"]["mend"] == "mainstay key create"
    assert document(capsys, "key", "revoke", "nobody", code=4)["error"]["sentence"]
    assert document(capsys, "key", "create", "crm", "--role", "king", code=3)["error"]["sentence"]

    assert document(capsys, "erase", "--key", "person-0001", code=3)["error"]["sentence"] == "an erasure says why"
    assert (
        document(capsys, "erase", "--key", "person-0001", "--reason", "asked", code=3)["error"]["mend"] == "add --yes"
    )
    assert document(capsys, "erase", "--key", "person-0001", "--verify", code=1)["traces"]
    assert document(capsys, "erase", "--key", "person-0001", "--reason", "asked", "--yes")["clean"]
    assert document(capsys, "erase", "--key", "person-0001", "--verify") == {"traces": [], "clean": True}
    assert document(capsys, "receipt", "verify", receipt, code=2)["verdict"] == "UNKNOWN"


def test_the_same_commands_speak_to_people(world: Shop, capsys: Capsys) -> None:
    assert told(capsys, "apply", "--yes")[0] == 0
    assert "6" in told(capsys, "run")[1]
    world.exec("UPDATE customers SET tenure = 999 WHERE customer_id = 'person-0002'")
    told(capsys, "run")
    code, said = told(capsys, "status")
    assert code == 1
    assert said.index("processes.loop") < said.index("customers.quarantine") < said.index("model    version 1")
    code, said = told(capsys, "predict", "person-0001", "person-0002")
    assert code == 1
    assert "churn_probability = 0.26" in said
    receipt = said.split("receipt ")[1].split()[0]
    row = document(capsys, "quarantine", "list")["rows"][0]["id"]
    for arguments in (
        ("why", receipt), ("receipt", "show", receipt), ("receipt", "verify", receipt), ("quarantine", "list"),
        ("quarantine", "show", row), ("quarantine", "replay"), ("batch", "list"),
        ("batch", "show", "customers/2"), ("model", "list"), ("model", "show", "1"), ("model", "use", "1"),
        ("key", "create", "crm", "--days", "3"), ("key", "list"), ("callers",), ("schema",),
        ("quarantine", "discard", row, "--reason", "a test"),
        ("erase", "--key", "person-0002", "--reason", "asked", "--yes"),
    ):  # fmt: skip
        code, said = told(capsys, *arguments)
        assert code == 0, (arguments, said)
        assert said.strip(), arguments


def test_a_blocked_batch_is_released_or_discarded_with_a_reason(world: Shop, capsys: Capsys) -> None:
    text = world.file.read_text().replace(
        "features:\n", "    checks:\n      - {row_count: {max: 6}, on_fail: block}\nfeatures:\n"
    )
    world.file.write_text(text)
    document(capsys, "apply", "--yes")
    document(capsys, "run")
    world.exec("INSERT INTO customers VALUES ('person-0007', 7, 'Bonn', 'gold')")
    assert document(capsys, "run", code=1)["results"][0]["status"] == "blocked"
    assert document(capsys, "batch", "list", "--waiting")["batches"][0]["number"] == 2
    assert run(["batch", "release", "customers/2"]) == 2  # without a reason
    capsys.readouterr()
    assert (
        document(capsys, "batch", "release", "customers/2", "--reason", "true")["batches"][0]["status"] == "published"
    )
    world.exec("INSERT INTO customers VALUES ('person-0008', 7, 'Bonn', 'gold')")
    assert told(capsys, "run")[0] == 1
    code, said = told(capsys, "batch", "discard", "customers/3", "--reason", "not ours")
    assert (code, said.strip()) == (0, "customers/3 is discarded")


def test_callers_says_what_the_applied_file_says_of_the_api(world: Shop, capsys: Capsys) -> None:
    going = "retired: {on: 2026-12-01, sunset: 2027-03-01, successor: /v1/churn-2/predict}\n"
    world.file.write_text(going + world.file.read_text())
    document(capsys, "apply", "--yes")
    code, said = told(capsys, "callers")
    assert code == 0
    assert "nobody called yet" in said
    assert "retired from 2026-12-01 on, and ends on 2027-03-01; next: /v1/churn-2/predict" in said
    assert document(capsys, "callers", "--since", "30", code=3)["error"]["mend"]


def test_whoever_owns_the_integration_is_named_on_time_out(world: Shop, capsys: Capsys) -> None:
    document(capsys, "apply", "--yes")
    ready, stop = threading.Event(), threading.Event()

    def hold() -> None:
        with own(world.place, "pid 1 on here (mainstay up)"):
            ready.set()
            stop.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert ready.wait(20)
        error = document(capsys, "run", "--timeout", "0", code=5)["error"]
    finally:
        stop.set()
        holder.join()
    assert (error["type"], error["exit_code"]) == ("LeaseOwned", 5)
    assert "mainstay up" in error["sentence"]


def test_up_answers_over_http_takes_requests_and_ends_on_sigterm(world: Shop, capsys: Capsys) -> None:
    key = document(capsys, "key", "create", "crm")["key"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mainstay", "up", "--port", "0"],
        cwd=world.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "API on" in line)
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        address = line.split()[2]
        document(capsys, "run", "--timeout", "60")
        body = json.dumps({"key": "person-0001"}).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        asked = urllib.request.Request(f"{address}/v1/churn/predict", body, headers)
        answer = _patiently(asked)
        assert answer["output"] == {"churn_probability": 0.26}
        assert document(capsys, "erase", "--key", "person-0001", "--reason", "asked", "--yes")["clean"]
        assert document(capsys, "receipt", "show", answer["receipt"])["key"] is None
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    drain.join()
    process.stderr.close()
    assert code == 0
    (called,) = document(capsys, "callers", "--since", "1h")["callers"]
    assert (called["caller"], called["api"], called["door"], called["model_version"]) == ("crm", 1, "v1", 1)
    assert called["requests"] >= 1
    assert document(capsys, "callers", "--api", "2") == {"callers": [], "retired": None}
    assert "api 1" in told(capsys, "callers")[1]
    held = [path for path in world.home.rglob("*") if path.is_file() and b"person-0001" in path.read_bytes()]
    assert held == []


def _patiently(asked: urllib.request.Request) -> Any:
    """The answer, once the worker has opened what it needs."""
    from time import monotonic, sleep
    from urllib.error import URLError

    deadline = monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(asked) as reply:
                return json.load(reply)
        except URLError:
            if monotonic() > deadline:
                raise
            sleep(0.05)


def test_every_command_stands_on_its_page_with_an_example_and_its_exit_codes() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    sections = {part.split("`")[1]: part for part in page.split("\n## ")[1:] if part.startswith("`")}
    assert set(sections) == {f"mainstay {name}" for name in COMMANDS}
    for name, text in sections.items():
        assert f"\n{name}" in text.partition("```")[2], f"{name} has no example"
        assert "Exits " in text, f"{name} does not say how it exits"


def test_why_fits_one_screen_and_all_of_it_is_there_when_asked_for(world: Shop, capsys: Capsys) -> None:
    world.begin()
    (answer,) = document(capsys, "predict", "person-0004")["results"]
    code, brief = told(capsys, "why", answer["receipt"])
    assert code == 0
    assert "checks passed, 0 did not" in brief
    assert "customer_id person-0004 · tenure 40 · city Bonn" in " ".join(brief.split())
    assert "tenure.max" not in brief
    assert len(brief.splitlines()) < 20
    code, whole = told(capsys, "why", answer["receipt"], "--all")
    assert code == 0
    assert "tenure.max" in whole
    assert len(whole.splitlines()) > len(brief.splitlines())


def test_a_training_set_is_planned_made_and_told(world: Shop, capsys: Capsys) -> None:
    world.begin()
    labels = world.folder / "labels.csv"
    rows = [f"person-{n:04},2026-11-01T09:00:00Z,{n % 2}" for n in range(1, 8)]
    labels.write_text("\n".join(["customer_id,asked,left", *rows, "person-0001,2099-01-01T00:00:00Z,1"]) + "\n")
    asked = ("training-set", "--labels", str(labels), "--at", "asked")
    planned = document(capsys, *asked, "--dry-run")
    assert (planned["labels"], planned["left_out"], planned["behind"]) == (8, {"future": 1}, {"customers": 1})
    assert not (world.folder / "training-set.parquet").exists()
    made = document(capsys, *asked)
    assert (made["rows"], made["left_out"]) == (0, {"future": 1, "never_known": 1, "not_yet_known": 6})
    code, said = told(capsys, *asked, "--out", "set.csv")
    assert code == 0
    assert "0 of 8 labels → set.csv" in said
    assert "left out: 6  the key was first known later (line 2, 3, 4, 5, 6, ...)" in said
    assert (world.folder / "set.left-out.csv").read_text().count("not_yet_known") == 6
    error = document(capsys, "training-set", "--labels", str(labels), "--at", "when", code=2)["error"]
    assert error["problems"][0]["mend"] == "name one of customer_id, asked, left: --at COLUMN"
    assert document(capsys, *asked, "--version", "9", code=4)["error"]["mend"] == "mainstay model list"
    assert "take the place" in document(capsys, *asked, "--out", str(labels), code=3)["error"]["sentence"]
    assert "suffix" in document(capsys, *asked, "--out", "set.xlsx", code=3)["error"]["sentence"]


def test_leakage_makes_training_set_exit_1(world: Shop, capsys: Capsys) -> None:
    world.begin()
    labels = world.folder / "labels.csv"
    now = iso(SystemClock().now_us())
    labels.write_text("\n".join(["customer_id,at,tenure", *(f"person-{n:04},{now},{n}" for n in range(1, 7))]) + "\n")
    made = document(capsys, "training-set", "--labels", str(labels), "--at", "at", code=1)
    assert made["rows"] == 6
    assert "leak.label_is_feature.tenure" in {one["check"] for one in made["findings"] if one["verdict"] == "FAIL"}


def test_the_audit_shows_roles_and_short_digests(world: Shop, capsys: Capsys) -> None:
    assert run(["apply", "--yes"]) == 0
    assert run(["key", "create", "crm", "--role", "operate"]) == 0
    capsys.readouterr()
    out = told(capsys, "audit")[1]
    assert "roles predict operate" in out
    assert "…, steps" in out


def test_a_contract_shows_each_check_with_its_value(world: Shop, capsys: Capsys) -> None:
    assert run(["apply", "--yes"]) == 0
    capsys.readouterr()
    out = told(capsys, "contract", "customers")[1]
    assert "tenure.max 120 (quarantine)" in out


@pytest.mark.parametrize("days", ["0", "-5"])
def test_no_api_key_is_made_that_has_ended_already(world: Shop, capsys: Capsys, days: str) -> None:
    assert run(["apply", "--yes"]) == 0
    capsys.readouterr()
    code, out = told(capsys, "key", "create", "crm", "--days", days)
    assert code == 2
    assert "--days" in out
    assert json.loads(told(capsys, "key", "list", "--json")[1])["keys"] == []
