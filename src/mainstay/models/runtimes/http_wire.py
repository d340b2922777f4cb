"""One exchange with a model served elsewhere: connections that are kept, and no wait that goes past a deadline.

But for the system's resolver, which takes none. No redirect is followed, no proxy of the environment is used, no
compressed answer is asked for, and no more is read than was agreed.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from mainstay.core.addresses import Target
from mainstay.core.clock import Clock
from mainstay.core.elsewhere import Network
from mainstay.core.errors import ModelRefused
from mainstay.models.runtimes.http_address import Resolve, permitted

_IDLE_MOST = 8
_IDLE_US = 30_000_000
"""Servers close what nobody uses, many after 60 s; a connection younger than this is likely to be there still."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how much."""

    connect_us: int
    read_us: int
    """Between two parts of an answer."""
    size: int
    """Bytes of an answer's body."""


class Reply(NamedTuple):
    """What the server said."""

    status: int
    encoding: str
    body: bytes


class Failed(Exception):
    """No whole answer came."""

    def __init__(self, sentence: str, *, again: bool = False, late: bool = False, mend: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.again = again
        """Whether a second try may do better."""
        self.late = late
        self.mend = mend


class Wire:
    """The way to one server. Threads each take a connection of their own and give it back.

    Args:
        target: The server.
        limits: How long and how much.
        clock: Deadlines are on its monotonic time.
        network: How far in the name may lead.
        authorities: Certificates in PEM of those whose word counts beside the system's; empty: the system's alone.
        resolve: From names to addresses.
    """

    def __init__(
        self,
        target: Target,
        limits: Limits,
        clock: Clock,
        *,
        network: Network,
        authorities: str,
        resolve: Resolve,
    ) -> None:
        self._target = target
        self._limits = limits
        self._clock = clock
        self._network = network
        self._resolve = resolve
        self._tls = _tls(authorities) if target.secure else None
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    def exchange(self, path: str, headers: Mapping[str, str], body: bytes, deadline_us: int) -> Reply:
        """POSTs `body`. Raises Failed, whose sentence names the host and nothing that was sent or came."""
        where = self._target.origin
        connection = self._kept() or self._connected(deadline_us)
        whole = False
        try:
            reply = connection.post(path, {"Host": where, **headers}, body, deadline_us, self._limits)
            whole = True
        except TimeoutError:
            raise Failed(f"the model at {where} did not answer in time", late=True) from None
        except Failed as error:
            raise Failed(f"the model at {where} {error.sentence}", again=error.again) from None
        except (OSError, http.client.HTTPException) as error:
            sentence = f"the connection to the model at {where} broke ({type(error).__name__})"
            raise Failed(sentence, again=True) from None
        finally:
            self._give_back(connection, whole=whole)
        return reply

    def close(self) -> None:
        """Ends the connections that nobody uses now; the others end when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.end()

    def _kept(self) -> _Connection | None:
        """The connection used last, if it still stands."""
        oldest = self._clock.monotonic_us() - _IDLE_US
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.used_us >= oldest and connection.stands():
                return connection
            connection.end()

    def _give_back(self, connection: _Connection, *, whole: bool) -> None:
        connection.used_us = self._clock.monotonic_us()
        with self._lock:
            keep = whole and connection.reusable and not self._closed and len(self._idle) < _IDLE_MOST
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.end()

    def _connected(self, deadline_us: int) -> _Connection:
        target, where = self._target, self._target.origin
        try:
            addresses = permitted(target, self._network, self._resolve)
        except ModelRefused as error:
            raise Failed(error.sentence, mend=error.mend) from None
        except OSError:
            raise Failed(f"the name of the model's host is not known: {where}", again=True) from None
        why = "no address"
        for address in addresses:
            left_us = min(deadline_us - self._clock.monotonic_us(), self._limits.connect_us)
            if left_us <= 0:
                raise Failed(f"the model at {where} was not reached in time", late=True)
            try:
                return self._open(address, left_us)
            except ssl.SSLCertVerificationError as error:
                mend = "name its authority under `ca:`, if it is one of your own"
                sentence = f"the certificate of the model at {where} is not trusted: {error.verify_message}"
                raise Failed(sentence, mend=mend) from None
            except OSError as error:
                why = error.strerror or type(error).__name__
        raise Failed(f"the model at {where} cannot be reached: {why}", again=True)

    def _open(self, address: str, left_us: int) -> _Connection:
        ends_us = self._clock.monotonic_us() + left_us
        sock = socket.create_connection((address, self._target.port), timeout=left_us / 1_000_000)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock.settimeout(max(ends_us - self._clock.monotonic_us(), 1) / 1_000_000)
                sock = self._tls.wrap_socket(sock, server_hostname=self._target.host)
        except OSError:
            sock.close()
            raise
        return _Connection(sock, self._target, self._clock)


class _Connection:
    """A connection that answers one request at a time."""

    def __init__(self, sock: socket.socket, target: Target, clock: Clock) -> None:
        self.reusable = False
        self.used_us = 0
        self._timed = _Timed(sock, clock)
        self._http = http.client.HTTPConnection(target.host, target.port)
        self._http.auto_open = 0
        self._http.sock = self._timed

    def post(self, path: str, headers: Mapping[str, str], body: bytes, deadline_us: int, limits: Limits) -> Reply:
        self.reusable = False
        self._timed.deadline_us, self._timed.read_us = deadline_us, limits.read_us
        self._http.request("POST", path, body, {"Accept-Encoding": "identity", **headers})
        response = self._http.getresponse()
        if response.length is not None and response.length > limits.size:
            raise Failed(f"answered with more than {limits.size:,} bytes")
        found = response.read(limits.size + 1)
        if len(found) > limits.size:
            raise Failed(f"answered with more than {limits.size:,} bytes")
        if response.length:
            raise Failed("answered with less than it said it would", again=True)
        self.reusable = not response.will_close and response.isclosed()
        return Reply(response.status, response.headers.get("Content-Encoding", "identity"), found)

    def stands(self) -> bool:
        """Whether the server still listens: a connection that has something to say between two requests does not."""
        poll = select.poll()
        poll.register(self._timed.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
        return not poll.poll(0)

    def end(self) -> None:
        self._http.close()
        self._timed.end()


class _Timed:
    """What `http.client` takes for a socket. Every wait ends at the deadline, however slowly bytes drip in."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self._sock = sock
        self._clock = clock
        self.deadline_us = 0
        self.read_us = 0

    def sendall(self, data: bytes) -> None:
        self._hurry()
        self._sock.sendall(data)

    def recv_into(self, buffer: Any) -> int:
        self._hurry()
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str, *_: Any) -> io.BufferedReader:  # noqa: ARG002 - as sockets have it
        return io.BufferedReader(_Reader(self))

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """`http.client` lets go of a connection before its last answer is read; `end` closes it."""

    def end(self) -> None:
        self._sock.close()

    def _hurry(self) -> None:
        left_us = min(self.deadline_us - self._clock.monotonic_us(), self.read_us)
        if left_us <= 0:
            raise TimeoutError
        self._sock.settimeout(left_us / 1_000_000)


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.recv_into(buffer)


def _tls(authorities: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError):
            raise ModelRefused(
                "`model.http.ca` holds no certificate in PEM", mend="ca: ${file:authority.pem}"
            ) from None
    return context
