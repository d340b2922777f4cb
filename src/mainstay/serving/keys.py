"""API keys: 256 random bits, shown once, kept only as SHA-256. Roles include each other: predict, operate, admin.

`msk_<id>_<secret>`: the prefix lets secret scanners find a leaked one, the id names it in receipts and lists.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Literal

import msgspec

from mainstay.core.audit import Change, Detail
from mainstay.core.clock import Clock
from mainstay.core.errors import NotFound, Refused
from mainstay.core.ids import Random, system_random
from mainstay.core.ports import State, StateReader, Versioned, Write
from mainstay.core.rate import Rate
from mainstay.core.records import ApiKey, encode
from mainstay.store import audit

Role = Literal["predict", "operate", "admin"]
ROLES: tuple[Role, ...] = ("predict", "operate", "admin")
_INCLUDING: dict[Role, frozenset[str]] = {role: frozenset(ROLES[place:]) for place, role in enumerate(ROLES)}
SPACE = "api_key"
PREFIX = b"msk_"
"""What every API key begins with."""
_CERTIFICATE, _TOKEN = "cert-", "oidc-"


def digest(token: str | bytes) -> str:
    """The name under which state keeps the API key."""
    return hashlib.sha256(token if isinstance(token, bytes) else token.encode()).hexdigest()


def allows(key: ApiKey, role: Role) -> bool:
    """Whether the API key may do what `role` may: each role includes the ones before it."""
    return not _INCLUDING[role].isdisjoint(key.roles)


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
    by: str = "",
    random: Random = system_random,
) -> tuple[str, ApiKey]:
    """Makes an API key called `name`. Returns the token, which is never to be had again, and its record.

    `by`: who does, for the audit, which tells of it in the same commit.

    Raises Refused for a role that does not exist.
    """
    if role not in ROLES:
        raise Refused(f"wanted a role of {', '.join(ROLES)}, found {role!r}")
    name_id = base64.b32encode(random(5)).decode().lower()
    token = _token(name_id, random)
    roles = ROLES[: ROLES.index(role) + 1]
    record = ApiKey(id=name_id, name=name, roles=roles, created_us=clock.now_us(), expires_us=expires_us, rate=rate)
    details: dict[str, Detail] = {"name": name, "roles": list(roles), "expires_us": expires_us}
    details |= {"rate": rate.text} if rate else {}
    change = _change("key.create", name_id, details, by, clock)
    audit.commit(state, [Write(space=SPACE, name=digest(token), body=encode(record), expect=0)], change)
    return token, record


def known_by(id: str) -> tuple[str, str]:
    """How a caller with this id is known, by `certificate` or `token`, and its or the issuer's name in the file.

    Empty for an API key.
    """
    if id.startswith(_CERTIFICATE):
        return "certificate", id.removeprefix(_CERTIFICATE)
    if id.startswith(_TOKEN):
        return "token", id.removeprefix(_TOKEN).rpartition("-")[0]
    return "", ""


def certificate_id(name: str) -> str:
    """The id of a caller who is known by a certificate, by its name in the file."""
    return _CERTIFICATE + name


def token_id(issuer: str, subject: str) -> str:
    """The id of a caller who is known by a token, by the issuer's name in the file and what stands for the subject."""
    return f"{_TOKEN}{issuer}-{subject}"


def list_keys(state: StateReader) -> tuple[ApiKey, ...]:
    """Every API key ever made, oldest first, revoked ones too; a rotated one once for each of its secrets."""
    return tuple(known_keys(state).values())


def known_keys(state: StateReader) -> dict[str, ApiKey]:
    """The same by the digest of the token."""
    records = {item.name: record for item, record in _readable(state)}
    return dict(sorted(records.items(), key=lambda one: (one[1].created_us, one[1].id)))


def old_until(secrets: Iterable[ApiKey]) -> int | None:
    """Until when one of these that another has replaced is taken; None where there is none."""
    return max((one.expires_us for one in secrets if one.replaced_us and one.expires_us), default=None)


def rotate_key(
    state: State,
    id: str,
    overlap_us: int,
    *,
    clock: Clock,
    expires_us: int | None = None,
    by: str = "",
    random: Random = system_random,
) -> tuple[str, ApiKey]:
    """Another secret for the API key with this id: same name, roles, rate and receipts. Returns token and record.

    Args:
        state: Where the keys are.
        id: Whose.
        overlap_us: How long the secrets before it are still taken; 0 ends them now.
        clock: When that is.
        expires_us: When the new one ends; None: after as long a life as the one before was given, or never.
        by: Who does, for the audit.
        random: Where the secret comes from.

    Raises NotFound; Refused for a key that is revoked or over.
    """
    now_us = clock.now_us()
    there = _secrets(state, id)
    alive = [(item, record) for item, record in there if live(record, now_us)]
    if not alive:
        raise Refused(f"API key {id!r} is revoked or expired, nothing follows it", mend="mainstay key create")
    _, newest = max(alive, key=lambda one: (one[1].replaced_us is None, one[1].created_us))
    if expires_us is None and newest.expires_us is not None:
        expires_us = now_us + newest.expires_us - newest.created_us
    until_us = now_us + overlap_us
    old = [
        msgspec.structs.replace(
            record,
            replaced_us=record.replaced_us or now_us,
            expires_us=until_us if record.expires_us is None else min(until_us, record.expires_us),
        )
        for _, record in alive
    ]
    writes = [_written(item, record) for (item, _), record in zip(alive, old, strict=True)]
    token = _token(id, random)
    record = ApiKey(
        id=id, name=newest.name, roles=newest.roles, created_us=now_us, expires_us=expires_us, rate=newest.rate
    )
    ends_us = old_until(old)
    details: dict[str, Detail] = {"name": record.name, "expires_us": expires_us, "old_until_us": ends_us}
    change = _change("key.rotate", id, details, by, clock)
    audit.commit(state, [*writes, Write(space=SPACE, name=digest(token), body=encode(record), expect=0)], change)
    return token, record


def revoke_key(state: State, id: str, *, clock: Clock, by: str = "") -> ApiKey:
    """Revokes the API key with this id, every secret of it; workers see it within a second. Twice changes nothing.

    Returns the newest secret's record. Raises NotFound.
    """
    now_us = clock.now_us()
    there = _secrets(state, id)
    revoked = [
        (item, msgspec.structs.replace(record, revoked_us=now_us))
        for item, record in there
        if record.revoked_us is None
    ]
    if revoked:
        change = _change("key.revoke", id, {"name": revoked[0][1].name, "secrets": len(revoked)}, by, clock)
        audit.commit(state, [_written(item, record) for item, record in revoked], change)
    left = [record for _, record in revoked] or [record for _, record in there]
    return max(left, key=lambda record: record.created_us)


def _change(what: str, id: str, details: dict[str, Detail], by: str, clock: Clock) -> Change:
    return Change(what=what, object=f"API key {id}", details=details, by=by, at_us=clock.now_us())


def _secrets(state: StateReader, id: str) -> list[tuple[Versioned, ApiKey]]:
    """Every secret that the API key with this id has or had."""
    found = _readable(state)
    mine = [(item, record) for item, record in found if record.id == id]
    if not mine:
        near = difflib.get_close_matches(id, {record.id for _, record in found}, n=1)
        raise NotFound(f"there is no API key {id!r}", mend=f"did you mean {near[0]}?" if near else "mainstay key list")
    return mine


def _readable(state: StateReader) -> list[tuple[Versioned, ApiKey]]:
    """Every record but those that cannot be read: they are nobody's key, and keep no other from being revoked."""
    found = []
    for item in state.scan(SPACE):
        with suppress(msgspec.DecodeError):
            found.append((item, msgspec.json.decode(item.body, type=ApiKey)))
    return found


def _written(item: Versioned, record: ApiKey) -> Write:
    return Write(space=SPACE, name=item.name, body=encode(record, item.body), expect=item.version)


def _token(id: str, random: Random) -> str:
    return f"{PREFIX.decode()}{id}_{_secret(random)}"


def _secret(random: Random) -> str:
    return base64.b32encode(random(32)).decode().lower().rstrip("=")
