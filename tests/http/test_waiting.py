"""Callers who wait for a model of another process: their deadlines, their leaving, and the strangers beside them."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

import grpc
from mainstay.grpc.door import OIP
from mainstay.grpc.messages import kind
from tests.http.serving import Said, Served, serving
from tests.serving.toy import Linear, Toy, online_row

OUTPUT = {"churn": pytest.approx(0.17)}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    toy = Toy(tmp_path, blocking=True)
    with serving(toy, grpc="127.0.0.1:0") as made:
        yield made
        toy.model.go_on.set()
    toy.journal.close()


@pytest.fixture
def busy(served: Served) -> Served:
    """Its model works on a request of a row until `go_on`, and another one is on its way."""
    toy = served.toy
    toy.model.mood = "wait"
    return served


def ask(served: Served, token: str, **body: Any) -> Said:
    caller = served.caller(token)
    headers = body.pop("headers", {})
    try:
        return caller.ask("POST", body.pop("path", "/v1/churn/predict"), body, **headers)
    finally:
        caller.close()


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


@contextlib.contextmanager
def asking(served: Served, token: str, bodies: Sequence[dict[str, Any]]) -> Iterator[list[Future[Said]]]:
    """One thread for each body; the first is with the model before the others are sent."""
    with ThreadPoolExecutor(len(bodies)) as threads:
        futures = [threads.submit(ask, served, token, **bodies[0])]
        served.toy.model.began.wait(10)
        futures += [threads.submit(ask, served, token, **body) for body in bodies[1:]]
        yield futures


def waiting(served: Served) -> int:
    """Requests in the worker, begun or queued."""
    return len(served.server.server_state.tasks)


# --- deadlines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocking", [False, True])
def test_a_caller_may_say_how_long_it_waits(tmp_path: Path, blocking: bool) -> None:
    toy = Toy(tmp_path, blocking=blocking)
    with serving(toy) as served:
        token = toy.key()
        for value in ("250", "86400000"):
            assert ask(served, token, key="A", headers={"X-Request-Timeout-Ms": value}).json["output"] == OUTPUT
        for value in ("0", "-1", "1.5", "soon", "86400001", "9" * 20, ""):
            said = ask(served, token, key="A", headers={"X-Request-Timeout-Ms": value})
            assert said.status == (400 if value else 200), value
            assert "whole milliseconds" in said.json["detail"] if value else said.json["output"] == OUTPUT
            assert said.json.get("title") == ("A header or the body cannot be read" if value else None)
    toy.journal.close()


@pytest.mark.parametrize("header", ["X-Request-Timeout-Ms", "X-Envoy-Expected-Rq-Timeout-Ms"])
@pytest.mark.parametrize("door", ["v1", "oip", "invocations"])
def test_a_caller_whose_time_is_over_is_told_so_and_the_model_works_on(busy: Served, door: str, header: str) -> None:
    token = busy.toy.key()
    bodies: dict[str, dict[str, Any]] = {
        "v1": {"key": "A"},
        "oip": {
            "path": "/v2/models/churn/infer",
            "inputs": [{"name": "key", "shape": [1], "datatype": "BYTES", "data": ["A"]}],
        },
        "invocations": {"path": "/invocations", "dataframe_records": [{"customer_id": "A"}]},
    }
    with asking(busy, token, [{"key": "A"}]) as (first,):
        late = ask(busy, token, **bodies[door], headers={header: "50"})
        assert late.status == 504, late
        assert "time that the caller gave" in late.body.decode()
        assert not first.done()
        busy.toy.model.go_on.set()
        assert first.result().json["output"] == OUTPUT
    assert busy.toy.model.closed is False


def test_clients_of_triton_say_it_in_a_parameter(busy: Served) -> None:
    token = busy.toy.key()
    tensor = {"name": "key", "shape": [1], "datatype": "BYTES", "data": ["A"]}
    with asking(busy, token, [{"key": "A"}]) as (first,):
        path = "/v2/models/churn/infer"
        late = ask(busy, token, path=path, inputs=[tensor], parameters={"timeout": 50_000})
        assert (late.status, "time that the caller gave" in late.json["error"]) == (504, True)
        wrong = ask(busy, token, path=path, inputs=[tensor], parameters={"timeout": -1})
        assert (wrong.status, wrong.json["where"]) == (422, "parameters.timeout")
        busy.toy.model.go_on.set()
        assert first.result().status == 200


def test_a_deadline_of_grpc_ends_the_wait_of_its_own_caller_alone(busy: Served) -> None:
    token = busy.toy.key()
    request = kind("ModelInferRequest")(model_name="churn")
    request.inputs.add(name="key", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"A")
    with (
        grpc.insecure_channel(f"127.0.0.1:{busy.grpc_port}") as channel,
        asking(busy, token, [{"key": "A"}]) as (first,),
    ):
        infer = channel.unary_unary(f"/{OIP}/ModelInfer")
        metadata = (("authorization", f"Bearer {token}"),)
        late = [infer.future(request.SerializeToString(), metadata=metadata, timeout=0.1) for _ in range(2)]
        patient = infer.future(request.SerializeToString(), metadata=metadata, timeout=20)
        assert [one.exception().code() for one in late] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 2
        assert not patient.done()
        busy.toy.model.go_on.set()
        assert first.result().status == 200
        assert kind("ModelInferResponse").FromString(patient.result()).model_name == "churn"


# --- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/churn/predict", "/v2/models/churn/infer"])
def test_work_for_a_caller_who_is_gone_is_not_done(busy: Served, path: str) -> None:
    token = busy.toy.key()
    body = {"key": "A"}
    if path.startswith("/v2"):
        body = {"inputs": [{"name": "key", "shape": [1], "datatype": "BYTES", "data": ["A"]}]}  # type: ignore[dict-item]
    data = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(data)}",
        "",
        "",
    ]
    with asking(busy, token, [{"key": "A"}, {"key": "A"}]) as futures:
        until(lambda: waiting(busy) == 2)
        with socket.create_connection(("127.0.0.1", busy.port)) as leaving:
            leaving.sendall("\r\n".join(lines).encode() + data)
            until(lambda: waiting(busy) == 3)
        until(lambda: waiting(busy) == 2)
        busy.toy.model.go_on.set()
        assert [one.result().status for one in futures] == [200, 200]
    assert busy.toy.model.asked == [1, 1]
    assert len(busy.toy.receipts()) == 2


def test_work_with_an_idempotency_key_is_done_for_whoever_asks_again(busy: Served) -> None:
    token = busy.toy.key()
    data = b'{"key": "A"}'
    lines = [
        "POST /v1/churn/predict HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", f"Content-Length: {len(data)}",
        "Idempotency-Key: again", "", "",
    ]  # fmt: skip
    with asking(busy, token, [{"key": "A"}]) as futures:
        with socket.create_connection(("127.0.0.1", busy.port)) as leaving:
            leaving.sendall("\r\n".join(lines).encode() + data)
            until(lambda: waiting(busy) == 2)
        busy.toy.model.go_on.set()
        futures[0].result()
        until(lambda: waiting(busy) == 0)
    again = ask(busy, token, key="A", headers={"Idempotency-Key": "again"})
    assert (again.status, again.headers["idempotent-replayed"]) == (200, "true")
    assert busy.toy.model.asked == [1, 1]


# --- strangers -------------------------------------------------------------------------------------------------------


def together(served: Served) -> None:
    """Rows of several requests are asked at once from now on, but for the first, which the model works on."""
    toy = served.toy
    toy.models[2] = toy.model = Linear(blocking=True)
    toy.version(2, together=8)
    toy.model.mood = "wait"


@pytest.mark.parametrize(("contract", "calls"), [("poison", 5), ("deadly", 7)])
def test_a_row_that_the_model_cannot_take_fails_its_own_caller_alone(served: Served, contract: str, calls: int) -> None:
    together(served)
    token = served.toy.key()
    keys = ["A", "C", "B", "D", "E"]
    served.toy.rows(
        online_row("B", values=f'[1,null,"{contract}"]'.encode()),
        *(online_row(key, values=f'[{place},50.0,"x"]'.encode()) for place, key in ((20, "C"), (30, "D"), (40, "E"))),
    )
    with asking(served, token, [{"key": key} for key in keys]) as futures:
        until(lambda: waiting(served) == 5)
        served.toy.model.go_on.set()
        found = {key: one.result().json for key, one in zip(keys, futures, strict=True)}
    outputs = {"A": 0.17, "C": 0.25, "B": 0.26, "D": 0.35, "E": 0.45}
    assert {key: one["output"]["churn"] for key, one in found.items()} == pytest.approx(outputs)
    assert {key for key, one in found.items() if one["degraded"]} == {"B"}
    assert found["B"]["reason"] == "on_error"
    assert served.toy.model.asked[:2] == [1, 4], "those that wait are asked at once"
    assert len(served.toy.model.asked) <= calls + 1
    receipts = {served.toy.receipt(one["receipt"]).key: one for one in found.values()}
    assert set(receipts) == set(keys)


def test_where_the_file_says_so_every_request_is_asked_alone(served: Served) -> None:
    toy = served.toy
    toy.file = msgspec.structs.replace(toy.file, model=msgspec.structs.replace(toy.file.model, batching="off"))
    toy.reapply()
    together(served)
    token = toy.key()
    with asking(served, token, [{"key": "A"}] * 4) as futures:
        until(lambda: waiting(served) == 4)
        toy.model.go_on.set()
        assert {one.result().status for one in futures} == {200}
    assert toy.model.asked == [1, 1, 1, 1]


def test_too_many_for_the_model_are_told_at_once_when_to_come_again(served: Served) -> None:
    toy = served.toy
    toy.file = msgspec.structs.replace(toy.file, model=msgspec.structs.replace(toy.file.model, queue_us=0))
    toy.reapply()
    toy.model.mood = "wait"
    token = toy.key()
    with asking(served, token, [{"key": "A"}]) as (first,):
        refused = ask(served, token, key="A")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "waiting for the model" in refused.json["detail"]
        caller = served.caller(token)
        assert caller.ask("GET", "/health/ready").status == 200
        caller.close()
        toy.model.go_on.set()
        assert first.result().status == 200
    assert toy.meter.counts.shed == 1
