"""Tokens of the decision card: short-lived, signed, each for one key and one user.

`mct_<grant>.<signature>`, both in base64url: the grant is JSON that anybody may read, the signature an HMAC-SHA256
under a key drawn from the installation's secret. Nothing is stored: a token ends by its time, or with its API key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec

from mainstay.core.clock import SECOND
from mainstay.core.errors import MainstayError
from mainstay.core.ids import Random, new_id, system_random
from mainstay.serving.request import BadRequest, CardTokenRequest, Key, Scalar

PREFIX = b"mct_"
TTL_MOST = 15 * 60
TEXT_MOST = 200
TOKEN_MOST = 2_000
_PURPOSE = b"mainstay decision card, token version 1"
_SIGNATURE = 32


class BadToken(MainstayError):
    """No card is shown with this token. `expired`: it was one of ours, and its time is over."""

    def __init__(self, sentence: str, *, mend: str, expired: bool = False) -> None:
        super().__init__(sentence, mend=mend)
        self.expired = expired


class Grant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token allows: predict for this key, and decisions on the answers that came of it, by this user."""

    v: int = 1
    id: str
    """`card-...`; the request of every receipt given to this token begins with it."""
    integration: str
    key: Key
    user: str
    caller: str
    """The id of the API key that asked for the token."""
    inputs: dict[str, Scalar] | None = None
    expires_us: int


class CardTokens:
    """Makes and reads tokens with one installation's secret."""

    def __init__(self, secret: bytes, *, random: Random = system_random) -> None:
        self._secret = hmac.digest(secret, _PURPOSE, "sha256")
        self._random = random

    def mint(self, request: CardTokenRequest, *, integration: str, caller: str, now_us: int) -> tuple[str, Grant]:
        """A token and what it allows. Raises BadRequest for what no token is given for."""
        if not 1 <= request.ttl <= TTL_MOST:
            raise BadRequest(f"`ttl`: wanted 1 to {TTL_MOST} seconds", where="ttl")
        if not request.user.strip():
            raise BadRequest("`user` is empty: a decision is somebody's", where="user")
        keys = request.key.values() if isinstance(request.key, dict) else [request.key]
        for name, text in (("user", request.user), *(("key", str(key)) for key in keys)):
            if len(text) > TEXT_MOST:
                raise BadRequest(f"`{name}` is longer than {TEXT_MOST} characters", where=name)
        grant = Grant(
            id=new_id("card", self._random),
            integration=integration,
            key=request.key,
            user=request.user,
            caller=caller,
            inputs=request.inputs,
            expires_us=now_us + request.ttl * SECOND,
        )
        body = msgspec.json.encode(grant)
        token = (PREFIX + _text(body) + b"." + _text(self._sign(body))).decode()
        if len(token) > TOKEN_MOST:
            raise BadRequest("`key`, `user` and `inputs` are too long for a token", mend="send fewer inputs")
        return token, grant

    async def read(
        self, token: bytes, *, integration: str, stands: Callable[[str], Awaitable[bool]], now_us: int
    ) -> Grant:
        """What the token allows. Raises BadToken for one that is not ours, over, or whose caller no longer `stands`."""
        grant = self._grant(token)
        if grant is None or grant.integration != integration:
            raise BadToken("this card's token was not given out for here", mend="ask POST .../card-tokens for one")
        if now_us >= grant.expires_us:
            raise BadToken("this card's time is over", mend="load the page again", expired=True)
        if not await stands(grant.caller):
            raise BadToken(
                "the API key behind this card's token was revoked or has expired", mend="ask for a new token"
            )
        return grant

    def _grant(self, token: bytes) -> Grant | None:
        if len(token) > TOKEN_MOST or not token.startswith(PREFIX):
            return None
        first, _, second = token[len(PREFIX) :].partition(b".")
        try:
            body, signature = _bytes(first), _bytes(second)
        except (binascii.Error, ValueError):
            return None
        if len(signature) != _SIGNATURE or not hmac.compare_digest(signature, self._sign(body)):
            return None
        try:
            return msgspec.json.decode(body, type=Grant)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # of a later version

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _bytes(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
