"""Requests whose head was read before: answered as the first one was, and never what another head would be."""

from __future__ import annotations

import re
import socket
import time

import pytest

from mainstay.http import heads, strict
from mainstay.serving.keys import revoke_key
from tests.http.serving import Served
from tests.http.test_strict import BODY, LENGTH, head, statuses


def known(served: Served) -> list[bytes]:
    return list(served.server.config.loaded_app.turns.heads._known)


def exchange(connection: socket.socket, *parts: bytes) -> bytes:
    """Each part by itself, after the answer to the one before."""
    said = b""
    for part in parts:
        connection.sendall(part)
        said = b""
        while not (met := re.search(rb"content-length: (\d+)", said)) or len(said.partition(b"\r\n\r\n")[2]) < int(
            met[1]
        ):
            said += connection.recv(65536)
    return said


def test_the_same_head_is_read_once_and_each_body_for_itself(served: Served) -> None:
    one = head(served.toy.key(), LENGTH)
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        exchange(connection, one + BODY)
        assert known(served) == [one]
        said = exchange(connection, one + BODY, one + b'{"key":"B"}')
        assert statuses(said) == [200]
        assert statuses(exchange(connection, one + b'{"kex":"B"}')) == [422]
        assert statuses(exchange(connection, one + b'{"key":"nobody"}'[:11])) == [400]
        assert statuses(exchange(connection, one + BODY)) == [200]
    assert [receipt.key for receipt in served.toy.receipts()] == ["A", "A", "B", "A"]


def test_a_head_that_was_read_before_is_answered_however_its_bytes_arrive(served: Served) -> None:
    one = head(served.toy.key(), LENGTH)
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        exchange(connection, one + BODY)
        connection.sendall(one[:20])
        assert statuses(exchange(connection, one[20:] + BODY)) == [200]
        connection.sendall(one + BODY[:5])
        assert statuses(exchange(connection, BODY[5:])) == [200]
    assert statuses(served.raw((one + BODY) * 3)) == [200] * 3
    assert len(served.toy.receipts()) == 6


def test_a_revoked_key_is_refused_though_its_head_was_read_before(served: Served) -> None:
    token = served.toy.key()
    one = head(token, LENGTH)
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        exchange(connection, one + BODY)
        (key,) = served.toy.desk.callers.ring.now.values()
        revoke_key(served.toy.state, key.id, clock=served.toy.clock, by="a test")
        served.toy.desk.callers.ring.refresh()
        assert known(served) == [one]
        assert statuses(exchange(connection, one + BODY)) == [401]


@pytest.mark.parametrize(
    "more", ["X-Request-Id: a", "traceparent: 00-" + "a" * 32 + "-" + "b" * 16 + "-01", "X-Long: " + "x" * 3000]
)
def test_heads_that_are_others_each_time_or_long_are_not_kept(served: Served, more: str) -> None:
    assert statuses(served.raw((head(served.toy.key(), LENGTH, more)) + BODY)) == [200]
    assert known(served) == []


def test_strangers_and_requests_that_are_not_plain_leave_no_head(served: Served) -> None:
    token = served.toy.key()
    assert statuses(served.raw(head("nobody", LENGTH) + BODY)) == [401]
    assert statuses(served.raw(head(token, LENGTH, "Idempotency-Key: a") + BODY)) == [200]
    assert statuses(served.raw(head(token, LENGTH, "Connection: close") + BODY)) == [200]
    assert statuses(served.raw(head(token, "Transfer-Encoding: chunked") + b"b\r\n" + BODY + b"\r\n0\r\n\r\n")) == [200]
    assert known(served) == []


def test_a_timeout_counts_each_time_though_its_head_was_read_before(served: Served) -> None:
    one = head(served.toy.key(), LENGTH, "X-Request-Timeout-Ms: 5000")
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        said = exchange(connection, one + BODY, one + BODY)
        assert statuses(said) == [200]
    (kept,) = served.server.config.loaded_app.turns.heads._known.values()
    assert kept.said.named.timeout == b"5000"


def test_lines_that_stand_alone_between_known_requests_do_not_add_up(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = head(served.toy.key(), LENGTH)
    with socket.create_connection(("127.0.0.1", served.port), 10) as connection:
        exchange(connection, one + BODY)
        monkeypatch.setattr(strict, "HEAD_MOST", 8)
        for _ in range(8):
            connection.sendall(b"\r\n")
            time.sleep(0.02)  # by itself
            assert statuses(exchange(connection, one + BODY)) == [200]


def test_no_more_heads_are_kept_than_there_is_room_for() -> None:
    kept = heads.Heads()
    for number in range(heads.MOST + 1):
        one = b"POST /%d HTTP/1.1\r\n\r\n" % number
        kept.learn(one + b"{}", b"/", [], b"{}")
        assert kept.find(one + b"{}") is not None
        assert kept.find(one + b"{}}") is None
    assert len(kept._known) == 1
