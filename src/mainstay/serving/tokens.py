"""Callers who come with a token of an issuer (OIDC), whose keys are asked for beside, and kept. No transport here."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.clock import MINUTE, SECOND, Clock
from mainstay.core.errors import MainstayError
from mainstay.core.nouns_callers import OidcIssuer
from mainstay.core.records import ApiKey
from mainstay.serving.token_rules import Keys, caller_of, claimed, key_for, keys_of, proper, signed

FRESH_US = 5 * MINUTE
"""How old keys may be before the issuer is asked again: so long a key that it took back still counts."""
AGAIN_US = 5 * SECOND
"""Between two askings of an issuer, whatever makes us ask."""
WAIT_SECONDS = 6.0
"""How long a request waits for keys that are being asked for."""
WAITING_MOST = 16
"""How many requests wait for that; anybody can make up a token with a key that nobody knows."""
_MET_MOST = 10_000

Ask = Callable[[OidcIssuer], Sequence[Mapping[str, Any]]]
"""The keys of an issuer, as it publishes them. Waits. Raises MainstayError."""
Tell = Callable[[OidcIssuer, str], None]
"""What is wrong with an issuer, when it begins; empty when nothing is, or no longer."""


class _Known(msgspec.Struct, frozen=True):
    keys: Keys
    at_us: int


class Tokens:
    """Knows the tokens of one worker. `known` and `verified` are for the event loop, `refresh` for any other thread.

    Args:
        clock: Tokens end by it.
        ask: Asks an issuer for its keys.
        tell: Is told when an issuer fails, and when it is well again.
        name_of: The name of a subject in receipts.
    """

    def __init__(self, clock: Clock, ask: Ask, tell: Tell, name_of: Callable[[str], str]) -> None:
        self._clock = clock
        self._ask = ask
        self._tell = tell
        self._name_of = name_of
        self._locks: dict[OidcIssuer, threading.Lock] = {}
        self._issuers: tuple[OidcIssuer, ...] = ()
        self._known: dict[OidcIssuer, _Known] = {}
        self._tried: dict[OidcIssuer, int] = {}
        self._failing: dict[OidcIssuer, str] = {}
        self._asking: dict[OidcIssuer, asyncio.Task[None]] = {}
        self._waiting = 0
        self._met: dict[bytes, ApiKey] = {}

    def known(self, token: bytes, issuers: tuple[OidcIssuer, ...]) -> ApiKey | None:
        """The caller behind a token that was verified before and has not ended. Never waits."""
        if issuers is not self._issuers:
            self._take(issuers)
        caller = self._met.get(hashlib.sha256(token).digest())
        if caller is None or caller.expires_us is None or self._clock.now_us() >= caller.expires_us:
            return None
        return caller

    async def verified(self, token: bytes, issuers: tuple[OidcIssuer, ...]) -> ApiKey | None:
        """The caller behind a token; None where it does not count. Waits where its key is not known yet."""
        caller = self.known(token, issuers)
        if caller is not None:
            return caller
        said = claimed(token)
        issuer = None if said is None else next((one for one in issuers if one.issuer == said[1].get("iss")), None)
        if said is None or issuer is None or not proper(said[0], issuer):
            return None
        header, claims = said
        met = self._met  # Read before the keys: what is put into it by a key that is gone meanwhile goes with it.
        key = self._key(header, issuer)
        if key is None:
            await self._asked(issuer)
            met, key = self._met, self._key(header, issuer)
        if key is None or issuer not in self._issuers or not signed(token, key, header["alg"]):
            return None
        caller = caller_of(claims, issuer, self._clock.now_us(), self._name_of)
        if caller is not None:
            while len(met) >= _MET_MOST:
                met.pop(next(iter(met)))
            met[hashlib.sha256(token).digest()] = caller
        return caller

    def refresh(self, issuers: tuple[OidcIssuer, ...]) -> None:
        """Asks those whose keys are not there or old."""
        for issuer in issuers:
            known = self._known.get(issuer)
            if known is None or self._clock.monotonic_us() - known.at_us >= FRESH_US:
                self._ask_once(issuer)

    def _take(self, issuers: tuple[OidcIssuer, ...]) -> None:
        """What the applied file says now: who stands no longer in it counts no longer."""
        if issuers != self._issuers:
            self._met = {}
        self._issuers = issuers

    def _key(self, header: Mapping[str, Any], issuer: OidcIssuer) -> Any | None:
        known = self._known.get(issuer)
        return None if known is None else key_for(header, known.keys)

    async def _asked(self, issuer: OidcIssuer) -> None:
        """Waits for keys that are being asked for, here or beside, or begins to ask, if it is not too soon."""
        task = self._asking.get(issuer)
        if task is None or task.done():
            if not self._due(issuer) and not self._lock(issuer).locked():
                return
            task = self._asking[issuer] = asyncio.create_task(asyncio.to_thread(self._ask_once, issuer))
        if self._waiting >= WAITING_MOST:
            return
        self._waiting += 1
        try:
            await asyncio.wait((task,), timeout=WAIT_SECONDS)
        finally:
            self._waiting -= 1

    def _lock(self, issuer: OidcIssuer) -> threading.Lock:
        """Held by whoever asks this issuer."""
        return self._locks.setdefault(issuer, threading.Lock())

    def _due(self, issuer: OidcIssuer) -> bool:
        tried = self._tried.get(issuer)
        return tried is None or self._clock.monotonic_us() - tried >= AGAIN_US

    def _ask_once(self, issuer: OidcIssuer) -> None:
        """Asks for the keys, if nobody has a moment ago. An issuer that does not answer leaves those that are known."""
        with self._lock(issuer):
            if not self._due(issuer):
                return
            self._tried[issuer] = self._clock.monotonic_us()
            try:
                found = keys_of(self._ask(issuer), issuer.algorithms)
            except MainstayError as error:
                self._said(issuer, str(error.sentence))
                return
            if not found:
                self._said(issuer, f"it has no key for {', '.join(issuer.algorithms)}")
                return
            self._said(issuer, "")
            before = self._known.get(issuer)
            self._known[issuer] = _Known(found, self._clock.monotonic_us())
            if before is not None and not _same(before.keys, found):
                self._met = {}

    def _said(self, issuer: OidcIssuer, sentence: str) -> None:
        was = self._failing.get(issuer)
        if was is None or bool(was) != bool(sentence):
            self._tell(issuer, sentence)
        self._failing[issuer] = sentence


def _same(before: Keys, now: Keys) -> bool:
    """Whether every key of before is there still, under the same name."""
    return all(name in now and now[name].key == key.key for name, key in before.items())
