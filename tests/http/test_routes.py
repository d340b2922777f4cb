from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import jsonschema
import msgspec
import pytest

from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.nouns import Retired, Settings
from mainstay.core.rate import Rate
from mainstay.serving.feedback import Recorded
from mainstay.serving.keys import create_key, revoke_key
from mainstay.serving.meter import Meter
from mainstay.serving.request import DecisionRequest
from tests.http.serving import Caller, Served
from tests.http.test_every_route import ROLES

OPEN = ("/health/live", "/health/ready")


def test_health_is_open_and_says_why_not_ready(served: Served) -> None:
    caller = served.caller()
    assert caller.ask("GET", "/health/live").json == {"live": True}
    assert caller.ask("GET", "/health/ready").json == {"ready": True, "reasons": []}
    assert caller.ask("HEAD", "/health/ready").body == b""
    assert caller.ask("POST", "/health/ready").status == 405
    assert caller.ask("GET", "/health/x").status == 404
    served.toy.desk.draining = True
    said = caller.ask("GET", "/health/ready")
    assert (said.status, said.json["reasons"]) == (503, ["this worker is stopping"])
    served.toy.desk.draining = False
    caller.close()


def test_keys_arrive_in_each_of_their_forms_and_are_revoked(served: Served) -> None:
    toy = served.toy
    token, record = create_key(toy.state, "x", "predict", clock=toy.clock)
    toy.view.refresh()
    caller = served.caller()
    body = {"key": "A"}
    assert caller.ask("POST", "/v1/churn/predict", body, X_API_Key=token).status == 200
    assert caller.ask("POST", "/v1/churn/predict", body, Authorization=f"bearer {token}").status == 200
    basic = "Basic " + base64.b64encode(f"me:{token}".encode()).decode()
    assert caller.ask("GET", "/docs", Authorization=basic).status == 200
    assert caller.ask("POST", "/v1/churn/predict", body, Authorization=basic).status == 401
    assert caller.ask("GET", "/docs", Authorization="Basic !!").status == 401
    assert "Basic" in caller.ask("GET", "/docs").headers["www-authenticate"]
    revoke_key(toy.state, record.id, clock=toy.clock)
    toy.view.refresh()
    assert caller.ask("POST", "/v1/churn/predict", body, X_API_Key=token).status == 401
    expiring, _ = create_key(toy.state, "y", "predict", clock=toy.clock, expires_us=toy.clock.now_us() + SECOND)
    toy.view.refresh()
    assert caller.ask("POST", "/v1/churn/predict", body, X_API_Key=expiring).status == 200
    toy.clock.advance(SECOND)
    assert caller.ask("POST", "/v1/churn/predict", body, X_API_Key=expiring).status == 401
    caller.close()


def test_decisions_and_outcomes(served: Served, caller: Caller) -> None:
    receipt = caller.predict(key="A").json["receipt"]
    said = caller.ask("POST", "/v1/churn/decisions", {"receipt": receipt, "decision": "accepted", "id": "d1"})
    assert said.status == 201
    again = caller.ask("POST", "/v1/churn/decisions", {"receipt": receipt, "decision": "accepted", "id": "d1"})
    assert (again.status, again.json["event"]) == (200, said.json["event"])
    assert caller.ask("POST", "/v1/churn/outcomes", {"receipt": receipt, "outcome": True}).status == 201
    lost = caller.ask("POST", "/v1/churn/outcomes", {"receipt": "r1", "outcome": True})
    assert (lost.status, lost.json["type"]) == (404, "/docs#not_found")
    bare = caller.ask("POST", "/v1/churn/decisions", {"receipt": receipt, "decision": "overridden"})
    assert (bare.status, bare.json["where"]) == (422, "reason")
    assert caller.ask("POST", "/v1/churn/decisions", {"receipt": receipt, "decison": "x"}).status == 422


def test_receipts_are_for_their_caller_and_for_operators(served: Served, caller: Caller, operator: Caller) -> None:
    receipt = caller.predict(key="A").json["receipt"]
    mine = caller.ask("GET", f"/v1/receipts/{receipt}")
    assert (mine.status, mine.json["key"], mine.json["inputs"]["tenure"]) == (200, "A", 12)
    assert operator.ask("GET", f"/v1/receipts/{receipt}").json == mine.json
    stranger = served.caller(served.toy.key("predict"))
    assert stranger.ask("GET", f"/v1/receipts/{receipt}").status == 404
    assert operator.ask("GET", "/v1/receipts/r1").status == 404
    stranger.close()


def test_metrics_are_merged_over_workers(served: Served, caller: Caller, operator: Caller) -> None:
    other = Meter(served.toy.folder / "meters" / "api-2.json")
    other.predicted(200, 900)
    other.save(1)
    caller.predict(key="A")
    caller.predict(key="nobody")
    text = operator.ask("GET", "/metrics").body.decode()
    assert 'mainstay_requests_total{route="predict",status="200"} 2.0' in text
    assert 'mainstay_requests_total{route="predict",status="404"} 1.0' in text
    assert 'mainstay_judged_total{outcome="refused",reason="on_missing",verdict="UNKNOWN"} 1.0' in text
    assert "mainstay_predict_seconds_count 3.0" in text
    assert 'mainstay_dataset_age_seconds{dataset="customers"} 10.0' in text
    assert "nobody" not in text


def test_counters_never_go_back_over_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "api-1.json"
    first = Meter(file)
    first.predicted(200, 100)
    first.save(1)
    again = Meter(file)
    again.predicted(200, 100)
    assert again.counts.requests == {"predict|200": 2}
    file.write_bytes(b"torn")
    assert Meter(file).counts.requests == {}


def test_the_openapi_document_describes_what_is_answered(served: Served, caller: Caller) -> None:
    document = caller.ask("GET", "/openapi.json").json
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    validator = jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/Answer", "components": {"schemas": schemas}}
    )
    validator.validate(caller.predict(key="A").json)
    problem = jsonschema.Draft202012Validator(
        {"$ref": "#/components/schemas/Problem", "components": {"schemas": schemas}}
    )
    problem.validate(caller.predict(key="nobody").json)
    operation = document["paths"]["/v1/churn/predict"]["post"]
    body = operation["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        jsonschema.Draft202012Validator(body["schema"]).validate(example["value"])
        said = caller.ask("POST", "/v1/churn/predict", example["value"])
        assert said.status == 200, said.body
        assert str(said.status) in operation["responses"]


def test_feedback_is_described_by_the_records_that_are_read_and_sent(served: Served, caller: Caller) -> None:
    described = caller.ask("GET", "/openapi.json").json["paths"]["/v1/churn/decisions"]["post"]
    forms = described["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert [list(form["properties"]) for form in forms] == [list(DecisionRequest.__struct_fields__)] * 2
    told = described["responses"]["201"]["content"]["application/json"]["schema"]
    assert (list(told["properties"]), told["required"]) == (list(Recorded.__struct_fields__), ["event", "receipt"])
    said = caller.ask(
        "POST", "/v1/churn/decisions", {"receipt": caller.predict(key="A").json["receipt"], "decision": "accepted"}
    )
    jsonschema.Draft202012Validator(told).validate(said.json)


def test_every_route_is_in_the_document(served: Served, caller: Caller) -> None:
    described = set(caller.ask("GET", "/openapi.json").json["paths"])
    card = {"/v1/churn/card.js", "/v1/churn/card", "/v1/churn/card/decisions"}
    assert described == {path.replace("{integration}", "churn") for path in ROLES} | {*OPEN, *card}


def test_the_page_stands_alone_and_its_commands_work_when_pasted(served: Served, caller: Caller) -> None:
    page = caller.ask("GET", "/docs")
    text = page.body.decode()
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in text
    assert "src=" not in text.replace("content-security", "")
    assert "<th>name<th>type<th>unit<th>meaning<tr>" in text  # a title over each column of what is told of fields
    command = text.split("<pre><code>curl")[1].split("</code>")[0]
    for entity, character in (("&#x27;", "'"), ("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        command = command.replace(entity, character)
    out = subprocess.run(
        ["bash", "-c", f"curl{command}"],
        env={"MAINSTAY_KEY": caller.token or "", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(out)["verdict"] == "PASS"


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics", "/health/live"])
def test_head_gives_the_headers_without_the_body(operator: Caller, path: str) -> None:
    said = operator.ask("HEAD", path)
    assert (said.status, said.body) == (200, b"")


def test_the_document_names_the_refusals_of_rates_and_names(served: Served, caller: Caller) -> None:
    paths = caller.ask("GET", "/openapi.json").json["paths"]
    for path, operations in paths.items():
        if path in OPEN or "/card" in path:
            continue
        for operation in operations.values():
            assert "429" in operation["responses"], path
    assert "410" in paths["/v1/churn/card-tokens"]["post"]["responses"]
    for route in ("predict", "decisions", "outcomes"):
        operation = paths[f"/v1/churn/{route}"]["post"]
        assert {"400", "401", "408", "409", "413", "422", "429", "503"} <= set(operation["responses"])
        assert [one["name"] for one in operation["parameters"]] == ["Idempotency-Key"]
    served.toy.settings(rate=Rate(1, MINUTE))
    assert caller.predict(key="A").status == 200
    over = caller.predict(key="A")
    served.toy.settings()
    schemas = caller.ask("GET", "/openapi.json").json["components"]["schemas"]
    jsonschema.Draft202012Validator(schemas["Problem"]).validate(over.json)
    assert set(over.json) <= set(schemas["Problem"]["properties"])


USUAL = {"date", "content-length", "content-type", "connection", "vary", "cache-control", "content-security-policy"}


@pytest.mark.parametrize("retired", [False, True])
def test_the_document_has_the_headers_of_every_answer(served: Served, caller: Caller, retired: bool) -> None:
    going = Retired(on_us=served.toy.clock.now_us() - HOUR, sunset_us=None, successor="/v1/churn-2/predict", link="")
    served.toy.file = msgspec.structs.replace(
        served.toy.file, retired=going if retired else None, settings=Settings(rate=Rate(1000, MINUTE))
    )
    served.toy.policy(on_missing="refuse")
    paths = caller.ask("GET", "/openapi.json").json["paths"]
    receipt = caller.predict(key="A").json["receipt"]
    named = {"Idempotency_Key": "a"}
    stranger = served.caller("msk_none")
    decision = {"receipt": receipt, "decision": "accepted"}
    asked = [
        ("/v1/churn/predict", caller.predict(key="A")),
        *(("/v1/churn/predict", caller.ask("POST", "/v1/churn/predict", {"key": "B"}, **named)) for _ in range(2)),
        ("/v1/churn/predict", caller.predict(key="nobody")),
        ("/v1/churn/predict", caller.predict()),
        ("/v1/churn/predict", stranger.predict(key="A")),
        ("/v1/churn/predict", caller.ask("POST", "/v1/churn/predict", b"{}", Content_Encoding="br")),
        ("/v1/churn/decisions", caller.ask("POST", "/v1/churn/decisions", decision)),
        ("/v1/churn/card-tokens", caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "u"})),
        ("/v1/receipts/{id}", caller.ask("GET", f"/v1/receipts/{receipt}")),
        ("/metrics", caller.ask("GET", "/metrics")),
        ("/docs", caller.ask("GET", "/docs")),
        ("/health/live", caller.ask("GET", "/health/live")),
    ]
    served.toy.file = msgspec.structs.replace(served.toy.file, settings=Settings(rate=Rate(1, MINUTE)))
    served.toy.reapply()
    asked += [("/v1/churn/predict", caller.predict(key="A")) for _ in range(2)]
    stranger.close()
    assert {said.status for _, said in asked} == {200, 201, 401, 403, 404, 415, 422, 429}
    for path, said in asked:
        (operation,) = paths[path].values()
        described = {name.lower() for name in operation["responses"][str(said.status)].get("headers", ())}
        assert set(said.headers) - USUAL <= described, (path, said.status)
        if retired and said.status not in (401, 403) and path != "/health/live":
            assert {"deprecation", "link"} <= set(said.headers), (path, said.status)
