"""A running server under bytes that are no HTTP, or two requests in one: it refuses, and answers the next caller."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest

from tests.http.serving import Served, serving
from tests.serving.toy import Toy

BODY = b'{"key":"a"}'
DEEP = b"[" * 100_000
REFUSALS = {b"400", b"401", b"404", b"405", b"413", b"414", b"431"}
DOORS = [
    b"/v1/churn/predict",
    b"/v1/churn/decisions",
    b"/v1/churn/outcomes",
    b"/v2/models/churn/infer",
    b"/invocations",
]
"""The card's are read by the same functions (`targets.v1`), behind a token of its own."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    toy = Toy(tmp_path_factory.mktemp("malformed"))
    with serving(toy) as made:
        yield made
    toy.journal.close()


@pytest.fixture(scope="module")
def token(served: Served) -> bytes:
    return served.toy.key("predict").encode()


def head(token: bytes, *headers: bytes, path: bytes = b"/v1/churn/predict") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: here", b"Authorization: Bearer " + token, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def alive(served: Served, token: bytes) -> None:
    caller = served.caller(token.decode())
    try:
        assert caller.predict(key="nobody").status == 404
    finally:
        caller.close()


MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "NULs": bytes(4096),
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: he\x00re\r\n\r\n",
    "a NUL in the path": b"GET /\x00 HTTP/1.1\r\nHost: here\r\n\r\n",
    "a line that never ends": b"GET /" + b"a" * 300_000,
    "a header that never ends": b"GET / HTTP/1.1\r\nHost: " + b"a" * 300_000,
    "ten thousand headers": b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
    "no version": b"GET /\r\n\r\n",
    "a version of the future": b"GET / HTTP/9.9\r\nHost: here\r\n\r\n",
    "a method that is none": b"G@T / HTTP/1.1\r\nHost: here\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : here\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: here\r\n folded\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: here\n\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n",
    "a length of a thousand digits": b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: " + b"9" * 1000 + b"\r\n\r\n",
    "a chunk that is none": b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk of all memory": b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"f" * 15
    + b"\r\nx",
    "a proxy's line": b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_is_refused_and_the_next_caller_answered(served: Served, token: bytes, name: str) -> None:
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        reply = served.raw(MALFORMED[name])
        assert b" 500 " not in reply, reply[:200]
        assert b"Traceback" not in reply
        assert not reply or reply.split(b" ")[1] in {b"400", b"401", b"404", b"413", b"414", b"431", b"405"}, reply[
            :200
        ]
    alive(served, token)


SMUGGLED = b"POST /v1/churn/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 11\r\n\r\n" + BODY


@pytest.mark.parametrize(
    "framing",
    [
        (b"Content-Length: 11", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 11"),
        (b"Content-Length: 11", b"Content-Length: 12"),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
        (b"Transfer-Encoding : chunked", b"Content-Length: 5"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Content-Length: +11",),
        (b"Content-Length: 11, 11",),
        (b"Content-Length: 0x0b",),
    ],
)
def test_a_request_hidden_behind_another_is_not_answered_as_its_caller(
    served: Served, token: bytes, framing: tuple[bytes, ...]
) -> None:
    """Two framings of one body: whatever is made of it, the hidden request has no API key of its own and gets none."""
    hidden = b"GET /v1/receipts/x HTTP/1.1\r\nHost: here\r\n\r\n"
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        reply = served.raw(head(token, *framing, b"Content-Type: application/json") + b"0\r\n\r\n" + hidden)
        assert b" 500 " not in reply
        answers = reply.count(b"HTTP/1.1 ")
        assert answers <= 1 or b" 401 " in reply.rpartition(b"HTTP/1.1 ")[2][:10], reply[:400]
    alive(served, token)


def test_a_request_that_comes_byte_by_byte_is_answered(served: Served, token: bytes) -> None:
    sent = head(token, b"Content-Length: %d" % len(BODY), b"Connection: close") + BODY
    with socket.create_connection(("127.0.0.1", served.port), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(sent)):
            connection.sendall(sent[at : at + 1])
        connection.settimeout(10)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("how", ["open", "closed", "objects"])
def test_a_hundred_thousand_brackets_are_refused_at_each_door(
    served: Served, token: bytes, path: bytes, how: str
) -> None:
    body = {"open": DEEP, "closed": DEEP + b"]" * 100_000, "objects": b'{"a":' * 100_000}[how]
    told = (b"Content-Type: application/json", b"Content-Length: %d" % len(body), b"Connection: close")
    sent = head(token, *told, path=path) + body
    reply = served.raw(sent)
    assert reply.split(b" ")[1] in {b"400", b"401", b"404"}, reply[:200]
    alive(served, token)


def damaged(chance: random.Random, token: bytes) -> bytes:
    """A good request with bytes changed, removed, doubled or put in."""
    found = bytearray(head(token, b"Content-Type: application/json", b"Content-Length: 11") + BODY)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(found))
        match chance.randrange(4):
            case 0:
                found[at] = chance.randrange(256)
            case 1:
                del found[at : at + chance.randrange(1, 20)]
            case 2:
                found[at:at] = found[at : at + chance.randrange(1, 40)]
            case _:
                found[at:at] = chance.choice([b"\r\n", b"\0", b"\r\n\r\n", b":", b" ", b"\xff", b"0\r\n\r\n"])
        if not found:
            break
    return bytes(found)


def stormed(served: Served, token: bytes, rounds: int) -> None:
    chance = random.Random(20261128)
    for number in range(rounds):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", served.port), 5) as connection:
            connection.sendall(damaged(chance, token))
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(5)
            reply = connection.recv(65_536)
            assert b" 500 " not in reply[:20], (number, reply[:300])
    alive(served, token)


def test_damaged_requests_are_refused_or_answered(served: Served, token: bytes) -> None:
    stormed(served, token, 300)


@pytest.mark.soak
def test_many_damaged_requests_are_refused_or_answered(served: Served, token: bytes) -> None:
    stormed(served, token, 100_000)
