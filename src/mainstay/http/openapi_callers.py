"""What of a request says who asks, as the file of an integration has it: for OpenAPI and for /docs."""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.core.nouns import Integration

Schema = dict[str, Any]


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """How callers are known, besides by API keys."""

    issuers: tuple[str, ...] = ()
    """Whose tokens are taken."""
    named: bool = False
    """Whether the certificate of a connection can be a caller by itself."""
    required: bool = False
    """Whether nobody connects without a certificate."""


KEYS_ALONE = Known()


def known(integration: Integration) -> Known:
    """As the file says."""
    tls, callers = integration.settings.tls, integration.callers
    asked = tls is not None and tls.client_ca is not None
    return Known(
        issuers=tuple(one.name for one in callers.oidc),
        named=asked and bool(callers.certificates),
        required=asked and tls is not None and tls.clients == "required",
    )


def schemes(ways: Known) -> dict[str, Schema]:
    """`securitySchemes`, by name."""
    carried = "An API key: msk_..."
    if ways.issuers:
        carried = f"An API key (msk_...), or a token of {' or '.join(ways.issuers)}"
    found: dict[str, Schema] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": carried},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": carried},
    }
    if ways.named or ways.required:
        found["certificate"] = {"type": "mutualTLS", "description": _certificate(ways)}
    return found


def security(ways: Known) -> list[Schema]:
    """The alternatives, of which a request has one; all that one names come together."""
    beside: Schema = {"certificate": []} if ways.required else {}
    alone: list[Schema] = [{"certificate": []}] if ways.named else []
    return [{"bearer": [], **beside}, {"header": [], **beside}, *alone]


def sentences(ways: Known) -> list[str]:
    """What a person is told before the first example."""
    token = f" or a token of {' or '.join(ways.issuers)}" if ways.issuers else ""
    alone = ", or comes by a connection whose certificate is a caller's" if ways.named else ""
    said = [f"Every request carries an API key{token}{alone}."]
    if ways.required:
        said.append("Nobody connects without a client certificate: give curl --cert and --key too.")
    return said


def _certificate(ways: Known) -> str:
    asked = "A client certificate, without which nobody connects" if ways.required else "A client certificate"
    return f"{asked}; who is named by it in the file needs nothing else" if ways.named else asked
