from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

import grpc
from mainstay.core.clock import MINUTE
from mainstay.core.rate import Rate
from mainstay.core.records import ApiKey
from mainstay.grpc.door import HEALTH, OIP, OPEN, GrpcDoor
from mainstay.grpc.messages import kind
from mainstay.serving.keys import create_key, digest
from tests.http.serving import Served, serving
from tests.serving.toy import Toy

STREAMS = {"ModelStreamInfer": "stream_stream", "Watch": "unary_stream"}
DOOR = GrpcDoor(cast("Any", None), print)
CALLS = [
    *(f"/{OIP}/{name}" for name in (*DOOR._oip(), "Nothing")),
    *(f"/{HEALTH}/{name}" for name in (*DOOR._health(), "List")),
    "/other.Service/Call",
]
"""Whatever the door answers, and what it does not know."""
FREE = {f"/{OIP}/ServerLive", f"/{OIP}/ServerReady", f"/{HEALTH}/Check", f"/{HEALTH}/Watch"}
"""Whoever opens another call says here that everybody may make it."""


def call(channel: grpc.Channel, path: str, body: bytes = b"", token: str | None = None, timeout: float = 10) -> bytes:
    """One call with bytes as they are; the first answer's bytes."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    how = STREAMS.get(path.rpartition("/")[2], "unary_unary")
    ask = getattr(channel, how)(path)
    sent = iter([body]) if how.startswith("stream") else body
    found: Any = ask(sent, metadata=metadata, timeout=timeout)
    answer: bytes = next(iter(found)) if how.endswith("stream") else found
    return answer


def code(channel: grpc.Channel, path: str, body: bytes = b"", token: str | None = None) -> str:
    try:
        call(channel, path, body, token)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def by_key(*keys: bytes) -> Any:
    request = kind("ModelInferRequest")(model_name="churn", id="mine")
    request.inputs.add(name="customer_id", datatype="BYTES", shape=[len(keys)]).contents.bytes_contents.extend(keys)
    return request


@pytest.mark.parametrize("path", CALLS)
def test_no_call_but_health_is_open(served: Served, channel: grpc.Channel, path: str) -> None:
    assert OPEN == FREE
    assert len(CALLS) >= 20
    wanted = "OK" if path in OPEN else "UNAUTHENTICATED"
    assert code(channel, path) == wanted
    assert code(channel, path, token="msk_x_y") == wanted
    bare = ApiKey(id="bare", name="bare", roles=(), created_us=0)
    served.toy.put("api_key", digest("msk_bare_x"), bare)
    served.toy.view.refresh()
    assert code(channel, path, token="msk_bare_x") == ("OK" if path in OPEN else "PERMISSION_DENIED")


def test_a_rate_that_is_used_up_is_told_with_when_to_come_again(served: Served, channel: grpc.Channel) -> None:
    token, _ = create_key(served.toy.state, "crm", "predict", clock=served.toy.clock, rate=Rate(1, MINUTE))
    served.toy.view.refresh()
    body, path = by_key(b"A").SerializeToString(), f"/{OIP}/ModelInfer"
    assert code(channel, path, body, token) == "OK"
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, path, body, token)
    told: Any = raised.value
    assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(told.trailing_metadata())["grpc-retry-pushback-ms"] == "60000"


def test_an_answer_carries_its_receipt(served: Served, channel: grpc.Channel) -> None:
    token = served.toy.key()
    raw = call(channel, f"/{OIP}/ModelInfer", by_key(b"A").SerializeToString(), token)
    found = kind("ModelInferResponse").FromString(raw)
    receipt = served.toy.receipt(found.parameters["receipt"].string_param)
    assert (receipt.key, receipt.outcome) == ("A", "answered")
    assert served.toy.view.now is not None
    assert receipt.caller in {one.id for one in served.toy.view.keys.now.values()}
    assert found.parameters["degraded"].bool_param is False
    assert found.parameters["age_seconds"].double_param == 10.0
    assert found.id == "mine"


def test_a_null_that_has_no_bytes_is_refused_before_there_is_a_receipt(served: Served, channel: grpc.Channel) -> None:
    served.toy.without_words()
    token, asked = served.toy.key(), by_key(b"A")
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, f"/{OIP}/ModelInfer", asked.SerializeToString(), token)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "`word` is null" in refused.value.details()
    assert served.toy.receipts() == []
    asked.outputs.add(name="churn")
    answer = kind("ModelInferResponse").FromString(
        call(channel, f"/{OIP}/ModelInfer", asked.SerializeToString(), token)
    )
    assert len(answer.raw_output_contents) == len(served.toy.receipts()) == 1


def test_a_refusal_has_its_status_and_where_it_comes_from(served: Served, channel: grpc.Channel) -> None:
    token = served.toy.key()
    served.toy.clock.advance(2 * 3_600_000_000)
    with pytest.raises(grpc.RpcError) as raised:
        call(channel, f"/{OIP}/ModelInfer", by_key(b"A").SerializeToString(), token)
    told: Any = raised.value
    assert told.code() is grpc.StatusCode.UNAVAILABLE
    trailing = dict(told.trailing_metadata())
    assert trailing["mainstay-reason"] == "on_stale"
    assert served.toy.receipt(trailing["mainstay-receipt"]).reason == "on_stale"
    assert int(trailing["grpc-retry-pushback-ms"]) == 1000 * int(trailing["retry-after"])


def test_garbage_is_an_error_and_the_next_call_is_answered(served: Served, channel: grpc.Channel) -> None:
    token = served.toy.key()
    path = f"/{OIP}/ModelInfer"
    assert code(channel, path, b"\xff" * 100, token) in ("INTERNAL", "INVALID_ARGUMENT", "UNKNOWN")
    assert code(channel, path, b"\0" * 2_000_000, token) == "RESOURCE_EXHAUSTED"
    broken = by_key(b"A")
    broken.raw_input_contents.append(b"x")
    assert code(channel, path, broken.SerializeToString(), token) == "INVALID_ARGUMENT"
    huge = kind("ModelInferRequest")(model_name="churn")
    huge.inputs.add(name="tenure", datatype="INT64", shape=[2**62, 2**62])
    assert code(channel, path, huge.SerializeToString(), token) == "INVALID_ARGUMENT"
    half = kind("ModelInferRequest")(model_name="churn")
    half.inputs.add(name="tenure", datatype="FP16", shape=[1]).contents.fp32_contents.append(1.0)
    assert code(channel, path, half.SerializeToString(), token) == "INVALID_ARGUMENT"
    for datatype, contents in (("INT8", {"int_contents": [128]}), ("UINT16", {"uint_contents": [65536]})):
        wide = kind("ModelInferRequest")(model_name="churn")
        wide.inputs.add(name="tenure", datatype=datatype, shape=[1], contents=kind("InferTensorContents")(**contents))
        assert code(channel, path, wide.SerializeToString(), token) == "INVALID_ARGUMENT"
    assert code(channel, path, by_key(b"A").SerializeToString(), token) == "OK"


def test_the_health_service_tells_of_a_change(served: Served, channel: grpc.Channel) -> None:
    check = f"/{HEALTH}/Check"
    asked = kind("HealthCheckRequest")(service=OIP).SerializeToString()
    assert kind("HealthCheckResponse").FromString(call(channel, check, asked)).status == 1
    assert code(channel, check, kind("HealthCheckRequest")(service="x").SerializeToString()) == "NOT_FOUND"
    watching = channel.unary_stream(f"/{HEALTH}/Watch")(b"", timeout=10)
    seen = kind("HealthCheckResponse")
    assert seen.FromString(next(watching)).status == 1
    served.toy.desk.draining = True
    assert seen.FromString(next(watching)).status == 2
    watching.cancel()


def test_what_was_begun_is_answered_while_the_worker_leaves(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    token = toy.key()
    toy.model.mood = "wait"
    found: list[str] = []
    with (
        serving(toy, grpc="127.0.0.1:0") as made,
        grpc.insecure_channel(f"127.0.0.1:{made.grpc_port}") as channel,
    ):
        body = by_key(b"A").SerializeToString()
        asking = threading.Thread(target=lambda: found.append(code(channel, f"/{OIP}/ModelInfer", body, token)))
        asking.start()
        assert toy.model.began.wait(10)
        made.server.should_exit = True
        time.sleep(0.3)
        toy.model.go_on.set()
        asking.join(10)
    assert found == ["OK"]
    toy.journal.close()


def test_a_caller_who_is_gone_harms_nobody(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    token = toy.key()
    toy.model.mood = "wait"
    with (
        serving(toy, grpc="127.0.0.1:0") as made,
        grpc.insecure_channel(f"127.0.0.1:{made.grpc_port}") as channel,
    ):
        body = by_key(b"A").SerializeToString()
        with pytest.raises(grpc.RpcError) as raised:
            call(channel, f"/{OIP}/ModelInfer", body, token, timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        toy.model.mood = "fine"
        toy.model.go_on.set()
        assert code(channel, f"/{OIP}/ModelInfer", body, token) == "OK"
    toy.journal.close()
