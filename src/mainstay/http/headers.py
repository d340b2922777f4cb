"""Header lines beside an answer, whoever makes it."""

from __future__ import annotations

from starlette.types import Message, Send

Lines = tuple[tuple[bytes, bytes], ...]


def adding(send: Send, lines: Lines) -> Send:
    """`send`, which adds the lines to what is answered."""

    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *lines]
        await send(message)

    return told
