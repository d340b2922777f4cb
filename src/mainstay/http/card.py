"""The decision card's routes: its script, and what the script may ask with a card's token.

Everything here is meant for browsers on other people's pages: no cookie counts, and a page of another origin is
answered only where `card: {origins: [...]}` names it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from mainstay.core.errors import NotFound
from mainstay.http import problems, retiring
from mainstay.http.body import Gone, read_body
from mainstay.http.front import REQUEST, respond
from mainstay.http.problems import PROBLEM, Told, problem_of
from mainstay.serving.answer import NotReady
from mainstay.serving.card_tokens import TOKEN_MOST, Grant
from mainstay.serving.card_words import called, reading
from mainstay.serving.desk import Desk
from mainstay.serving.reply import Answer, Refusal
from mainstay.serving.request import DecisionRequest, PredictRequest, read_card_decision
from mainstay.serving.view import Snapshot
from mainstay.serving.view_rows import shown_key
from mainstay.serving.work import Call

SCRIPT = Path(__file__).parent / "card.js"
_JSON = (b"content-type", b"application/json")
_SCRIPT = (b"content-type", b"text/javascript; charset=utf-8")
_PROBLEM = (b"content-type", PROBLEM)
_NO_STORE = (b"cache-control", b"no-store")
_VARY = (b"vary", b"origin")
_CHALLENGE = (b"www-authenticate", b'Bearer realm="mainstay card"')
_encode = msgspec.json.Encoder().encode
Headers = tuple[tuple[bytes, bytes], ...]


class Script(NamedTuple):
    """The card's script as it is served."""

    data: bytes
    tag: str
    """Its digest, short: the `v` of an address under which it never changes."""
    integrity: str
    """What a page's script tag says in `integrity`."""

    def path(self, integration: str) -> str:
        """Where a page finds this very script."""
        return f"/v1/{integration}/card.js?v={self.tag}"


@cache
def script() -> Script:
    """The script of this release, read once."""
    data = SCRIPT.read_bytes()
    integrity = "sha384-" + base64.b64encode(hashlib.sha384(data).digest()).decode()
    return Script(data, hashlib.sha256(data).hexdigest()[:16], integrity)


class CardDoor:
    """ASGI for `/v1/{integration}/card.js`, `/card` and `/card/decisions`.

    Args:
        desk: What answers.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told as a problem that the script can read."""
        request: str = scope[REQUEST]
        began_us = self._desk.clock.monotonic_us()
        headers = dict(scope["headers"])
        opened: Headers = (_NO_STORE, _VARY)
        kind = _JSON
        try:
            if scope["path"].endswith(".js"):
                answer, kind = self._script(scope, headers), _SCRIPT
            else:
                opened += self._opened(headers)
                answer = await self._asked(scope, receive, headers, Call("", request, began_us))
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the door: whatever happened, the card gets a problem
            answer = problem_of(error, request)
        if answer.status >= 400:
            kind = _PROBLEM
        if answer.status == 401:
            opened += (_CHALLENGE,)
        if kind is not _SCRIPT:
            going = retiring.lines(self._desk.view.now)
            answer = msgspec.structs.replace(answer, headers=(*answer.headers, *opened, *going))
        if self._desk.draining:
            answer = msgspec.structs.replace(answer, headers=(*answer.headers, (b"connection", b"close")))
        self._desk.meter.request("card", answer.status)
        await respond(send, answer, request, kind)

    # --- the script --------------------------------------------------------------------------------------------------

    def _script(self, scope: Scope, headers: dict[bytes, bytes]) -> Told:
        """Open to everybody, also to be read (`integrity` wants that): it holds nothing of this installation."""
        self._here(scope)
        if scope["method"] not in ("GET", "HEAD"):
            return _method(b"GET, HEAD")
        found = script()
        tag = b'"%b"' % found.tag.encode()
        pinned = scope["query_string"] == b"v=" + found.tag.encode()
        more = (
            (b"etag", tag),
            (b"cache-control", b"public, max-age=31536000, immutable" if pinned else b"public, max-age=300"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"access-control-allow-origin", b"*"),
        )
        return Told(304, b"", more) if headers.get(b"if-none-match") == tag else Told(200, found.data, more)

    # --- what the script asks ----------------------------------------------------------------------------------------

    async def _asked(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], call: Call) -> Told:
        snap = self._here(scope)
        if not self._may_ask(snap, headers):
            return problems.told(
                "card_origin", 403, "pages of this origin are not among those that may show the card",
                mend="add the origin to `card: {origins: [...]}` in mainstay.yaml", request=call.request,
            )  # fmt: skip
        if scope["method"] == "OPTIONS":
            return Told(204, b"", _PREFLIGHT)
        if scope["method"] != "POST":
            return _method(b"POST, OPTIONS")
        grant = await self._grant(snap, headers)
        body = await read_body(scope["headers"], receive, self._desk.arrive_s)
        if scope["path"].endswith("/decisions"):
            return await self._desk.looked_up(lambda: self._decided(grant, body))
        return await self._read(snap, grant, call)

    async def _read(self, snap: Snapshot, grant: Grant, call: Call) -> Told:
        """An answer for the token's key, in words; its receipt is tied to the token by the request's name."""
        desk = self._desk
        if snap.version is None:
            raise NotReady("no model version answers yet")
        call = Call(grant.caller, f"{grant.id}.{call.request}", call.began_us, door="card")
        asked = PredictRequest(key=grant.key, inputs=grant.inputs)
        reply = await desk.answering.predict(snap, asked, call)
        reason = reply.reason if isinstance(reply, Refusal) else ""
        status = reply.status if isinstance(reply, Refusal) else 200
        desk.meter.predicted(status, desk.clock.monotonic_us() - call.began_us, reason=reason)
        if isinstance(reply, Refusal):
            return problems.refused(reply, call.request)
        if not isinstance(reply, Answer):
            raise TypeError("one key has one answer")
        inline = snap.integration.model.inline
        outputs = called(snap.version.signature.outputs, inline.outputs if inline is not None else ())
        return Told(200, _encode(reading(reply, outputs, snap.terms, key=shown_key(grant.key), user=grant.user)))

    def _decided(self, grant: Grant, body: bytes) -> Told:
        asked = read_card_decision(body)
        self._desk.card_receipt(asked.receipt, grant)
        decision = DecisionRequest(
            receipt=asked.receipt,
            decision=asked.decision,
            reason=asked.reason,
            by=grant.user,
            id=f"{grant.id}.{asked.id}" if asked.id else "",
        )
        recorded = self._desk.feedback.decide(decision, grant.caller)
        return Told(200 if recorded.repeated else 201, _encode(recorded))

    async def _grant(self, snap: Snapshot, headers: dict[bytes, bytes]) -> Grant:
        cards = self._desk.cards
        if cards is None:
            raise NotReady("this worker shows no cards")
        said = headers.get(b"authorization", b"")
        token = said[7:].strip()[: TOKEN_MOST + 1] if said[:7].lower() == b"bearer " else b""
        name = snap.integration.name
        stands, now_us = self._desk.callers.stands, self._desk.clock.now_us()
        return await cards.read(token, integration=name, stands=stands, now_us=now_us)

    # --- who may ask -------------------------------------------------------------------------------------------------

    def _here(self, scope: Scope) -> Snapshot:
        snap = self._desk.view.now
        if snap is None:
            raise NotReady("nothing is applied yet")
        if scope["path"].split("/")[2] != snap.integration.name:
            raise NotFound("this worker serves another integration", mend="see the address of the card's script")
        return snap

    def _may_ask(self, snap: Snapshot, headers: dict[bytes, bytes]) -> bool:
        """Whether the page is named in the file, or lies at our own address; what is no page sends no origin."""
        origin = headers.get(b"origin")
        if origin is None or origin.decode("latin-1") in snap.integration.card.origins:
            return True
        host = headers.get(b"host", b"")
        return origin in (b"http://" + host, b"https://" + host)

    def _opened(self, headers: dict[bytes, bytes]) -> Headers:
        """The header that lets the page's script read the reply: for origins of the file, and never for all."""
        snap, origin = self._desk.view.now, headers.get(b"origin")
        if snap is None or origin is None or origin.decode("latin-1") not in snap.integration.card.origins:
            return ()
        return ((b"access-control-allow-origin", origin), (b"access-control-expose-headers", b"retry-after"))


_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)


def _method(allow: bytes) -> Told:
    wrong = problems.told("method", 405, "this route is asked by another method")
    return msgspec.structs.replace(wrong, headers=((b"allow", allow),))
