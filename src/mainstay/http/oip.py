"""The Open Inference Protocol v2 over HTTP. Translates; decides nothing.

Source: kserve/open-inference-protocol, `inference_rest.md`. Where clients need more than it says, they get it: a
request without a content type is JSON, a bare NaN is taken, and every error is `{"error": "..."}` as application/json.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope

from mainstay import __version__
from mainstay.core.errors import NotFound
from mainstay.http import oip_body
from mainstay.http.body import Headers, read_body
from mainstay.http.problems import Told
from mainstay.serving import addressing, infer
from mainstay.serving.desk import Desk
from mainstay.serving.reply import Refusal
from mainstay.serving.request import BadRequest
from mainstay.serving.work import Call

JSON = (b"content-type", b"application/json")
MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(ready|infer))?")
ELSEWHERE = re.compile(
    r"/v2/(repository/models/[^/]+/(un)?load|(system|cuda)sharedmemory/.+|trace/setting|logging|models/stats"
    r"|models/[^/]+/(versions/[^/]+/)?(config|stats|trace/setting|generate|generate_stream))"
)
"""Calls of Triton's clients that nothing here does."""
LISTS = ("imputed", "filled")
"""Names that are told in a header too, where they are no more than LIST_MOST characters."""
LIST_MOST = 200

_encode = msgspec.json.Encoder().encode


class NotDone(BadRequest):
    """A call that clients know and that is not supported."""

    def __init__(self) -> None:
        mend = "model versions are added and switched by `mainstay model`"
        super().__init__("this call is not supported", mend=mend, status=501)


class OipDoor:
    """Answers everything under /v2 but health.

    Args:
        desk: What answers.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, call: Call) -> Told | Refusal:
        """The response, to be sent. Raises MainstayError, TooLarge, Gone and TimeoutError, as any door."""
        path: str = scope["path"]
        if ELSEWHERE.fullmatch(path):
            raise NotDone
        found = MODEL.fullmatch(path)
        if found is None:
            return await self._whole(scope, receive)
        name, version, act = found.groups()
        by_method(scope, "POST" if act == "infer" else "GET")
        if act == "infer":
            return await self._infer(name, version or "", scope["headers"], receive, call)
        if act == "ready":
            ready = addressing.ready(self._desk, name, version or "")
            told = {"name": name, "ready": ready}
            return _told(told) if ready else _told({**told, "error": "; ".join(self._desk.not_ready())}, 503)
        return _told(addressing.described(addressing.here(self._desk, name, version or "")))

    async def _whole(self, scope: Scope, receive: Receive) -> Told:
        """What is asked about all of them."""
        path: str = scope["path"]
        if path == "/v2":
            by_method(scope, "GET")
            return _told({"name": "mainstay", "version": __version__, "extensions": oip_body.EXTENSIONS})
        if path == "/v2/models":
            by_method(scope, "GET")
            return _told({"models": sorted({one.name for one in addressing.index(self._desk)})})
        if path == "/v2/repository/index":
            by_method(scope, "POST")
            await read_body(scope["headers"], receive, self._desk.arrive_s)
            return _told(addressing.index(self._desk))
        raise NotFound("there is no such call under /v2", mend="see /docs")

    async def _infer(self, name: str, version: str, headers: Headers, receive: Receive, call: Call) -> Told | Refusal:
        named = dict(headers)
        snap = await addressing.addressed(self._desk, name, version)
        raw = await read_body(headers, receive, self._desk.arrive_s)
        asked = oip_body.read(raw, named.get(oip_body.LENGTH), snap)
        laid_out, call = infer.laid_out(snap, asked.request), infer.hurried(call, asked.request)

        def writable(output: infer.Output) -> None:
            infer.refuse_no_text(snap, asked.request, asked.wants_bytes, output)

        reply = await self._desk.answering.predict_together(snap, laid_out, call, writable=writable)
        if isinstance(reply, Refusal):
            return reply
        whole = infer.replied(snap, asked.request, reply)
        headers_, body = oip_body.written(whole, asked, named.get(b"accept-encoding", b""))
        return Told(200, body, (*headers_, *provenance(whole.parameters)))


def dressed(told: Told) -> Told:
    """A problem as this family's clients read it: its sentence as `error`, the problem's own fields beside it."""
    problem: dict[str, Any] = msgspec.json.decode(told.body)
    sentence = "; ".join(part for part in (problem.get("detail", ""), problem.get("mend", "")) if part)
    body = _encode({"error": sentence, **problem})
    return Told(told.status, body, (JSON, *told.headers))


def provenance(parameters: Mapping[str, Any]) -> tuple[tuple[bytes, bytes], ...]:
    """Where an answer comes from, as headers: for clients that drop `parameters`. What is long stays out."""
    found = []
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        long = len(text) > LIST_MOST if name in LISTS else "," in text or name == "sentence"
        if text and not long:
            found.append((f"mainstay-{name.replace('_', '-')}".encode(), text.encode("ascii", "replace")))
    return tuple(found)


def by_method(scope: Scope, method: str) -> None:
    """Raises HTTPException (405) where the request was asked otherwise."""
    if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
        raise HTTPException(405, f"this call is asked by {method}", {"allow": method})


def _told(record: object, status: int = 200) -> Told:
    return Told(status, _encode(record), (JSON,))
