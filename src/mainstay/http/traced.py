"""The door that tells of each request, around the one that answers. There only where traces are asked for.

The short road of `protocol` is taken for a `Front` alone, so that a worker without traces knows nothing of them.
"""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.core.trace import Trace

_ROUTES = (
    (re.compile(r"/v1/receipts/[^/]+"), "/v1/receipts/{id}"),
    *(
        (re.compile(rf"/v1/[^/]+/{re.escape(last)}"), f"/v1/{{integration}}/{last}")
        for last in ("predict", "decisions", "outcomes", "card-tokens", "card", "card.js", "card/decisions")
    ),
    *((re.compile(re.escape(whole)), whole) for whole in ("/metrics", "/openapi.json", "/docs")),
)
_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_OF_THE_TRACE = {b"traceparent", b"tracestate"}


class Traced:
    """An ASGI application with a span around each request; `traceparent` of the caller is continued.

    Args:
        app: What answers.
        trace: Where spans go.
    """

    def __init__(self, app: ASGIApp, trace: Trace) -> None:
        self._app = app
        self._trace = trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/health/"):
            await self._app(scope, receive, send)
            return
        caller = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name in _OF_THE_TRACE
        }
        route = _route(scope["path"])
        known = scope["method"] in _METHODS
        named = f"{scope['method'] if known else 'HTTP'} {route}".rstrip()
        method = scope["method"] if known else "_OTHER"  # OpenTelemetry's word
        with self._trace.span(named, caller=caller, http_method=method, http_route=route) as span:

            async def told(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.note(http_status=status)
                    if status >= 500:
                        span.failed(str(status))
                await send(message)

            await self._app(scope, receive, told)


def _route(path: str) -> str:
    """The route, with nothing of the caller's text; empty for a path that is none of ours."""
    return next((route for form, route in _ROUTES if form.fullmatch(path)), "")
