"""Whose certificate a connection has. Doors verify it and hand it over; which caller that is, the file says."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.certificates import Parts, part_name, parts_of, validity
from mainstay.core.nouns_callers import CertificateCaller


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """The certificate of a connection, which a door has verified."""

    subject: Parts = ()
    names: frozenset[str] = frozenset()
    """Its other names: `DNS:billing.example.com`, `URI:spiffe://...`, `email:...`, `IP:...`."""
    until_us: int | None = None
    """When it ends: a connection may outlive its certificate."""


def peer_of(told: Mapping[str, Any] | None) -> Peer | None:
    """The peer as Python's `getpeercert()` tells it; None where there is none."""
    if not told:
        return None
    subject = tuple(sorted((part_name(kind), value) for each in told.get("subject", ()) for kind, value in each))
    return Peer(
        subject=subject,
        names=frozenset(named_as(kind, value) for kind, value in told.get("subjectAltName", ())),
        until_us=int(ssl.cert_time_to_seconds(told["notAfter"])) * 1_000_000,
    )


def peer_of_pem(pem: str, subject: str, names: Mapping[str, Sequence[str]]) -> Peer | None:
    """The peer as gRPC tells it. None where what was told cannot be read: that is nobody."""
    try:
        return Peer(
            subject=parts_of(subject),
            names=frozenset(named_as(kind, value) for kind, values in names.items() for value in values),
            until_us=validity(ssl.PEM_cert_to_DER_cert(pem)).until_us,
        )
    except ValueError:
        return None


def named_as(kind: str, value: str) -> str:
    """One name of a certificate as the file writes it. Host names mean the same in any case."""
    short = "IP" if kind == "IP Address" else kind
    return f"{short}:{value.lower() if kind == 'DNS' else value}"


def named(peer: Peer, caller: CertificateCaller) -> bool:
    """Whether the file means this certificate."""
    if caller.san:
        kind, _, value = caller.san.partition(":")
        return named_as(kind, value) in peer.names
    return bool(caller.subject) and parts_of(caller.subject) == peer.subject
