"""Closing a listening socket without breaking off whoever connects in that moment.

The system completes connections before anybody accepts them, and resets those that nobody accepted when the socket
closes: their callers have sent a request by then. So new connections are kept out first, for long enough that what the
system completed is accepted, and only then the socket closes. Who came in between tries again by itself, a second
later, and is refused like everybody after that: nothing was sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

LEAD_S = 0.2
"""How long new connections are kept out before the socket closes."""

_ATTACH_FILTER = 26
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # SYN and ACK of it
    (0x15, 0, 1, 0x02),  # SYN alone: a new connection
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)
"""A classic BPF program over the TCP header."""


def keep_out(listening: socket.socket) -> bool:
    """Lets no new connection in by this socket, for good, whichever process holds it. Returns whether that was done.

    Where the system knows no such filter it does nothing: then whoever connects as the socket closes is broken off.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    program = b"".join(struct.pack("HBBI", *step) for step in _DROP_SYN)
    held = ctypes.create_string_buffer(program)
    wanted = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(held))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, wanted)
    except OSError:
        return False
    return True


def keep_out_of(port: int) -> None:
    """The same for the listening sockets that this process has at `port`, where a library made them.

    For sockets that are this process' own: one that others inherited would be closed to them as well.
    """
    for listening in _own(port, listening=True):
        keep_out(listening)


def stop_listening(port: int) -> None:
    """Refuses new connections at the listening sockets that this process has at `port`; those it has go on."""
    for listening in _own(port, listening=True):
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RD)


def connected(port: int) -> int:
    """How many connections by which others asked at `port` this process still has."""
    return sum(1 for _ in _own(port, listening=False))


def _own(port: int, *, listening: bool) -> Iterator[socket.socket]:
    """Sockets of this process with this port as their own, each under another descriptor for the moment."""
    for name in list(Path("/proc/self/fd").iterdir()) if sys.platform == "linux" else ():
        with contextlib.suppress(OSError):  # closed meanwhile, or connected to nobody
            if not str(name.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name.name))) as each:
                if not listening:
                    each.getpeername()
                accepts = bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
                if accepts is listening and each.getsockname()[1:2] == (port,):
                    yield each
