"""Ports of 127.0.0.1 for servers that tests, benchmarks and the demo start."""

from __future__ import annotations

import random
import socket

_BELOW_EPHEMERAL = range(20_000, 32_000)
"""Outgoing connections get ports from 32768 (Linux) or 49152 on: none of them takes one of these meanwhile."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago.

    Drawn at random, so that several test runs beside each other hardly ever draw the same.
    """
    dice = random.SystemRandom()  # hypothesis seeds the module's own generator
    while True:
        port = dice.choice(_BELOW_EPHEMERAL)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
