"""What callers of a retired API version read beside every answer: Deprecation, Sunset and Link."""

from __future__ import annotations

from starlette.types import Message, Send

from mainstay.serving.retirement import told
from mainstay.serving.view import Snapshot

Lines = tuple[tuple[bytes, bytes], ...]


def lines(snap: Snapshot | None) -> Lines:
    """The headers; empty while the API version is not retired."""
    if snap is None or snap.integration.retired is None:
        return ()
    return tuple((name.encode(), value.encode()) for name, value in told(snap.integration.retired))


def telling(send: Send, more: Lines) -> Send:
    """`send`, which adds the headers."""

    async def told_too(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *more]
        await send(message)

    return told_too
