"""What must fit together in `settings.tls` and `callers`."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

from mainstay.core.certificates import parts_of
from mainstay.spec.faults import Faults, Path, shown
from mainstay.spec.plain import mapping, sequence, text

_SAN = re.compile(r"(DNS|URI|email|IP):\S+")
_SAN_WANTED = "a name with its kind: DNS:, URI:, email: or IP:"


def cross_check_callers(tree: dict[str, Any], faults: Faults) -> None:
    """Certificates are asked for where callers are known by them, and each means one caller."""
    tls = mapping(mapping(tree.get("settings")).get("tls"))
    certificates = sequence(mapping(tree.get("callers")).get("certificates"))
    if "clients" in tls and "client_ca" not in tls:
        mend = "add `client_ca: FILE`, or leave `clients` out"
        faults.at(("settings", "tls", "clients"), "a `client_ca` beside it", "none", mend, key=True)
    where: Path = ("callers", "certificates")
    if certificates and not text(tls.get("client_ca")):
        mend = "add `settings: {tls: {certificate: ..., key: ..., client_ca: ...}}`"
        faults.at(where, "`settings.tls.client_ca`, which says whose signature counts", "none", mend, key=True)
    _issuers(sequence(mapping(tree.get("callers")).get("oidc")), faults)
    seen: dict[Hashable, str] = {}
    for place, one in enumerate(certificates):
        _certificate((*where, place), mapping(one), seen, faults)


def _issuers(issuers: list[Any], faults: Faults) -> None:
    for key, wanted in (("name", "a name that no other has"), ("issuer", "an issuer that stands here once")):
        seen: set[str] = set()
        for place, one in enumerate(issuers):
            said = text(mapping(one).get(key))
            if said and said in seen:
                faults.at(("callers", "oidc", place, key), wanted, shown(said), "keep one of the two")
            seen.add(said)
    for place, one in enumerate(issuers):
        if "role" in mapping(one) and "roles" in mapping(one):
            mend = "delete `role`: the claim says it"
            faults.at(("callers", "oidc", place, "role"), "either `role` or `roles`", "both", mend, key=True)


def _certificate(where: Path, one: dict[str, Any], seen: dict[Hashable, str], faults: Faults) -> None:
    name, subject, san = text(one.get("name")), text(one.get("subject")), text(one.get("san"))
    if not one:
        return
    if bool(subject) == bool(san):
        came = "both" if subject else "neither"
        faults.at(where, "either `subject` or `san`", came, "write subject: 'CN=billing,O=Acme', or san: DNS:billing")
        return
    if san and not _SAN.fullmatch(san):
        faults.at((*where, "san"), _SAN_WANTED, shown(san), f"write DNS:{san}" if ":" not in san else "")
        return
    meant: Hashable = san
    if subject:
        meant = _parts((*where, "subject"), subject, faults)
    for key, value, wanted in (("name", name, "a name that no other has"), ("", meant, "a certificate that no other")):
        mine = ("name", value) if key else ("certificate", value)
        if mine in seen:
            place = (*where, key or ("subject" if subject else "san"))
            faults.at(
                place, wanted if key else f"{wanted} caller has", f"that of {seen[mine]!r}", "keep one of the two"
            )
        seen.setdefault(mine, name)


def _parts(where: Path, subject: str, faults: Faults) -> Hashable:
    try:
        return parts_of(subject)
    except ValueError:
        faults.at(where, "the parts of a subject", shown(subject), "write CN=billing,O=Acme, say")
        return subject
