"""Batches that wait, in the hands of a person: released over the findings that block them, or discarded."""

from __future__ import annotations

import msgspec

from mainstay.core.audit import said
from mainstay.core.errors import NotFound, Refused
from mainstay.core.records import BatchRecord
from mainstay.pipelines.backfill_record import chunk_settled
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.publish import (
    current_facts,
    discard_in_current,
    finish_plan,
    plan_of,
    record_plan,
    write_features,
)
from mainstay.pipelines.quarantine import affected_keys, dataset_of, moment_of, need_reason
from mainstay.pipelines.run import Runner
from mainstay.store.current import schema_of


def release_batch(desk: Desk, *, dataset: str, number: int, reason: str) -> BatchRecord:
    """Overrides the findings that block a batch; it is published with its rows at WARN."""
    need_reason(reason)
    batch = _waiting_batch(desk, dataset, number)
    if batch.status != "blocked":
        raise _not_blocked(batch)
    findings = tuple(
        one.check for one in batch.findings if one.on_fail == "block" and one.verdict.value in ("FAIL", "ERROR")
    )
    released = msgspec.structs.replace(batch, released=findings, reason=reason, status="landed")
    change = desk.change("batch.release", f"{dataset}/{number}", {"reason": said(reason), "findings": list(findings)})
    desk.commit([desk.batches.write(batch_name(dataset, number), released)], change)
    desk.tell("batch.released", {"dataset": dataset, "batch": number, "reason": reason, "findings": list(findings)})
    Runner(desk, desk.integration.datasets[dataset]).settle()
    return desk.batches.get(batch_name(dataset, number)) or released


def release_through(desk: Desk, *, dataset: str, number: int, through: int, reason: str) -> list[BatchRecord]:
    """Releases a batch and those that wait after it, up to `through`; as far as each lets the next go.

    Raises as `release_batch`; also Refused where a later one cannot be released, so that none was. Returns what was
    released, the last of them perhaps not published: it is told why.
    """
    later = _later(desk, dataset, number, through)
    released = [release_batch(desk, dataset=dataset, number=number, reason=reason)]
    for one in later:
        found = desk.batches.get(batch_name(dataset, one))
        if found is None or found.settled:
            continue  # it went with the one before
        if found.status != "blocked":
            break  # the one before did not go, and is told of
        released.append(release_batch(desk, dataset=dataset, number=one, reason=reason))
    return released


def _later(desk: Desk, dataset: str, number: int, through: int) -> list[int]:
    """The numbers of the batches that wait after this one, up to `through`."""
    _waiting_batch(desk, dataset, number)
    if through < number:
        raise Refused(f"batch {through} is before batch {number}", mend="name the last batch to be released")
    later = [one for one in desk.waiting(dataset) if number < one.number <= through]
    for one in later:
        if one.status == "error":
            raise _not_blocked(one)
    return [one.number for one in later]


def _not_blocked(batch: BatchRecord) -> Refused:
    return Refused(
        f"batch {batch.dataset}/{batch.number} is {batch.status}, not blocked: there is nothing to release",
        mend="mainstay batch list",
    )


def discard_batch(desk: Desk, *, dataset: str, number: int, reason: str) -> BatchRecord:
    """What current has stands instead: keys that the batch would have changed carry WARN until their next version."""
    need_reason(reason)
    contract = dataset_of(desk, dataset)
    batch = _waiting_batch(desk, dataset, number)
    if desk.waiting(dataset)[0].number != number:
        raise Refused(
            f"batch {dataset}/{number} is not the first that waits",
            mend=f"settle batch {desk.waiting(dataset)[0].number} before it",
        )
    runner = Runner(desk, contract)
    runner.load(batch)
    schema = schema_of(dataset)
    affected = affected_keys(desk, contract, f"(SELECT * FROM {schema}.rows WHERE FALSE)", "SELECT _k FROM stage")
    marked = msgspec.structs.replace(batch, status="discarded", reason=reason)
    also = (desk.batches.write(batch_name(dataset, number), marked),)
    change = desk.change("batch.discard", f"{dataset}/{number}", {"reason": said(reason)})
    record_plan(desk, affected, dataset=dataset, batch=number, cause="discard", also=also, change=change)
    desk.at("plan-recorded")
    settled = finish_discard(desk, marked)
    runner.settle()
    return settled


def unfinished_discards(desk: Desk, dataset: str) -> list[BatchRecord]:
    """Batches that a person discarded and whose discarding a crash cut short."""
    published = desk.dataset_state(dataset).published
    return [
        batch
        for batch in desk.batches.all(f"{dataset}/").values()
        if batch.status == "discarded" and batch.number > published
    ]


def finish_discard(desk: Desk, batch: BatchRecord) -> BatchRecord:
    """Performs a recorded discard of a batch, also after a crash: current, then online, then the position."""
    dataset, number = batch.dataset, batch.number
    if desk.current.settled(dataset, number) is None:
        Runner(desk, desk.integration.datasets[dataset]).load(batch)
        discard_in_current(desk, batch)
    desk.at("current-written")
    plan = plan_of(desk, batch)
    if plan is None:  # its state went without its plan: everything is computed again
        every: dict[str, str | None] = {one.digest: None for one in desk.live_feature_sets(dataset)}
        plan = record_plan(desk, every, dataset=dataset, batch=number, cause="discard")
    sets = write_features(desk, plan, moment_of(desk, dataset))
    desk.at("online-written")
    settled = msgspec.structs.replace(
        batch, settled_us=desk.clock.now_us(), counts=desk.current.settled(dataset, number) or {}
    )
    state = msgspec.structs.replace(
        desk.dataset_state(dataset), published=number, **current_facts(desk, dataset, settling=number)
    )
    if batch.trail_us is not None:
        state = msgspec.structs.replace(state, as_of_us=batch.trail_us, as_of_source_us=batch.trail_source_us)
    writes = [desk.batches.write(batch_name(dataset, number), settled), desk.datasets.write(dataset, state)]
    writes += chunk_settled(desk, settled)
    finish_plan(desk, plan, sets, writes)
    desk.at("published")
    desk.tell("batch.discarded", {"dataset": dataset, "batch": number, "rows": batch.rows, "reason": batch.reason})
    return settled


def _waiting_batch(desk: Desk, dataset: str, number: int) -> BatchRecord:
    dataset_of(desk, dataset)
    batch = desk.batches.get(batch_name(dataset, number))
    if batch is None:
        raise NotFound(f"there is no batch {dataset}/{number}", mend="mainstay batch list")
    if batch.settled:
        raise Refused(f"batch {dataset}/{number} is {batch.status} already", mend="mainstay batch show")
    return batch
