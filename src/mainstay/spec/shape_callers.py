"""The shape of `settings.tls` and `callers`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mainstay.spec.part import Part
from mainstay.spec.values import Name, RateOf, Span, WebAddress


class TlsPart(Part):
    certificate: str = Field(min_length=1, description="A file in PEM: ours first, then those between it and the root.")
    key: str = Field(min_length=1, description="Its private key: a file in PEM, without a password.")
    client_ca: str | None = Field(default=None, min_length=1, description="Who signs the certificates of clients.")
    clients: Literal["required", "optional"] = Field(
        default="required", description="Whether a client without a certificate may connect."
    )


class CertificatePart(Part):
    name: Name = Field(examples=["billing"])
    subject: str | None = Field(default=None, examples=["CN=billing,O=Acme"], description="The whole subject.")
    san: str | None = Field(default=None, examples=["DNS:billing.example.com"], description="One of its other names.")
    role: Literal["predict", "operate", "admin"] = "predict"
    rate: RateOf | None = None


Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures by a private key alone: with a shared secret whoever checks a token could make one."""


class ClaimedRolesPart(Part):
    claim: str = Field(
        min_length=1, examples=["roles"], description="Its name, or the way to it: `realm_access.roles`."
    )
    values: dict[str, Literal["predict", "operate", "admin"]] = Field(
        min_length=1, description="Value of the claim -> role."
    )


class OidcPart(Part):
    name: Name = Field(examples=["entra"])
    issuer: WebAddress = Field(description="The `iss` of its tokens, to the letter.")
    audience: str | list[str] = Field(
        min_length=1, description="The `aud` that a token must have, or several of which one."
    )
    jwks_url: WebAddress | None = Field(default=None, description="Where its keys are, if no discovery document says.")
    algorithms: list[Algorithm] = Field(default=["RS256", "ES256"], min_length=1)
    role: Literal["predict", "operate", "admin"] = "predict"
    roles: ClaimedRolesPart | None = None
    scopes: list[str] = Field(default=[], description="A token must have all of them.")
    skew: Span = Field(default=60_000_000, examples=["60s"])
    rate: RateOf | None = None


class CallersPart(Part):
    certificates: list[CertificatePart] = Field(
        default=[], examples=[["{name: billing, subject: 'CN=billing,O=Acme'}"]],
        description="Who is known by the certificate of the connection.",
    )  # fmt: skip
    oidc: list[OidcPart] = Field(
        default=[], examples=[["{name: entra, issuer: 'https://login.example.com/acme', audience: mainstay}"]],
        description="Issuers whose tokens say who asks.",
    )  # fmt: skip
