"""The outermost layer, in raw ASGI: authenticate, shed, then predict at once or hand on to the other routes.

Measured on the predict route: a Starlette route with Request and Response objects costs as much again as all of this.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.core.errors import MainstayError
from mainstay.core.records import ApiKey
from mainstay.http import auth, cors, limits, problems, retiring
from mainstay.http.body import Body, Gone, read_body, while_there
from mainstay.http.headers import adding
from mainstay.http.naming import Naming
from mainstay.http.once import JUDGED, asks, once
from mainstay.http.problems import Told, problem_of, report
from mainstay.http.turns import Turns, predict_path
from mainstay.serving.desk import Desk
from mainstay.serving.faults import Fault
from mainstay.serving.places import FULL, Places
from mainstay.serving.reply import Refusal
from mainstay.serving.request import read_predict
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

WAITING_MOST = 256
"""Requests in one worker, begun or queued, above which callers who have their share of them are refused at once."""

CALLER = "mainstay.caller"
REQUEST = "mainstay.request"
NAMED = "mainstay.named"
PEER = "mainstay.peer"
"""Whose certificate the connection has."""

HEALTH = frozenset(("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping", "/health"))
"""Open to everybody: for load balancers, and for the clients of each protocol."""

CARD = re.compile(r"/v1/[^/]+/card(\.js|/decisions)?")
"""Paths of the decision card."""
_CARD = "card"
"""Who asks by a token of the card shares the places of one caller."""

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", problems.PROBLEM)
_CLOSE = (b"connection", b"close")
_encode = msgspec.json.Encoder().encode


class Family(NamedTuple):
    """A protocol other than our own: which paths are its, what answers them, and how its clients read an error."""

    name: str
    """As `mainstay callers` has it."""
    speaks: Callable[[str], bool]
    door: Callable[[Scope, Receive, Call], Awaitable[Told | Refusal]]
    dressed: Callable[[Told], Told]


class Front:
    """The ASGI application of a worker.

    Args:
        desk: What answers.
        inner: The routes that are not on the hot path.
        card: The decision card's own routes, which take its tokens in place of API keys.
        families: The other protocols that are spoken here.
        most: How many requests may be begun or queued before callers who have their share of them are refused.
    """

    def __init__(
        self,
        desk: Desk,
        inner: ASGIApp,
        most: int = WAITING_MOST,
        *,
        card: ASGIApp | None = None,
        families: Sequence[Family] = (),
    ) -> None:
        self._desk = desk
        self._inner = inner
        self._card = card
        self._families = families
        self._places = Places(most)
        self._naming = Naming()
        busy = problems.told(FULL.code, FULL.status, FULL.detail, retry_after=FULL.retry_after, mend=FULL.mend)
        self._busy = busy
        self.turns = Turns(desk, self._naming, busy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        if path in HEALTH or path.startswith("/health/"):
            await self._health(scope, path, send)
            return
        origin = cors.named(self._desk.view.now, scope)
        if origin and not CARD.fullmatch(path):
            asked = cors.preflight(scope, origin)
            if asked is not None:
                self._desk.meter.request("preflight", asked.status)
                await respond(send, asked, kind=None)
                return
            send = adding(send, cors.lines(origin))
        await self._enter(scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever asks, on whichever path but health's."""
        path: str = scope["path"]
        family = self._family(path)
        if family is not None:
            await self._speak(family, scope, receive, send)
            return
        began_us = self._desk.clock.monotonic_us()
        named = self._naming.read(scope["headers"])
        scope[REQUEST] = named.request
        if self._card is not None and CARD.fullmatch(path):
            with self._places.one(_CARD) as placed:
                await (self._card(scope, receive, send) if placed else self._shed(send, named.request))
            return
        caller = await self._caller(scope)
        send = self._telling(send, caller)
        if isinstance(caller, Told):
            self._desk.meter.request("auth", caller.status)
            await respond(send, caller, named.request)
            return
        scope[CALLER] = caller
        scope[NAMED] = named
        with self._places.one(caller.id) as placed:
            await (self._let_in(scope, receive, send, began_us) if placed else self._shed(send, named.request))

    def _telling(self, send: Send, caller: ApiKey | Told) -> Send:
        """`send`, which tells everybody but a stranger where this version of the API goes."""
        going = retiring.lines(self._desk.view.now)
        stranger = isinstance(caller, Told) and caller.status == 401
        return adding(send, going) if going and not stranger else send

    def _family(self, path: str) -> Family | None:
        return next((one for one in self._families if one.speaks(path)), None)

    async def _shed(self, send: Send, request: str, family: Family | None = None) -> None:
        """There is no place for one more request of this caller."""
        self._desk.meter.shed()
        if family is None:
            await respond(send, self._busy, request)
        else:
            await respond(send, family.dressed(self._busy), request, kind=None)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send, began_us: int) -> None:
        """A request for which there is a place, if the caller's rate allows it."""
        request = scope[REQUEST]
        taken = self._desk.take(scope[CALLER])
        if taken is not None:
            if not taken.allowed:
                self._desk.meter.request("limit", 429)
                await respond(send, limits.refused(taken, request), request)
                return
            send = adding(send, limits.lines(taken))
        if asks(scope):
            await self._once(scope, receive, send, began_us)
        else:
            await self._answer(scope, receive, send, began_us)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, began_us: int) -> None:
        """What an authenticated caller asks."""
        snap = self._desk.view.now
        if snap is not None and scope["path"] == predict_path(snap) and scope["method"] == "POST":
            await self._predict(snap, scope, receive, send, began_us)
        else:
            await self._hand_on(scope, receive, send)

    async def _once(self, scope: Scope, receive: Receive, send: Send, began_us: int) -> None:
        """The same for a request with an Idempotency-Key."""

        async def go_on(given: Receive, hold: Send) -> None:
            await self._answer(scope, given, hold, began_us)

        caller, request = scope[CALLER].id, scope[REQUEST]
        try:
            told = await once(self._desk, scope, receive, send, caller=caller, request=request, go_on=go_on)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
            told = problem_of(error, request)
        if told is not None:
            self._desk.meter.request("repeat", told.status)
            await respond(send, told, request)

    async def _predict(self, snap: Snapshot, scope: Scope, receive: Receive, send: Send, began_us: int) -> None:
        desk, named = self._desk, scope[NAMED]
        call = Call(scope[CALLER].id, named.request, began_us, named.trace)
        try:
            call = msgspec.structs.replace(call, deadline_us=named.deadline_us(began_us))
            asked = read_predict(await read_body(scope["headers"], receive, desk.arrive_s))
            answer = desk.answering.predict(snap, asked, call)
            reply = await (while_there(receive, answer) if _waits(snap, scope) else answer)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
            fault = problem_of(error, call.request)
            desk.meter.predicted(fault.status, desk.clock.monotonic_us() - began_us)
            await respond(send, fault, call.request)
            return
        if isinstance(reply, Refusal):
            if reply.receipt is not None:
                scope[JUDGED] = True
            refused = problems.refused(reply, call.request)
            desk.meter.predicted(refused.status, desk.clock.monotonic_us() - call.began_us, reason=reply.reason)
            await respond(send, refused, call.request)
            return
        out = _encode(reply)
        desk.meter.predicted(200, desk.clock.monotonic_us() - call.began_us)
        length = str(len(out)).encode()
        start = [_JSON, (b"content-length", length), (b"x-request-id", call.request.encode())]
        if desk.draining:
            start.append(_CLOSE)
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": out})

    async def _speak(self, family: Family, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of another protocol, whose errors are told as its clients read them."""
        began_us = self._desk.clock.monotonic_us()
        named = self._naming.read(scope["headers"])
        caller = await self._caller(scope)
        send = self._telling(send, caller)
        if isinstance(caller, Told):
            self._desk.meter.request("auth", caller.status)
            await respond(send, family.dressed(caller), named.request, kind=None)
            return
        scope[CALLER] = caller
        scope[NAMED] = named
        with self._places.one(caller.id) as placed:
            if placed:
                await self._spoken(family, scope, receive, send, began_us)
            else:
                await self._shed(send, named.request, family)

    async def _spoken(self, family: Family, scope: Scope, receive: Receive, send: Send, began_us: int) -> None:
        """The same, once there is a place for it."""
        desk, caller, named = self._desk, scope[CALLER], scope[NAMED]
        request = named.request
        taken = desk.take(caller)
        reason = ""
        try:
            if taken is not None and not taken.allowed:
                reply: Told | Refusal = family.dressed(limits.refused(taken, request))
            else:
                call = Call(caller.id, request, began_us, named.trace, named.deadline_us(began_us), family.name)
                reply = await self._by(family, scope, receive, call)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets an error
            reply = family.dressed(problem_of(error, request))
        if isinstance(reply, Refusal):
            reason = reply.reason
            reply = family.dressed(problems.refused(reply, request))
        desk.meter.predicted(reply.status, desk.clock.monotonic_us() - began_us, reason=reason)
        more = () if taken is None or not taken.allowed else limits.lines(taken)
        closing = (_CLOSE,) if desk.draining else ()
        told = msgspec.structs.replace(reply, headers=(*reply.headers, *more, *closing))
        await respond(send, told, request, kind=None)

    async def _by(self, family: Family, scope: Scope, receive: Receive, call: Call) -> Told | Refusal:
        snap = self._desk.view.now
        if snap is None or not _waits(snap, scope):
            return await family.door(scope, receive, call)
        body = Body(receive)
        return await while_there(receive, family.door(scope, body, call), after=body.whole)

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The other routes, whose failures become problems too."""
        status = 0
        request: str = scope[REQUEST]

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request.encode())]
                if self._desk.draining:
                    message["headers"].append(_CLOSE)
            await send(message)

        try:
            await self._inner(scope, receive, watched)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
            fault = problem_of(error, request)
            if not status:
                status = fault.status
                await respond(send, fault, request)
        self._desk.meter.request(scope.get("mainstay.route", "other"), status)

    async def _health(self, scope: Scope, path: str, send: Send) -> None:
        """Open to everybody, so it says little: alive, or why not ready."""
        if path not in HEALTH:
            await respond(send, problems.told("not_found", 404, "there are /health/live and /health/ready"))
            return
        if scope["method"] not in ("GET", "HEAD"):
            wrong = problems.told("method", 405, "health is asked by GET")
            wrong = msgspec.structs.replace(wrong, headers=((b"allow", b"GET, HEAD"),))
            family = self._family(path)
            if family is None:
                await respond(send, wrong)
            else:
                await respond(send, family.dressed(wrong), kind=None)
            return
        if path.endswith("/live"):
            await respond(send, Told(200, b'{"live":true}'), kind=_JSON)
            return
        reasons = self._desk.not_ready()
        body = _encode({"ready": not reasons, "reasons": reasons})
        if path.startswith("/v2/") and reasons:
            body = _encode({"ready": False, "reasons": reasons, "error": "; ".join(reasons)})
        elif path in ("/ping", "/health") and not reasons:
            body = b"\n"
        headers = ((b"retry-after", b"2"),) if reasons else ()
        await respond(send, Told(503 if reasons else 200, body, headers), kind=_JSON)

    async def _caller(self, scope: Scope) -> ApiKey | Told:
        path: str = scope["path"]
        caller = await self._desk.authenticate(auth.token(scope["headers"], path), scope.get(PEER))
        return auth.refused(caller, path) if isinstance(caller, Fault) else caller


def _waits(snap: Snapshot, scope: Scope) -> bool:
    """Whether the caller may be gone before the answer, and the model need not be asked then.

    Not for who sends an Idempotency-Key: what was begun is kept for whoever asks again.
    """
    return snap.model is not None and snap.model.capabilities.blocking and not asks(scope)


async def respond(send: Send, answer: Told, request: str = "", kind: tuple[bytes, bytes] | None = _PROBLEM) -> None:
    """Sends a whole response. `kind`: its content type, where the answer's own headers have none."""
    headers = [(b"content-length", str(len(answer.body)).encode()), *answer.headers]
    if kind is not None:
        headers.insert(0, kind)
    if request:
        headers.append((b"x-request-id", request.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


async def forever(work: Callable[[], object], every: float, what: str) -> None:
    """Does `work` every so many seconds, until cancelled; it is tried again after a failure.

    In a thread of its own: those that requests wait in may all be taken, and a revoked key must not live on for that.
    `what`: how a failure is reported: once, until it is another or over.
    """
    loop, own = asyncio.get_running_loop(), ThreadPoolExecutor(1, thread_name_prefix="looking")
    failing = ""
    try:
        while True:
            now = ""
            try:
                await loop.run_in_executor(own, work)
            except Exception as error:  # noqa: BLE001 - the door: one failed look must not end all later ones
                now = _why(error)
            if now != failing:
                report(f"{what}: {now}" if now else f"{what}: works again")
                failing = now
            await asyncio.sleep(every)
    finally:
        await asyncio.to_thread(own.shutdown)  # what it does now ends before stores are closed


def _why(error: Exception) -> str:
    """Why background work failed, without a value that it worked on."""
    if isinstance(error, MainstayError):
        return error.sentence
    return (error.strerror or "") if isinstance(error, OSError) else f"failed with {type(error).__name__}"
