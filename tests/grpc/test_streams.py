"""Calls that last, and calls that say nothing: what they may cost, and what is looked at again while they do."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import grpc
from mainstay.core.clock import MINUTE
from mainstay.core.rate import Rate
from mainstay.grpc import guard
from mainstay.grpc.door import HEALTH, OIP
from mainstay.grpc.messages import kind
from mainstay.serving import addressing
from mainstay.serving.keys import create_key, list_keys, revoke_key
from tests.grpc.test_door import by_key, call, code
from tests.http.serving import Served
from tests.serving.toy import online_row

INFER = f"/{OIP}/ModelInfer"
ALL = 256
"""As many calls as a worker takes at once."""


class Stream:
    """ModelStreamInfer, a request at a time."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._asked: queue.Queue[Any] = queue.Queue()
        method = channel.stream_stream(f"/{OIP}/ModelStreamInfer")
        metadata = (("authorization", f"Bearer {token}"),)
        self._told = method(iter(self._asked.get, None), metadata=metadata, timeout=30)

    def told(self, request: Any) -> Any:
        """The whole answer."""
        self._asked.put(request.SerializeToString())
        return kind("ModelStreamInferResponse").FromString(next(self._told))

    def ask(self, request: Any) -> str:
        """The error of the answer; empty where it is one."""
        found: str = self.told(request).error_message
        return found

    def end(self) -> tuple[grpc.StatusCode, str]:
        """How the server ends it, where nothing more is asked."""
        with pytest.raises(grpc.RpcError) as raised:
            next(self._told)
        self._asked.put(None)
        return raised.value.code(), raised.value.details()

    def close(self) -> None:
        self._asked.put(None)
        self._told.cancel()


# --- nobody without an API key takes a caller's place -----------------------------------------------------------------


@pytest.mark.parametrize("path", [INFER, f"/{OIP}/ServerLive", f"/{HEALTH}/Check", f"/{OIP}/Nothing"])
def test_calls_without_a_message_keep_nobody_out(served: Served, channel: grpc.Channel, path: str) -> None:
    body, token = by_key(b"A").SerializeToString(), served.toy.key()
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait(20)
        yield from ()

    held = [channel.stream_stream(path)(nothing()) for _ in range(ALL + 4)]
    call(channel, f"/{OIP}/ServerReady")  # by the same connection: so all of them are there
    assert code(channel, INFER, body, token) == "OK"
    assert code(channel, f"/{HEALTH}/Check") == "OK"
    silent.set()
    for one in held:
        one.cancel()


def test_a_caller_whose_calls_say_nothing_keeps_no_other_out(served: Served, channel: grpc.Channel) -> None:
    body, greedy, modest = by_key(b"A").SerializeToString(), served.toy.key(), served.toy.key("operate")
    silent = threading.Event()
    metadata = (("authorization", f"Bearer {greedy}"),)
    held = [
        channel.stream_stream(f"/{OIP}/{name}")(iter(lambda: silent.wait(20) and None, None), metadata=metadata)
        for name in ("ModelInfer", "ModelStreamInfer")
        for _ in range(ALL)
    ]
    call(channel, f"/{OIP}/ServerReady")  # by the same connection: so all of them are there
    assert code(channel, INFER, body, greedy) == "UNAVAILABLE"
    assert code(channel, INFER, body, modest) == "OK"
    silent.set()
    for one in held:
        one.cancel()
    assert served.toy.meter.counts.shed >= ALL


def test_a_known_callers_call_ends_where_no_message_comes(
    served: Served, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(served.toy.desk), "arrive_s", 0.1)
    silent = threading.Event()
    nothing = iter(lambda: silent.wait(20) and None, None)
    metadata = (("authorization", f"Bearer {served.toy.key()}"),)
    told = channel.stream_stream(INFER)(nothing, metadata=metadata, timeout=20)
    with pytest.raises(grpc.RpcError) as raised:
        next(told)
    silent.set()
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no message came")


def test_a_call_that_everybody_may_make_ends_where_no_message_comes(
    served: Served, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "OPEN_SECONDS", 0.1)
    silent = threading.Event()
    told = channel.stream_stream(f"/{OIP}/ServerLive")(iter(lambda: silent.wait(20) and None, None), timeout=20)
    with pytest.raises(grpc.RpcError) as raised:
        next(told)
    silent.set()
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert code(channel, f"/{OIP}/ServerLive", b"\xff") == "INTERNAL"


def test_a_connection_has_so_many_calls_open_and_no_more(served: Served) -> None:
    preface, settings, streams_most = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4, 3
    with socket.create_connection(("127.0.0.1", served.grpc_port), 20) as connection, connection.makefile("rb") as said:
        connection.sendall(preface + bytes(3) + bytes([settings, 0]) + bytes(4))
        head = said.read(9)
        body = said.read(int.from_bytes(head[:3], "big"))
    assert head[3] == settings
    told = {
        int.from_bytes(body[at : at + 2], "big"): int.from_bytes(body[at + 2 : at + 6], "big")
        for at in range(0, len(body), 6)
    }
    assert told.get(streams_most) == 2 * ALL


def test_who_watches_health_keeps_nobody_out(served: Served, channel: grpc.Channel) -> None:
    watching = [channel.unary_stream(f"/{HEALTH}/Watch")(b"", timeout=20) for _ in range(ALL + 4)]
    newest = watching[-1]
    assert kind("HealthCheckResponse").FromString(next(newest)).status == 1
    assert list(watching[0])[1:] == [], "whoever watched longest is let go"
    assert code(channel, INFER, by_key(b"A").SerializeToString(), served.toy.key()) == "OK"
    served.toy.desk.draining = True
    assert kind("HealthCheckResponse").FromString(next(newest)).status == 2
    for one in watching:
        one.cancel()


# --- streams --------------------------------------------------------------------------------------------------------


def test_each_request_of_a_stream_counts_against_the_rate(served: Served, channel: grpc.Channel) -> None:
    token, _ = create_key(served.toy.state, "crm", "predict", clock=served.toy.clock, rate=Rate(3, MINUTE))
    served.toy.view.refresh()
    stream = Stream(channel, token)
    told = [stream.ask(by_key(b"A")) for _ in range(5)]
    assert told[:3] == ["", "", ""]
    assert all("may send 3 requests" in one and "ask again in" in one for one in told[3:])
    served.toy.clock.advance(MINUTE)
    assert stream.ask(by_key(b"A")) == ""
    stream.close()


def test_a_refusal_in_a_stream_names_its_request_and_its_receipt(served: Served, channel: grpc.Channel) -> None:
    served.toy.policy(on_missing="refuse")
    stream = Stream(channel, served.toy.key())
    told = stream.told(by_key(b"nobody"))
    assert told.error_message.startswith("there is no row with this key; check the key")
    assert (told.infer_response.id, told.infer_response.model_name) == ("mine", "churn")
    named = told.infer_response.parameters
    assert served.toy.receipt(named["receipt"].string_param).key == "nobody"
    assert (named["reason"].string_param, named["age_seconds"].double_param) == ("on_missing", 10.0)
    request = by_key(b"A")
    request.outputs.add(name="no such")
    assert stream.told(request).infer_response.id == "mine"
    assert stream.ask(by_key(b"A")) == ""
    stream.close()


def test_a_revoked_key_gets_no_further_answer_in_an_open_stream(served: Served, channel: grpc.Channel) -> None:
    token = served.toy.key()
    stream = Stream(channel, token)
    assert stream.ask(by_key(b"A")) == ""
    (key,) = list_keys(served.toy.state)
    revoke_key(served.toy.state, key.id, clock=served.toy.clock)
    served.toy.view.keys.refresh()
    assert "revoked" in stream.ask(by_key(b"A"))
    assert len(served.toy.receipts()) == 1
    stream.close()


def test_a_stream_by_which_nothing_is_asked_for_long_makes_room(
    served: Served, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "IDLE_SECONDS", 0.5)
    token = served.toy.key()
    silent, used = Stream(channel, token), Stream(channel, token)
    assert used.ask(by_key(b"A")) == ""
    for one in (silent, used):
        assert one.end() == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "no request came by this stream for 0.5 s; open another for the next one",
        )
    assert code(channel, INFER, by_key(b"A").SerializeToString(), token) == "OK"


def test_a_failure_nobody_meant_ends_no_stream_and_shows_nothing_of_itself(
    served: Served, channel: grpc.Channel, capfd: pytest.CaptureFixture[str]
) -> None:
    served.toy.rows(online_row("broken", values=b"{secret-4711"))
    stream = Stream(channel, served.toy.key())
    assert stream.ask(by_key(b"broken")) == "the operator finds the cause in the log"
    assert stream.ask(by_key(b"A")) == ""
    stream.close()
    assert "4711" not in capfd.readouterr().err


def test_a_version_that_takes_long_to_load_is_told_as_not_ready(
    served: Served, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addressing, "_LOAD_SECONDS", 0.1)
    monkeypatch.setattr(served.toy.view, "other", lambda _number: None)
    request = by_key(b"A")
    request.model_version = "1"
    token = served.toy.key()
    assert code(channel, INFER, request.SerializeToString(), token) == "UNAVAILABLE"
    stream = Stream(channel, token)
    assert "still being loaded" in stream.ask(request)
    assert stream.ask(by_key(b"A")) == ""
    stream.close()
    caller = served.caller(token)
    tensor = {"name": "key", "shape": [1], "datatype": "BYTES", "data": ["A"]}
    said = caller.ask("POST", "/v2/models/churn/versions/1/infer", {"inputs": [tensor]})
    assert (said.status, said.headers["retry-after"]) == (503, "2")
    assert "still being loaded" in said.json["error"]
    caller.close()
