"""Asking issuers (OIDC) for their keys over the web, and telling of those that do not answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import msgspec

from mainstay.core.addresses import loopback, safe
from mainstay.core.clock import Clock, iso
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError, Refused, StoreError
from mainstay.core.nouns import Integration
from mainstay.core.nouns_callers import OidcIssuer
from mainstay.core.ports import State, Write
from mainstay.core.records import encode
from mainstay.core.verdicts import Finding, Verdict
from mainstay.serving.token_rules import keys_of
from mainstay.store.shelf import ShelfReader

SPACE = "issuer"
SECONDS = 3.0
"""For each of the two documents, from the first byte to the last."""
BYTES_MOST = 1024 * 1024
_LATE = "not in time"
DISCOVERY = "/.well-known/openid-configuration"


class IssuerState(msgspec.Struct, frozen=True, kw_only=True):
    """An issuer that gives no keys, as a worker saw it last. There is none for one that does."""

    v: int = 1
    name: str
    since_us: int
    sentence: str


class Teller:
    """Says once, in the log and in state, that an issuer fails, and that it is well again.

    Args:
        state: Where `status` finds it.
        clock: Since when.
    """

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._failing: set[str] = set()

    def __call__(self, issuer: OidcIssuer, sentence: str) -> None:
        """What is wrong with it; empty: nothing is."""
        name, body = issuer.name, None
        if sentence:
            self._failing.add(name)
            sys.stderr.write(f"issuer {name} gives no keys, those that are known stay: {sentence}\n")
            body = encode(IssuerState(name=name, since_us=self._clock.now_us(), sentence=sentence))
        elif name in self._failing:
            self._failing.discard(name)
            sys.stderr.write(f"issuer {name} gives keys again\n")
        with contextlib.suppress(StoreError):
            if body is not None or self._state.get(SPACE, name) is not None:
                self._state.commit([Write(space=SPACE, name=name, body=body)])


def ask(issuer: OidcIssuer) -> Sequence[Mapping[str, Any]]:
    """The keys that an issuer publishes. Raises MainstayError, whose sentence holds addresses alone."""
    need()
    url = issuer.jwks_url or _discovered(issuer)
    keys = fetched(url).get("keys")
    if not isinstance(keys, list):
        raise MainstayError(f"{url} is no set of keys")
    return [one for one in keys if isinstance(one, dict)]


def need() -> None:
    """Raises Refused where what tokens are verified with is not installed."""
    try:
        import cryptography  # noqa: F401
        import jwt  # noqa: F401
    except ImportError as error:
        sentence = f"`callers.oidc` needs a package that is not installed ({error.name})"
        raise Refused(sentence, mend="pip install 'mainstay[oidc]'") from None


def fetched(url: str) -> dict[str, Any]:
    """The JSON object at an address: small, in time, and from nowhere else. Raises MainstayError."""
    if not safe(url):
        raise MainstayError(f"{url} is neither https nor on this machine")
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - `safe` looked at it
    limit = _Limit(SECONDS)
    try:
        with limit, _opener(url, limit).open(request, timeout=SECONDS) as reply:
            body = reply.read(BYTES_MOST + 1)
    except HTTPError as error:
        error.close()
        raise MainstayError(f"{url} answers {error.code}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise MainstayError(f"{url} does not answer: {_LATE if limit.over else _said(reason)}") from None
    if limit.over:
        raise MainstayError(f"{url} does not answer: {_LATE}")
    try:
        found = msgspec.json.decode(body) if len(body) <= BYTES_MOST else None
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise MainstayError(f"{url} gives no JSON object of at most 1 MiB")
    return found


def failing(state: State, integration: Integration) -> tuple[IssuerState, ...]:
    """The issuers of the file that give no keys."""
    names = {one.name for one in integration.callers.oidc}
    if not names:
        return ()
    return tuple(one for one in ShelfReader(state, SPACE, IssuerState).all().values() if one.name in names)


def findings(there: Iterable[IssuerState]) -> Iterator[Finding]:
    """What `status` says of them."""
    for one in there:
        yield Finding(
            check=f"callers.{one.name}",
            verdict=Verdict.WARN,
            sentence=f"issuer {one.name} gives no keys since {iso(one.since_us)[:16]}Z, old ones stay: {one.sentence}",
            mend="see that the issuer can be reached from here: mainstay check",
        )


def judge(integration: Integration) -> Iterator[Finding]:
    """Asks each issuer of the file for its keys."""
    for issuer in integration.callers.oidc:
        name = f"callers.{issuer.name}"
        try:
            usable = {kid for kid, _ in keys_of(ask(issuer), issuer.algorithms)}
        except Refused as error:
            yield Finding(check=name, verdict=Verdict.FAIL, sentence=error.sentence, mend=error.mend)
        except MainstayError as error:
            mend = "see that this machine reaches it, and that `issuer` is written as it writes itself"
            yield Finding(check=name, verdict=Verdict.ERROR, sentence=error.sentence, mend=mend)
        else:
            said = f"issuer {issuer.name} has {counted(len(usable), 'key')} for {', '.join(issuer.algorithms)}"
            verdict, mend = (Verdict.PASS, "") if usable else (Verdict.FAIL, "add to `algorithms` what it signs with")
            yield Finding(check=name, verdict=verdict, sentence=said, mend=mend)


class _Limit:
    """Ends the connection that is not done in time, also where a byte comes now and then.

    Args:
        seconds: How long it may take.
    """

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._held: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def connect(self, *given: Any, **named: Any) -> socket.socket:
        """As `socket.create_connection`."""
        found = socket.create_connection(*given, **named)
        self._held.append(found.dup())  # TLS takes the first one over
        if self.over:
            self._end()
        return found

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_raised: object) -> None:
        self._timer.cancel()
        for one in self._held:
            one.close()

    def _end(self) -> None:
        self.over = True
        for one in self._held:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Limited(urllib.request.HTTPHandler):
    """Speaks http and https, within the limit."""

    https_request = urllib.request.HTTPHandler.http_request

    def __init__(self, limit: _Limit) -> None:
        super().__init__()
        self._limit = limit

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._of(http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._of(http.client.HTTPSConnection), req)

    def _of(self, kind: type[http.client.HTTPConnection]) -> Any:
        def made(host: str, **named: Any) -> http.client.HTTPConnection:
            found = kind(host, **named)
            found._create_connection = self._limit.connect  # type: ignore[attr-defined]  # noqa: SLF001 - its only seam
            return found

        return made


def _opener(url: str, limit: _Limit) -> urllib.request.OpenerDirector:
    """Speaks http and https, and goes nowhere but where it is told: no redirect, no proxy to this very machine."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if loopback(urlsplit(url).hostname or "") else None),
        _Limited(limit),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _discovered(issuer: OidcIssuer) -> str:
    url = issuer.issuer.rstrip("/") + DISCOVERY
    found = fetched(url)
    if found.get("issuer") != issuer.issuer:
        raise MainstayError(f"{url} is of another issuer than {issuer.issuer}")
    keys = found.get("jwks_uri")
    if not isinstance(keys, str):
        raise MainstayError(f"{url} does not say where the keys are")
    return keys


def _said(reason: object) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return _LATE if isinstance(reason, TimeoutError) else type(reason).__name__
