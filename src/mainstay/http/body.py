"""Reading a request's body within bounds of size and time, and knowing whether its caller is still there."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from starlette.types import Message, Receive

from mainstay.core.counts import counted
from mainstay.serving.request import BadRequest

T = TypeVar("T")
Headers = Sequence[tuple[bytes, bytes]]

BODY_MOST = 1024 * 1024


class TooLarge(Exception):
    pass


class Gone(Exception):
    """The caller went away before the body was whole, or before there was an answer."""


class Body:
    """A request's `receive`, which tells when the body was read to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.whole = asyncio.Event()

    async def __call__(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self.whole.set()
        return message


async def while_there(receive: Receive, answer: Awaitable[T], after: asyncio.Event | None = None) -> T:
    """What `answer` gives. Raises Gone when the caller leaves first; then `answer` is cancelled.

    `after`: when the body is read; None: it is.
    """

    async def leaving() -> None:
        if after is not None:
            await after.wait()
        while (await receive())["type"] != "http.disconnect":
            pass

    answering, gone = asyncio.ensure_future(answer), asyncio.ensure_future(leaving())
    try:
        await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise Gone
    finally:
        for one in (answering, gone):
            one.cancel()


async def read_body(headers: Headers, receive: Receive, within: float) -> bytes:
    """The whole body, without its compression. Raises what `read_packed` raises, and BadRequest for another one."""
    encodings = [value for name, value in headers if name == b"content-encoding"]
    packed = await read_packed(headers, receive, within)
    return unpacked(packed, b", ".join(encodings)) if encodings else packed


def unpacked(body: bytes, encoding: bytes) -> bytes:
    """The body without its compression. Raises TooLarge before it grows past 1 MiB, BadRequest."""
    kind = encoding.strip().lower()
    if kind in (b"", b"identity"):
        return body
    if kind not in (b"gzip", b"x-gzip", b"deflate"):
        raise BadRequest("the body's encoding is not known", mend="gzip, deflate or none", status=415)
    reader = zlib.decompressobj(15 if kind == b"deflate" else 31)
    try:
        found = reader.decompress(body, BODY_MOST + 1)
    except zlib.error:
        raise BadRequest(f"the body is not {kind.decode()}", status=400) from None
    if len(found) > BODY_MOST:  # before it grows further
        raise TooLarge
    if not reader.eof:
        raise BadRequest(f"the body is cut off: its {kind.decode()} does not end", status=400)
    if reader.unused_data:
        more = counted(len(reader.unused_data), "byte follows", "bytes follow")
        raise BadRequest(f"{more} the body's {kind.decode()}", status=400)
    return found


async def read_packed(headers: Headers, receive: Receive, within: float) -> bytes:
    """The body as it came. Raises TooLarge past 1 MiB, TimeoutError when it trickles, Gone when the caller leaves.

    `within`: seconds in which it has to be there.
    """
    for name, value in headers:
        if name == b"content-length":
            digits = value.lstrip(b"0")  # the parser has seen to it that there are only digits
            if len(digits) > 7 or int(digits or b"0") > BODY_MOST:
                raise TooLarge
            break
    async with asyncio.timeout(within):  # also for the first byte: headers alone must not hold a place for long
        return await _whole(receive)


async def _whole(receive: Receive) -> bytes:
    message: Any = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    if not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > BODY_MOST:
            raise TooLarge
        return body
    return await _rest(message, receive)


async def _rest(message: Any, receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > BODY_MOST:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
