"""The outermost layer, in raw ASGI: shed, authenticate, then predict at once or hand on to the other routes.

Measured on the predict route: a Starlette route with Request and Response objects costs as much again as all of this.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.core.errors import MainstayError
from mainstay.core.ids import new_id
from mainstay.core.records import ApiKey
from mainstay.http import auth, cors, limits, problems
from mainstay.http.body import Gone, TooLarge, read_body
from mainstay.http.once import asks, once
from mainstay.http.problems import Told
from mainstay.http.trace_context import trace_id
from mainstay.serving import keys
from mainstay.serving.answer import NotReady
from mainstay.serving.desk import Desk
from mainstay.serving.faults import Fault, unforeseen
from mainstay.serving.reply import Answer, Batch, Refusal, item
from mainstay.serving.request import BadRequest, PredictRequest, read_predict
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

WAITING_MOST = 256
"""Requests in one worker, begun or queued, above which new ones are refused at once."""

WAITED_MOST_US = 250_000
"""How long a plain predict request may wait for those of the same turn of the event loop before it."""
TOGETHER = 32
"""Plain predict requests that go through the stages together, so that the first need not wait for all."""

CALLER = "mainstay.caller"
REQUEST = "mainstay.request"
TRACE = "mainstay.trace"

HEALTH = frozenset(("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping", "/health"))
"""Open to everybody: for load balancers, and for the clients of each protocol."""

CARD = re.compile(r"/v1/[^/]+/card(\.js|/decisions)?")
"""Paths of the decision card."""

_JSON = (b"content-type", b"application/json")
_PROBLEM = (b"content-type", problems.PROBLEM)
_CLOSE = (b"connection", b"close")
_NAMES = frozenset((b"x-request-id", b"traceparent"))
_FINE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_encode = msgspec.json.Encoder().encode


Answered = Callable[[int, bytes, bytes], None]
"""Takes a reply: status, header lines but the length, body."""
Turn = tuple[PredictRequest, Call, Answered]


class Family(NamedTuple):
    """A protocol other than our own: which paths are its, what answers them, and how its clients read an error."""

    speaks: Callable[[str], bool]
    door: Callable[[Scope, Receive, Call], Awaitable[Told | Refusal]]
    dressed: Callable[[Told], Told]


def report(line: str) -> None:
    """One line for the operator on standard error."""
    sys.stderr.write(line + "\n")


class Front:
    """The ASGI application of a worker.

    Args:
        desk: What answers.
        inner: The routes that are not on the hot path.
        card: The decision card's own routes, which take its tokens in place of API keys.
        families: The other protocols that are spoken here.
        waiting: How many requests this worker has begun or queued.
        most: Above how many of them new ones are refused.
    """

    def __init__(
        self,
        desk: Desk,
        inner: ASGIApp,
        waiting: Callable[[], int] = lambda: 0,
        most: int = WAITING_MOST,
        *,
        card: ASGIApp | None = None,
        families: Sequence[Family] = (),
    ) -> None:
        self._desk = desk
        self._inner = inner
        self._card = card
        self._families = families
        self._waiting = waiting
        self._most = most
        self._boot = new_id("q")[:8]
        self._numbers = itertools.count(1)
        self._predict_path: tuple[str, str] = ("", "")
        self._later: set[asyncio.Task[None]] = set()
        self._turn: list[Turn] = []
        self._url_of: Snapshot | None = None
        self._url = b""
        busy = problems.told("overloaded", 503, "too many requests are waiting", retry_after=1, mend="slow down")
        self._busy = busy

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
            send = cors.telling(send, origin)
        await self._enter(scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whoever asks, on whichever path but health's."""
        path: str = scope["path"]
        if self._families:
            family = next((one for one in self._families if one.speaks(path)), None)
            if family is not None:
                await self._speak(family, scope, receive, send)
                return
        began_us = self._desk.clock.monotonic_us()
        if self._waiting() > self._most:
            self._desk.meter.shed()
            await respond(send, self._busy)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        request, trace = self._named(headers)
        if self._card is not None and CARD.fullmatch(path):
            scope[REQUEST] = request
            await self._card(scope, receive, send)
            return
        caller = await self._caller(headers, path)
        if isinstance(caller, Told):
            self._desk.meter.request("auth", caller.status)
            await respond(send, caller, request)
            return
        taken = self._desk.take(caller)
        if taken is not None:
            if not taken.allowed:
                self._desk.meter.request("limit", 429)
                await respond(send, limits.refused(taken, request), request)
                return
            send = limits.telling(send, taken)
        scope[CALLER] = caller
        scope[REQUEST] = request
        scope[TRACE] = trace
        if asks(scope):
            await self._once(scope, receive, send, began_us)
        else:
            await self._answer(scope, receive, send, began_us)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, began_us: int) -> None:
        """What an authenticated caller asks."""
        snap = self._desk.view.now
        if snap is not None and scope["path"] == self._path(snap) and scope["method"] == "POST":
            call = Call(scope[CALLER].id, scope[REQUEST], began_us, scope[TRACE])
            await self._predict(snap, scope["headers"], receive, send, call)
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

    @property
    def predict_url(self) -> bytes:
        """The target of a plain predict request; no request has an empty one."""
        snap = self._desk.view.now
        if snap is not self._url_of:
            self._url_of = snap
            self._url = b"" if snap is None or not snap.quick else self._path(snap).encode()
        return self._url

    def short(self, headers: list[tuple[bytes, bytes]], body: bytes, answered: Answered) -> bool:
        """Takes a plain predict of one key or row, to be answered with all others of this turn of the event loop.

        False, with nothing done, for what the long road must look at: wrong callers, wrong bodies, many keys or rows.
        """
        desk = self._desk
        began_us = desk.clock.monotonic_us()
        token = auth.token(headers, "")
        caller = None if token is None or desk.draining else desk.callers.who(token)
        if caller is None or not keys.allows(caller, "predict"):
            return False
        try:
            asked = read_predict(body)
        except BadRequest:
            return False
        alone = isinstance(asked.key, str) or (asked.rows is not msgspec.UNSET and len(asked.rows) == 1)
        if not alone or asked.inputs is not None:
            return False
        taken = desk.take(caller)
        if taken is not None:
            if not taken.allowed:
                return False
            answered = _with(limits.lines(taken), answered)
        request, trace = self._named(headers)
        self._turn.append((asked, Call(caller.id, request, began_us, trace), answered))
        if len(self._turn) == 1:
            asyncio.get_running_loop().call_soon(self.answer_turn)
        return True

    def answer_turn(self) -> None:
        """Answers what this turn of the event loop brought; what would have to wait too long is refused at once."""
        turn, self._turn = self._turn, []
        snap = self._desk.view.now
        if snap is not None and not snap.quick:
            # What was quick when these came is so no more: another model answers by now, and takes its time.
            task = asyncio.get_running_loop().create_task(self._answer_later(snap, turn))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
            return
        began_us = self._desk.clock.monotonic_us()
        for start in range(0, len(turn), TOGETHER):
            part = turn[start : start + TOGETHER]
            if self._desk.clock.monotonic_us() - began_us > WAITED_MOST_US:
                for _, call, answered in part:
                    self._desk.meter.shed()
                    answered(self._busy.status, _lines(_PROBLEM, call.request, self._busy.headers), self._busy.body)
                continue
            for (asked, call, answered), reply in zip(part, self._replies(snap, part), strict=True):
                answered(*self._told(asked, reply, call))

    def _replies(self, snap: Snapshot | None, part: Sequence[Turn]) -> list[Answer | Refusal | Exception]:
        asked = [(request, call) for request, call, _ in part]
        if snap is None:
            return [NotReady("this worker is being closed")] * len(asked)
        return self._desk.answering.predict_each(snap, asked)

    async def _answer_later(self, snap: Snapshot, turn: Sequence[Turn]) -> None:
        """By the long road; in order, for two may have come by one connection."""

        async def reply_to(asked: PredictRequest, call: Call) -> Answer | Refusal | Batch | Exception:
            try:
                return await self._desk.answering.predict(snap, asked, call)
            except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
                return error

        replies = await asyncio.gather(*(reply_to(asked, call) for asked, call, _ in turn))
        for (asked, call, answered), reply in zip(turn, replies, strict=True):
            answered(*self._told(asked, reply, call))

    def _told(
        self, asked: PredictRequest, reply: Answer | Refusal | Batch | Exception, call: Call
    ) -> tuple[int, bytes, bytes]:
        """Status, header lines but the length, and body."""
        desk = self._desk
        if asked.rows is not msgspec.UNSET and isinstance(reply, Answer | Refusal):
            reply = Batch([item(reply)])
        if isinstance(reply, Answer | Batch):
            out = _encode(reply)
            desk.meter.predicted(200, desk.clock.monotonic_us() - call.began_us)
            return 200, b"content-type: application/json\r\nx-request-id: %b\r\n" % call.request.encode(), out
        if isinstance(reply, Refusal):
            told, reason = problems.refused(reply, call.request), reply.reason
        else:
            told, reason = problem_of(reply, call.request), ""
        desk.meter.predicted(told.status, desk.clock.monotonic_us() - call.began_us, reason=reason)
        return told.status, _lines(_PROBLEM, call.request, told.headers), told.body

    async def _predict(
        self, snap: Snapshot, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send, call: Call
    ) -> None:
        desk = self._desk
        try:
            body = await read_body(headers, receive)
            asked = read_predict(body)
            reply = await desk.answering.predict(snap, asked, call)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the caller gets a problem
            fault = problem_of(error, call.request)
            desk.meter.predicted(fault.status, desk.clock.monotonic_us() - call.began_us)
            await respond(send, fault, call.request)
            return
        if isinstance(reply, Refusal):
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
        desk = self._desk
        began_us = desk.clock.monotonic_us()
        request, trace = self._named(scope["headers"])
        busy = self._waiting() > self._most
        caller = self._busy if busy else await self._caller(scope["headers"], scope["path"])
        if isinstance(caller, Told):
            if caller is self._busy:
                desk.meter.shed()
            else:
                desk.meter.request("auth", caller.status)
            await respond(send, family.dressed(caller), request, kind=None)
            return
        taken = desk.take(caller)
        reason = ""
        try:
            if taken is not None and not taken.allowed:
                reply: Told | Refusal = family.dressed(limits.refused(taken, request))
            else:
                reply = await family.door(scope, receive, Call(caller.id, request, began_us, trace))
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
            await respond(send, msgspec.structs.replace(wrong, headers=((b"allow", b"GET, HEAD"),)))
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

    async def _caller(self, headers: list[tuple[bytes, bytes]], path: str) -> ApiKey | Told:
        caller = await self._desk.authenticate(auth.token(headers, path))
        return auth.refused(caller, path) if isinstance(caller, Fault) else caller

    def _path(self, snap: Snapshot) -> str:
        name = snap.integration.name
        if self._predict_path[0] != name:
            self._predict_path = (name, f"/v1/{name}/predict")
        return self._predict_path[1]

    def _named(self, headers: list[tuple[bytes, bytes]]) -> tuple[str, str]:
        """The request's id, and the caller's trace."""
        request = trace = ""
        for name, value in headers:
            if name in _NAMES:
                if name == b"traceparent":
                    trace = trace_id(value)
                elif _FINE.fullmatch(value):
                    request = value.decode()
        return request or f"{self._boot}-{next(self._numbers):x}", trace


def problem_of(error: Exception, request: str) -> Told:
    """What the caller reads of an exception; what is ours to mend goes to the log, without its text or values."""
    if isinstance(error, MainstayError):
        return problems.failed(error, request)
    if isinstance(error, TooLarge):
        return problems.told("too_large", 413, "the body is larger than 1 MiB", mend="send fewer keys", request=request)
    if isinstance(error, TimeoutError):
        return problems.told("timeout", 408, "the body did not arrive in time", request=request)
    if isinstance(error, HTTPException):
        code = {404: "not_found", 405: "method"}.get(error.status_code, "internal")
        plain = problems.told(code, error.status_code, error.detail, request=request)
        headers = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
        return msgspec.structs.replace(plain, headers=headers)
    report(unforeseen(error, request))
    return problems.told("internal", 500, "the operator finds the cause in the log under this request", request=request)


def _with(more: limits.Lines, answered: Answered) -> Answered:
    """Takes a reply to which header lines are added."""
    added = b"".join([b"%b: %b\r\n" % each for each in more])
    return lambda status, head, body: answered(status, head + added, body)


def _lines(kind: tuple[bytes, bytes], request: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % each for each in (kind, (b"x-request-id", request.encode()), *headers)])


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


async def forever(work: Callable[[], object], every: float) -> None:
    """Does `work` in a thread every so many seconds, until cancelled; a failure is reported and tried again."""
    while True:
        try:
            await asyncio.to_thread(work)
        except Exception as error:  # noqa: BLE001 - the door: one failed look must not end all later ones
            report(f"background work failed with {type(error).__name__}")
        await asyncio.sleep(every)
