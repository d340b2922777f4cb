"""Backfills of an integration: asked for, performed between increments, looked at.

The record in state is all there is: whoever owns the lease goes on with it, the loop of `up` or a command's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from mainstay.app.wiring import Works
from mainstay.core.clock import iso
from mainstay.core.counts import counted
from mainstay.core.errors import MainstayError, Refused
from mainstay.core.ids import Random
from mainstay.core.nouns import Guard
from mainstay.core.records import Backfill
from mainstay.core.verdicts import Finding, Verdict
from mainstay.pipelines import backfill
from mainstay.pipelines.backfill import Asked, RangeRunner
from mainstay.pipelines.backfill_plan import waits
from mainstay.pipelines.stage import raw_columns
from mainstay.sources.guard import retry_delay_us

Body = dict[str, Any]


def command(works: Works, args: Body) -> Body:
    """Starts a backfill or goes on with it; with `dry_run` only says what would be read."""
    asked = Asked(
        dataset=str(args["dataset"]),
        by=args.get("by") or "",
        begin=args.get("from"),
        end=args.get("to"),
        deletes=bool(args.get("deletes")),
        rate=args.get("rate"),
        asked_by=works.by,
    )
    if args.get("dry_run"):
        plan = backfill.planned(works.desk, asked)
    else:
        plan = backfill.start(works.desk, asked)
        _look_again(works, plan.backfill)
        plan = msgspec.structs.replace(plan, backfill=works.desk.backfills.get(plan.backfill.id) or plan.backfill)
    done: Body = msgspec.to_builtins(plan)
    return done


def cancel(works: Works, args: Body) -> Body:
    """Ends a backfill where it is."""
    ended = backfill.cancel(works.desk, str(args["id"]), str(args.get("reason") or f"by {works.by}"), asked=True)
    return {"backfill": msgspec.to_builtins(ended)}


def step(works: Works, pick: Callable[[str], None] = lambda _id: None) -> bool:
    """Reads one chunk of the first backfill that waits for nothing. Returns whether there was one.

    Args:
        works: The stores, owned.
        pick: Told whose chunk is read now, so that what fails is noted there.
    """
    for one in backfill.running(works.desk):
        lost = _lost(works, one)
        if lost:
            backfill.cancel(works.desk, one.id, lost)
        elif _look_again(works, one):
            pick(one.id)
            RangeRunner(works.desk, works.desk.integration.datasets[one.dataset]).chunk(one.id)
            return True
    return False


def failed(works: Works, id: str, error: MainstayError, random: Random) -> None:
    """Notes why a chunk could not be read; it is tried again after a pause that grows, as increments are."""
    found = works.desk.backfills.get(id)
    if found is None:
        return
    failures = found.failures + 1
    delay = retry_delay_us(failures, _guard(works, found), random)
    noted = msgspec.structs.replace(
        found,
        failures=failures,
        error=error.sentence + (f" → {error.mend}" if error.mend else ""),
        next_us=works.clock.now_us() + delay,
    )
    works.desk.backfills.put(id, noted, token=works.lease.token)
    if failures == 1:
        works.tell("backfill.failed", {"id": id, "dataset": found.dataset, "why": error.sentence})


def _look_again(works: Works, one: Backfill) -> bool:
    """Whether its next chunk may be read now; what it waits for instead is written down when that changes."""
    desk = works.desk
    waiting = waits(one, desk.waiting(one.dataset), _guard(works, one), works.clock.now_us())
    why = "" if waiting is None else waiting.why
    if why != one.waits:
        batch = "" if waiting is None else waiting.batch
        desk.backfills.put(one.id, msgspec.structs.replace(one, waits=why, blocked=batch), token=desk.token)
        if why:
            desk.tell("backfill.waiting", {"id": one.id, "dataset": one.dataset, "why": why})
    return waiting is None


def _lost(works: Works, one: Backfill) -> str:
    """Why it can never go on: what it reads is no longer in the file. Empty when it can."""
    dataset = works.desk.integration.datasets.get(one.dataset)
    if dataset is None:
        return f"the file has no dataset {one.dataset} any more"
    return "" if one.by in raw_columns(dataset) else f"{one.dataset} no longer reads {one.by}"


def _guard(works: Works, one: Backfill) -> Guard:
    integration = works.desk.integration
    return integration.sources[integration.datasets[one.dataset].source].guard


def naming(works: Works, key: str) -> list[Backfill]:
    """Backfills whose range begins, goes on or ends at this key."""
    every = works.desk.backfills.all().values()
    return [one for one in every if key in {one.asked_from, one.asked_to, one.low, one.high, one.next}]


def forget(works: Works, key: str) -> None:
    """An erased person's key is no bound of a backfill any more: its record goes, and with it what was left of it."""
    gone = naming(works, key)
    for one in gone:
        if one.status == "running":
            backfill.cancel(works.desk, one.id, "a bound of its range was erased; ask for the rest again")
    works.state.commit([works.desk.backfills.remove(one.id) for one in gone], token=works.lease.token)


def findings(backfills: dict[str, Backfill]) -> list[Finding]:
    """What `status` says is wrong with them: a chunk that cannot be read."""
    return [
        Finding(
            check=f"{one.dataset}.backfill", verdict=Verdict.WARN,
            sentence=f"backfill {one.id} of {one.dataset} could not go on, {one.failures} tries: {one.error}",
            mend=f"it is tried again; or mainstay backfill --cancel {one.id}",
        )
        for one in backfills.values()
        if one.status == "running" and one.error
    ]  # fmt: skip


def said(one: Backfill) -> str:
    """One backfill in a sentence: how far, and what it waits for."""
    rows = counted(one.read, "row")
    if one.estimate is not None and one.status != "done":
        rows = f"{one.read:,} of about {counted(max(one.estimate, one.read), 'row')}"
    far = f"{rows} read, {one.changed:,} changed, {one.rejected:,} rejected"
    if one.status != "running":
        ended = "" if one.ended_us is None else f" {iso(one.ended_us)}"
        more = f"batch {one.blocked} is blocked" if one.blocked else one.reason
        return f"{one.status}{ended}: {far}" + (f"; {more}" if more else "")
    if one.error:
        return f"{far}; {one.error}"
    return f"{far}; {one.waits}" if one.waits else far


def range_of(one: Backfill) -> str:
    """The range in a sentence: `u from 10, before 20`."""
    low = "from the least" if one.low is None else f"from {one.low}"
    return f"{one.by} {low}, " + ("to the greatest" if one.high is None else f"before {one.high}")


def line(one: Backfill) -> str:
    """A running backfill, as `status` says it."""
    return f"{one.id} of {one.dataset}, {range_of(one)}: {said(one)}"


def check_rate(rate: int | None) -> None:
    """Raises Refused for a rate at which nothing is ever read."""
    if rate is not None and rate < 1:
        raise Refused("at no rows a second nothing is ever read", mend="--rows-per-second 500, say")
