"""The bytes of a journal segment: a header, then records, each readable on its own.

    header   magic `MJRN`, schema u16, ten zero bytes                      16 bytes
    record   length u32, crc32 u32, kind u8, then `length` bytes            9 bytes + payload

Integers are little-endian; the CRC covers kind and payload. A record is written by one write(2), so a process that is
killed leaves whole records and at most one torn one at the end. Kinds are bytes that UTF-8 and msgpack hardly use, so
that the next sound record behind a damaged one is found fast. A *padded* record ends in zeros and how many bytes of
padding there are (one byte; 255 where a u32 before it says): an erased receipt keeps the room of the old one, and every
offset behind it stays true.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from mainstay.core.errors import Corrupt, StoreError, StoreTooNew
from mainstay.core.ports import JournalKind

SCHEMA = 1
HEADER = struct.Struct("<4sH10s")
FIRST = HEADER.size
"""Offset of the first record."""
RECORD = struct.Struct("<IIB")
MAX_PAYLOAD = 16 * 1024 * 1024
"""The largest payload, bytes."""

_MAGIC = b"MJRN"
_LONG = struct.Struct("<I")
_MANY = 255
_CODES: dict[JournalKind, int] = {"receipt": 0xC1, "event": 0xF5}
_PADDED: dict[JournalKind, int] = {"receipt": 0xF6, "event": 0xF7}
_KINDS: dict[int, tuple[JournalKind, bool]] = {
    **{code: (kind, False) for kind, code in _CODES.items()},
    **{code: (kind, True) for kind, code in _PADDED.items()},
}
_SEEDS = {code: zlib.crc32(bytes([code])) for code in _KINDS}
_MARKS = re.compile(rb"[\xc1\xf5-\xf7]")
_CHUNK = 1024 * 1024


class Found(NamedTuple):
    """One sound record: where it stands, what it is, and the offset of the next."""

    offset: int
    kind: JournalKind
    payload: bytes
    next: int


class CorruptRecord(Corrupt):
    """A damaged record with sound ones behind it. `offset`: where it stands; `next`: the first sound one after it."""

    def __init__(self, where: str, offset: int, following: int) -> None:
        super().__init__(
            f"the record at offset {offset} does not match its CRC",
            mend=f"restore the segment from a backup; reading can go on at offset {following}",
            where=where,
        )
        self.offset = offset
        self.next = following


def header() -> bytes:
    """The first bytes of a new segment."""
    return HEADER.pack(_MAGIC, SCHEMA, bytes(10))


def check_header(data: bytes, where: str) -> bool:
    """Whether a header is there; False when its writer died before it stood. Raises Corrupt, StoreTooNew."""
    if len(data) < FIRST:
        return False
    magic, schema, _ = HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise Corrupt("this is not a journal segment", mend="move the file out of the journal's folder", where=where)
    if schema > SCHEMA:
        raise StoreTooNew(
            f"the segment has schema {schema}, this Mainstay knows up to {SCHEMA}",
            mend="use the Mainstay that wrote it, or a later one",
            where=where,
        )
    return True


def pack(kind: JournalKind, payload: bytes) -> bytes:
    """The bytes of one record. Raises StoreError when the payload is too large."""
    if len(payload) > MAX_PAYLOAD:
        raise StoreError(
            f"a journal record may hold {MAX_PAYLOAD} bytes, this one has {len(payload)}",
            mend="send fewer or smaller inputs",
        )
    code = _CODES[kind]
    return RECORD.pack(len(payload), zlib.crc32(payload, _SEEDS[code]), code) + payload


def pack_into(kind: JournalKind, payload: bytes, room: int) -> bytes | None:
    """The bytes of a record whose payload takes exactly `room` bytes, padded; None when it does not fit."""
    if len(payload) == room:
        return pack(kind, payload)
    if len(payload) > room:
        return None
    code = _PADDED[kind]
    body = payload + _padding(room - len(payload))
    return RECORD.pack(room, zlib.crc32(body, _SEEDS[code]), code) + body


def _padding(size: int) -> bytes:
    if size < _MANY:
        return bytes(size - 1) + bytes([size])
    return bytes(size - 5) + _LONG.pack(size) + bytes([_MANY])


def _padded_by(body: bytes) -> int:
    return body[-1] if body[-1] < _MANY else int(_LONG.unpack_from(body, len(body) - 5)[0])


def parse(data: bytes, at: int, base: int = 0) -> Found | None:
    """The record at `data[at:]`; None when it is torn or damaged. `base`: offset of `data` in its segment."""
    start = at + RECORD.size
    if start > len(data):
        return None
    length, crc, code = RECORD.unpack_from(data, at)
    end = start + length
    known = _KINDS.get(code)
    if known is None or end > len(data):
        return None
    payload = data[start:end]
    if zlib.crc32(payload, _SEEDS[code]) != crc:
        return None
    kind, padded = known
    if padded:
        payload = payload[: length - _padded_by(payload)]
    return Found(base + at, kind, payload, base + end)


def claimed(data: bytes, at: int) -> int:
    """How many bytes the record at `at` says it takes, its header included; at most what a record may take."""
    if at + RECORD.size > len(data):
        return RECORD.size
    return int(min(RECORD.unpack_from(data, at)[0], MAX_PAYLOAD)) + RECORD.size


def next_sound(data: bytes, after: int) -> int | None:
    """Where the first sound record behind `after` begins; None when there is none."""
    for mark in _MARKS.finditer(data, after + RECORD.size):
        start = mark.start() - RECORD.size + 1
        if start > after and parse(data, start) is not None:
            return start
    return None


def records(fd: int, offset: int, where: str) -> Iterator[Found]:
    """The records from `offset` on, in bounded memory; ends at the first torn or missing one.

    Raises CorruptRecord at a damaged record with sound ones behind it.
    """
    base, at, data = max(offset, FIRST), 0, b""
    while True:
        found = parse(data, at, base)
        if found is None:
            base, at = base + at, 0
            data = os.pread(fd, max(_CHUNK, claimed(data, at)), base)
            found = parse(data, 0, base) or _fresh(fd, base, where)
            if found is None:
                return
        yield found
        at = found.next - base


def records_in(data: bytes, offset: int, base: int, where: str) -> Iterator[Found]:
    """The records from `offset` on in bytes that are whole and stay as they are; `base`: offset of `data`.

    Ends where nothing sound follows. Raises CorruptRecord at a damaged record with sound ones behind it.
    """
    at = max(offset, FIRST) - base
    while at < len(data):
        found = parse(data, at, base)
        if found is None:
            following = next_sound(data, at)
            if following is None:
                return
            raise CorruptRecord(where, base + at, base + following)
        yield found
        at = found.next - base


def read_one(fd: int, offset: int, where: str) -> Found | None:
    """The record at `offset`; None when nothing whole stands there. Raises Corrupt when it is whole and damaged."""
    data = os.pread(fd, 4096, offset)
    size = claimed(data, 0)
    if size > len(data):
        data = os.pread(fd, size, offset)
    found = parse(data, 0, offset)
    if found is None and len(data) > RECORD.size and size <= len(data):
        raise Corrupt(
            f"the record at offset {offset} does not match its CRC",
            mend="restore the segment from a backup",
            where=where,
        )
    return found


def _fresh(fd: int, offset: int, where: str) -> Found | None:
    """Judges a record that did not parse: written meanwhile, torn at the end (None), or damaged (CorruptRecord).

    A writer may be at work: bytes are believed damaged only when they are still unsound after a sound record was
    seen behind them.
    """
    size = os.fstat(fd).st_size - offset
    if size <= 0:
        return None
    data = os.pread(fd, size, offset)
    found = parse(data, 0, offset)
    if found is not None:
        return found
    following = next_sound(data, 0)
    if following is None:
        return None
    again = parse(os.pread(fd, claimed(data, 0), offset), 0, offset)
    if again is not None:
        return again
    raise CorruptRecord(where, offset, offset + following)
