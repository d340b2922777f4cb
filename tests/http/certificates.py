"""Certificates of a test: an authority, what it signed, and the files that `settings.tls` names."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trustme

from mainstay.core.nouns_callers import Tls

CA = trustme.CA(organization_name="Ours")
OTHER_CA = trustme.CA(organization_name="Nobody's")
LONG = datetime(2037, 1, 1, tzinfo=UTC)


class Files:
    """The files of one server in a folder."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "api.pem"
        self.key = folder / "api.key"
        self.client_ca = folder / "clients.pem"
        self.renew()
        CA.cert_pem.write_to_path(self.client_ca)

    def renew(self, ca: trustme.CA = CA, not_after: datetime = LONG) -> bytes:
        """Puts another certificate in place; its bytes."""
        issued = ca.issue_cert("127.0.0.1", not_after=not_after)
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.key.chmod(0o600)
        pem = issued.cert_chain_pems[0].bytes()
        self.certificate.write_bytes(pem)
        return pem

    def tls(self, clients: Any = None) -> Tls:
        ca = None if clients is None else str(self.client_ca)
        return Tls(certificate=str(self.certificate), key=str(self.key), client_ca=ca, clients=clients or "required")


def client(
    *names: str, common_name: str | None = None, ca: trustme.CA = CA, until: datetime = LONG, trust: bool = True
) -> ssl.SSLContext:
    """How a client speaks: with a certificate of these names where any are given."""
    context = ssl.create_default_context()
    if trust:
        CA.configure_trust(context)
    if names:
        signed(*names, common_name=common_name, ca=ca, until=until).configure_cert(context)
    return context


def signed(
    *names: str, common_name: str | None = None, ca: trustme.CA = CA, until: datetime = LONG
) -> trustme.LeafCert:
    """A certificate of these names; its subject is CN=..., O=Acme, OU=IT."""
    return ca.issue_cert(
        *names, common_name=common_name, organization_name="Acme", organization_unit_name="IT", not_after=until
    )
