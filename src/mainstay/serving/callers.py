"""Who asks: what every door hands over becomes a caller, or the reason why it is none. No transport in here."""

from __future__ import annotations

from collections.abc import Callable

from mainstay.core.clock import Clock
from mainstay.core.nouns_callers import CallersConfig
from mainstay.core.records import ApiKey
from mainstay.serving import keys
from mainstay.serving.faults import Fault
from mainstay.serving.key_ring import KeyRing
from mainstay.serving.peers import Peer, named
from mainstay.serving.token_rules import looks_like_one
from mainstay.serving.tokens import Tokens

_MET_MOST = 1_000

NOTHING_APPLIED = Fault(code="not_ready", status=503, detail="nothing is applied yet", retry_after=2)
NO_KEY = Fault(
    code="unauthorized",
    status=401,
    detail="no API key came with this request",
    mend="send `Authorization: Bearer msk_...`",
)
UNKNOWN_KEY = Fault(
    code="unauthorized",
    status=401,
    detail="this API key is not known, revoked or expired",
    mend="ask for one: mainstay key create",
)
UNNAMED = Fault(
    code="unauthorized",
    status=401,
    detail="the certificate of this connection is nobody's under `callers.certificates`",
    mend="name it there, or send an API key too",
)
BAD_TOKEN = Fault(
    code="unauthorized",
    status=401,
    detail="this token does not count: issuer, audience, time, scope or signature is not what `callers.oidc` asks for",
    mend="get a new one from the issuer, for the audience of this API",
)
NO_ROLE = Fault(code="forbidden", status=403, detail="this caller has no role here", mend="ask for the role `predict`")


class _Met:
    """A token that was seen, and when last."""

    __slots__ = ("key", "name", "used_us")

    def __init__(self, key: ApiKey, name: str) -> None:
        self.key = key
        self.name = name
        self.used_us = 0


class Callers:
    """Knows the callers of one worker. For the event loop, but for `used`.

    Args:
        ring: The API keys.
        clock: Keys end by it, and last uses are told by it.
        config: Who else may ask, as the applied file says now.
        tokens: Knows the tokens of issuers; None: nobody asks by one.
    """

    def __init__(
        self,
        ring: KeyRing,
        clock: Clock,
        config: Callable[[], CallersConfig] = CallersConfig,
        tokens: Tokens | None = None,
    ) -> None:
        self.ring = ring
        self._tokens = tokens
        self._config = config
        self._peers: dict[Peer, ApiKey] = {}
        self._peers_in: CallersConfig | None = None
        self._clock = clock
        self._met: dict[bytes, _Met] = {}
        self._met_in = ring.now
        self._left: dict[str, int] = {}

    def who(self, token: bytes) -> ApiKey | None:
        """The live API key behind a token; None when there is none. Never waits."""
        ring = self.ring.now
        if ring is not self._met_in:
            self._left.update(self.used())
            self._met_in, self._met = ring, {}
        met = self._met.get(token)
        now_us = self._clock.now_us()
        if met is not None:
            # Known to this very ring: only its end can have come since.
            if met.key.expires_us is not None and now_us >= met.key.expires_us:
                return None
            met.used_us = now_us
            return met.key
        key = keys.find(ring, token, now_us)
        if key is None:
            return None
        met = _Met(key, keys.digest(token))
        met.used_us = now_us
        if len(self._met) < _MET_MOST:
            self._met[token] = met
        else:
            self._left[met.name] = now_us
        return key

    def at_once(self, token: bytes | None, peer: Peer | None) -> ApiKey | None:
        """Who asks, where that is known without waiting. What a request carries counts before its connection."""
        if token is None:
            return None if peer is None else self._certified(peer)
        if self._tokens is not None and looks_like_one(token) and (issuers := self._config().oidc):
            return self._tokens.known(token, issuers)
        return self.who(token)

    async def stands(self, id: str) -> bool:
        """Whether a caller with this id, seen before, may still ask: its key lives, or the file still names it."""
        if self._stands(id):
            return True
        await self.ring.look()  # another worker may have seen it, whose key is so new
        return self._stands(id)

    def _stands(self, id: str) -> bool:
        now_us = self._clock.now_us()
        if any(key.id == id and keys.live(key, now_us) for key in self.ring.now.values()):
            return True
        how, name = keys.known_by(id)
        config = self._config()
        if how == "certificate":
            return any(name == one.name for one in config.certificates)
        return how == "token" and any(name == one.name for one in config.oidc)

    def refresh(self) -> None:
        """Looks for keys of issuers that are old or not there. For any thread; it waits for the issuers."""
        if self._tokens is not None:
            self._tokens.refresh(self._config().oidc)

    def _certified(self, peer: Peer) -> ApiKey | None:
        """The caller whose certificate this is; a file that no longer names it is heeded at once."""
        config = self._config()
        if config is not self._peers_in:
            self._peers_in, self._peers = config, {}
        caller = self._peers.get(peer)
        if caller is None:
            found = next((one for one in config.certificates if named(peer, one)), None)
            if found is None:
                return None
            roles = keys.ROLES[: keys.ROLES.index(found.role) + 1]
            caller = ApiKey(
                id=keys.certificate_id(found.name),
                name=found.name,
                roles=roles,
                created_us=0,
                expires_us=peer.until_us,
                rate=found.rate,
            )
            if len(self._peers) < _MET_MOST:
                self._peers[peer] = caller
        return caller if keys.live(caller, self._clock.now_us()) else None

    async def authenticate(self, token: bytes | None, peer: Peer | None = None) -> ApiKey | Fault:
        """The caller behind what came with a request, with role predict at least; else why there is none."""
        caller = self.at_once(token, peer)
        if caller is None and token is not None:
            if token.startswith(keys.PREFIX):
                await self.ring.look()
                caller = self.who(token)
            elif self._tokens is not None and looks_like_one(token) and (issuers := self._config().oidc):
                caller = await self._tokens.verified(token, issuers)
                if caller is None:
                    return BAD_TOKEN
        if caller is None:
            return UNKNOWN_KEY if token is not None else NO_KEY if peer is None else UNNAMED
        return caller if keys.allows(caller, "predict") else NO_ROLE

    def used(self) -> dict[str, int]:
        """Digest of a token -> when it was last seen here, since this worker began. For any thread."""
        found = dict(self._left)
        for met in list(self._met.values()):
            found[met.name] = max(found.get(met.name, 0), met.used_us)
        return found
