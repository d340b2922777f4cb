from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.clock import HOUR
from mainstay.http.trace_context import trace_id
from mainstay.http.turns import Turns
from tests.http.serving import Caller, Served, serving
from tests.serving.toy import Linear, Toy, online_row

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_prediction_by_key(served: Served, caller: Caller) -> None:
    said = caller.predict(key="A")
    assert said.status == 200
    assert said.headers["content-type"] == "application/json"
    assert said.headers["x-request-id"]
    assert said.json == {
        "output": {"churn": pytest.approx(0.17)},
        "receipt": said.json["receipt"],
        "model_version": 1,
        "as_of": "2027-01-15T07:59:50.000000Z",
        "age_seconds": 10.0,
        "verdict": "PASS",
        "sentence": "",
        "degraded": False,
        "reason": "",
    }
    assert served.toy.receipt(said.json["receipt"]).key == "A"


def test_a_callers_request_id_is_kept_when_it_is_harmless(served: Served, caller: Caller) -> None:
    said = caller.ask("POST", "/v1/churn/predict", {"key": "A"}, X_Request_Id="crm-17")
    assert said.headers["x-request-id"] == "crm-17"
    assert served.toy.receipt(said.json["receipt"]).request == "crm-17"
    other = caller.ask("POST", "/v1/churn/predict", {"key": "A"}, X_Request_Id='"><script>')
    assert "script" not in other.headers["x-request-id"]


@pytest.mark.parametrize("road", ["short", "asgi"])
def test_both_roads_say_the_same(served: Served, caller: Caller, road: str) -> None:
    served.toy.rows(online_row("held", held=True, values=None, sentence="tenure.max"))
    extra = {"Connection": "close"} if road == "asgi" else {}
    seen = []
    for key in ("A", "B", "nobody", "held"):
        said = caller.ask("POST", "/v1/churn/predict", {"key": key}, **extra)
        assert served.toy.receipt(said.json["receipt"]).status == said.status
        seen.append((said.status, said.headers["content-type"], said.json.get("reason"), said.json.get("verdict")))
    problem = "application/problem+json"
    assert seen == [
        (200, "application/json", "", "PASS"),
        (200, "application/json", "on_error", "ERROR"),
        (404, problem, "on_missing", "UNKNOWN"),
        (409, problem, "on_held", "FAIL"),
    ]
    assert len(served.toy.receipts()) == 4


def test_a_refusal_is_a_problem_with_its_mend(served: Served, caller: Caller) -> None:
    served.toy.clock.advance(2 * HOUR)
    said = caller.predict(key="A")
    assert said.status == 503
    assert int(said.headers["retry-after"]) >= 1
    body = said.json
    assert (body["type"], body["title"], body["status"]) == ("/docs#on_stale", "The data is older than promised", 503)
    assert body["detail"] == "customers is 2 h old, promised at most 1 h"
    assert body["mend"]
    assert body["receipt"]
    assert body["age_seconds"] == 7210.0


def test_many_keys_and_rows(caller: Caller) -> None:
    said = caller.predict(keys=["A", "nobody"])
    assert [item["status"] for item in said.json["results"]] == [200, 404]
    rows = caller.predict(rows=[{"tenure": 1, "charges": 0}])
    assert rows.json["results"][0]["verdict"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b'{"kye": "A"}', 422, "did you mean `key`?"),
        (b'{"rows": [{"tenur": 1}]}', 422, "did you mean `tenure`?"),
        (b'{"key": 1}', 422, "wanted a string, found an integer"),
        (b'{"key": "' + b"x" * 1_100_000 + b'"}', 413, "larger than 1 MiB"),
        (b"[" * 200_000, 400, "nested deeper"),
    ],
)
def test_a_wrong_body_is_a_problem_and_leaves_no_receipt(
    served: Served, caller: Caller, body: bytes, status: int, words: str
) -> None:
    said = caller.ask("POST", "/v1/churn/predict", body)
    assert said.status == status
    assert said.headers["content-type"] == "application/problem+json"
    assert words in said.body.decode()
    assert served.toy.receipts() == []


def test_bodies_may_come_compressed(served: Served, caller: Caller) -> None:
    for pack, kind in ((gzip.compress, "gzip"), (gzip.compress, "x-gzip"), (zlib.compress, "deflate")):
        said = caller.ask("POST", "/v1/churn/predict", pack(b'{"key": "A"}'), Content_Encoding=kind)
        assert said.status == 200, kind
        body = pack(json.dumps({"receipt": said.json["receipt"], "decision": "accepted"}).encode())
        named = {"Content_Encoding": kind, "Idempotency_Key": kind}
        found = [caller.ask("POST", "/v1/churn/decisions", body, **named).status for _ in range(2)]
        assert found == [201, 201]
        other = caller.ask("POST", "/v1/churn/predict", b'{"key": "nobody"} ', Content_Encoding="zstd")
        assert (other.status, other.json["type"]) == (415, "/docs#media_type")


def test_wrong_methods_and_paths_are_told(caller: Caller) -> None:
    wrong = caller.ask("GET", "/v1/churn/predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    for path in ("/v1/chrun/predict", "/v1/churn/predict/", "/v3", "/"):
        assert caller.ask("POST", path, {"key": "A"}).status == 404
    assert "/v1/churn/predict" in caller.ask("POST", "/v1/chrun/predict", {"key": "A"}).json["mend"]


def head(served: Served, token: str, *more: str) -> bytes:
    lines = ["POST /v1/churn/predict HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more, "", ""]
    return "\r\n".join(lines).encode()


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    token = served.toy.key()
    body = b'{"key":"A"}'
    plain = head(served, token, f"Content-Length: {len(body)}") + body
    other = f"GET /v1/receipts/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    found = served.raw(plain + other + plain + plain)
    assert re.findall(rb"HTTP/1\.1 (\d+)", found) == [b"200", b"404", b"200", b"200"]


def test_bodies_in_pieces_and_without_a_length(served: Served) -> None:
    token = served.toy.key()
    chunked = head(served, token, "Transfer-Encoding: chunked") + b'4\r\n{"ke\r\n7\r\ny":"A"}\r\n0\r\n\r\n'
    assert served.raw(chunked).startswith(b"HTTP/1.1 200")
    expecting = head(served, token, "Content-Length: 11", "Expect: 100-continue") + b'{"key":"A"}'
    assert b"HTTP/1.1 200" in served.raw(expecting)
    old = head(served, token, "Content-Length: 11").replace(b"HTTP/1.1", b"HTTP/1.0") + b'{"key":"A"}'
    assert served.raw(old).startswith(b"HTTP/1.1 200")
    huge = head(served, token, "Content-Length: 99999999999")
    assert served.raw(huge).startswith(b"HTTP/1.1 413")


def test_a_model_in_another_process_answers_by_the_long_road(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    with serving(toy) as served:
        caller = served.caller(toy.key())
        assert caller.predict(key="A").json["output"] == {"churn": pytest.approx(0.17)}
        caller.close()


def test_a_version_is_switched_without_a_failed_request(served: Served, caller: Caller) -> None:
    served.toy.models[2] = Linear()
    versions = [caller.predict(key="A").json["model_version"]]
    served.toy.version(2)
    for _ in range(5):
        said = caller.predict(key="A")
        assert said.status == 200
        versions.append(said.json["model_version"])
    assert versions == [1, 2, 2, 2, 2, 2]


@pytest.fixture
def switching(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Whoever is taken by the short road finds another model, in another process, when its turn comes."""
    toy, taken = served.toy, Turns.take
    toy.models[2] = Linear(blocking=True)

    def take(turns: Turns, *given: Any) -> bool:
        found = taken(turns, *given)
        if found and 2 not in toy.view.now.versions:  # type: ignore[union-attr]
            toy.version(2, previous=1)
        return found

    monkeypatch.setattr(Turns, "take", take)
    return served


def test_a_switch_to_a_model_in_another_process_fails_nobody_who_was_taken(switching: Served, caller: Caller) -> None:
    said = [caller.predict(key="A"), caller.predict(rows=[{"tenure": 1, "charges": 2.0, "contract": "x"}])]
    assert [(each.status, "model_version" in each.json) for each in said] == [(200, True), (200, False)]
    assert said[0].json["model_version"] == said[1].json["results"][0]["model_version"] == 2


def test_a_switch_in_the_middle_of_pipelined_requests_answers_none_out_of_order(switching: Served) -> None:
    token = switching.toy.key()
    body = b'{"key":"A"}'
    plain = head(switching, token, f"Content-Length: {len(body)}") + body
    other = f"GET /v1/receipts/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    found = switching.raw(plain + other)
    assert re.findall(rb"HTTP/1\.1 (\d+)", found) == [b"200"], "its connection is closed, and the caller asks again"


def test_a_failure_of_the_whole_turn_is_told_to_each_of_its_callers(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_given: Any) -> Any:
        raise ZeroDivisionError

    token = served.toy.key()
    monkeypatch.setattr(served.toy.desk.answering, "_record_each", fails)
    one = head(served, token, "Content-Length: 11") + b'{"key":"A"}'
    assert re.findall(rb"HTTP/1\.1 (\d+)", served.raw(one + one)) == [b"500", b"500"]
    monkeypatch.undo()
    assert re.findall(rb"HTTP/1\.1 (\d+)", served.raw(one)) == [b"200"]


def test_an_unexpected_failure_shows_nothing_of_itself(
    served: Served, caller: Caller, capfd: pytest.CaptureFixture[str]
) -> None:
    served.toy.rows(online_row("broken", values=b"{secret-4711"))
    said = caller.predict(key="broken")
    assert said.status == 500
    assert "4711" not in said.body.decode()
    assert "Traceback" not in said.body.decode()
    log = capfd.readouterr().err
    assert said.json["request"] in log
    assert "4711" not in log


def test_too_many_waiting_requests_are_refused_at_once(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    toy.model.mood = "wait"
    with serving(toy, most=1) as served:
        token = toy.key()
        first, second, third = (served.caller(token) for _ in range(3))
        body = json.dumps({"key": "A"})
        waiting = [first, second]
        for each in waiting:
            each._connection.request("POST", "/v1/churn/predict", body, {"Authorization": f"Bearer {token}"})
            toy.model.began.wait(10)
        refused = third.predict(key="A")
        modest = served.caller(toy.key("operate"))
        modest._connection.request("GET", "/v1/receipts/r", headers={"Authorization": f"Bearer {modest.token}"})
        beside = modest._connection.getresponse().status
        toy.model.go_on.set()
        answered = [each._connection.getresponse() for each in waiting]
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert refused.json["title"] == "Too many requests are waiting"
        assert 200 in {each.status for each in answered}
        assert beside == 404, "another caller finds a place"
        assert third.ask("GET", "/health/live").status == 200
        for each in (*waiting, third, modest):
            each.close()
    assert toy.meter.counts.shed >= 1


@pytest.mark.parametrize("road", ["short", "asgi"])
def test_the_callers_trace_is_in_the_receipt(served: Served, caller: Caller, road: str) -> None:
    extra = {"Connection": "close"} if road == "asgi" else {}
    for key in ("A", "nobody"):
        said = caller.ask("POST", "/v1/churn/predict", {"key": key}, traceparent=PARENT, **extra)
        assert served.toy.receipt(said.json["receipt"]).trace == "0af7651916cd43dd8448eb211c80319c"
    bare = caller.ask("POST", "/v1/churn/predict", {"key": "A"}, **extra)
    assert served.toy.receipt(bare.json["receipt"]).trace == ""


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT + "-more",
        "ff" + PARENT[2:],
        PARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        PARENT.replace("b7ad6b7169203331", "0" * 16),
        PARENT[:-1],
    ],
)
def test_a_traceparent_that_is_not_valid_counts_as_none(served: Served, caller: Caller, parent: str) -> None:
    said = caller.ask("POST", "/v1/churn/predict", {"key": "A"}, traceparent=parent)
    assert said.status == 200
    assert served.toy.receipt(said.json["receipt"]).trace == ""


def test_a_later_version_of_traceparent_may_say_more() -> None:
    assert trace_id(b"cc" + PARENT[2:].encode() + b"-what-the-future-holds") == "0af7651916cd43dd8448eb211c80319c"
    assert trace_id(b"cc" + PARENT[2:].encode() + b".what") == ""
