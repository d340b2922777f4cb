from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from mainstay.app.closing import connected, keep_out, keep_out_of, stop_listening
from mainstay.app.supervisor import listen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")


def test_nobody_comes_in_any_more_and_whoever_is_in_is_served() -> None:
    with listen("127.0.0.1", 0) as listening:
        address = listening.getsockname()
        with socket.create_connection(address, 5) as before:
            before.sendall(b"asked")
            assert keep_out(listening)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, 0.3)
            listening.settimeout(5)
            taken, _ = listening.accept()
            with taken:
                assert taken.recv(5) == b"asked"


def test_sockets_that_a_library_made_are_found_by_their_port() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with listen("127.0.0.1", 0) as listening:
        address = listening.getsockname()
        listening.settimeout(5)
        with socket.create_connection(address, 5):
            taken, _ = listening.accept()
            with taken:
                assert connected(address[1]) == 1
                stop_listening(address[1])
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(address, 5)
                assert connected(address[1]) == 1
            assert connected(address[1]) == 0
    keep_out_of(address[1])  # nobody listens: nothing to do
    assert len(list(Path("/proc/self/fd").iterdir())) == before
