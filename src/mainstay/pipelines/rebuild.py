"""Making current again out of history and landing, and cleaning it again after the file changed."""

from __future__ import annotations

import msgspec

from mainstay.core.nouns import Dataset
from mainstay.core.records import BatchRecord
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.features import Moment
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.publish import apply_to_current, discard_in_current, record_plan, resume
from mainstay.pipelines.run import Runner
from mainstay.store.current import ROW_COLUMNS, schema_of


def rebuild(desk: Desk, runner: Runner, *, after: int = 0) -> int:
    """Applies every settled batch again, in order, to empty tables; in one transaction. Returns how many batches.

    Rows whose batches have left landing come from history. What a person replayed or discarded row by row after its
    batch settled is in quarantine again: the safe side, since held rows are not served as fresh.
    """
    name = runner.dataset.name
    schema = schema_of(name)
    published = desk.dataset_state(name).published
    numbers = [number for number in desk.landing.numbers(name) if after < number <= published]
    with desk.current.transaction():
        if after == 0:
            for table in ("rows", "newest", "held", "quarantine", "settled"):
                desk.current.sql(f"DELETE FROM {schema}.{table}")
            first = numbers[0] if numbers else published + 1
            if first > 1:
                _from_history(desk, runner.dataset, first)
        for number in numbers:
            batch = desk.batches.get(batch_name(name, number))
            if batch is not None:
                _apply_again(desk, runner, batch)
        for batch in desk.waiting(name):  # what they hold is known, so reading it again is a no-op
            stage.remember(desk.current, runner.load(batch), batch.number)
    return len(numbers)


def _apply_again(desk: Desk, runner: Runner, batch: BatchRecord) -> None:
    form = runner.load(batch)
    if batch.status == "discarded":
        stage.remember(desk.current, form, batch.number)
        discard_in_current(desk, batch)
        return
    gate = Gate(desk.current, form, released=frozenset(batch.released))
    apply_to_current(desk, form, gate, gate.judge(), batch)


def _from_history(desk: Desk, dataset: Dataset, before: int) -> None:
    files = desk.history.files(dataset.name)
    if not files:
        return
    schema = schema_of(dataset.name)
    listed = "[" + ", ".join(literal(path) for path in files) + "]"
    there = {
        name for name, *_ in desk.current.sql(f"DESCRIBE SELECT * FROM read_parquet({listed}, union_by_name => true)")
    }
    names, values = [], []
    for column in dataset.columns:
        stored = "c_" + column.name
        if stored in there:
            names.append(identifier(column.name))
            quoted = identifier(stored)
            values.append(f"make_timestamp({quoted})" if column.type == "timestamp" else quoted)
    desk.current.sql(
        f"INSERT INTO {schema}.rows ({ROW_COLUMNS}, {', '.join(names)}) "
        f"SELECT key, batch, ordinal, 0, event_us, known_us, NULL, NULL, op = 'd', {', '.join(values)} "
        f"FROM read_parquet({listed}, union_by_name => true) WHERE batch < {before} AND state = 'published' "
        "QUALIFY row_number() OVER (PARTITION BY key ORDER BY batch DESC, ordinal DESC) = 1"
    )
    desk.current.sql(
        f"INSERT INTO {schema}.settled SELECT batch, state, count(*) "
        f"FROM read_parquet({listed}, union_by_name => true) WHERE batch < {before} GROUP BY ALL"
    )


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
    count = rebuild(desk, runner)
    desk.at("current-written")
    resume(desk, plan, moment)
    _note_cleaning(desk, runner)
    desk.tell("dataset.recleaned", {"dataset": runner.dataset.name, "batches": count})
    return count
