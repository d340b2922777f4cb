"""Ids that say where a record stands, signed so that nobody else can make one.

An id is `r` and 32 characters of base 32 (0-9, a-v) over 20 bytes: day u16, segment number u32, offset u32 (big-endian,
so that ids sort by place) and the first ten bytes of a keyed BLAKE2b over them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import NamedTuple

from mainstay.core.errors import NotFound

_PLACE = struct.Struct(">HII")
_PARTS = struct.Struct(">BIBIBIBI").unpack
"""Twenty bytes as four times five, each as its first byte and the four others."""
_SIGNATURE = 10
_LENGTH = 33
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


class Place(NamedTuple):
    """Where a record stands: days since 1970, segment number, offset in bytes."""

    day: int
    number: int
    offset: int


class ReceiptIds:
    """Makes and reads ids with one installation's secret."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = hashlib.blake2b(digest_size=_SIGNATURE, key=secret[:64], person=b"mainstay-id")

    def make(self, day: int, number: int, offset: int) -> str:
        place = _PLACE.pack(day, number, offset)
        # Five bytes are eight digits, told two at a time; the first ten bits are a whole byte and two bits of the next.
        a, b, c, d, e, f, g, h = _PARTS(place + self._sign(place))
        two = _PAIRS
        return (
            f"r{two[a << 2 | b >> 30]}{two[b >> 20 & 1023]}{two[b >> 10 & 1023]}{two[b & 1023]}"
            f"{two[c << 2 | d >> 30]}{two[d >> 20 & 1023]}{two[d >> 10 & 1023]}{two[d & 1023]}"
            f"{two[e << 2 | f >> 30]}{two[f >> 20 & 1023]}{two[f >> 10 & 1023]}{two[f & 1023]}"
            f"{two[g << 2 | h >> 30]}{two[h >> 20 & 1023]}{two[h >> 10 & 1023]}{two[h & 1023]}"
        )

    def read(self, id: str) -> Place:
        """Raises NotFound when this installation did not make `id`."""
        if len(id) == _LENGTH and id[0] == "r" and id == id.lower():
            try:
                data = base64.b32hexdecode(id[1:].upper())
            except (binascii.Error, ValueError):
                data = b""
            place, signature = data[: _PLACE.size], data[_PLACE.size :]
            if data and hmac.compare_digest(signature, self._sign(place)):
                return Place(*_PLACE.unpack(place))
        raise NotFound(
            "no receipt has this id: it was not given out by this installation",
            mend="copy the whole id from the answer; it begins with r and has 33 characters",
        )

    def _sign(self, place: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(place)
        return keyed.digest()
