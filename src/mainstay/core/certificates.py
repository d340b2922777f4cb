"""What a certificate says that we ask of it: the parts of a subject, and from when until when it is valid."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

Parts = tuple[tuple[str, str], ...]
"""(name, value) of each part of a subject, sorted: libraries write the parts in different orders."""

_LONG = {
    "COMMONNAME": "CN",
    "COUNTRYNAME": "C",
    "LOCALITYNAME": "L",
    "STATEORPROVINCENAME": "ST",
    "STREETADDRESS": "STREET",
    "ORGANIZATIONNAME": "O",
    "ORGANIZATIONALUNITNAME": "OU",
    "DOMAINCOMPONENT": "DC",
    "USERID": "UID",
}
_PART = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)\s*=\s*((?:\\[0-9A-Fa-f]{2}|\\.|[^\\,+])*)")
_ESCAPE = re.compile(rb"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)
_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0


class Validity(NamedTuple):
    """Microseconds since 1970."""

    from_us: int
    until_us: int


def part_name(said: str) -> str:
    """The short name of a part of a subject: CN for commonName, cn and CN."""
    upper = said.upper()
    return _LONG.get(upper, upper)


def parts_of(subject: str) -> Parts:
    """The parts of a subject as RFC 4514 writes it (`CN=billing,O=Acme`), in whatever order. Raises ValueError."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(subject):
        part = _PART.match(subject, at)
        if part is None:
            raise ValueError("a subject is parts such as CN=billing,O=Acme")
        found.append((part_name(part[1]), _unescaped(part[2])))
        at = part.end() + 1  # past , or +
    return tuple(sorted(found))


def validity(der: bytes) -> Validity:
    """From when until when a certificate is valid. Raises ValueError for bytes that are none."""
    certificate, _ = _value(der, 0)
    body, _ = _value(certificate, 0)
    at = _value(body, 0)[1] if body[:1] == bytes((_VERSION,)) else 0
    for _ in ("serial number", "signature algorithm", "issuer"):
        at = _value(body, at)[1]
    span, _ = _value(body, at)
    since, next_ = _value(span, 0)
    until, _ = _value(span, next_)
    return Validity(_instant(span[0], since), _instant(span[next_], until))


def _unescaped(value: str) -> str:
    """The text behind the escapes of RFC 4514, which may be one for each byte of a letter."""
    raw = _ESCAPE.sub(lambda one: bytes((int(one[1], 16),)) if one[1] else one[2], value.strip().encode())
    return raw.decode("utf-8", "replace")


def _value(der: bytes, at: int) -> tuple[bytes, int]:
    """The value of the element at `at`, and where the next one begins."""
    if len(der) < at + 2:
        raise ValueError("it ends too soon")
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    if len(der) < begin + length:
        raise ValueError("it ends too soon")
    return der[begin : begin + length], begin + length


def _instant(kind: int, value: bytes) -> int:
    text = value.decode("ascii")
    if kind == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("it has no time where one stands")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1_000_000
