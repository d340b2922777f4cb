"""The audit chain in state: each record in the commit of the change that it tells of.

One record per change in the space `audit`, and one `audit_head` that says how far they go. A commit expects the head
as it read it: so of two that write at once one is refused by state itself and follows the other, whatever the state is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mainstay.core.audit import (
    AuditHead,
    AuditRecord,
    Change,
    Checked,
    Stored,
    check,
    following,
    name_of,
    read,
    write,
)
from mainstay.core.errors import Conflict
from mainstay.core.ports import State, StateReader, Versioned, Write

SPACE = "audit"
HEAD = ("audit_head", "head")


def commit(state: State, writes: Sequence[Write], change: Change, *, token: int | None = None) -> AuditRecord:
    """Commits `writes` together with the record of the change. Raises what `State.commit` does for the writes."""
    moved = state.get(*HEAD)
    after = _head(moved)
    while True:
        record = following(after, change)
        made = AuditHead(number=record.number, hash=record.hash)
        place = Write(space=SPACE, name=name_of(record.number), body=write(record), expect=0)
        head = Write(
            space=HEAD[0], name=HEAD[1], body=msgspec.json.encode(made), expect=0 if moved is None else moved.version
        )
        try:
            state.commit([*writes, place, head], token=token)
        except Conflict as lost:
            if lost.where not in {"/".join(HEAD), f"{SPACE}/{place.name}"}:
                raise
            before, moved = moved, state.get(*HEAD)
            after = _head(moved)
            if _version(moved) == _version(before):  # the head was set back by hand: `verify` tells, work goes on
                after = _last(state) or after
        else:
            return record


def records(state: StateReader) -> list[AuditRecord]:
    """Every record that can be read, oldest first."""
    found = []
    for one in state.scan(SPACE):
        try:
            found.append(read(one.body))
        except msgspec.DecodeError:
            continue  # `verify` names it
    return found


def verify(state: StateReader, anchor: str = "") -> Checked:
    """Whether the chain is as it was written. See `core.audit.check`."""
    while True:
        before = state.get(*HEAD)
        found = [Stored(one.name, one.version, one.body) for one in state.scan(SPACE)]
        head = state.get(*HEAD)
        if _version(before) == _version(head):  # else somebody recorded a change between the two looks
            break
    return check(found, None if head is None else Stored(head.name, head.version, head.body), anchor)


def _head(found: Versioned | None) -> AuditHead | None:
    if found is None:
        return None
    try:
        return msgspec.json.decode(found.body, type=AuditHead)
    except msgspec.DecodeError:
        return None


def _version(found: Versioned | None) -> int:
    return 0 if found is None else found.version


def _last(state: StateReader) -> AuditHead | None:
    standing = state.scan(SPACE)
    if not standing:
        return None
    last = standing[-1]
    try:
        its = read(last.body).hash
    except msgspec.DecodeError:
        its = ""
    return AuditHead(number=int(last.name) if last.name.isdecimal() else len(standing), hash=its)
