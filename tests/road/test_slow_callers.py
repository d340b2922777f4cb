"""Hundreds who send half a head, and some who take no answers, beside callers who are answered all the while."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.app.shop import RULE, Shop
from tests.road.load import Load
from tests.road.running import Running

HALVES = 200
GREEDY = 10
MEMORY_MOST = 60 << 20
"""What they may cost the two workers together."""


def half(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 30)
    connection.sendall(b"POST /v1/churn/predict HTTP/1.1\r\nhost: x\r\nx-api-")
    return connection


def greedy(running: Running, ends: list[str]) -> None:
    """Asks for large answers as fast as it is listened to, and takes none."""
    lines = f"host: x\r\nauthorization: Bearer {running.token}"
    request = f"GET /openapi.json HTTP/1.1\r\n{lines}\r\nx-padding: {'x' * 4_000}\r\n\r\n".encode()
    with socket.socket() as connection:
        for end in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            connection.setsockopt(socket.SOL_SOCKET, end, 4_096)
        connection.settimeout(90)
        connection.connect(("127.0.0.1", running.port))
        try:
            while True:
                connection.sendall(request)
        except OSError as error:
            ends.append(type(error).__name__)


def memory(running: Running) -> int:
    return sum(one.memory_info().rss for one in running.workers())


@pytest.mark.timeout(300)
def test_slow_callers_hurt_only_themselves(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, every="500ms", more="settings: {stop_after: 100ms, arrive_within: 2s}\n")
    with Running(world) as running, ExitStack() as stack:
        load = Load(running.callers())
        with load.going():
            load.more(2)
            before = memory(running)
            ends: list[str] = []
            takers = [threading.Thread(target=greedy, args=(running, ends)) for _ in range(GREEDY)]
            for taker in takers:
                taker.start()
            slow = [stack.enter_context(half(running.port)) for _ in range(HALVES)]
            load.more(5)
            assert running.ready() == 200
            for one in slow:
                found = b""
                with suppress(ConnectionError):
                    while part := one.recv(4_096):
                        found += part
                assert found.startswith(b"HTTP/1.1 408 "), found
            running.until(lambda: len(ends) == GREEDY, "those who take no answers are cut off")
            grown = memory(running) - before
            load.more(5)
    for taker in takers:
        taker.join(10)
    assert set(ends) <= {"ConnectionResetError", "BrokenPipeError"}, ends
    assert grown < MEMORY_MOST
    assert load.failed == []
