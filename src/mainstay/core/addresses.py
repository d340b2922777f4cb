"""Addresses in the web, in their parts; and which of them may be asked for what decides who gets in."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """A URL in its parts."""

    secure: bool
    host: str
    port: int
    path: str
    """With the query, at least a slash."""

    @property
    def origin(self) -> str:
        """The host as a `Host` header and a sentence name it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.secure else "http"] else f"{host}:{self.port}"


def target(url: str) -> Target | None:
    """A plain http or https address: with a host, without user, password, fragment and spaces. None for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    plain = url.isprintable() and " " not in url and "@" not in parts.netloc and not parts.fragment
    if parts.scheme not in _PORTS or not parts.hostname or not plain or port == 0:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", parts.hostname, port or _PORTS[parts.scheme], path)


def names_user(url: str) -> bool:
    """Whether a user or a password stands in it, so that it must not be shown."""
    try:
        return "@" in urlsplit(url).netloc
    except ValueError:
        return "@" in url


def safe(url: str) -> bool:
    """Whether nobody between can change what comes from there: https, or this very machine. No password in it."""
    found = target(url)
    return found is not None and (found.secure or loopback(found.host))


def loopback(host: str) -> bool:
    """Whether this is this very machine, by its address or the name that every machine has for itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
