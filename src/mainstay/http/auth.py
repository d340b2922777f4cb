"""Who asks: an API key as a bearer token, in X-API-Key, or, for pages in a browser, as the password of HTTP Basic."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

import msgspec

from mainstay.http import problems
from mainstay.http.problems import Told
from mainstay.serving.faults import Fault
from mainstay.serving.token_rules import cut

Headers = Iterable[tuple[bytes, bytes]]
NAMES = frozenset((b"authorization", b"x-api-key"))
"""Headers that an API key comes in."""
TOKEN_MOST = 200
PAGES = frozenset({"/docs", "/openapi.json"})
"""Where Basic is accepted: a browser would send it along unasked, so nothing that writes may take it."""


def token(headers: Headers, path: str) -> bytes | None:
    """The API key that came with a request, unchecked; None when none did."""
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                return cut(value[7:])
            if path in PAGES and value[:6].lower() == b"basic ":
                return _password(value[6:])
        elif name == b"x-api-key":
            return cut(value)
    return None


def challenge(path: str) -> bytes:
    """WWW-Authenticate for a 401 on this path."""
    return b'Basic realm="mainstay: any user, API key as password"' if path in PAGES else b'Bearer realm="mainstay"'


def refused(fault: Fault, path: str) -> Told:
    """What a request without a caller is told."""
    told = problems.told(fault.code, fault.status, fault.detail, mend=fault.mend, retry_after=fault.retry_after)
    if fault.status != 401:
        return told
    return msgspec.structs.replace(told, headers=(*told.headers, (b"www-authenticate", challenge(path))))


def _password(encoded: bytes) -> bytes | None:
    try:
        return base64.b64decode(encoded, validate=True).partition(b":")[2][:TOKEN_MOST]
    except (binascii.Error, ValueError):
        return None
