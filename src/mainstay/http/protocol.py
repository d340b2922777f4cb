"""uvicorn's HTTP/1.1 protocol with a short road for predict by key.

Measured with a model of 30 microseconds: ASGI's scope, task, event and two sends cost as much again as judging,
predicting and recording together. So a plain `POST .../predict` is handed over where the last byte of its body is
there, and answered in one write at the end of the loop's turn, together with all others that came in it. Whatever is
not plain goes on to ASGI as if this class were not there: another route, several keys, a body without a length, a
model in another process, a pipelined request behind an unfinished one.
"""

from __future__ import annotations

import fcntl
import select
import struct
import termios
from asyncio import BaseTransport
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from mainstay.http.front import PEER, Front
from mainstay.http.heads import Said
from mainstay.http.patience import Flow, Patience, shortened
from mainstay.http.problems import Told, told
from mainstay.http.strict import StrictProtocol
from mainstay.http.turns import Turns
from mainstay.serving.peers import Peer, peer_of

BODY_MOST = 64 * 1024
"""Longer bodies carry many keys, which are worked through in turns."""

_SPECIAL = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"idempotency-key", b"origin"))


FIRST_SECONDS = 1.0
"""How long a worker that stops waits for the first request of a connection that it took a moment ago."""


def _late() -> Told:
    return told("timeout", 408, "the request did not arrive in time", mend="send it in one go; settings.arrive_within")


def _crowded() -> Told:
    return told("overloaded", 503, "there are as many connections as there can be", retry_after=1, mend="open fewer")


class Standing(ServerState):
    """What uvicorn's connections share, and whether the worker is leaving."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving = False
        self.most = 1 << 20
        """Connections that are possible."""
        self._usual: tuple[Any, bytes] = ((), b"")

    @property
    def usual(self) -> bytes:
        """The header lines of every answer. uvicorn makes them anew once a second."""
        headers = self.default_headers
        if self._usual[0] is not headers:
            self._usual = headers, b"".join([b"%b: %b\r\n" % each for each in headers])
        return self._usual[1]

    def look(self, now: float, within: float) -> int:
        """Once a second: closes connections that keep us waiting. Returns how many were told so.

        Args:
            now: By the event loop's clock.
            within: Seconds in which a request's head, and then its body, have to arrive, and in which something of an
                answer has to be taken.
        """
        every = [one for one in self.connections if isinstance(one, PredictProtocol)]
        within = shortened(within, len(every), self.most)
        return sum([one.look(now, within) for one in every])


class PredictProtocol(StrictProtocol):
    """One connection."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._turns = self.app.turns if isinstance(self.app, Front) else None
        self._short = False
        self._length = 0
        self._body = b""
        self._owed = 0
        self._standing = self.server_state if isinstance(self.server_state, Standing) else Standing()
        self._begun = False
        self._whole = b""
        """What is parsed now, where it begins with a request; else empty."""
        self._peer: Peer | None = None
        self._headed = False
        self._steps = 0
        """How often a request began, or its head was whole."""
        self._patience = Patience()

    def connection_made(self, transport: Any) -> None:
        """A connection is there; with TLS, its handshake is over."""
        super().connection_made(transport)
        self.flow = Flow(transport, self.pipeline)
        if len(self.connections) > self._standing.most:
            self._refuse(_crowded())
            return
        self._peer = peer_of(transport.get_extra_info("peercert"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and what waits on it with it."""
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The other end does not take what it asked for."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """It takes it again."""
        self.flow.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bytes came; the parser need not see a plain request whose head was read before."""
        if self._begun:
            super().data_received(data)
        elif not self._known(data):
            self._whole = data
            super().data_received(data)
            self._whole = b""

    def _known(self, data: bytes) -> bool:
        """Takes the plain request that `data` is, if its head was read before; else False, with nothing done."""
        turns = self._turns
        found = None if turns is None else turns.heads.find(data)
        if turns is None or found is None or self._last or self._deaf or self.transport.is_closing():
            return False
        head, body = found
        if head.url != turns.predict_url or not self._next(turns):
            return False
        if not turns.take(head.said, body, self._write, self._peer):
            return False
        self._unset_keepalive_if_required()
        self._loose = 0
        self._steps += 1
        self._owed += 1
        return True

    def on_message_begin(self) -> None:
        """A request begins; what ASGI needs is made when it turns out to be needed."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._short = False
        self._body = b""
        self._begun = True
        self._headed = False
        self._steps += 1

    def on_headers_complete(self) -> None:
        """Decides which road the request takes."""
        self._loose = 0
        turns = self._turns
        self._headed = True
        self._steps += 1
        self._short = turns is not None and self.url == turns.predict_url and self._next(turns) and self._is_plain()
        if self._owed and turns is not None and not self._short:
            turns.answer()  # answers leave in the order of their requests
            self._last = self._owed > 0
        if not self._short and not self._last:
            self._by_asgi()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._short:
            self._loose = 0
            self._body = self._body + body if self._body else body
        elif not self._last:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte is there."""
        self._begun = False
        turns = self._turns
        if self._last:
            return
        if not self._short or turns is None:
            super().on_message_complete()
            return
        self._short = False
        whole = len(self._body) == self._length
        if whole and turns.take(Said.by(self.headers), self._body, self._write, self._peer):
            self._owed += 1
            if self._whole:
                turns.heads.learn(self._whole, self.url, self.headers, self._body)
            return
        if self._owed:
            turns.answer()
            self._last = self._owed > 0
            if self._last:
                return
        self._by_asgi()
        super().on_body(self._body)
        super().on_message_complete()

    def shutdown(self) -> None:
        """The server stops: what was taken is answered first."""
        if self._owed and self._turns is not None:
            self._turns.answer()
        if self._owed:  # a model that takes its time has them; the connection is closed with the last of them
            self._last = True
        elif not self._idle():
            self.cycle.keep_alive = False
        elif not self._steps:
            self.loop.call_later(FIRST_SECONDS, self._leave)
        elif not self._begun:
            self._leave()

    def _leave(self) -> None:
        """Closes a connection on which nothing was asked, unless a request has just arrived."""
        if self.transport.is_closing() or self._begun or not self._idle():
            return
        if _unread(self.transport):
            return  # it is answered, and told to close
        self.transport.close()

    def _idle(self) -> bool:
        """Whether no earlier request of this connection is still being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's type leaves out that there is none at first
        return cycle is None or cycle.response_complete

    def _next(self, turns: Turns) -> bool:
        """Whether what is taken now is answered after all that came before it, and its answer can be written."""
        return not self.flow.write_paused and self._idle() and not (self._owed and turns.behind)

    def _is_plain(self) -> bool:
        """POST over HTTP/1.1 that stays open, with a length within bounds and no header that asks for more."""
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return False
        length, hosts = b"", 0
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"host":
                hosts += 1
            elif name in _SPECIAL:
                return False
        if hosts != 1 or not length.isdigit() or len(length) > 5:
            return False
        self._length = int(length)
        return self._length <= BODY_MOST

    def _by_asgi(self) -> None:
        """Lets uvicorn begin the request, with what was parsed of it."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        self.scope[PEER] = self._peer  # type: ignore[literal-required]
        super().on_headers_complete()
        if self._standing.leaving and self._in_body:
            self.cycle.keep_alive = False

    def _refuse(self, told: Told) -> None:
        if self._owed and self._turns is not None:
            self._turns.answer()
        if self._owed:  # a model that takes its time has them; the connection is closed with the last of them
            self._last = self._deaf = True
        else:
            super()._refuse(told)

    def _write(self, status: int, head: bytes, body: bytes) -> None:
        self._owed -= 1
        if self.transport.is_closing():
            return
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.transport.write(b"".join((STATUS_LINE[status], self._standing.usual, head, length, body)))
        self._standing.total_requests += 1
        if self._last and not self._owed:
            super().shutdown()

    def look(self, now: float, within: float) -> bool:
        """Once a second: gives up on whoever keeps us waiting. Returns whether that was somebody late with a request.

        What the other end does not take of its answers is thrown away with the connection.
        """
        transport = self.transport
        unsent = transport.get_write_buffer_size()
        if self.flow.read_paused and not unsent and _left(transport):
            transport.abort()
            return False
        idle = not self._owed and self._idle()
        waited = self._patience.spent((self._steps, unsent, self.flow.read_paused, idle), now)
        if unsent or transport.is_closing():
            if waited > within:
                transport.abort()
            return False
        if not self._begun:
            if waited > self.timeout_keep_alive and idle and not _unread(transport):
                transport.close()
            return False
        if self.flow.read_paused:  # we keep it waiting, and do not hear that it leaves
            return False
        if (
            self._headed and not self._short and not self._deaf
        ):  # whatever reads the body minds the time itself, and says so
            if waited > 2 * within:
                transport.abort()
            return False
        late = waited > within and idle
        if late:
            self._refuse(_late())
        return late


def _left(transport: BaseTransport) -> bool:
    """Whether the other end sends no more, and all that it sent was read: as where its end is read, that is the end.

    Asked where nothing is read that would tell so.
    """
    connection = transport.get_extra_info("socket")
    if connection is None or _unread(transport):
        return False
    asked = select.poll()
    try:
        asked.register(connection.fileno(), getattr(select, "POLLRDHUP", 0))  # Linux; elsewhere both ways closed
        return bool(asked.poll(0))
    except (OSError, ValueError):
        return False


def _unread(transport: BaseTransport) -> bool:
    """Whether the system has bytes that came by this connection and that nobody has read yet."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return False
    try:
        found = fcntl.ioctl(connection.fileno(), termios.FIONREAD, struct.pack("i", 0))
    except OSError:
        return False
    return bool(struct.unpack("i", found)[0])
