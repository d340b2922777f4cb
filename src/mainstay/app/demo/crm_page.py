"""The toy CRM's account page, with the decision card in it: what a CRM's backend and template have to do, and no more.

The backend asks Mainstay for a token with its API key; the template has one script tag. The page's own policy is
strict: no inline script, no inline style, nothing from anywhere but itself and the card's own addresses.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from mainstay.core.errors import MainstayError

STYLE = Path(__file__).parent / "crm_page.css"
Account = Mapping[str, str]


@dataclass(frozen=True)
class Pass:
    """What Mainstay gave for one card."""

    token: str
    script: str
    """Path and version of the card's script."""
    integrity: str
    """Its digest, as the script tag says it."""


class CrmPage:
    """Start with `with CrmPage(...) as page`; it ends with it.

    Args:
        mainstay: The address of Mainstay's API, without a slash at its end.
        integration: Whose card it is.
        account: A customer's fields to show; None for nobody.
        card: What Mainstay gives for a customer's card, asked with the CRM's API key. May raise MainstayError.
        others: Customers that the page links to.
        port: On loopback; 0 takes a free one.
    """

    def __init__(
        self,
        mainstay: str,
        integration: str,
        account: Callable[[str], Account | None],
        card: Callable[[str], Pass],
        *,
        others: tuple[str, ...] = (),
        port: int = 0,
    ) -> None:
        self._mainstay = mainstay
        self._integration = integration
        self._account = account
        self._card = card
        self._others = others
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, kind, body = page.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", page.policy)
                self.send_header("Cache-Control", "no-store")  # the page holds a token
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """A toy keeps no log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def policy(self) -> str:
        """The Content-Security-Policy of every page."""
        card = f"{self._mainstay}/v1/{self._integration}/card"
        return (
            f"default-src 'none'; script-src {card}.js; connect-src {card} {card}/; style-src 'self'; img-src data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
        )

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Status, kind and body for a path."""
        path = urlsplit(path).path
        if path == "/crm.css":
            return 200, "text/css; charset=utf-8", STYLE.read_bytes()
        key = unquote(path.removeprefix("/accounts/")) if path.startswith("/accounts/") else ""
        if not key:
            return 404, "text/plain", b"there is /accounts/KEY"
        try:
            card = self._tag(key, self._card(key))
        except MainstayError:
            card = "<p>The prediction is not to be had now.</p>"  # the account page stands without it
        return 200, "text/html; charset=utf-8", self._page(key, card).encode()

    def _tag(self, key: str, given: Pass) -> str:
        """The one tag that puts the card into the page."""
        return (
            f'<script src="{escape(self._mainstay + given.script)}" integrity="{escape(given.integrity)}" '
            f'crossorigin="anonymous" data-key="{escape(key)}" data-token="{escape(given.token)}" defer></script>'
        )

    def _page(self, key: str, card: str) -> str:
        fields = self._account(key)
        shown = {"Customer": key, **(fields or {"Record": "not to be had now"})}
        title = (fields or {}).get("Name", key)
        rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in shown.items())
        links = "".join(f'<a href="/accounts/{quote(other, safe="")}">{escape(other)}</a>' for other in self._others)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}: CRM</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="icon" href="data:,"><link rel="stylesheet" href="/crm.css"></head><body>'
            "<header><strong>Legacy CRM</strong><span>Accounts</span></header>"
            f'<main><h1>{escape(title)}</h1><div class="columns">'
            f'<section class="sheet" aria-labelledby="record"><h2 id="record">Record</h2><dl>{rows}</dl></section>'
            f"<aside>{card}</aside></div>"
            f'<nav aria-label="Other accounts">{links}</nav></main></body></html>'
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
