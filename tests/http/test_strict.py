"""HTTP/1.1 as it comes from proxies and strangers: framing, order, bounds."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path

import pytest

from mainstay.http.strict import HEAD_MOST, PIPELINED_MOST
from tests.http.serving import Served, serving
from tests.serving.toy import Toy

BODY = b'{"key":"A"}'
LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = b"b\r\n" + BODY + b"\r\n0\r\n"
GARBAGE = b"\x00\x01\r\n\r\n"


def head(token: str, *more: str, method: str = "POST", path: str = "/v1/churn/predict") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *more, "", ""]
    return "\r\n".join(lines).encode()


def statuses(found: bytes) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.1 (\d+)", found)]


def test_what_cannot_be_read_is_told_after_the_answers_to_what_came_before(served: Served) -> None:
    token = served.toy.key()
    plain, other = head(token, LENGTH) + BODY, head(token, method="GET", path="/openapi.json")
    broken = head(token, "Transfer-Encoding: chunked") + b"no size\r\n"
    assert statuses(served.raw(plain + GARBAGE)) == [200, 400]
    assert statuses(served.raw(other + GARBAGE)) == [200, 400]
    assert statuses(served.raw(other + plain + other + GARBAGE + plain)) == [200, 200, 200, 400]
    assert statuses(served.raw(plain + broken + plain)) == [200, 400]
    assert statuses(served.raw(other + broken + plain)) == [200, 400]
    assert len(served.toy.receipts()) == 3, "whoever was answered has a receipt, and nobody else"


def test_a_refused_request_is_not_told_twice(served: Served) -> None:
    broken = head("nobody", "Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", served.port), 5) as connection:
        connection.sendall(broken)
        found = connection.recv(65536)
        connection.sendall(b"no size\r\n")
        while part := connection.recv(65536):
            found += part
    assert statuses(found) == [401]


def test_what_cannot_be_read_is_a_problem_with_its_mend(served: Served) -> None:
    said = served.raw(GARBAGE)
    assert b"content-type: application/problem+json" in said
    assert b"connection: close" in said
    assert b'"type":"/docs#malformed"' in said


@pytest.mark.parametrize(
    "lines",
    [
        ("Transfer-Encoding: identity, chunked",),
        ("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked", "Content-Length: 11"),
        ("Content-Length: 11", "Content-Length: 11"),
        ("Content-Length: 11", "Content-Length: 12"),
        ("Content-Length: 11, 11",),
        ("Content-Length: +11",),
        ("Content-Length : 11",),
        ("Content-Length:\r\n 11",),
        ("X: y\nContent-Length: 11",),
        ("X: y\rContent-Length: 11",),
    ],
)
def test_a_body_whose_end_two_could_see_in_two_places_is_refused(served: Served, lines: tuple[str, ...]) -> None:
    body = CHUNKED + b"\r\n" if lines[0].startswith("Transfer") else BODY
    assert statuses(served.raw(head(served.toy.key(), *lines) + body)) == [400]
    assert served.toy.receipts() == []


def test_white_space_around_a_value_is_none_of_it(served: Served) -> None:
    """RFC 9110, 5.5: some proxies and hand-made clients leave it there."""
    token = served.toy.key()
    for length in ("Content-Length: 11 ", "Content-Length:\t11\t ", "Content-Length:11", "Content-Length: 00000000011"):
        assert statuses(served.raw(head(token, length) + BODY)) == [200], length
    named = head(token, LENGTH, "X-Request-Timeout-Ms: 5000 ", "X-Request-Id: mine\t") + BODY
    assert b"x-request-id: mine\r\n" in served.raw(named)
    assert statuses(served.raw(head(token, "Transfer-Encoding: chunked ") + CHUNKED + b"\r\n")) == [200]


@pytest.mark.parametrize("path", ["/v1/churn/predict", "/v2/models/churn/infer", "/health/live"])
def test_a_request_names_one_host(served: Served, path: str) -> None:
    one = head(served.toy.key(), LENGTH, path=path)
    assert statuses(served.raw(one.replace(b"Host: x\r\n", b"") + BODY)) == [400]
    assert statuses(served.raw(one.replace(b"Host: x\r\n", b"Host: x\r\nhost: y\r\n") + BODY)) == [400]
    assert served.toy.receipts() == []


def test_fields_behind_a_body_are_no_headers(served: Served) -> None:
    token = served.toy.key()
    nobody = head(token, "Transfer-Encoding: chunked").replace(b"Authorization", b"X-Other")
    assert statuses(served.raw(nobody + CHUNKED + f"Authorization: Bearer {token}\r\n\r\n".encode())) == [401]
    named = head(token, "Transfer-Encoding: chunked") + CHUNKED + b"Idempotency-Key: a\r\nX-Request-Id: b\r\n\r\n"
    assert b"x-request-id: b\r\n" not in served.raw(named)


@pytest.mark.parametrize("frame", [LENGTH, "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("apart", [False, True])
def test_who_offers_another_protocol_is_answered_in_this_one(served: Served, frame: str, apart: bool) -> None:
    """Java's client offers HTTP/2 with its first request; its body must be no request of its own."""
    token = served.toy.key()
    body = BODY if frame == LENGTH else CHUNKED + b"\r\n"
    offering = head(token, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA", frame)
    after = head(token, method="GET", path="/openapi.json")
    with socket.create_connection(("127.0.0.1", served.port), 5) as connection:
        connection.sendall(offering if apart else offering + body + after)
        if apart:
            time.sleep(0.05)
            connection.sendall(body + after)
        connection.settimeout(0.5)
        found = b""
        with contextlib.suppress(TimeoutError):
            while part := connection.recv(65536):
                found += part
    assert statuses(found) == [200, 200]
    assert len(served.toy.receipts()) == 1


def test_no_tunnel_is_opened(served: Served) -> None:
    assert statuses(served.raw(b"CONNECT churn:80 HTTP/1.1\r\nHost: churn:80\r\n\r\n")) == [400]


@pytest.mark.parametrize(
    "begun",
    [
        b"GET /docs HTTP/1.1\r\n",
        b"GET /docs HTTP/1.1\r\nX: ",
        b"GET /",
        b"POST /v1/churn/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
)
def test_a_head_without_an_end_is_refused_however_it_comes(served: Served, begun: bytes) -> None:
    filling = b"x" * 99 if begun[-1:] != b"\n" else b"a: " + b"b" * 94 + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", served.port), 5) as connection:
        connection.settimeout(5)
        connection.sendall(begun)
        with contextlib.suppress(OSError):  # it is closed while we send
            while sent < 20 * HEAD_MOST:
                connection.sendall(filling * 100)
                sent += len(filling) * 100
                time.sleep(0.005)
    assert HEAD_MOST // 2 < sent < 20 * HEAD_MOST


def test_a_head_that_is_too_large_is_told_so(served: Served) -> None:
    many = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 80) for number in range(HEAD_MOST // 80))
    found = served.raw(b"GET /docs HTTP/1.1\r\n" + many)
    assert statuses(found) == [431]
    assert b'"type":"/docs#head_too_large"' in found


def test_a_body_in_small_parts_is_no_head(served: Served) -> None:
    token = served.toy.key()
    rows = b'{"rows":[' + b",".join([b'{"tenure":1,"charges":2.0,"contract":"x"}'] * 500) + b"]}"
    parts = b"".join(b"1;of=a-part\r\n" + rows[place : place + 1] + b"\r\n" for place in range(len(rows)))
    assert len(parts) > 4 * HEAD_MOST
    assert statuses(served.raw(head(token, "Transfer-Encoding: chunked") + parts + b"0\r\n\r\n")) == [200]


def test_one_connection_does_not_queue_without_end(served: Served) -> None:
    anonymous = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n"
    found = served.raw(anonymous * (PIPELINED_MOST + 200))
    assert statuses(found) == [401] * (PIPELINED_MOST + 1), "the connection is closed then, and the others ask again"
    assert statuses(served.raw(anonymous * PIPELINED_MOST)) == [401] * PIPELINED_MOST


def test_who_pipelines_and_leaves_is_not_worked_for(tmp_path: Path) -> None:
    toy = Toy(tmp_path, blocking=True)
    with serving(toy) as served:
        toy.model.mood = "wait"
        one = head(toy.key(), LENGTH) + BODY
        tasks = served.server.server_state.tasks
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(one + one)
            assert toy.model.began.wait(10)
        ends = time.monotonic() + 10
        while tasks and time.monotonic() < ends:
            time.sleep(0.01)
        assert not tasks
        toy.model.go_on.set()
    assert toy.receipts() == []
    toy.journal.close()
