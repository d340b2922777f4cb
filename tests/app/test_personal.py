"""A value of a column marked `pii` is in the stores and in the model's input, and in nothing that is shown or told."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest

from mainstay.cli.main import run
from mainstay.testing.ports import free_port
from tests.app.shop import Shop
from tests.app.test_up import ready, up
from tests.web.looking import Looker

MARKER = "marker"
"""In every personal value; what SQL makes of one may be written large."""
COLUMNS = """
      customer_id: {type: string, required: true, pii: true}
      tenure: {type: integer, min: 0, max: 120}
      city: {type: string, pii: true, clean: [trim], pattern: "[A-Za-z-]+"}
      plan: {type: integer, pii: true}
    checks:
      - {sql: "length(city) > 11", name: long enough}
      - {unique: city}
"""
SQL = "SELECT c.customer_id, c.tenure, upper(c.city) AS place, length(c.city) > 3 AS long FROM customers c"
# The text of a failing CAST has the value in it: a model may say anything when it fails.
RULE = 'rule: {churn_probability: "CASE WHEN tenure > 50 THEN CAST(place AS DOUBLE) ELSE tenure / 100.0 END"}'
KEYS = [f"Marker-{number}" for number in range(1, 7)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(tmp_path)
    shop.exec("UPDATE customers SET customer_id = 'Marker-' || CAST(substr(customer_id, 8) AS INT), plan = '7'")
    shop.exec("UPDATE customers SET city = 'Marker-Town-' || char(64 + tenure / 10)")
    shop.write(columns=COLUMNS.rstrip(), sql=SQL, model=RULE)
    monkeypatch.chdir(tmp_path)
    return shop


class Told(NamedTuple):
    where: str
    text: str


class Ear:
    """Types commands and sends requests, and keeps all that comes back."""

    def __init__(self, capsys: pytest.CaptureFixture[str], port: int) -> None:
        self.heard: list[Told] = []
        self._capsys = capsys
        self.port = port

    def type(self, *arguments: str) -> str:
        """Both as people and as programs see it."""
        run([*arguments])
        plain = self._capsys.readouterr()
        run([*arguments, "--json"])
        found = self._capsys.readouterr()
        self.heard.append(Told(" ".join(arguments), plain.out + plain.err + found.out + found.err))
        return found.out

    def ask(self, path: str, body: Any = None, token: str = "", *, kept: bool = True) -> tuple[int, str]:
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", sent)
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                status, text = reply.status, reply.read().decode()
        except HTTPError as error:
            status, text = error.code, error.read().decode()
        if kept:
            self.heard.append(Told(path, text))
        return status, text

    def leaks(self) -> Iterator[str]:
        for one in self.heard:
            for found in re.finditer(f".{{0,60}}{MARKER}.{{0,40}}", one.text, re.IGNORECASE):
                yield f"{one.where}: {found.group()}"


def made(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    run([*arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_no_personal_value_is_shown_or_told_to_whoever_may_not_see_it(
    world: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    ear = Ear(capsys, free_port())
    ear.type("check")
    assert json.loads(ear.type("apply", "--yes"))["done"] == []
    ear.type("run")
    keys = {
        role: made(capsys, "key", "create", role, "--role", role)["key"] for role in ("predict", "operate", "admin")
    }
    world.exec(
        "INSERT INTO customers VALUES ('Marker-bad-1', 500, 'Marker-Kiel', '7')",
        "INSERT INTO customers VALUES ('Marker-bad-2', 5, 'Marker 4', 'Marker-no-number')",
        "UPDATE customers SET tenure = 700, city = 'Marker-Town-A' WHERE customer_id = 'Marker-2'",
    )
    ear.type("run")
    page_port = free_port()
    with up(world, ear.port, "--status-port", str(page_port)) as process:
        assert ready(world, ear.port, process, 1)
        receipts = []
        for key in [*KEYS, "Marker-nobody", "Marker-bad-1"]:
            _, text = ear.ask("/v1/churn/predict", {"key": key}, keys["predict"], kept=False)
            receipts.append(json.loads(text)["receipt"])
        row = {"tenure": 90, "place": "MARKER-TOWN", "long": True}
        _, text = ear.ask("/v1/churn/predict", {"rows": [row]}, keys["predict"], kept=False)
        found = re.findall(r'"receipt":"([^"]+)"', text)
        assert found, text
        receipts += found
        for wrong in ({"rows": [{**row, "tenure": "Marker-no"}]}, {"rows": [{**row, "more": 1}]}):
            ear.ask("/v1/churn/predict", wrong, keys["operate"])
        status, _ = ear.ask(
            "/v2/models/churn/infer",
            {"inputs": [{"name": "key", "shape": [1], "datatype": "BYTES", "data": [KEYS[5]]}]},
            keys["operate"],
        )
        assert status in {200, 503}
        for receipt in (receipts[0], *receipts[5:]):  # answered, failed, unknown, held, with the request
            for role in ("predict", "operate"):
                assert ear.ask(f"/v1/receipts/{receipt}", token=keys[role])[0] == 200
            ear.type("receipt", "show", receipt)
            ear.type("why", receipt, "--all")
        for path in ("/metrics", "/openapi.json", "/docs", "/health/ready", "/v2/models/churn"):
            assert ear.ask(path, token=keys["operate"])[0] == 200, path
        _, text = ear.ask(f"/v1/receipts/{receipts[0]}", token=keys["admin"], kept=False)
        assert json.loads(text)["inputs"]["place"] == "MARKER-TOWN-A"
        assert json.loads(text)["key"] == "Marker-1"
        _, text = ear.ask(f"/v1/receipts/{receipts[0]}", token=keys["predict"])
        shown = json.loads(text)
        assert shown["masked"] == ["key", "long", "place"]
        assert shown["inputs"] == {"tenure": 10, "place": None, "long": None}
        assert shown["output"]
        page = Looker(page_port)
        assert page.sign_in(keys["operate"]).status == 303
        for path in ("/", "/datasets/customers", "/quarantine?dataset=customers", "/model", "/events"):
            looked = page.ask(path)
            assert looked.status == 200, path
            ear.heard.append(Told(f"page {path}", looked.text))
        rows = json.loads(ear.type("quarantine", "list"))["rows"]
        assert rows
        for one in rows:
            ear.type("quarantine", "show", one["id"])
        whole = made(capsys, "quarantine", "show", rows[0]["id"], "--personal")
        assert MARKER in str(whole).lower()
    for command in (
        "status",
        "batch list",
        "audit",
        "contract",
        "profile customers",
        "apply --dry-run",
    ):
        ear.type(*command.split())
    ear.type("batch", "show", "customers/2")
    logs = [world.folder / "up.log", *(world.home / "churn" / "logs").rglob("*")]
    ear.heard += [Told(f"log {path.name}", path.read_text()) for path in logs if path.is_file()]
    leaks = list(dict.fromkeys(ear.leaks()))
    assert not leaks, "\n".join(leaks)
    for receipt in receipts[:4]:
        assert made(capsys, "receipt", "verify", receipt)["verdict"] in {"PASS", "UNKNOWN"}, "what is stored is whole"
    assert made(capsys, "receipt", "show", receipts[0], "--personal")["inputs"]["place"] == "MARKER-TOWN-A"
    assert "MARKER-TOWN-A" in json.dumps(made(capsys, "why", receipts[0], "--personal"))
