"""Callers that keep the status page's listener waiting are given up on as on the prediction API, by the same code."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mainstay.web.serve import CONNECTIONS_MOST
from tests.app.shop import Shop
from tests.http.certificates import Files, client
from tests.http.serving import Caller
from tests.http.test_slow import asked, connected, everything
from tests.web.looking import Looked, paged

PAGE = b"GET /login HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.begin(more="settings: {arrive_within: 1s}\n")
    with paged(shop) as made:
        yield made


def test_a_request_that_comes_a_little_at_a_time_ends_in_408(looked: Looked) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(looked.port)) for _ in (PAGE[:3], PAGE[:-2])]
        for connection, part in zip(slow, (PAGE[:3], PAGE[:-2]), strict=True):
            connection.sendall(part)
        assert looked.looker(None).ask("/login").status == 200  # nobody else waits
        for connection in slow:
            found = everything(connection)
            assert found.startswith(b"HTTP/1.1 408 "), found


def test_a_body_of_the_control_api_is_waited_for_as_long_as_the_file_says(looked: Looked) -> None:
    token = looked.key("admin")
    head = f"POST /control/v1/run HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\ncontent-length: 9\r\n\r\n"
    with connected(looked.port) as slow:
        slow.sendall(head.encode() + b"{")
        assert slow.recv(65_536).startswith(b"HTTP/1.1 408 ")
        caller = Caller(looked.port, token)
        assert caller.ask("GET", "/control/v1/status").status == 200
        caller.close()


def test_who_takes_no_answers_is_cut_off_and_who_never_asks_too(looked: Looked) -> None:
    with connected(looked.port) as silent, connected(looked.port, most=4_096) as greedy:
        while asked(greedy, PAGE):
            pass
        assert everything(silent) == b""


def test_a_tls_handshake_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    files, shop = Files(tmp_path), Shop(tmp_path)
    tls = files.tls(None)
    shop.begin(more=f"settings: {{arrive_within: 1s, tls: {{certificate: {tls.certificate}, key: {tls.key}}}}}\n")
    with paged(shop, sealed=True) as looked, connected(looked.port) as silent, connected(looked.port) as plain:
        silent.sendall(b"\x16\x03\x01")
        with client().wrap_socket(plain, server_hostname="127.0.0.1") as sealed:
            sealed.sendall(PAGE)
            assert sealed.recv(1_000).startswith(b"HTTP/1.1 200 ")
        assert everything(silent) == b""


def test_one_connection_too_many_is_told_so(looked: Looked) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connected(looked.port)) for _ in range(CONNECTIONS_MOST)]
        with connected(looked.port) as more:
            assert everything(more).startswith(b"HTTP/1.1 503 ")
        one: socket.socket = held[0]
        one.sendall(PAGE)
        assert one.recv(1_000).startswith(b"HTTP/1.1 200 ")
