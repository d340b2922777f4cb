"""Who changed what: records in one chain, each with the hash of the one before.

The hash of a record is SHA-256, as `sha256:` and 64 hexadecimal digits, over the UTF-8 bytes of a JSON array of eight:
`[v, number, at_us, by, what, object, details, previous]`, without spaces, names of `details` in order, and no character
escaped that JSON lets stand: `json.dumps(it, ensure_ascii=False, separators=(",", ":"), sort_keys=True)` in Python.
The first record's `previous` is the empty text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mainstay.core.counts import counted
from mainstay.core.ids import digest_bytes

Detail = str | int | bool | list[str] | dict[str, int] | None
"""What a detail can be: no fractions, so that every language writes it alike."""

MOST_TEXT = 1_000
"""Characters of a text; what a person typed may be longer, and is cut."""
_DIGITS = 12


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded. Never a secret, a key of a person, or a value of a row."""

    what: str
    """`key.create`, `model.use`, `batch.release`, ..."""
    object: str = ""
    """What was changed: `key abc2def4`, `version 3`, `customers/12`."""
    details: Mapping[str, Detail] = {}
    by: str
    """The person's user and machine, and the command."""
    at_us: int


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One change, in its place of the chain."""

    v: int = 1
    number: int
    """From 1 on, without a gap."""
    at_us: int
    by: str
    what: str
    object: str
    details: dict[str, Detail]
    previous: str
    """The hash of the record before it."""
    hash: str


def event_of(made: AuditRecord) -> tuple[str, dict[str, Any]]:
    """Kind and body of the event that tells of a record."""
    return f"audit.{made.what}", {"number": made.number, "object": made.object, **made.details}


class AuditHead(msgspec.Struct, frozen=True, kw_only=True):
    """How far the chain goes: what tells that records are missing at its end."""

    v: int = 1
    number: int
    hash: str


class Stored(msgspec.Struct, frozen=True):
    """A record as state holds it: its name there, how often it was written, and its bytes."""

    name: str
    version: int
    body: bytes


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The first record that is not as it was written."""

    number: int
    kind: str
    """`changed`, `removed`, `reordered` or `unknown`: the head of an anchor that is not in the chain."""
    sentence: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the whole chain found."""

    records: int
    head: str
    """The hash of the last record; empty where there is none."""
    anchored: int = 0
    """The number of the record whose hash was asked for."""
    fault: Fault | None = None


def said(reason: str) -> str:
    """The digest of what a person typed: it may name somebody, who must be erasable, and a chain forgets nothing.

    The text itself stands where it can be erased: in the batch, the quarantine, the event.
    """
    return digest_bytes(reason.encode("utf-8", "replace"))


def name_of(number: int) -> str:
    """The record's name in state: ordered as text as it is by number."""
    return f"{number:0{_DIGITS}d}"


def hash_of(record: AuditRecord) -> str:
    """The hash that the record must carry, over everything else in it."""
    told = [
        record.v,
        record.number,
        record.at_us,
        record.by,
        record.what,
        record.object,
        record.details,
        record.previous,
    ]
    return digest_bytes(msgspec.json.encode(told, order="deterministic"))


def following(head: AuditHead | None, change: Change) -> AuditRecord:
    """The record of a change that comes after `head`."""
    bare = AuditRecord(
        number=1 if head is None else head.number + 1,
        at_us=change.at_us,
        by=_text(change.by),
        what=_text(change.what),
        object=_text(change.object),
        details={name: _detail(value) for name, value in sorted(change.details.items())},
        previous="" if head is None else head.hash,
        hash="",
    )
    return msgspec.structs.replace(bare, hash=hash_of(bare))


def read(body: bytes) -> AuditRecord:
    """A record out of state. Raises msgspec.DecodeError."""
    return msgspec.json.decode(body, type=AuditRecord)


def write(record: AuditRecord) -> bytes:
    """A record as it lies in state, always with the same bytes."""
    return msgspec.json.encode(record, order="deterministic")


def check(stored: Iterable[Stored], head: Stored | None, anchor: str = "") -> Checked:
    """Looks at every record, in the order of their names, and at the head.

    Args:
        stored: All records.
        head: The head's record in state; None where it is not there.
        anchor: A hash that was kept elsewhere: the chain up to that record is then the one of that time.
    """
    number, previous, anchored = 0, "", 0
    for one in stored:
        number += 1
        found = _faulty(one, number, previous)
        if isinstance(found, Fault):
            return Checked(records=number, head=previous, fault=found)
        previous = found.hash
        if previous == anchor:
            anchored = number
    fault = _head_fault(head, number, previous)
    if fault is None and anchor and not anchored:
        sentence = "no record has the hash that was asked for: what was recorded at that time was changed or removed"
        fault = Fault(number=number, kind="unknown", sentence=sentence)
    return Checked(records=number, head=previous, anchored=anchored, fault=fault)


def _faulty(one: Stored, number: int, previous: str) -> Fault | AuditRecord:
    """What is wrong with the record that stands at this place; itself, where nothing is."""
    if one.name != name_of(number):
        if one.name.isdecimal() and len(one.name) == _DIGITS and int(one.name) > number:
            return Fault(number=number, kind="removed", sentence=f"record {number} is not there")
        return Fault(number=number, kind="changed", sentence=f"a record stands under a name that is none: {one.name!r}")
    try:
        record = read(one.body)
    except msgspec.DecodeError:
        return Fault(number=number, kind="changed", sentence=f"record {number} was changed: it cannot be read")
    if record.number != number:
        sentence = f"record {record.number} stands in the place of record {number}"
        return Fault(number=number, kind="reordered", sentence=sentence)
    if record.hash != hash_of(record) or write(record) != one.body:
        return Fault(number=number, kind="changed", sentence=f"record {number} was changed: its hash is another")
    if one.version != 1:
        sentence = f"record {number} was changed: it was written {counted(one.version, 'time')}"
        return Fault(number=number, kind="changed", sentence=sentence)
    if record.previous != previous:
        return _unlinked(number)
    return record


def _unlinked(number: int) -> Fault:
    if number == 1:
        return Fault(number=1, kind="changed", sentence="record 1 was changed: it names a record before it")
    sentence = f"record {number} does not follow record {number - 1}: one of them was changed and its hash made anew"
    return Fault(number=number - 1, kind="changed", sentence=sentence)


def _head_fault(stored: Stored | None, number: int, last: str) -> Fault | None:
    if stored is None:
        sentence = "the head of the chain is not there: records may be missing at the end"
        return None if not number else Fault(number=number + 1, kind="removed", sentence=sentence)
    try:
        head = msgspec.json.decode(stored.body, type=AuditHead)
    except msgspec.DecodeError:
        return Fault(number=number + 1, kind="changed", sentence="the head of the chain was changed: it cannot be read")
    if head.number > number:
        many = f"records {number + 1} to {head.number} are" if head.number > number + 1 else f"record {head.number} is"
        return Fault(number=number + 1, kind="removed", sentence=f"{many} not there: the chain was cut at its end")
    if head.number < number:
        sentence = f"the head of the chain ends at record {head.number}: it was set back"
        return Fault(number=head.number + 1, kind="changed", sentence=sentence)
    if head.hash != last:
        sentence = f"record {number} was changed and its hash made anew: the head names another"
        return Fault(number=number, kind="changed", sentence=sentence)
    if stored.version != number:
        times, records = counted(stored.version, "time"), counted(number, "record")
        sentence = f"the head was written {times} for {records}: records were removed at the end"
        return Fault(number=number, kind="removed", sentence=sentence)
    return None


def _detail(value: Detail) -> Detail:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return [_text(each) for each in value]
    if isinstance(value, dict):
        return {_text(name): number for name, number in sorted(value.items())}
    return value


def _text(value: str) -> str:
    """What a person typed may hold half a character, which is no UTF-8."""
    return value[:MOST_TEXT].encode("utf-8", "replace").decode()
