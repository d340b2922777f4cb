"""Erasing a person by key from every store that the loop owns: landing, current, online, history, quarantine.

The key's versions are counted as erased from then on, and a suppression list (keyed hashes, never keys) stops the next
overlap from bringing them back. Receipts are the journal's part (pipelines/archive_erase).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.ids import keyed_hash
from mainstay.core.nouns import Dataset
from mainstay.core.records import BatchRecord, FeatureSetState, Suppressed
from mainstay.core.sql import literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.features import ALL, Moment, known_to_sql
from mainstay.pipelines.history import fates_of
from mainstay.pipelines.publish import current_facts, record_plan, resume, settle_counts
from mainstay.pipelines.run import Runner
from mainstay.pipelines.suppression import (
    belongs_sql,
    named_by,
    online_key,
    owners_of,
    owns_itself,
    person_of,
    seen_as,
    suppressed_keys,
)
from mainstay.store.current import schema_of

if TYPE_CHECKING:
    import pyarrow as pa


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure removed, by store."""

    current: int = 0
    quarantine: int = 0
    landing: int = 0
    history: int = 0
    online: int = 0


def erase(desk: Desk, key: str, *, reason: str, by: str) -> Erased:
    """Removes a person's rows. Idempotent: doing it again removes what is left and changes nothing else."""
    name = keyed_hash(desk.secret, key)
    before = desk.suppressed.get(name)
    mark = before or Suppressed(at_us=desk.clock.now_us(), reason=reason, by=by)
    seen = dict(mark.seen)
    for dataset in desk.integration.datasets.values():
        seen.update(_known(desk, dataset, key))
    marked = before is not None and seen == before.seen
    writes = [] if marked else [desk.suppressed.write(name, msgspec.structs.replace(mark, seen=seen))]
    desk.commit(writes, desk.change("erase", "a person", {"person": name, "reason": reason}))
    shown = [(one.digest, its) for one, its in _rows_of(desk, key) if desk.online.get(one.digest, its) is not None]
    total = Erased()
    for dataset in desk.integration.datasets.values():
        part = _erase_dataset(desk, dataset, key)
        total = Erased(**{f: getattr(total, f) + getattr(part, f) for f in Erased.__struct_fields__})
    for digest, its in shown:  # those of sets no longer kept current; the others went with their datasets' rows
        if desk.online.get(digest, its) is not None:
            number, take = desk.next_plan()
            desk.state.commit([take], token=desk.token)
            desk.online.remove(digest, [its], plan=number, token=desk.token)
    return msgspec.structs.replace(total, online=len(shown))


def _rows_of(desk: Desk, key: str) -> Iterator[tuple[FeatureSetState, str]]:
    """Feature sets in which the person may have a row, each with the row's key."""
    person = person_of(desk, key)
    for one in desk.feature_sets.all().values():
        its = online_key(person, one.key_names)
        if its is not None:
            yield one, its


def _erase_dataset(desk: Desk, dataset: Dataset, key: str) -> Erased:
    runner = Runner(desk, dataset)
    schema = schema_of(dataset.name)
    keys = _keys(desk, dataset, key)
    landed = _erase_landing(desk, runner, key, keys)
    listed = ", ".join(literal(one) for one in sorted(keys)) or "NULL"
    history = sum(desk.history.erase(table, f"key IN ({listed})") for table in _tables(dataset)) if keys else 0
    plan = record_plan(desk, _touched(desk, dataset, listed), dataset=dataset.name, batch=0, cause="erase")
    desk.at("plan-recorded")
    with desk.current.transaction():
        rows = desk.current.one(f"DELETE FROM {schema}.rows WHERE _k IN ({listed})")[0]
        lost = desk.current.one(f"DELETE FROM {schema}.quarantine WHERE _k IN ({listed})")[0]
        desk.current.sql(f"DELETE FROM {schema}.held WHERE _k IN ({listed})")
        desk.current.sql(f"DELETE FROM {schema}.newest WHERE _k IN ({listed})")
        _recount(desk, runner)
    desk.current.sql("CHECKPOINT")
    desk.at("current-written")
    _note_counts(desk, dataset)
    now = desk.clock.now_us()
    state = desk.dataset_state(dataset.name)
    resume(desk, plan, Moment(now, now + (state.as_of_source_us or 0) - (state.as_of_us or 0)))
    return Erased(current=rows, quarantine=lost, landing=landed, history=history)


def _keys(desk: Desk, dataset: Dataset, key: str) -> set[str]:
    """The dataset's keys in current that are the person's."""
    schema, theirs = schema_of(dataset.name), belongs_sql(desk, dataset, person_of(desk, key))
    found = desk.current.sql(
        f"SELECT _k FROM {schema}.rows WHERE {theirs} UNION SELECT _k FROM {schema}.quarantine WHERE {theirs}"
    )
    return {str(k) for (k,) in found}


def _known(desk: Desk, dataset: Dataset, key: str) -> dict[str, str]:
    """What `seen` says of the person's rows as they are now: reading them again is a no-op."""
    listed = ", ".join(literal(one) for one in sorted(_keys(desk, dataset, key)))
    if not listed:
        return {}
    stage.make_known(desk.current, dataset.name)
    found = desk.current.sql(f"SELECT _k, CAST(_digest AS VARCHAR) FROM known WHERE _k IN ({listed})")
    return dict(seen_as(desk, dataset.name, str(k), str(digest)) for k, digest in found)


def present(desk: Desk, matches: Callable[[str], bool]) -> set[str]:
    """Keys of people for whom `matches` says so, wherever the datasets' rows still are: current, landing, history."""
    found: set[str] = set()
    for dataset in desk.integration.datasets.values():
        schema, owners = schema_of(dataset.name), owners_of(desk, dataset)
        asked = ", ".join(owner.sql for owner in owners)
        for table in ("rows", "quarantine"):
            for keys in desk.current.sql(f"SELECT DISTINCT {asked} FROM {schema}.{table}"):
                found.update(filter(matches, named_by(owners, keys)))
        runner = Runner(desk, dataset)
        for number in desk.landing.numbers(dataset.name):
            batch = desk.batches.get(batch_name(dataset.name, number))
            if batch is not None:
                found.update(suppressed_keys(desk, runner.load(batch), matches).values())
        listed = ", ".join(literal(path) for path in desk.history.files(dataset.name))
        if listed:
            rows = desk.current.sql(f"SELECT DISTINCT key FROM read_parquet([{listed}], union_by_name => true)")
            for keys in rows:
                found.update(filter(matches, named_by(owners[-1:], keys)))
    return found


def _tables(dataset: Dataset) -> tuple[str, ...]:
    """The history tables that hold versions of the dataset."""
    return dataset.name, fates_of(dataset.name)


def _touched(desk: Desk, dataset: Dataset, listed: str) -> dict[str, str | None]:
    """Feature set -> SQL of the keys whose rows show something of the dataset's keys in `listed`."""
    wanted: dict[str, str | None] = {}
    for one in desk.live_feature_sets(dataset.name):
        mapping = one.mapping[dataset.name]
        keys = f"SELECT unnest([{listed}]) AS _k" if listed != "NULL" else "SELECT NULL::VARCHAR AS _k WHERE FALSE"
        wanted[one.digest] = None if mapping == ALL else " UNION ".join(known_to_sql(dataset, mapping, keys))
    return wanted


def _erase_landing(desk: Desk, runner: Runner, key: str, keys: set[str]) -> int:
    """Rewrites landed batches without the person's versions, whose keys join `keys`. Returns versions removed."""
    removed = 0
    for number in desk.landing.numbers(runner.dataset.name):
        batch = desk.batches.get(batch_name(runner.dataset.name, number))
        manifest = desk.landing.manifest(runner.dataset.name, number)
        if batch is None or manifest is None:
            continue
        form = runner.load(batch)
        keys |= set(suppressed_keys(desk, form, lambda person: person == key))
        gone = stage.suppress(desk.current, keys)
        chunk = manifest.chunk
        if chunk is not None and chunk.next in {key, *keys}:  # recorded in state long since
            manifest = msgspec.structs.replace(manifest, chunk=msgspec.structs.replace(chunk, next=None))
        elif not gone:
            continue
        left = int(desk.current.one("SELECT count(*) FROM stage")[0])
        deletes = int(desk.current.one("SELECT count(*) FROM stage WHERE _op = 'd'")[0])
        shrunk = msgspec.structs.replace(manifest, rows=left, deletes=deletes, erased=manifest.erased + gone)
        desk.landing.rewrite(shrunk, _marked(desk, form))
        desk.at("landing-rewritten")
        removed += gone
    return removed


def _marked(desk: Desk, form: stage.Shape) -> pa.RecordBatchReader:
    from mainstay.pipelines.run import marked

    return marked(stage.landing_reader(desk.current, form), form)


def _recount(desk: Desk, runner: Runner) -> None:
    """What became of each batch's versions, counted again where landing holds fewer than `settled` says.

    Counted from what is left, so that an erasure that was killed and is done again comes to the same numbers.
    """
    name = runner.dataset.name
    for number in desk.landing.numbers(name):
        batch = desk.batches.get(batch_name(name, number))
        manifest = desk.landing.manifest(name, number)
        before = desk.current.settled(name, number)
        if batch is None or manifest is None or before is None or before.get("erased", 0) == manifest.erased:
            continue
        runner.load(batch)
        settle_counts(desk, batch, {**_left(desk, batch), "erased": manifest.erased})


def _left(desk: Desk, batch: BatchRecord) -> dict[str, int]:
    """The versions of the batch in `stage`, by state."""
    total = int(desk.current.one("SELECT count(*) FROM stage")[0])
    if batch.status == "discarded":
        return {"discarded": total}
    mine = f"FROM {schema_of(batch.dataset)}.quarantine WHERE _batch = {batch.number}"
    counts = {str(state): int(n) for state, n in desk.current.sql(f"SELECT _state, count(*) {mine} GROUP BY _state")}
    losers = int(
        desk.current.one(f"SELECT count(*) - count(DISTINCT _k) FROM stage WHERE _k NOT IN (SELECT _k {mine})")[0]
    ) + int(
        desk.current.one(
            f"SELECT count(*) FROM stage WHERE _k IN (SELECT _k {mine}) AND _ord NOT IN (SELECT _ord {mine})"
        )[0]
    )
    counts["superseded"] = counts.get("superseded", 0) + losers
    counts["published"] = counts.get("published", 0) + total - sum(counts.values())
    return counts


def _note_counts(desk: Desk, dataset: Dataset) -> None:
    """Tells state, in one commit, what landing and current hold now."""
    name = dataset.name
    writes = []
    for number in desk.landing.numbers(name):
        batch = desk.batches.get(batch_name(name, number))
        manifest = desk.landing.manifest(name, number)
        if batch is None or manifest is None or batch.digest == manifest.digest:
            continue
        counts = desk.current.settled(name, number) or {**batch.counts, "erased": manifest.erased}
        changed = msgspec.structs.replace(
            batch, rows=manifest.rows, deletes=manifest.deletes, digest=manifest.digest, counts=counts
        )
        writes.append(desk.batches.write(batch_name(name, number), changed))
    desk.state.commit(writes, token=desk.token)
    state = msgspec.structs.replace(desk.dataset_state(name), **current_facts(desk, name))
    desk.datasets.put(name, state, token=desk.token)


def traces(desk: Desk, key: str) -> Iterator[str]:
    """Places where the key can still be found, by name: empty when the erasure is complete."""
    for dataset in desk.integration.datasets.values():
        runner = Runner(desk, dataset)
        schema = schema_of(dataset.name)
        person = person_of(desk, key)
        theirs = belongs_sql(desk, dataset, person)
        for table in ("rows", "quarantine"):
            if desk.current.one(f"SELECT count(*) FROM {schema}.{table} WHERE {theirs}")[0]:
                yield f"current: {dataset.name}.{table}"
        for number in desk.landing.numbers(dataset.name):
            batch = desk.batches.get(batch_name(dataset.name, number))
            if batch is not None:
                form = runner.load(batch)
                if suppressed_keys(desk, form, lambda one: one == key):
                    yield f"landing: {dataset.name}/{number}"
        kept = _tables(dataset) if owns_itself(desk, dataset, person) else ()
        for file in [file for table in kept for file in desk.history.files(table)]:
            of = f"FROM read_parquet({literal(file)}) WHERE key = {literal(person.key)}"
            found = desk.current.one(f"SELECT count(*) {of}")[0]
            if found:
                yield f"history: {dataset.name}"
    for one, its in _rows_of(desk, key):
        if desk.online.get(one.digest, its) is not None:
            yield f"online: feature set {one.view}"
