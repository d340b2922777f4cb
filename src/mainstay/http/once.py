"""Requests with an Idempotency-Key, before the door that answers them: held, answered, kept, and only then sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from mainstay.core.errors import StoreError
from mainstay.core.ports import Repeat
from mainstay.http import problems
from mainstay.http.body import read_packed
from mainstay.http.problems import Told
from mainstay.serving.desk import Desk
from mainstay.serving.idempotency import BadName, Begun, read_name

HEADER = b"idempotency-key"
JUDGED = "mainstay.judged"
"""In the scope of a request that was refused with a receipt."""
REPLAYED = (b"idempotent-replayed", b"true")
_PATHS = re.compile(r"/v1/[^/]+/(predict|decisions|outcomes)")

GoOn = Callable[[Receive, Send], Awaitable[None]]
"""Answers the request, whose body is read from the one and whose answer is sent to the other."""


def asks(scope: Scope) -> bool:
    """Whether this request is to be done once only."""
    for name, _ in scope["headers"]:
        if name == HEADER:
            return scope["method"] == "POST" and _PATHS.fullmatch(scope["path"]) is not None
    return False


async def once(
    desk: Desk, scope: Scope, receive: Receive, send: Send, *, caller: str, request: str, go_on: GoOn
) -> Told | None:
    """Answers by `go_on`, or gives the answer that was given before. Returns a problem to be told in place of both.

    Raises what reading a body raises.
    """
    try:
        (value,) = [value for name, value in scope["headers"] if name == HEADER]
        name = read_name(value)
    except BadName as error:
        return problems.told("repeat_key", 400, f"`Idempotency-Key`: {error}", mend="send a UUID, say", request=request)
    except ValueError:
        return problems.told("repeat_key", 400, "several `Idempotency-Key` came", mend="send one", request=request)
    body = await read_packed(scope["headers"], receive, desk.arrive_s)
    asked = scope["path"].encode() + b"\n" + body
    snap = desk.view.now
    timeout_us = 0 if snap is None else snap.integration.model.timeout_us
    begun = await asyncio.to_thread(desk.repeating.begin, caller, name, asked, timeout_us)
    if isinstance(begun, Begun):
        await _first(desk, scope, begun, (body, receive), send, go_on=go_on)
        return None
    if begun == "other":
        text = "this `Idempotency-Key` was used for another request"
        return problems.told("repeat_other", 422, text, mend="give each request a name of its own", request=request)
    if not begun.status:
        text = "the first request with this `Idempotency-Key` is still being answered"
        return problems.told(
            "repeat_running", 409, text, retry_after=1, mend="ask again a little later", request=request
        )
    await _again(desk, begun, send, request)
    return None


async def _again(desk: Desk, found: Repeat, send: Send, request: str) -> None:
    length = str(len(found.body)).encode()
    headers = [(b"content-type", found.kind.encode()), (b"content-length", length), REPLAYED]
    headers.append((b"x-request-id", request.encode()))
    desk.meter.request("repeat", found.status)
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": found.body})


async def _first(
    desk: Desk, scope: Scope, begun: Begun, read: tuple[bytes, Receive], send: Send, *, go_on: GoOn
) -> None:
    """Whatever is answered is kept before its first byte leaves."""
    body, receive = read
    unread = [body]
    held: list[Message] = []

    async def given() -> Any:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        return await receive()

    async def hold(message: Message) -> None:
        held.append(message)

    await go_on(given, hold)
    status = held[0]["status"] if held else 0
    kind = next((value for name, value in (held[0]["headers"] if held else ()) if name == b"content-type"), b"")
    answer = b"".join(message.get("body", b"") for message in held[1:])
    try:
        judged = JUDGED in scope
        await asyncio.to_thread(desk.repeating.finish, begun, status, kind.decode(), answer, judged=judged)
    except StoreError:
        desk.meter.request("repeat", 500)  # it was recorded, so it is answered; asked again, it is made anew
    for message in held:
        await send(message)
