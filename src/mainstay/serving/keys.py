"""API keys: 256 random bits, shown once, kept only as SHA-256. Roles include each other: predict, operate, admin.

`msk_<id>_<secret>`: the prefix lets secret scanners find a leaked one, the id names it in receipts and lists.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Literal

import msgspec

from mainstay.core.clock import Clock
from mainstay.core.errors import NotFound, Refused
from mainstay.core.ids import Random, system_random
from mainstay.core.ports import State, StateReader, Versioned, Write
from mainstay.core.rate import Rate
from mainstay.core.records import ApiKey, encode

Role = Literal["predict", "operate", "admin"]
ROLES: tuple[Role, ...] = ("predict", "operate", "admin")
SPACE = "api_key"


def digest(token: str | bytes) -> str:
    """The name under which state keeps the API key."""
    return hashlib.sha256(token if isinstance(token, bytes) else token.encode()).hexdigest()


def allows(key: ApiKey, role: Role) -> bool:
    """Whether the API key may do what `role` may: each role includes the ones before it."""
    wanted = ROLES.index(role)
    return any(has in ROLES and ROLES.index(has) >= wanted for has in key.roles)


def live(key: ApiKey, now_us: int) -> bool:
    """Whether the API key is neither revoked nor expired."""
    return key.revoked_us is None and (key.expires_us is None or now_us < key.expires_us)


def find(keys: Mapping[str, ApiKey], token: bytes, now_us: int) -> ApiKey | None:
    """The live API key behind `token`. One digest and one look-up whatever came, so that time tells nothing."""
    key = keys.get(hashlib.sha256(token).hexdigest())
    return key if key is not None and live(key, now_us) else None


def create_key(
    state: State,
    name: str,
    role: Role,
    *,
    clock: Clock,
    expires_us: int | None = None,
    rate: Rate | None = None,
    random: Random = system_random,
) -> tuple[str, ApiKey]:
    """Makes an API key called `name`. Returns the token, which is never to be had again, and its record.

    Raises Refused for a role that does not exist.
    """
    if role not in ROLES:
        raise Refused(f"wanted a role of {', '.join(ROLES)}, found {role!r}")
    name_id = base64.b32encode(random(5)).decode().lower()
    secret = base64.b32encode(random(32)).decode().lower().rstrip("=")
    token = f"msk_{name_id}_{secret}"
    roles = ROLES[: ROLES.index(role) + 1]
    record = ApiKey(id=name_id, name=name, roles=roles, created_us=clock.now_us(), expires_us=expires_us, rate=rate)
    state.commit([Write(space=SPACE, name=digest(token), body=encode(record), expect=0)])
    return token, record


def list_keys(state: StateReader) -> tuple[ApiKey, ...]:
    """Every API key ever made, oldest first, revoked ones too."""
    records = [msgspec.json.decode(item.body, type=ApiKey) for item in state.scan(SPACE)]
    return tuple(sorted(records, key=lambda record: (record.created_us, record.id)))


def revoke_key(state: State, id: str, *, clock: Clock) -> ApiKey:
    """Revokes the API key with this id; workers see it within a second. Raises NotFound. Twice changes nothing."""
    for item in state.scan(SPACE):
        record = msgspec.json.decode(item.body, type=ApiKey)
        if record.id != id:
            continue
        if record.revoked_us is not None:
            return record
        return _revoke(state, item, record, clock)
    raise NotFound(f"there is no API key {id!r}", mend="mainstay key list")


def _revoke(state: State, item: Versioned, record: ApiKey, clock: Clock) -> ApiKey:
    revoked = msgspec.structs.replace(record, revoked_us=clock.now_us())
    body = encode(revoked, item.body)
    state.commit([Write(space=SPACE, name=item.name, body=body, expect=item.version)])
    return revoked
