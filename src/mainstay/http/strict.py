"""HTTP/1.1 to the letter and within bounds, where uvicorn and its parser have none.

What a proxy before us may read otherwise than we do is refused, never guessed: a transfer encoding beside `chunked`,
several hosts, a field after the body that calls itself a header. Whatever cannot be read is told so after the answers
to what came before it by the same connection, so that no caller takes it for its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mainstay.http import problems
from mainstay.http.front import respond
from mainstay.http.problems import Told

HEAD_MOST = 64 * 1024
"""Bytes of a request line and its headers, or of what stands between and behind the parts of a body; about."""
PIPELINED_MOST = 64
"""Requests of one connection that wait for the answer to an earlier one; its later ones are asked again by another."""


def malformed() -> Told:
    """What came cannot be read."""
    return problems.told("malformed", 400, "what came is no request of HTTP/1.1", mend="see RFC 9112")


def head_too_large() -> Told:
    """Line and headers have no end."""
    sentence = f"the request's line and headers are larger than {HEAD_MOST // 1024} KiB"
    return problems.told("head_too_large", 431, sentence, mend="send fewer")


class StrictProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._loose = 0
        """Bytes since the last head or part of a body was whole."""
        self._last = False
        """Whether the connection is closed with the last answer that it is owed: later requests are not answered."""
        self._deaf = False
        """Whether nothing that comes is looked at any more."""
        self._in_body = False
        self._running: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._unset_keepalive_if_required()
        if self._deaf:
            return
        self._loose += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(malformed())
        else:
            if self._loose > HEAD_MOST:
                self._refuse(head_too_large())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; who is answered now is told so too, where others wait behind it."""
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; the white space behind its value is none of it, and the parser leaves it there (RFC 9110, 5.5)."""
        super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """The head of a request is whole, which is now begun."""
        self._loose = 0
        parser = self.parser
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise httptools.HttpParserError("CONNECT")
            return  # `_feed` begins it anew
        encodings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if encodings not in ([], [b"chunked"]):
            raise httptools.HttpParserError("Transfer-Encoding")
        if parser.get_http_version() == "1.1" and sum([name == b"host" for name, _ in self.headers]) != 1:
            raise httptools.HttpParserError("Host")  # RFC 9112, 3.2
        if len(self.pipeline) >= PIPELINED_MOST:
            self.cycle.keep_alive = False  # of the last one that waits
            self._last = self._deaf = True
            return
        super().on_headers_complete()
        self._in_body = True
        self.headers = []  # fields that follow the body are no headers

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte is there."""
        if self._in_body:
            self._in_body = False
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        """Parses. Other protocols are not spoken: who offers to change to one is answered in this one.

        The parser would leave such a request's body to the other protocol, and take it for another request.
        """
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offered:
                method, version = self.parser.get_method(), self.parser.get_http_version().encode()
                fields = [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
                head = b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(fields))
                data = head + data[offered.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
            else:
                return

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, told: Told) -> None:
        """Says why nothing more is read of this connection, after the answers to what came before, and closes it."""
        self._deaf = True
        newest: RequestResponseCycle | None = self.cycle  # uvicorn's type leaves out that there is none at first
        waiting = newest is not None and not newest.response_complete
        if self._in_body and newest is not None:
            waiting = newest is not self._running
            if waiting:
                self.pipeline.popleft()  # the request that cannot be read waits itself
            elif newest.response_started:
                self.transport.close()  # it has its answer
                return
            else:
                newest.disconnected = True
                newest.message_event.set()

        async def refused(_scope: Scope, _receive: Receive, send: Send) -> None:
            await respond(send, told)

        self.cycle = self._refusal()
        if waiting:
            self.pipeline.appendleft((self.cycle, refused))  # type: ignore[arg-type]
        else:
            self._start_asgi_task(self.cycle, refused)

    def _refusal(self) -> RequestResponseCycle:
        """Like a request, after whose answer the connection closes."""
        return RequestResponseCycle(
            scope={"type": "http", "method": "GET"},  # type: ignore[typeddict-item]
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
