"""Where a model served elsewhere may be: the address is asked for by name, looked at, and then spoken to by number.

The name is resolved here and the connection is made to what was looked at, so that a name server that answers
otherwise a moment later changes nothing. Never spoken to: link-local addresses (there, clouds hand out credentials),
the clouds' other metadata addresses, multicast, unspecified and reserved ones.

Source of the metadata addresses: the cloud vendors' own documentation of their instance metadata services.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from mainstay.core.addresses import Target, loopback, target
from mainstay.core.elsewhere import Network
from mainstay.core.errors import ModelRefused

Resolve = Callable[[str, int], list[str]]
"""Addresses of a host name, in order of preference. Raises OSError."""

_METADATA = ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")
_NAT64 = 0x0064_FF9B << 64
"""The first 96 bits of IPv6 addresses with IPv4 inside, by RFC 6052."""


def target_of(url: str) -> Target:
    """Raises ModelRefused for what is no plain `http` or `https` address."""
    found = target(url) if url.isascii() else None
    if found is None:
        raise ModelRefused(
            "the model's `url` must be http or https, with a host, and without a user, a password or a fragment",
            mend="write https://HOST:PORT/PATH, and what is secret under `headers:`",
        )
    return found


def resolved(host: str, port: int) -> list[str]:
    """What the system's resolver says. Raises OSError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty part of the name, say
        raise OSError("no name can be written so") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def permitted(at: Target, network: Network, resolve: Resolve = resolved) -> list[str]:
    """The addresses of the server that may be spoken to. Raises OSError for a name that nobody knows.

    Raises ModelRefused where none of them may be. The sentence names the kind of address, not the address: it reaches
    callers.
    """
    whys = []
    allowed = []
    for text in resolve(at.host, at.port):
        # Where the file itself says this machine, nobody else's word is needed for it.
        why = _refused(text, "loopback" if loopback(at.host) else network)
        if why:
            whys.append(why)
        else:
            allowed.append(text)
    if not allowed:
        why = whys[0] if whys else "no address"
        raise ModelRefused(
            f"the model at {at.origin} is not asked: the name leads to {why}",
            mend="write the right host, or `network:` where that address is meant" if whys else "",
        )
    return allowed


def _refused(text: str, network: Network) -> str:
    """Why this address is not spoken to; empty when it may be."""
    address = _plain(text)
    if address.is_link_local or str(address) in _METADATA:
        return "a link-local or metadata address, which is never spoken to"
    if address.is_unspecified or address.is_multicast or (address.is_reserved and not address.is_loopback):
        return "an address that no server has"
    if address.is_loopback:
        return "" if network == "loopback" else "this machine, which `network: loopback` would allow"
    if not address.is_global and network == "public":
        return "a private address, and the file says `network: public`"
    return ""


def _plain(text: str) -> IPv4Address | IPv6Address:
    """The address meant: IPv4 inside IPv6 is IPv4, however it is wrapped. Raises ValueError for a name."""
    address: Any = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inside is None and int(address) >> 32 == _NAT64:
            inside = IPv4Address(int(address) & 0xFFFF_FFFF)
        return inside or address
    return IPv4Address(int(address))
