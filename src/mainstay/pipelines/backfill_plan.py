"""What a backfill does next: pure, from its record, what waits, the guard and the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mainstay.core.clock import SECOND, iso
from mainstay.core.nouns import Guard
from mainstay.core.ranges import Chunk
from mainstay.core.records import Backfill, BatchRecord
from mainstay.sources.guard import is_open, opens_us

LEAST_ROWS, MOST_ROWS = 100, 10_000


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Why no chunk is read now."""

    why: str
    """Empty for the pause between two chunks, which is no news."""
    batch: str = ""
    """The batch that a person has to settle first; else empty."""
    until_us: int | None = None
    """When it is looked at again; None: once a person has settled a batch."""


def chunk_rows(rate: int) -> int:
    """Rows of a chunk: about what a second may read, so that increments wait a moment and no statement is long."""
    return min(MOST_ROWS, max(LEAST_ROWS, rate))


def waits(backfill: Backfill, waiting: Sequence[BatchRecord], guard: Guard, now_us: int) -> Waiting | None:
    """What the backfill waits for; None when its next chunk may be read now."""
    for hours in (guard.allowed_hours, guard.backfill_hours):
        if not is_open(hours, now_us):
            opens = opens_us(hours, now_us)
            return Waiting(why=f"its source may be read {hours} only: it goes on at {iso(opens)}", until_us=opens)
    stuck = [one for one in waiting if one.status in ("blocked", "error")]
    if stuck:
        first = f"{stuck[0].dataset}/{stuck[0].number}"
        if stuck[0].status == "error":
            return Waiting(why=f"batch {first} could not be judged yet")
        return Waiting(why=f"batch {first} is blocked: it goes on once that is released or discarded", batch=first)
    if backfill.next_us > now_us:
        return Waiting(why="", until_us=backfill.next_us)
    return None


def next_chunk_us(began_us: int, rows: int, rate: int) -> int:
    """The earliest beginning of the chunk after one that read so many rows: the throttle."""
    return began_us + -(-rows * SECOND // rate)


def after_chunk(
    backfill: Backfill, chunk: Chunk, *, began_us: int, noops: int, landed: int, deletes: int, now_us: int
) -> Backfill:
    """The record once a chunk is done."""
    return msgspec.structs.replace(
        backfill,
        next=chunk.next,
        chunks=chunk.number,
        read=backfill.read + chunk.read,
        noops=backfill.noops + noops,
        changed=backfill.changed + landed,
        deleted=backfill.deleted + deletes,
        next_us=next_chunk_us(began_us, chunk.read, backfill.rate),
        status="done" if chunk.next is None and backfill.status == "running" else backfill.status,
        ended_us=now_us if chunk.next is None and backfill.status == "running" else backfill.ended_us,
        waits="",
        blocked="",
        error="",
        failures=0,
    )


def after_settled(backfill: Backfill, counts: Mapping[str, int]) -> Backfill:
    """The record once a chunk's batch is published or discarded."""
    return msgspec.structs.replace(
        backfill,
        waits="" if backfill.blocked else backfill.waits,
        blocked="",
        published=backfill.published + counts.get("published", 0),
        rejected=backfill.rejected + counts.get("quarantined", 0),
    )
