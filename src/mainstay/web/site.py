"""The routes: who may look, then a page of `app.pages` through a template. Nothing is decided and nothing written here.

Only signing in and out take POST. Every answer carries a policy under which a browser runs no script but ours and asks
nobody else for anything.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.app.pages import Pages
from mainstay.core.clock import DAY, HOUR, Clock, iso, span
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError, NotFound
from mainstay.core.records import ApiKey
from mainstay.serving import keys
from mainstay.web.chart import draw
from mainstay.web.session import MOST_US, Signer

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: a browser would then send `Origin: null` with our own form.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC = {
    "style.css": "text/css",
    "htmx.min.js": "text/javascript",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
LIVE = "hx-request"
"""What htmx says of itself: a request that keeps a page live does not lengthen the session."""
LIVE_SECONDS = 5
WINDOWS = {"1h": HOUR, "6h": 6 * HOUR, "24h": DAY, "48h": 2 * DAY}
LOGIN_MOST = 4096
_LARGEST = 2**63 - 1
NAV = (("/", "Overview"), ("/quarantine", "Quarantine"), ("/model", "Model"), ("/events", "Events"))


class Site:
    """The handlers.

    Args:
        pages: What is shown.
        secret: The installation's; sessions are signed with a key made of it.
        clock: For sessions.
    """

    def __init__(self, pages: Pages, secret: bytes, clock: Clock) -> None:
        self._pages = pages
        self._clock = clock
        self._signer = Signer(secret, pages.name)
        self._cookie = f"mainstay_{pages.name}"
        self._templates = Environment(
            loader=PackageLoader("mainstay.web"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters.update(instant=_instant, span=span)
        self._templates.globals.update(counted=counted, how_wrong=_how_wrong)

    # --- pages ---------------------------------------------------------------------------------------------------

    def overview(self, request: Request, key: ApiKey) -> Response:
        del key
        return self._page(request, "overview.html", "Overview")

    def dataset(self, request: Request, key: ApiKey) -> Response:
        del key
        window = request.query_params.get("window", "24h")
        if window not in WINDOWS:
            raise NotFound("there is no such window", mend=f"one of {', '.join(WINDOWS)}")
        name = request.path_params["name"]
        page = self._pages.dataset(name, WINDOWS[window])
        chart = draw(page.ages, page.dataset.freshness)
        return self._page(request, "dataset.html", name, page=page, chart=chart, window=window, windows=WINDOWS)

    def quarantine(self, request: Request, key: ApiKey) -> Response:
        del key
        return self._page(request, "quarantine.html", "Quarantine")

    def rows(self, request: Request, key: ApiKey) -> Response:
        name = request.path_params["name"]
        every = request.query_params.get("show") == "all"
        page = self._pages.quarantine(name, before=_before(request), every=every, whole=keys.allows(key, "admin"))
        first = "before" not in request.query_params
        return self._page(request, "rows.html", f"Quarantine of {name}", page=page, name=name, every=every, first=first)

    def model(self, request: Request, key: ApiKey) -> Response:
        del key
        return self._page(request, "model.html", "Model", page=self._pages.model())

    def events(self, request: Request, key: ApiKey) -> Response:
        del key
        return self._page(request, "events.html", "Events", events=self._pages.events())

    # --- signing in ----------------------------------------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        """The form; and what it sends: an API key, for a session."""
        if request.method != "POST":
            return self._login(request, _inside(request.query_params.get("next", "/")))
        if not _ours(request):
            return self._login(request, "/", "The form was sent from elsewhere. Sign in here.", 403)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LOGIN_MOST:
                return self._login(request, "/", "That is longer than any API key.", 413)
        given = parse_qs(body.decode("utf-8", "replace"))
        target = _inside(given.get("next", ["/"])[0])
        key = await asyncio.to_thread(self._pages.key_of, given.get("key", [""])[0].strip())
        if key is None:
            said = "This API key is not known, revoked or expired, or it has not the role operate."
            return self._login(request, target, said, 401)
        response = RedirectResponse(target, 303)
        self._remember(request, response, self._signer.begin(key.id, self._clock.now_us()))
        return response

    async def logout(self, request: Request) -> Response:
        """Ends the session in this browser."""
        if not _ours(request):
            return self._login(request, "/", "The form was sent from elsewhere.", 403)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self._cookie, httponly=True, samesite="strict")
        return response

    def _login(self, request: Request, target: str, said: str = "", status: int = 200) -> Response:
        return self._render(request, "login.html", status, title="Sign in", next=target, said=said, status=None)

    def _remember(self, request: Request, response: Response, value: str) -> None:
        https = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(
            self._cookie, value, max_age=MOST_US // 1_000_000, httponly=True, samesite="strict", secure=https
        )

    # --- around every page ---------------------------------------------------------------------------------------

    def guarded(self, page: Callable[[Request, ApiKey], Response]) -> Callable[[Request], Awaitable[Response]]:
        """The page for whoever has a session; the way to sign in for everybody else."""

        async def answer(request: Request) -> Response:
            return await asyncio.to_thread(self._guard, request, page)

        return answer

    def _guard(self, request: Request, page: Callable[[Request, ApiKey], Response]) -> Response:
        live = LIVE in request.headers
        session = self._signer.read(request.cookies.get(self._cookie, ""), self._clock.now_us())
        try:
            key = None if session is None else self._pages.key(session.key, session.since_us)
            if session is None or key is None:
                if live:
                    return Response("signed out", 401, media_type="text/plain")
                target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse("/login?" + urlencode({"next": target}), 303)
            response = page(request, key)
        except MainstayError as error:
            return self._failed(request, error)
        if not live:
            self._remember(request, response, self._signer.renew(session, self._clock.now_us()))
        return response

    def _page(self, request: Request, template: str, title: str, **given: Any) -> Response:
        return self._render(request, template, 200, title=title, status=self._pages.status(), **given)

    def _render(self, request: Request, template: str, code: int, **given: Any) -> Response:
        here = request.url.path
        text = self._templates.get_template(template).render(
            integration=self._pages.name, here=here, nav=NAV, seconds=LIVE_SECONDS, **given
        )
        return Response(text, code, media_type="text/html")

    def _failed(self, request: Request, error: MainstayError) -> Response:
        code = 404 if isinstance(error, NotFound) else 503
        return self.fault(request, code, error.sentence, error.mend)

    def fault(self, request: Request, code: int, sentence: str, mend: str = "") -> Response:
        """A page for what could not be shown."""
        title = {404: "Not found", 405: "Not done here"}.get(code, "Not to be had now")
        return self._render(request, "fault.html", code, title=title, sentence=sentence, mend=mend, status=None)


def site(pages: Pages, secret: bytes, clock: Clock) -> ASGIApp:
    """The ASGI application."""
    made = Site(pages, secret, clock)

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            said = {404: "There is no such page.", 405: "This page is only read."}.get(error.status_code, "")
            return made.fault(request, error.status_code, said)
        frames = " < ".join(f"{one.name}:{one.lineno}" for one in reversed(traceback.extract_tb(error.__traceback__)))
        sys.stderr.write(f"the status page failed with {type(error).__name__} in {frames}\n")
        return made.fault(request, 500, "Mainstay itself failed.", "the operator finds a line about it in the log")

    handlers = {HTTPException: failed, Exception: failed}
    return _with_headers(Starlette(routes=routes(made), exception_handlers=handlers))


def routes(made: Site) -> list[Route]:
    """Every route that there is."""
    looks = {
        "/": made.overview,
        "/datasets/{name}": made.dataset,
        "/quarantine": made.quarantine,
        "/quarantine/{name}": made.rows,
        "/model": made.model,
        "/events": made.events,
    }
    return [
        *(Route(path, made.guarded(page), methods=["GET"]) for path, page in looks.items()),
        Route("/login", made.login, methods=["GET", "POST"]),
        Route("/logout", made.logout, methods=["POST"]),
        Route("/static/{name}", _static, methods=["GET"]),
    ]


def _with_headers(inner: ASGIApp) -> ASGIApp:
    lines = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *lines]
            await send(message)

        with suppress(Exception):  # told and answered by `failed`; it comes up again with values in its trace
            await inner(scope, receive, headed)

    return app


async def _static(request: Request) -> Response:
    """Three files that say nothing about anybody: the form for signing in needs them too."""
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404)
    return Response(resources.files("mainstay.web").joinpath("static", name).read_bytes(), media_type=STATIC[name])


def _before(request: Request) -> tuple[int, int] | None:
    given = request.query_params.get("before")
    if given is None:
        return None
    batch, _, ordinal = given.partition("/")
    if not (batch.isascii() and batch.isdigit() and ordinal.isascii() and ordinal.isdigit() and len(given) < 40):
        raise NotFound("there is no such page of quarantine", mend="begin with the first")
    return min(int(batch), _LARGEST), min(int(ordinal), _LARGEST)


def _inside(target: str) -> str:
    """The path to go on to; `/` for anything that could lead to another site."""
    parts = urlsplit(target)
    fine = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if fine and not parts.scheme and not parts.netloc else "/"


def _ours(request: Request) -> bool:
    """Whether a form was sent by a page of ours. Programs send neither header, and no cookie of a browser's either."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _how_wrong(wrong: int) -> str:
    if not wrong:
        return "nothing is wrong"
    return counted(wrong, "thing is wrong", "things are wrong") if wrong > 1 else "one thing is wrong"


def _instant(at: int | str) -> str:
    """`2026-11-01 09:30:00` out of microseconds or ISO text."""
    text = at if isinstance(at, str) else iso(at)
    return text[:19].replace("T", " ")
