"""Making current again out of history and landing, and cleaning it again after the file changed."""

from __future__ import annotations

import msgspec

from mainstay.core.records import BatchRecord
from mainstay.core.sql import literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.fates import Fates
from mainstay.pipelines.features import Moment
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.publish import apply_to_current, discard_in_current, record_plan, resume
from mainstay.pipelines.recall import recall
from mainstay.pipelines.run import Runner
from mainstay.store.current import FOLDED, schema_of

STATES = ("published", "superseded", "quarantined", "discarded", "erased")
"""Of a settled version."""


def rebuild(desk: Desk, runner: Runner, *, after: int = 0, judge_again: bool = False) -> int:
    """Applies every settled batch again, in order, to empty tables; in one transaction. Returns how many batches.

    What batches that left landing made of current comes from history (`recall`). What a person replayed or discarded
    row by row in the few minutes before history heard of it is in quarantine again: the safe side, since held rows are
    not served as fresh.

    Args:
        desk: The integration's stores.
        runner: Of the dataset.
        after: Only batches after this one: current has those before it. 0: from nothing.
        judge_again: The contract changed: a replay that it would not allow today does not stand.
    """
    name = runner.dataset.name
    schema = schema_of(name)
    state = desk.dataset_state(name)
    numbers = [number for number in desk.landing.numbers(name) if after < number <= state.published]
    first = numbers[0] if numbers else state.published + 1
    with desk.current.transaction():
        if after == 0:
            folded = _folded(desk, name, first)
            for table in ("rows", "newest", "held", "quarantine", "settled"):
                desk.current.sql(f"DELETE FROM {schema}.{table}")
            rejected = recall(desk, runner, first) if first > 1 else 0
        fates = Fates(desk, runner.dataset, first, judge_again=judge_again)
        for number in numbers:
            fates.apply(before=number)
            batch = desk.batches.get(batch_name(name, number))
            if batch is not None:
                _apply_again(desk, runner, batch)
        fates.apply()
        if after == 0 and first > 1:
            _count_folded(desk, name, folded, rejected)
        for batch in desk.waiting(name):  # what they hold is known, so reading it again is a no-op
            stage.remember(desk.current, runner.load(batch), batch.number)
    return len(numbers)


def _folded(desk: Desk, dataset: str, first: int) -> dict[str, int] | None:
    """What became of the versions of batches before `first`, by state; None where current has lost it."""
    if not desk.current.last_applied(dataset):
        return None
    schema = schema_of(dataset)
    rows = desk.current.sql(f"SELECT state, sum(n)::BIGINT FROM {schema}.settled WHERE batch < {first} GROUP BY state")
    return {str(state): int(n) for state, n in rows}


def _count_folded(desk: Desk, dataset: str, folded: dict[str, int] | None, rejected: int) -> None:
    """Counts the versions of batches that left landing.

    Args:
        desk: The integration's stores.
        dataset: Which dataset.
        folded: What current said of them; None: what state remembers of all, less what was applied again.
        rejected: How many of them were published then and are in quarantine now, because the contract changed.
    """
    schema = schema_of(dataset)
    desk.current.sql(f"DELETE FROM {schema}.settled WHERE batch = {FOLDED}")  # what recalling them counted
    if folded is None:
        again = desk.current.counts(dataset)
        state = desk.dataset_state(dataset).counts
        folded = {name: state.get(name, 0) - again.get(name, 0) for name in STATES}
        folded["erased"] -= sum(one.counts.get("erased", 0) for one in desk.waiting(dataset))
    folded["published"] = folded.get("published", 0) - rejected
    folded["quarantined"] = folded.get("quarantined", 0) + rejected
    for name, n in folded.items():
        desk.current.sql(f"INSERT INTO {schema}.settled VALUES ({FOLDED}, {literal(name)}, {n})")


def _apply_again(desk: Desk, runner: Runner, batch: BatchRecord) -> None:
    form = runner.load(batch)
    if batch.status == "discarded":
        stage.remember(desk.current, form, batch.number)
        discard_in_current(desk, batch)
        return
    gate = Gate(desk.current, form, released=frozenset(batch.released), others="again")
    apply_to_current(desk, form, gate, gate.judge(), batch)


def _note_cleaning(desk: Desk, runner: Runner) -> None:
    """Receipts carry the digest of the cleaning behind current."""
    name = runner.dataset.name
    numbers = desk.landing.numbers(name)
    if numbers:
        form = runner.shape_of(desk.landing.open(name, max(numbers)).schema)
        state = msgspec.structs.replace(desk.dataset_state(name), cleaning=form.cleaned_with)
        desk.datasets.put(name, state, token=desk.token)


def reclean(desk: Desk, runner: Runner, moment: Moment) -> int:
    """After cleaning or checks changed: current and quarantine are made again from raw. Returns the batches used."""
    name = runner.dataset.name
    wanted: dict[str, str | None] = {one.digest: None for one in desk.live_feature_sets(name)}
    plan = record_plan(desk, wanted, dataset=name, batch=0, cause="reclean")
    desk.at("plan-recorded")
    count = rebuild(desk, runner, judge_again=True)
    desk.at("current-written")
    resume(desk, plan, moment)
    _note_cleaning(desk, runner)
    desk.tell("dataset.recleaned", {"dataset": runner.dataset.name, "batches": count})
    return count
