"""API keys in a person's hands: made, given another secret, listed with their last use, revoked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from mainstay.app.place import Place
from mainstay.app.stores import open_state
from mainstay.core.clock import DAY, Clock
from mainstay.core.errors import Refused
from mainstay.core.ports import State
from mainstay.core.rate import WANTED, read_rate
from mainstay.core.records import ApiKey
from mainstay.serving import keys
from mainstay.serving.meter import merged


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """A new secret, never to be had again, and the API key that it is of."""

    token: str
    key: ApiKey
    old_until_us: int | None = None
    """How long the secret before it is still taken; None: there is none before it."""

    @property
    def document(self) -> dict[str, Any]:
        """What programs read of it."""
        told: dict[str, Any] = {"key": self.token, "id": self.key.id}
        if self.old_until_us is not None:
            return told | {"expires_us": self.key.expires_us, "old_until_us": self.old_until_us}
        told |= {"name": self.key.name, "roles": self.key.roles, "expires_us": self.key.expires_us}
        return told | ({"rate": self.key.rate.text} if self.key.rate else {})


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A secret's record, and when it was last used on this machine."""

    key: ApiKey
    used_us: int | None

    @property
    def document(self) -> dict[str, Any]:
        """What programs read of it."""
        told: dict[str, Any] = msgspec.to_builtins(self.key)
        return told | {"used_us": self.used_us}


def create(
    place: Place, name: str, role: str, *, clock: Clock, by: str, days: int | None = None, rate: str = ""
) -> Secret:
    """Makes an API key that ends in so many `days`, or never. Raises Refused for a role or a rate that is none."""
    most = read_rate(rate) if rate else None
    if rate and most is None:
        raise Refused(f"`--rate`: wanted {WANTED}, found {rate!r}")
    with _state(place) as state:
        wanted = cast("keys.Role", role)  # what is none is refused there
        token, key = keys.create_key(state, name, wanted, clock=clock, expires_us=_end(days, clock), rate=most, by=by)
    return Secret(token=token, key=key)


def rotate(place: Place, id: str, overlap_us: int, *, clock: Clock, by: str, days: int | None = None) -> Secret:
    """Gives an API key another secret. Raises NotFound; Refused for one that is revoked or over."""
    with _state(place) as state:
        token, key = keys.rotate_key(state, id, overlap_us, clock=clock, expires_us=_end(days, clock), by=by)
        ends_us = keys.old_until(one for one in keys.list_keys(state) if one.id == id)
    return Secret(token=token, key=key, old_until_us=ends_us)


def listed(place: Place) -> list[Listed]:
    """Every API key ever made, oldest first: a rotated one once for each secret that it has or had."""
    with _state(place) as state:
        known = keys.known_keys(state)
    seen = merged(place.home.meters).used
    return [Listed(key=key, used_us=seen.get(name)) for name, key in known.items()]


def revoke(place: Place, id: str, *, clock: Clock, by: str) -> ApiKey:
    """Ends an API key, every secret of it. Twice changes nothing. Raises NotFound."""
    with _state(place) as state:
        return keys.revoke_key(state, id, clock=clock, by=by)


def _end(days: int | None, clock: Clock) -> int | None:
    return None if days is None else clock.now_us() + days * DAY


@contextmanager
def _state(place: Place) -> Iterator[State]:
    """State, also before the first `apply`."""
    place.home.create()
    state = open_state(place.home)
    try:
        yield state
    finally:
        state.close()
