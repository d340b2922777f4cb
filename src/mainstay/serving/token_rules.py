"""Which tokens of an issuer count, by which of its keys, and for whom. Pure: keys, time and bytes are handed in.

The signature is checked before anything that the token says is believed, by a key that was made for one algorithm of
the file's list: what the token says of its algorithm only picks among those.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from mainstay.core.nouns_callers import OidcIssuer
from mainstay.core.records import ApiKey
from mainstay.serving import keys

KEYS_MOST = 100
"""Keys of one issuer that are looked at."""
_KEY_MOST = 200
_JWT_MOST = 8_192
_RSA_LEAST = 2048
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}

Keys = Mapping[tuple[str, str], Any]
"""(key's id, algorithm) -> what checks a signature with it."""


def looks_like_one(token: bytes) -> bool:
    """Whether this begins as a JWT does, and no API key: with a JSON object in base64url."""
    return token[:2] == b"ey"


def cut(token: bytes) -> bytes:
    """What is looked at of whatever came. Tokens of issuers are longer than API keys, and begin otherwise."""
    token = token.strip()
    return token[: _JWT_MOST if looks_like_one(token) else _KEY_MOST]


def keys_of(jwks: Iterable[Mapping[str, Any]], algorithms: Iterable[str]) -> dict[tuple[str, str], Any]:
    """What the issuer's keys can check. Keys of other kinds, for other uses or too weak are passed over."""
    import jwt

    found: dict[tuple[str, str], Any] = {}
    for _, said in zip(range(KEYS_MOST), jwks, strict=False):
        kid, kind = said.get("kid", ""), said.get("kty")
        if not (isinstance(kind, str) and kind in _PUBLIC and isinstance(kid, str) and _for_signatures(said)):
            continue
        public = {name: said.get(name) for name in ("kty", *_PUBLIC[kind])}
        for algorithm in algorithms:
            if not _fits(said, algorithm):
                continue
            try:
                found.setdefault((kid, algorithm), jwt.PyJWK(public, algorithm=algorithm))
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
    return found


def claimed(token: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What a token says in its header and of itself. Nothing of it is proved."""
    try:
        head, body, _ = token.split(b".")
        header, claims = _object(head), _object(body)
    except (ValueError, binascii.Error, msgspec.DecodeError, RecursionError):
        return None
    return (header, claims) if header is not None and claims is not None else None


def key_for(header: Mapping[str, Any], known: Keys) -> Any | None:
    """The key that the header names; without a name the only one of its algorithm."""
    kid, algorithm = header.get("kid"), header.get("alg")
    if isinstance(kid, str) and isinstance(algorithm, str):
        return known.get((kid, algorithm))
    fitting = [key for (_, made_for), key in known.items() if made_for == algorithm]
    return fitting[0] if kid is None and len(fitting) == 1 else None


def proper(header: Mapping[str, Any], issuer: OidcIssuer) -> bool:
    """Whether the header is one that we understand whole, with an algorithm of the file's list."""
    kind = header.get("typ", "JWT")
    return (
        header.get("alg") in issuer.algorithms
        and "crit" not in header
        and header.get("b64", True) is True
        and isinstance(kind, str)
        and kind.lower() in _TYPES
    )


def signed(token: bytes, key: Any, algorithm: str) -> bool:
    """Whether the key signed the token."""
    import jwt

    try:
        jwt.PyJWS(algorithms=[algorithm]).decode_complete(token, key, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True


def caller_of(
    claims: Mapping[str, Any], issuer: OidcIssuer, now_us: int, name_of: Callable[[str], str]
) -> ApiKey | None:
    """The caller that a token, whose signature is proved, is for; None where it is not for us, or not now.

    Args:
        claims: What the token says.
        issuer: What the file asks of it.
        now_us: By our clock.
        name_of: A keyed hash: a subject may be a person's name, which has no place in receipts.
    """
    until_us, from_us, made_us = (_instant(claims.get(name)) for name in ("exp", "nbf", "iat"))
    subject, audience = claims.get("sub"), claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    if until_us is None or not isinstance(subject, str) or not subject or claims.get("iss") != issuer.issuer:
        return None
    if not any(one in issuer.audience for one in audiences):
        return None
    soon_us = now_us + issuer.skew_us
    for claim, at_us in (("nbf", from_us), ("iat", made_us)):
        if claim in claims and (at_us is None or at_us > soon_us):
            return None
    if now_us >= until_us + issuer.skew_us or not set(issuer.scopes) <= _scopes(claims):
        return None
    return ApiKey(
        id=keys.token_id(issuer.name, name_of(f"{issuer.issuer} {subject}")[:16]),
        name=issuer.name,
        roles=_roles(claims, issuer),
        created_us=0,
        expires_us=until_us + issuer.skew_us,
        rate=issuer.rate,
    )


def _roles(claims: Mapping[str, Any], issuer: OidcIssuer) -> tuple[str, ...]:
    """The greatest role that the claim's values stand for, and those that it includes, or none."""
    greatest = issuer.role
    if issuer.roles is not None:
        said = _found(claims, issuer.roles.claim)
        values = said if isinstance(said, list) else said.split() if isinstance(said, str) else []
        given = [issuer.roles.values[one] for one in values if isinstance(one, str) and one in issuer.roles.values]
        if not given:
            return ()
        greatest = max(given, key=keys.ROLES.index)
    return keys.ROLES[: keys.ROLES.index(greatest) + 1]


def _scopes(claims: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for name in ("scope", "scp"):
        said = claims.get(name)
        each = said.split() if isinstance(said, str) else said if isinstance(said, list) else []
        found.update(one for one in each if isinstance(one, str))
    return found


def _found(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, else by the way to it: `realm_access.roles`."""
    if path in claims:
        return claims[path]
    at: Any = claims
    for part in path.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at


def _for_signatures(said: Mapping[str, Any]) -> bool:
    uses = said.get("key_ops")
    return said.get("use", "sig") == "sig" and (not isinstance(uses, list) or "verify" in uses)


def _fits(said: Mapping[str, Any], algorithm: str) -> bool:
    if said.get("alg", algorithm) != algorithm:
        return False
    if said["kty"] == "RSA":
        return algorithm[:2] in ("RS", "PS") and _bits(said.get("n")) >= _RSA_LEAST
    return _CURVES.get(algorithm) == said.get("crv") and (said["kty"] == "OKP") == (algorithm == "EdDSA")


def _bits(number: Any) -> int:
    try:
        return int.from_bytes(_bytes(number.encode()), "big").bit_length()
    except (AttributeError, ValueError, binascii.Error):
        return 0


def _instant(seconds: Any) -> int | None:
    """Microseconds since 1970 of a NumericDate."""
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    return int(seconds * 1_000_000) if number and abs(seconds) < 1e11 else None


def _object(part: bytes) -> dict[str, Any] | None:
    value = msgspec.json.decode(_bytes(part))
    return value if isinstance(value, dict) else None


def _bytes(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
