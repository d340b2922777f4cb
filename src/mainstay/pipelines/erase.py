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
from mainstay.core.records import Suppressed
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.features import ALL, mapping_sql
from mainstay.pipelines.publish import current_facts
from mainstay.pipelines.run import Runner
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


def mapping_of(desk: Desk, dataset: Dataset) -> str:
    """The expression by which rows of a dataset belong to the answering key, over cleaned columns."""
    view = desk.integration.features.get(desk.integration.model.input)
    for state in desk.live_feature_sets(dataset.name):
        mapping = state.mapping[dataset.name]
        if mapping != ALL and (view is None or state.view == view.name):
            return mapping_sql(dataset, mapping)
    return f"CAST({identifier(dataset.key)} AS VARCHAR)"


def suppressed_keys(desk: Desk, form: stage.Shape, matches: Callable[[str], bool]) -> set[str]:
    """Dataset keys in `stage` whose person is on the suppression list."""
    cleaned = ", ".join(f"{one.value_sql} AS {identifier(one.name)}" for one in form.cleaning.columns)
    mapping = mapping_of(desk, form.dataset)
    found = desk.current.sql(f"SELECT _k, {mapping} FROM (SELECT _k, {cleaned} FROM stage)")
    return {str(k) for k, person in found if matches(str(person)) or matches(str(k))}


def erase(desk: Desk, key: str, *, reason: str, by: str) -> Erased:
    """Removes a person's rows. Idempotent: doing it again removes what is left and changes nothing else."""
    name = keyed_hash(desk.secret, key)
    if desk.suppressed.get(name) is None:
        mark = Suppressed(at_us=desk.clock.now_us(), reason=reason, by=by)
        desk.suppressed.put(name, mark, token=desk.token)
    total = Erased()
    for dataset in desk.integration.datasets.values():
        part = _erase_dataset(desk, dataset, key)
        total = Erased(**{f: getattr(total, f) + getattr(part, f) for f in Erased.__struct_fields__})
    online = 0
    for one in desk.feature_sets.all().values():
        if desk.online.get(one.digest, key) is not None:
            number, take = desk.next_plan()
            desk.state.commit([take], token=desk.token)
            online += desk.online.remove(one.digest, [key], plan=number, token=desk.token)
    return msgspec.structs.replace(total, online=online)


def _erase_dataset(desk: Desk, dataset: Dataset, key: str) -> Erased:
    runner = Runner(desk, dataset)
    schema = schema_of(dataset.name)
    person = literal(key)
    mapping = mapping_of(desk, dataset)
    keys = {str(k) for (k,) in desk.current.sql(
        f"SELECT _k FROM {schema}.rows WHERE {mapping} = {person} OR _k = {person} UNION "
        f"SELECT _k FROM {schema}.quarantine WHERE {mapping} = {person} OR _k = {person}"
    )}  # fmt: skip
    landed = _erase_landing(desk, runner, key, keys)
    listed = ", ".join(literal(one) for one in sorted(keys)) or "NULL"
    history = desk.history.erase(dataset.name, f"key IN ({listed})") if keys else 0
    with desk.current.transaction():
        rows = desk.current.one(f"DELETE FROM {schema}.rows WHERE _k IN ({listed})")[0]
        lost = desk.current.one(f"DELETE FROM {schema}.quarantine WHERE _k IN ({listed})")[0]
        desk.current.sql(f"DELETE FROM {schema}.held WHERE _k IN ({listed})")
        desk.current.sql(f"DELETE FROM {schema}.newest WHERE _k IN ({listed})")
        for batch, by_state in landed.items():
            for before, n in by_state.items():
                desk.current.move(dataset.name, batch, before, "erased", n)
    desk.current.sql("CHECKPOINT")
    state = msgspec.structs.replace(desk.dataset_state(dataset.name), **current_facts(desk, dataset.name))
    desk.datasets.put(dataset.name, state, token=desk.token)
    return Erased(
        current=rows, quarantine=lost, landing=sum(sum(one.values()) for one in landed.values()), history=history
    )


def _erase_landing(desk: Desk, runner: Runner, key: str, keys: set[str]) -> dict[int, dict[str, int]]:
    """Rewrites landed batches without the person's versions. Returns versions removed by batch and state."""
    removed: dict[int, dict[str, int]] = {}
    for number in desk.landing.numbers(runner.dataset.name):
        batch = desk.batches.get(batch_name(runner.dataset.name, number))
        manifest = desk.landing.manifest(runner.dataset.name, number)
        if batch is None or manifest is None:
            continue
        form = runner.load(batch)
        mine = suppressed_keys(desk, form, lambda person: person == key)
        keys |= mine
        counts = _states_of(desk, runner, number, batch.status, keys)
        if not counts:
            continue
        stage.suppress(desk.current, keys)
        left = int(desk.current.one("SELECT count(*) FROM stage")[0])
        rows = _marked(desk, form)
        rewritten = desk.landing.rewrite(msgspec.structs.replace(manifest, rows=left), rows)
        desk.batches.put(
            batch_name(runner.dataset.name, number),
            msgspec.structs.replace(batch, digest=rewritten.digest, rows=left),
            token=desk.token,
        )
        if batch.status in ("published", "discarded"):
            removed[number] = counts
    return removed


def _marked(desk: Desk, form: stage.Shape) -> pa.RecordBatchReader:
    from mainstay.pipelines.run import marked

    return marked(stage.landing_reader(desk.current, form), form)


def _states_of(desk: Desk, runner: Runner, number: int, status: str, keys: set[str]) -> dict[str, int]:
    """How many of the staged versions of `keys` are in which state."""
    if not keys:
        return {}
    listed = ", ".join(literal(one) for one in sorted(keys))
    total = int(desk.current.one(f"SELECT count(*) FROM stage WHERE _k IN ({listed})")[0])
    if total == 0:
        return {}
    if status == "discarded":
        return {"discarded": total}
    schema = schema_of(runner.dataset.name)
    counts: dict[str, int] = {}
    for state, n in desk.current.sql(
        f"SELECT q.state, count(*) FROM {schema}.quarantine q JOIN stage s ON s._ord = q._ord "
        f"WHERE q._batch = {number} AND q._k IN ({listed}) GROUP BY 1"
    ):
        counts[str(state)] = int(n)
    losers = 0
    if stage.repeats(desk.current, "stage"):
        distinct = int(desk.current.one(f"SELECT count(DISTINCT _k) FROM stage WHERE _k IN ({listed})")[0])
        losers = total - distinct
    if losers:
        counts["superseded"] = counts.get("superseded", 0) + losers
    rest = total - sum(counts.values())
    if rest:
        counts["published"] = counts.get("published", 0) + rest
    return counts


def traces(desk: Desk, key: str) -> Iterator[str]:
    """Places where the key can still be found, by name: empty when the erasure is complete."""
    for dataset in desk.integration.datasets.values():
        runner = Runner(desk, dataset)
        schema = schema_of(dataset.name)
        person = literal(key)
        mapping = mapping_of(desk, dataset)
        for table in ("rows", "quarantine"):
            if desk.current.one(f"SELECT count(*) FROM {schema}.{table} WHERE _k = {person} OR {mapping} = {person}")[
                0
            ]:
                yield f"current: {dataset.name}.{table}"
        for number in desk.landing.numbers(dataset.name):
            batch = desk.batches.get(batch_name(dataset.name, number))
            if batch is not None:
                form = runner.load(batch)
                if suppressed_keys(desk, form, lambda one: one == key):
                    yield f"landing: {dataset.name}/{number}"
        for file in desk.history.files(dataset.name):
            found = desk.current.one(f"SELECT count(*) FROM read_parquet({literal(file)}) WHERE key = {person}")[0]
            if found:
                yield f"history: {dataset.name}"
    for one in desk.feature_sets.all().values():
        if desk.online.get(one.digest, key) is not None:
            yield f"online: feature set {one.view}"
