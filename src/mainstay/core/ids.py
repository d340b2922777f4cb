"""Identifiers and digests. Randomness is handed in by whoever needs another source of it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable

Random = Callable[[int], bytes]
"""Given a length in bytes, that many random ones."""

system_random: Random = secrets.token_bytes


def new_id(prefix: str, random: Random = system_random) -> str:
    """`prefix-` and 80 random bits in lower-case base 32, e.g. `req-4mzq2h6wkd3xs7ta`."""
    number = int.from_bytes(random(10), "big")
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    return f"{prefix}-" + "".join(alphabet[(number >> shift) & 31] for shift in range(75, -5, -5))


def digest_bytes(data: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_text(*parts: str) -> str:
    """One digest over several texts; each is length-prefixed, so no two lists collide."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode()
        whole.update(len(data).to_bytes(8, "big"))
        whole.update(data)
    return "sha256:" + whole.hexdigest()


def keyed_hash(secret: bytes, text: str) -> str:
    """HMAC-SHA256 in hexadecimal: names a person without telling who."""
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
