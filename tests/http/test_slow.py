"""Callers that send nothing, or a little at a time, or take no answers, hurt only themselves."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from mainstay.core.clock import SECOND
from mainstay.core.nouns import Settings
from mainstay.http import patience, serve, strict
from mainstay.http.protocol import Standing
from tests.http.certificates import Files, client
from tests.http.serving import Served, serving
from tests.serving.toy import Toy

HEALTH = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    toy = Toy(tmp_path, settings=Settings(arrive_within_us=SECOND))
    yield toy
    toy.journal.close()


@pytest.fixture
def served(toy: Toy) -> Iterator[Served]:
    with serving(toy) as served:
        yield served


def connected(port: int, most: int | None = None) -> socket.socket:
    """A connection. `most`: about so many bytes of answers wait at our end for being read."""
    connection = socket.socket()
    if most is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", port))
    return connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    found = b""
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            found += part
    return found


def asked(connection: socket.socket, request: bytes) -> bool:
    """Sends a request. False: the server has closed. Raises TimeoutError where it only takes nothing."""
    try:
        connection.sendall(request)
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("begun", [b"", b'{"ke'])
def test_a_body_that_does_not_come_ends_in_408_and_leaves_its_place_to_others(begun: bytes, served: Served) -> None:
    token = served.toy.key()
    # Longer than what takes the short road, so that each of them holds a place.
    head = f"POST /v1/churn/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\ncontent-length: 100000\r\n\r\n"
    with connected(served.port) as slow:
        slow.sendall(head.encode() + begun)
        caller = served.caller(token)
        assert caller.predict(key="A").status == 200  # nobody else waits
        assert caller.ask("GET", "/health/ready").status == 200
        assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert all(task.done() for task in served.server.server_state.tasks)
    caller.close()


def test_a_request_that_comes_a_little_at_a_time_ends_in_408_wherever_it_stops(served: Served) -> None:
    token = served.toy.key()
    line = b"POST /v1/churn/predict HTTP/1.1\r\n"
    head = line + f"host: x\r\nx-api-key: {token}\r\ncontent-length: 11\r\n\r\n".encode()
    whole = head + b'{"key":"A"}'
    with ExitStack() as stack:
        begun = [line[:3], line, head[:-2], head, whole[:-1], whole + b"\r\n" + line]
        slow = [stack.enter_context(connected(served.port)) for _ in begun]
        for connection, part in zip(slow, begun, strict=True):
            connection.sendall(part)
        caller = served.caller(token)
        assert caller.predict(key="A").status == 200
        found = [everything(connection) for connection in slow]
    assert [one.split(b" ")[1] for one in found] == [b"408"] * 5 + [b"200"]
    assert all(b"connection: close" in one and b"/docs#timeout" in one for one in found)
    assert found[-1].count(b"HTTP/1.1 ") == 2  # what was asked before is answered
    assert caller.predict(key="A").status == 200  # on the connection that it has
    assert served.toy.desk.meter.counts.requests["late|408"] == len(begun)
    caller.close()


def test_a_connection_that_never_asks_is_closed_without_a_word(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "KEEP_ALIVE_SECONDS", 1)
    with serving(toy) as served, ExitStack() as stack:
        silent, empty, once = (stack.enter_context(connected(served.port)) for _ in range(3))
        empty.sendall(b"\r\n")
        once.sendall(HEALTH)
        assert (everything(silent), everything(empty)) == (b"", b"")
        assert everything(once).endswith(b'{"live":true}')


def test_who_takes_no_answers_is_read_from_no_more_and_then_closed(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    token = served.toy.key()
    head = f"GET /openapi.json HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\n\r\n".encode()
    caller = served.caller(token)
    with connected(served.port, most=4_096) as greedy:
        while asked(greedy, head):  # one at a time, so that there are never too many
            assert caller.predict(key="A").status == 200
    assert "RuntimeError" not in capfd.readouterr().err
    assert caller.predict(key="A").status == 200
    caller.close()


def test_a_connection_whose_answer_took_long_to_be_taken_is_closed_behind_it_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is told whole, however long its reader takes; then the time in which more could be asked is over."""
    monkeypatch.setattr(serve, "KEEP_ALIVE_SECONDS", 2)
    toy = Toy(tmp_path)
    token = toy.key()

    def asks(keys: int) -> bytes:
        body = json.dumps({"keys": ["A"] * keys}).encode()
        head = (
            f"POST /v1/churn/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    with serving(toy) as served:
        (listening,) = served.server.servers[0].sockets
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)  # connections to come have it of this one
        with connected(served.port, most=4_096) as slow:
            slow.sendall(asks(1_000))
            found = slow.recv(4_096)
            while not any(one.transport.is_closing() for one in served.server.server_state.connections):
                part = slow.recv(1_024)  # a little, so that it is not given up on
                assert part
                found += part
                time.sleep(0.05)
            head, _, body = found.partition(b"\r\n\r\n")
            assert b"connection: close" not in head
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            assert len(body) < length
            assert len(body) + len(everything(slow)) == length
        with connected(served.port, most=4_096) as quick:
            for _ in range(2):
                quick.sendall(asks(1))
                assert quick.recv(4_096).startswith(b"HTTP/1.1 200 ")
    toy.journal.close()


def test_requests_are_read_as_they_are_answered(tmp_path: Path) -> None:
    """Each answer that a connection was given used to let in as much again of what it asks."""
    toy = Toy(tmp_path, blocking=True)
    token, body, times = toy.key(), b'{"key":"A"%s}' % (b" " * 60_000), 200
    head = f"POST /v1/churn/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\ncontent-length: {len(body)}\r\n\r\n"
    with serving(toy) as served, connected(served.port) as many:
        sending = threading.Thread(target=many.sendall, args=((head.encode() + body) * times,))
        sending.start()
        found = b""
        while found.count(b'"receipt"') < times and (part := many.recv(65_536)):
            found += part
        assert found.count(b"HTTP/1.1 200") == times
        sending.join()
    toy.journal.close()


def test_requests_that_wait_behind_another_are_few_and_in_order(served: Served) -> None:
    with connected(served.port) as many:
        many.sendall(HEALTH * 1_000)
        found = everything(many)
    # The first is begun; so many wait behind it, and the last of them says that the connection closes.
    assert found.count(b"HTTP/1.1 200") == strict.PIPELINED_MOST + 1
    assert found.count(b"connection: close") == 1
    with connected(served.port) as some:
        some.sendall(HEALTH * strict.PIPELINED_MOST)
        answered = b""
        while answered.count(b'{"live":true}') < strict.PIPELINED_MOST:
            answered += some.recv(65_536)
        assert b"connection: close" not in answered


def test_one_connection_too_many_is_told_so_and_patience_is_shorter_where_places_are_scarce(served: Served) -> None:
    standing = served.server.server_state
    assert isinstance(standing, Standing)
    standing.most = 3
    assert patience.shortened(10, 2, 3) == 10
    assert patience.shortened(10, 3, 3) == 1
    with closing(connected(served.port)) as one, connected(served.port), connected(served.port):
        one.sendall(HEALTH)
        assert one.recv(1_000)
        with connected(served.port) as more:
            assert everything(more).startswith(b"HTTP/1.1 503 ")
        one.sendall(HEALTH)
        assert one.recv(1_000)


def test_a_tls_handshake_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    files = Files(tmp_path)
    toy = Toy(tmp_path, settings=Settings(arrive_within_us=SECOND, tls=files.tls(None)))
    with serving(toy) as served:
        with connected(served.port) as silent, connected(served.port) as half:
            half.sendall(b"\x16\x03\x01")
            assert (everything(silent), everything(half)) == (b"", b"")
        with connected(served.port) as plain:
            sealed = client().wrap_socket(plain, server_hostname="127.0.0.1")
            sealed.sendall(b"GET / HT")
            assert sealed.recv(1_000).startswith(b"HTTP/1.1 408 ")
            with suppress(ssl.SSLError, OSError):
                sealed.close()
    toy.journal.close()
