"""Addresses in the web that may be asked for what decides who gets in."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def safe(url: str) -> bool:
    """Whether nobody between can change what comes from there: https, or this very machine. No password in it."""
    try:
        found = urlsplit(url)
        host, _ = found.hostname, found.port
    except ValueError:
        return False
    plain = not found.username and not found.password and not found.fragment and url.isprintable() and " " not in url
    return bool(host) and plain and (found.scheme == "https" or (found.scheme == "http" and loopback(host or "")))


def loopback(host: str) -> bool:
    """Whether this is this very machine, by its address or the name that every machine has for itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
