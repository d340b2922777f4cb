"""History follows landing: settled batches are appended to a Delta table per dataset, once each, with what came of it.

| column                      | what                                                                |
|-----------------------------|---------------------------------------------------------------------|
| `key`, `batch`, `ordinal`   | the version's key and position                                      |
| `op`                        | `u`, or `d` for a tombstone                                         |
| `event_us`, `known_us`      | event time, and when we landed it: bitemporal                       |
| `state`                     | published, superseded, quarantined, discarded: as the batch settled |
| `reasons`                   | names of the failed checks                                          |
| `filled`                    | names of the columns whose `fill` stands in for an absent value     |
| `rates`                     | amounts and the rates that converted them, where any column is      |
| `cleaning`                  | digest of the cleaning behind the cleaned columns                   |
| `raw`                       | the raw values as a JSON object of texts                            |
| `before_us`                 | the dataset's as-of before the batch: what a held row keeps         |
| `released`                  | whether a person overrode findings of the batch                     |
| `published_us`              | when the batch had settled: what it published was shown from then   |
| `began_us`                  | when the batch's read began, by our clock                           |
| `began_source_us`           | the same by the source's clock: the `$as_of` of what it made        |
| the contract's columns      | cleaned; timestamps as integer microseconds                         |

What a person makes of a quarantined version afterwards (replayed, discarded) is appended to a second table,
`DATASET.fates`: `key`, `batch`, `ordinal`, its `state` from then on, `changed_us`, a `note`, and `through`: the last
batch that current had then, which tells what came after it without asking a clock.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from mainstay.core.clock import DAY
from mainstay.core.nouns import Dataset
from mainstay.core.records import BatchRecord
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.currency import conversions
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.run import Runner
from mainstay.store.current import Current, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

LANDING_DAYS = 30
"""How long a landed batch that is in history is kept, where the file does not say."""

PIECE = 200_000
"""Versions that are taken out of current at once."""


def writer_of(dataset: str) -> str:
    """The name under which history remembers how far landing was appended."""
    return f"landing:{dataset}"


def flush(desk: Desk, dataset: str, *, at_least: int = 0, limit: int = 100_000) -> int:
    """Appends settled batches that history does not have yet. Returns the versions appended.

    Args:
        desk: The integration's stores.
        dataset: Which dataset.
        at_least: Do nothing while fewer versions than this wait.
        limit: Stop after about this many versions; the rest follows at the next call.
    """
    done = desk.history.sequence(dataset, writer_of(dataset))
    state = desk.dataset_state(dataset)
    if done >= state.published:
        append_fates(desk, dataset)
        return 0
    due = [
        batch
        for batch in desk.batches.all(f"{dataset}/").values()
        if done < batch.number <= state.published and batch.settled
    ]
    if sum(batch.rows for batch in due) < at_least:
        return 0
    runner = Runner(desk, desk.integration.datasets[dataset])
    written = 0
    append_fates(desk, dataset)
    for batch in due:
        written += _append(desk, runner, batch)
        desk.at("history-appended")
        if written >= limit:
            break
    return written


def _append(desk: Desk, runner: Runner, batch: BatchRecord) -> int:
    form = runner.load(batch)
    gate = Gate(desk.current, form, released=frozenset(batch.released), others="never")
    gate.judge()
    raw = ", ".join(f"{literal(name)}, CAST(s.{identifier(name)} AS VARCHAR)" for name in form.raw)
    # As it settled, not as it would be judged today: `unique` looks at current, which has moved on.
    quarantine = f"{schema_of(batch.dataset)}.quarantine q WHERE q._batch = {batch.number}"
    rejected = f"SELECT q._ord FROM {quarantine}"
    then = f"(SELECT any_value(q._reasons) FROM {quarantine} AND q._ord = j._ord)"
    reasons = f"coalesce({then}, {gate.reasons('warn', 'quarantine', 'block')})"
    state = (
        "'discarded'"
        if batch.status == "discarded"
        else f"CASE WHEN _super THEN 'superseded' WHEN j._ord IN ({rejected}) THEN 'quarantined' ELSE 'published' END"
    )
    rates = "j._rates AS rates, " if any(conversions(runner.dataset)) else ""
    versions = (
        f"SELECT j._k AS key, {batch.number}::BIGINT AS batch, j._ord AS ordinal, j._op AS op, j._event AS event_us, "
        f"{batch.landed_us}::BIGINT AS known_us, {state} AS state, "
        f"{reasons} AS reasons, j._filled AS filled, {rates}{literal(form.cleaned_with)} AS cleaning, "
        f"CAST(json_object({raw}) AS VARCHAR) AS raw, {_number(batch.before_us)} AS before_us, "
        f"{bool(batch.released)} AS released, {_number(batch.settled_us)} AS published_us, "
        f"{_number(batch.moves_us)} AS began_us, {_number(batch.began_source_us)} AS began_source_us, "
        f"{_cleaned(runner.dataset)}"
    )
    pieces = _in_pieces(desk.current, versions)
    desk.history.append(batch.dataset, pieces, writer=writer_of(batch.dataset), sequence=batch.number)
    stage.clear(desk.current, "stage", "judged")
    return batch.rows


def _in_pieces(current: Current, versions: str) -> pa.RecordBatchReader:
    """A select over `judged` j and `stage` s, in their order and a piece at a time: all at once is more than memory."""
    import pyarrow as pa

    rows = int(current.one("SELECT coalesce(max(_ord), 0) + 1 FROM judged")[0])
    ranges = (f"WHERE _ord >= {at} AND _ord < {at + PIECE}" for at in range(0, rows, PIECE))
    of = (
        f"{versions} FROM (SELECT * FROM judged {some}) j "
        f"JOIN (SELECT * EXCLUDE (_k, _op, _digest) FROM stage {some}) s USING (_ord)"
        for some in ranges
    )
    first = current.reader(next(of))
    return pa.RecordBatchReader.from_batches(
        first.schema, chain(first, (one for sql in of for one in current.reader(sql)))
    )


def fates_of(dataset: str) -> str:
    """The history table of what became of quarantined versions."""
    return f"{dataset}.fates"


def read_sql(desk: Desk, table: str) -> str:
    """A relation over a history table's files; empty when nothing was ever appended to it."""
    listed = ", ".join(literal(path) for path in desk.history.files(table))
    return f"read_parquet([{listed}], union_by_name => true)" if listed else ""


def append_fates(desk: Desk, dataset: str) -> None:
    """Appends what became of quarantined versions since, each once."""
    table = fates_of(dataset)
    known = read_sql(desk, table)
    seen = f"SELECT batch, ordinal, state FROM {known}" if known else "SELECT NULL, NULL, NULL WHERE FALSE"
    new = desk.current.table(
        "SELECT _k AS key, _batch AS batch, _ord AS ordinal, _state AS state, _changed AS changed_us, _note AS note, "
        f"_through AS through FROM {schema_of(dataset)}.quarantine WHERE _state <> 'quarantined' "
        f"AND (_batch, _ord, _state) NOT IN ({seen})"
    )
    if new.num_rows:
        desk.history.append(table, new, writer=table, sequence=desk.history.sequence(table, table) + 1)


def _number(value: int | None) -> str:
    return "NULL::BIGINT" if value is None else f"{value}::BIGINT"


def _cleaned(dataset: Dataset) -> str:
    parts = []
    for column in dataset.columns:
        name = identifier(column.name)
        value = (
            f"CASE WHEN isfinite(j.{name}) THEN epoch_us(j.{name}) END" if column.type == "timestamp" else f"j.{name}"
        )
        parts.append(f"{value} AS {identifier('c_' + column.name)}")
    return ", ".join(parts)


def trim_landing(desk: Desk, dataset: str, now_us: int) -> int:
    """Removes landed batches that are in history and past retention. Returns how many."""
    keep = desk.integration.settings.retention_us.get("landing", LANDING_DAYS * DAY)
    done = desk.history.sequence(dataset, writer_of(dataset))
    removed = 0
    for batch in desk.batches.all(f"{dataset}/").values():
        if batch.number < done and batch.settled_us is not None and batch.settled_us + keep < now_us:
            desk.landing.remove(dataset, batch.number)
            desk.current.fold(dataset, batch.number)
            desk.state.commit([desk.batches.remove(f"{dataset}/{batch.number:012d}")], token=desk.token)
            removed += 1
    return removed
