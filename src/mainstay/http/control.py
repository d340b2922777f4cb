"""The control API: who asks, what, with which role; then the one call that the operation is. In raw ASGI.

It is served beside the status page, never by a worker of the prediction API. What authorises is a key or token that
is sent with each request: a browser's cookie never does, so no page from elsewhere can make a browser change anything.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from mainstay.app.control import Control, Hand, Later
from mainstay.core.errors import NotFound
from mainstay.core.records import ApiKey
from mainstay.http import auth, control_faults, control_openapi
from mainstay.http.body import Gone, read_body
from mainstay.http.control_asked import read_body as record_of
from mainstay.http.control_asked import read_query
from mainstay.http.control_operations import DOCUMENT, OPERATIONS, PREFIX, Operation
from mainstay.http.control_words import near
from mainstay.http.front import forever, respond
from mainstay.http.naming import Naming
from mainstay.http.problems import Told
from mainstay.serving import keys
from mainstay.serving.faults import Fault

WORKING = 4
"""Operations at once, each in a thread: they wait for state, for models and for the loop."""
BEGUN_MOST = 8
"""Operations begun or queued, above which more are refused."""

_JSON = (b"content-type", b"application/json")
_ALWAYS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_FULL = Fault(
    code="overloaded", status=503, detail="too many operations are being worked on", mend="slow down", retry_after=1
)
_ROUTES = {DOCUMENT, *(one.path for one in OPERATIONS)}
_METHODS = {path: {one.method: one for one in OPERATIONS if one.path == path} for path in _ROUTES}


class ControlDoor:
    """The ASGI application.

    Args:
        control: What it does.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._naming = Naming()
        self._patterns = [(compile_path(path)[0], path) for path in sorted(_ROUTES)]
        self._pool = ThreadPoolExecutor(WORKING, "control")
        self._begun = 0
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look for keys of issuers, so that no request waits for them."""
        self._looking = asyncio.create_task(forever(self._control.refresh, 1.0, "looking for keys of issuers"))

    async def stop(self) -> None:
        """Begins nothing new; what was begun comes to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self._naming.read(scope["headers"]).request
        try:
            answer = await self._answer(scope, receive, request)
        except Gone:
            return
        except Later as later:
            body = msgspec.json.encode({"request": later.request, "done": False})
            where = (b"location", f"{PREFIX}/v1/requests/{later.request}".encode())
            answer = Told(202, body, (_JSON, where))
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
            answer = control_faults.told(control_faults.fault(error, request), request)
        if isinstance(answer, Fault):
            answer = control_faults.told(answer, request)
        kind = None if _JSON in answer.headers else (b"content-type", b"application/problem+json")
        await respond(send, msgspec.structs.replace(answer, headers=(*answer.headers, *_ALWAYS)), request, kind)

    async def _answer(self, scope: Scope, receive: Receive, request: str) -> Told | Fault:
        """Nothing is looked at before it is known who asks, and no path is told to who may use none."""
        caller = await self._control.who(auth.token(scope["headers"], scope["path"]))
        if isinstance(caller, Fault):
            return caller
        if not keys.allows(caller, "operate"):
            return _forbidden("operate")
        found = self._route(scope["path"])
        if found is None:
            raise NotFound("there is no such route", mend=_close(scope["path"]))
        path, given = found
        method: str = scope["method"]
        if path == DOCUMENT and method == "GET":
            return Told(200, msgspec.json.encode(control_openapi.document(self._control.name)), (_JSON,))
        operation = _METHODS[path].get(method)
        if operation is None:
            return _wrong_method(path, request)
        if not keys.allows(caller, operation.role):
            return _forbidden(operation.role)
        return await self._perform(operation, caller, given, scope, receive)

    def _route(self, path: str) -> tuple[str, dict[str, str]] | None:
        """The route of a path, and what stands in it for the route's parameters."""
        for pattern, template in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return template, found.groupdict()
        return None

    async def _perform(
        self, operation: Operation, caller: ApiKey, given: dict[str, str], scope: Scope, receive: Receive
    ) -> Told | Fault:
        if self._begun >= BEGUN_MOST:
            return _FULL
        self._begun += 1
        try:
            if operation.method == "GET":
                asked = read_query(operation.asked, scope["query_string"])
            else:
                asked = record_of(operation.asked, await read_body(scope["headers"], receive, self._control.arrive_s))
            hand = self._control.hand(caller)
            # Once begun it is not cancelled: a caller who goes away leaves nothing half done.
            work = asyncio.get_running_loop().run_in_executor(self._pool, _done, operation, hand, asked, given)
            body = await asyncio.shield(work)
        finally:
            self._begun -= 1
        return Told(operation.status, body, (_JSON,))


def _done(operation: Operation, hand: Hand, asked: Any, given: dict[str, str]) -> bytes:
    """The operation's answer as JSON, as commands write it."""
    return msgspec.json.encode(operation.act(hand, asked, given), enc_hook=str)


def _close(path: str) -> str:
    close = near(path, sorted(_ROUTES))
    return f"did you mean {close}?" if close else f"every route stands in {DOCUMENT}"


def _forbidden(role: keys.Role) -> Fault:
    return Fault(code="forbidden", status=403, detail="this API key may not do that", mend=f"it takes role `{role}`")


def _wrong_method(path: str, request: str) -> Told:
    allowed = ", ".join(_METHODS[path]) or "GET"
    wrong = Fault(code="method", status=405, detail=f"this route is asked by {allowed}")
    answer = control_faults.told(wrong, request)
    return msgspec.structs.replace(answer, headers=(*answer.headers, (b"allow", allowed.encode())))
