"""Who may ask, and by what connection: nouns of the file, built by `spec` and read by whoever answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.core.rate import Rate


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM; relative paths start at the folder of mainstay.yaml."""

    certificate: str
    key: str
    client_ca: str | None = None
    """Who signs the certificates of clients; None: they are not asked for one."""
    clients: Literal["required", "optional"] = "required"
    """Whether anybody without such a certificate may connect."""


class CertificateCaller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is known by the certificate of the connection: by its whole subject, or by one of its names."""

    name: str
    subject: str = ""
    san: str = ""
    role: Literal["predict", "operate", "admin"] = "predict"
    rate: Rate | None = None


class ClaimedRoles(msgspec.Struct, frozen=True, kw_only=True):
    """Which values of a claim stand for which role."""

    claim: str
    values: dict[str, Literal["predict", "operate", "admin"]]

    def __hash__(self) -> int:
        return hash((self.claim, *sorted(self.values.items())))


class OidcIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose signed tokens say who asks."""

    name: str
    issuer: str
    audience: tuple[str, ...]
    """A token must be for one of them."""
    jwks_url: str = ""
    """Where its keys are; empty: where its discovery document says."""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    role: Literal["predict", "operate", "admin"] = "predict"
    """Of every token, where `roles` does not say it."""
    roles: ClaimedRoles | None = None
    scopes: tuple[str, ...] = ()
    """A token must have all of them."""
    skew_us: int = 60_000_000
    """How far its clock may be from ours."""
    rate: Rate | None = None


class CallersConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask besides API keys."""

    certificates: tuple[CertificateCaller, ...] = ()
    oidc: tuple[OidcIssuer, ...] = ()
