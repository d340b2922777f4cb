"""Scripts in pages of other origins: off, but for the origins that `cors:` of the file names.

Browsers ask before they send (a preflight), without credentials, so that is answered before anybody is authenticated;
what it opens is the asking, never an answer. Cookies count nowhere. The decision card has origins of its own.
"""

from __future__ import annotations

from starlette.types import Scope

from mainstay.http.headers import Lines
from mainstay.http.problems import Told
from mainstay.serving.view import Snapshot

_EXPOSED = (
    b"retry-after, x-request-id, ratelimit, ratelimit-policy, idempotent-replayed, deprecation, sunset, link,"
    b" inference-header-content-length, mainstay-receipt, mainstay-version, mainstay-as-of, mainstay-age-seconds,"
    b" mainstay-verdict, mainstay-degraded, mainstay-reason, mainstay-imputed, mainstay-filled"
)
_SENT = (
    b"authorization, content-encoding, content-type, idempotency-key, inference-header-content-length, traceparent,"
    b" x-api-key, x-request-id, x-request-timeout-ms"
)
_PREFLIGHT: Lines = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", _SENT),
    (b"access-control-max-age", b"600"),
)


def named(snap: Snapshot | None, scope: Scope) -> bytes:
    """The origin of the page that asks, where the file names it; else empty."""
    if snap is None or not snap.integration.cors.origins:
        return b""
    origins: list[bytes] = [value for name, value in scope["headers"] if name == b"origin"]
    if len(origins) != 1 or origins[0].decode("latin-1") not in snap.integration.cors.origins:
        return b""
    return origins[0]


def preflight(scope: Scope, origin: bytes) -> Told | None:
    """The answer to a browser that asks whether it may send; None for every other request."""
    if scope["method"] != "OPTIONS" or all(name != b"access-control-request-method" for name, _ in scope["headers"]):
        return None
    return Told(204, b"", (*_opened(origin), *_PREFLIGHT))


def lines(origin: bytes) -> Lines:
    """What lets the page's script read the reply, also one that refuses."""
    return (*_opened(origin), (b"access-control-expose-headers", _EXPOSED))


def _opened(origin: bytes) -> Lines:
    return (b"access-control-allow-origin", origin), (b"vary", b"origin")
