"""Callers that send nothing, or a little at a time, hurt only themselves."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mainstay.http import body
from tests.http.serving import serving
from tests.serving.toy import Toy


@pytest.mark.parametrize("begun", [b"", b'{"ke'])
def test_a_body_that_does_not_come_ends_in_408_and_leaves_its_place_to_others(
    begun: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "BODY_SECONDS", 0.5)
    toy = Toy(tmp_path)
    token = toy.key()
    # Longer than what takes the short road, so that each of them holds a place.
    head = f"POST /v1/churn/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {token}\r\ncontent-length: 100000\r\n\r\n"
    with serving(toy) as served:
        with socket.create_connection(("127.0.0.1", served.port), 5) as slow:
            slow.settimeout(10)
            slow.sendall(head.encode() + begun)
            caller = served.caller(token)
            assert caller.predict(key="A").status == 200  # nobody else waits
            assert caller.ask("GET", "/health/ready").status == 200
            assert slow.recv(65536).startswith(b"HTTP/1.1 408 ")
            assert all(task.done() for task in served.server.server_state.tasks)
        caller.close()
    toy.journal.close()
