"""The shape of `settings.tls` and `callers`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mainstay.spec.part import Part
from mainstay.spec.values import Name, RateOf


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


class CallersPart(Part):
    certificates: list[CertificatePart] = Field(
        default=[], examples=[["{name: billing, subject: 'CN=billing,O=Acme'}"]],
        description="Who is known by the certificate of the connection.",
    )  # fmt: skip
