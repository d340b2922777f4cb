"""Reading a request's body within bounds of size and time."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive

BODY_MOST = 1024 * 1024
BODY_SECONDS = 10.0


class TooLarge(Exception):
    pass


class Gone(Exception):
    """The caller went away before the body was whole."""


async def read_body(headers: list[tuple[bytes, bytes]], receive: Receive) -> bytes:
    """The whole body. Raises TooLarge past 1 MiB, TimeoutError when it trickles, Gone when the caller leaves."""
    for name, value in headers:
        if name == b"content-length":
            if len(value) > 7 or not value.isdigit() or int(value) > BODY_MOST:
                raise TooLarge
            break
    message: Any = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    if not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > BODY_MOST:
            raise TooLarge
        return body
    async with asyncio.timeout(BODY_SECONDS):
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
