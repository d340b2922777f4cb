"""Who looks: an API key once, then a signed cookie that ends soon, and at once when the key is revoked.

The cookie names the key by its id and carries no secret. It is renewed by opening pages, not by their live refresh,
so a page that is left open signs itself out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from mainstay.core.clock import HOUR, SECOND

IDLE_US = 1 * HOUR
"""A session ends so long after the last page that was opened."""
MOST_US = 12 * HOUR
"""And so long after signing in, whatever was opened."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    """The API key's id."""
    since_us: int
    until_us: int


class Signer:
    """Makes and reads the cookie's value.

    Args:
        secret: The installation's.
        integration: Its name: another integration's session is none here, though both share a host and a secret.
    """

    def __init__(self, secret: bytes, integration: str) -> None:
        self._secret = hmac.digest(secret, f"status page of {integration}".encode(), hashlib.sha256)

    def begin(self, key: str, now_us: int) -> str:
        """The value for somebody who just signed in."""
        return self._sign(Session(key=key, since_us=now_us, until_us=now_us + IDLE_US))

    def renew(self, session: Session, now_us: int) -> str:
        """The value for somebody who opened a page."""
        until = min(now_us + IDLE_US, session.since_us + MOST_US)
        return self._sign(msgspec.structs.replace(session, until_us=until))

    def read(self, value: str, now_us: int) -> Session | None:
        """The session; None for a value that we did not sign, or whose time is over."""
        try:
            data = base64.b64decode(value.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        seal, body = data[:32], data[32:]
        if not hmac.compare_digest(seal, self._seal(body)):
            return None
        session = msgspec.json.decode(body, type=Session)
        return session if session.since_us - SECOND <= now_us < session.until_us else None

    def _sign(self, session: Session) -> str:
        body = msgspec.json.encode(session)
        return base64.urlsafe_b64encode(self._seal(body) + body).decode()

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, hashlib.sha256)
