"""What landing and publishing a chunk say of its backfill: writes that go into their own commits."""

from __future__ import annotations

from mainstay.core.ports import Manifest, Write
from mainstay.core.records import BatchRecord
from mainstay.pipelines.backfill_plan import after_chunk, after_settled
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.judge import MAX_SHARE


def chunk_done(desk: Desk, manifest: Manifest) -> list[Write]:
    """A backfill goes on behind a chunk from the very commit that records its batch, or its counts."""
    chunk = manifest.chunk
    found = None if chunk is None else desk.backfills.get(chunk.backfill)
    if chunk is None or found is None:
        return []
    done = after_chunk(
        found, chunk, began_us=manifest.began_us, noops=manifest.noops, landed=manifest.rows,
        deletes=manifest.deletes, now_us=desk.clock.now_us(),
    )  # fmt: skip
    return [desk.backfills.write(done.id, done)]


def chunk_settled(desk: Desk, settled: BatchRecord) -> list[Write]:
    """What became of a chunk's versions, counted in the commit that publishes them."""
    found = desk.backfills.get(settled.backfill) if settled.backfill else None
    return [] if found is None else [desk.backfills.write(found.id, after_settled(found, settled.counts))]


def deletes_asked(desk: Desk, batch: BatchRecord) -> tuple[bool, int]:
    """Whether the batch's deletes came from comparing keys, and how many keys earlier chunks of its backfill deleted.

    The share of deletes that blocks is one of the whole backfill: many small chunks must not delete what one big batch
    could not. Chunks that a person released by overriding that very check are not counted again.
    """
    if not batch.backfill:
        return batch.mode in ("snapshot", "reconcile"), 0
    found = desk.backfills.get(batch.backfill)
    if not batch.deletes or (found is not None and not found.deletes):
        return False, 0
    earlier = sum(
        one.deletes
        for one in desk.batches.all(f"{batch.dataset}/").values()
        if one.backfill == batch.backfill
        and one.number < batch.number
        and one.status == "published"
        and MAX_SHARE not in one.released
    )
    return True, earlier
