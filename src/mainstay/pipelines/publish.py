"""Publishing: a judged batch becomes visible, key by key, each whole; kill -9 anywhere is repaired by doing it again.

The order is the promise: the publish plan with the affected keys is recorded first; current is written in one
transaction; online row by row, each conditional on its position; the published position and as-of move last, by
compare-and-set.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.audit import Change
from mainstay.core.ports import Write
from mainstay.core.records import BatchRecord, DatasetState, FeatureSetState, PublishPlan
from mainstay.core.sql import identifier, literal
from mainstay.pipelines.backfill_record import chunk_settled
from mainstay.pipelines.desk import Desk, batch_name
from mainstay.pipelines.features import ALL, FeatureWriter, Moment, affected_sql, blind_mappings, known_to_sql
from mainstay.pipelines.judge import Gate, Judgement
from mainstay.pipelines.stage import Shape, clear
from mainstay.store.current import ROW_COLUMNS, Current, schema_of
from mainstay.store.durable import translated

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

EVERY_KEY = -1

ABREAST = 1_000_000
"""Keys that are looked up in current at once."""

COMPUTED = "features.computed"
"""The event that says at which `$as_of` rows of a feature set were computed: for all keys, or for no batch's sake."""


def publish_batch(desk: Desk, gate: Gate, judgement: Judgement, batch: BatchRecord) -> BatchRecord:
    """Publishes the batch in `judged`; returns its settled record."""
    before = desk.dataset_state(batch.dataset).as_of_us
    batch = msgspec.structs.replace(batch, findings=judgement.findings, before_us=before)
    plan = _record_plan(desk, gate.form, batch)
    desk.at("plan-recorded")
    apply_to_current(desk, gate.form, gate, judgement, batch)
    desk.at("current-written")
    clear(desk.current, "stage", "judged", "new_rejected")  # what is computed next has the memory that they took
    return _show(desk, batch, plan, cleaning=gate.form.cleaned_with)


def finish_batch(desk: Desk, batch: BatchRecord) -> BatchRecord:
    """After a crash: the batch is in current, so only online and the published position are behind."""
    plan = plan_of(desk, batch)
    if plan is None:  # current holds the batch but its plan is gone: compute everything again
        every: dict[str, str | None] = {one.digest: None for one in desk.live_feature_sets(batch.dataset)}
        plan = record_plan(desk, every, dataset=batch.dataset, batch=batch.number, cause="batch")
    return _show(desk, batch, plan)


def _show(desk: Desk, batch: BatchRecord, plan: PublishPlan, *, cleaning: str = "") -> BatchRecord:
    sets = write_features(desk, plan, Moment(batch.began_us, batch.began_source_us))
    desk.at("online-written")
    return _advance(desk, batch, plan, sets, cleaning)


def plan_of(desk: Desk, batch: BatchRecord) -> PublishPlan | None:
    """The recorded plan by which the batch is published or discarded; None when there is none."""
    for plan in desk.publish_plans.all().values():
        if plan.dataset == batch.dataset and plan.batch == batch.number:
            return plan
    return None


def _record_plan(desk: Desk, form: Shape, batch: BatchRecord) -> PublishPlan:
    dataset = form.dataset
    touched = "(SELECT * FROM judged WHERE NOT _super AND _op = 'u')"
    changed = "SELECT _k FROM judged WHERE NOT _super"
    wanted: dict[str, str | None] = {}
    for one in desk.live_feature_sets(dataset.name):
        mapping = one.mapping[dataset.name]
        if mapping == ALL or not one.complete:
            wanted[one.digest] = None
            continue
        parts = [affected_sql(dataset, mapping, touched), *known_to_sql(dataset, mapping, changed)]
        wanted[one.digest] = " UNION ".join(parts)
    also = [desk.batches.write(batch_name(dataset.name, batch.number), batch)]
    earlier = plan_of(desk, batch)
    if earlier is not None:  # nothing was written under it; what it saw of current may have changed since
        also.append(desk.publish_plans.remove(plan_name(earlier)))
    return record_plan(desk, wanted, dataset=dataset.name, batch=batch.number, cause="batch", also=tuple(also))


def record_plan(
    desk: Desk,
    wanted: dict[str, str | None],
    *,
    dataset: str,
    batch: int,
    cause: str,
    also: tuple[Write, ...] = (),
    change: Change | None = None,
) -> PublishPlan:
    """Records which feature rows a change will touch. `wanted`: feature set -> SQL of its keys; None: every key.

    `also` and the audit's record of `change` go into the same commit.
    """
    number, take = desk.next_plan()
    keys: dict[str, int] = {}
    parts = []
    for digest, sql in wanted.items():
        if sql is None:
            keys[digest] = EVERY_KEY
        else:
            parts.append(f"SELECT {literal(digest)} AS feature_set, k FROM ({sql}) WHERE k IS NOT NULL")
            keys[digest] = 0
    file = ""
    if parts:
        file = f"{number:012d}.arrow"
        keys |= _write_keys(desk, desk.plans / file, " UNION ALL ".join(parts))
    plan = msgspec.convert(
        {
            "number": number, "dataset": dataset, "batch": batch, "keys": keys, "file": file,
            "token": desk.token, "cause": cause,
        },
        PublishPlan,
    )  # fmt: skip
    desk.commit([take, *also, desk.publish_plans.write(plan_name(plan), plan)], change)
    return plan


def plan_name(plan: PublishPlan) -> str:
    """The name of a publish plan in state."""
    return f"{plan.number:012d}"


def _write_keys(desk: Desk, path: Path, sql: str) -> dict[str, int]:
    import pyarrow as pa

    counts: dict[str, int] = {}
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        reader = desk.current.reader(sql)
        with path.open("wb") as sink:
            with pa.ipc.new_file(sink, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
                    for digest in batch.column(0).to_pylist():
                        counts[str(digest)] = counts.get(str(digest), 0) + 1
            sink.flush()
            os.fsync(sink.fileno())
    return counts


def planned_keys(desk: Desk, plan: PublishPlan, digest: str) -> pa.Table | None:
    """The keys of a feature set that the plan touches, as column `k`; None for every key."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if plan.keys.get(digest, 0) == EVERY_KEY:
        return None
    mine = pa.scalar(digest)
    with translated(desk.plans / plan.file), pa.OSFile(str(desk.plans / plan.file), mode="rb") as source:
        file = pa.ipc.open_file(source)
        pieces = (file.get_batch(number) for number in range(file.num_record_batches))
        # piece by piece, without the digests: they are most of it
        keys = [piece.filter(pc.equal(piece["feature_set"], mine)).select(["k"]) for piece in pieces]
    return pa.Table.from_batches(keys, pa.schema([("k", pa.string())]))


def apply_to_current(desk: Desk, form: Shape, gate: Gate, judgement: Judgement, batch: BatchRecord) -> None:
    """One transaction: rows, holds, quarantine and the batch's line in `settled`."""
    current = desk.current
    schema = schema_of(batch.dataset)
    names = ", ".join(identifier(column.name) for column in form.dataset.columns)
    note = literal(f"released in batch {batch.number}") if batch.released else "NULL"
    warn = f"nullif(concat_ws('; ', {note}, {gate.reasons('warn')}), '')"
    if batch.released:
        warn = f"nullif(concat_ws('; ', {note}, {gate.reasons('warn', 'block', 'quarantine')}), '')"
    version = f"_k, {batch.number}, _ord, _digest, _event, {batch.landed_us}, _cursor"
    accepted = gate.accepted()
    as_of = "NULL" if batch.before_us is None else str(batch.before_us)
    if judgement.quarantined:
        _set_rejected_apart(desk, form, gate)
    clear(current, "stage")  # the raw rows of all others are landed; inserting has the memory that they took
    with current.transaction():
        _remove_replaced(current, schema, accepted)
        with current.in_any_order():
            current.sql(
                f"INSERT INTO {schema}.rows ({ROW_COLUMNS}, {names}) "
                f"SELECT {version}, {warn}, _op = 'd', _filled, {names} FROM judged WHERE {accepted}"
            )
        current.sql(f"DELETE FROM {schema}.held WHERE _k IN (SELECT _k FROM judged WHERE {accepted})")
        current.sql(
            f"DELETE FROM {schema}.newest WHERE _batch <= {batch.number} "
            "AND _k IN (SELECT _k FROM judged WHERE NOT _super)"
        )
        if judgement.quarantined:
            _quarantine(desk, form, batch, as_of)
        counts = {
            "published": judgement.passed,
            "superseded": judgement.superseded,
            "quarantined": judgement.quarantined,
            "erased": batch.counts.get("erased", 0),
        }
        settle_counts(desk, batch, counts)


def _remove_replaced(current: Current, schema: str, accepted: str) -> None:
    """Removes the rows whose newer version comes, some at a time: the keys of ten million are more than memory."""
    if not current.one(f"SELECT EXISTS (SELECT 1 FROM {schema}.rows)")[0]:
        return
    end = int(current.one("SELECT coalesce(max(_ord), -1) + 1 FROM judged")[0])
    for at in range(0, end, ABREAST):
        some = f"SELECT _k FROM judged WHERE _ord >= {at} AND _ord < {at + ABREAST} AND {accepted}"
        current.sql(f"DELETE FROM {schema}.rows WHERE _k IN ({some})")


def discard_in_current(desk: Desk, batch: BatchRecord) -> None:
    """One transaction: the keys of the batch in `stage` carry WARN and are held no longer; its versions are settled."""
    schema = schema_of(batch.dataset)
    with desk.current.transaction():
        desk.current.sql(f"DELETE FROM {schema}.held WHERE _k IN (SELECT _k FROM stage)")
        desk.current.sql(
            f"UPDATE {schema}.rows SET _warn = 'a newer version was discarded' WHERE _k IN (SELECT _k FROM stage)"
        )
        settle_counts(desk, batch, {"discarded": batch.rows, "erased": batch.counts.get("erased", 0)})


def settle_counts(desk: Desk, batch: BatchRecord, counts: dict[str, int]) -> None:
    """Says what became of the batch's versions, by state, in place of what was said before."""
    schema = schema_of(batch.dataset)
    lines = ", ".join(f"({batch.number}, {literal(state)}, {n})" for state, n in counts.items())
    desk.current.sql(f"DELETE FROM {schema}.settled WHERE batch = {batch.number}")
    desk.current.sql(f"INSERT INTO {schema}.settled VALUES {lines}")


def _set_rejected_apart(desk: Desk, form: Shape, gate: Gate) -> None:
    """Makes `new_rejected`: the rejected versions of `judged` with their reasons and raw values.

    Few, so their raw rows are looked up: a join would read all of `stage`.
    """
    raw = ", ".join(f"{literal(name)}, CAST(s.{identifier(name)} AS VARCHAR)" for name in form.raw)
    names = ", ".join(f"j.{identifier(column.name)}" for column in form.dataset.columns)
    with desk.current.in_any_order():
        desk.current.sql(
            "CREATE OR REPLACE TEMP TABLE new_rejected AS "
            f"WITH j AS MATERIALIZED (SELECT *, {gate.reasons('quarantine', 'warn', 'block')} AS _reasons "
            f"FROM judged WHERE {gate.rejected()}) "
            f"SELECT j._k, j._ord, j._digest, j._event, j._cursor, j._reasons, j._filled, "
            f"CAST(json_object({raw}) AS VARCHAR) AS _raw, {names} "
            "FROM j JOIN (SELECT * FROM stage WHERE _ord IN (SELECT _ord FROM j)) s USING (_ord)"
        )


def _quarantine(desk: Desk, form: Shape, batch: BatchRecord, as_of: str) -> None:
    current = desk.current
    schema = schema_of(batch.dataset)
    names = ", ".join(identifier(column.name) for column in form.dataset.columns)
    current.sql(
        f"INSERT INTO {schema}.quarantine (_k, _batch, _ord, _digest, _event, _landed, _cursor, _warn, _reasons, _raw, "
        f"_state, _changed, _note, _filled, {names}) "
        f"SELECT _k, {batch.number}, _ord, _digest, _event, {batch.landed_us}, _cursor, NULL, _reasons, _raw, "
        f"'quarantined', {desk.clock.now_us()}, '', _filled, {names} FROM new_rejected"
    )
    current.sql(
        "CREATE OR REPLACE TEMP TABLE new_holds AS "
        "SELECT j._k, max(j._ord) AS _ord, arg_max(j._reasons, j._ord) AS sentence, "
        "arg_max(j._digest, j._ord) AS _digest, arg_max(j._cursor, j._ord) AS _cursor "
        "FROM new_rejected j GROUP BY j._k"
    )
    current.sql(
        f"INSERT INTO {schema}.newest SELECT n._k, {batch.number}, n._ord, n._digest, n._cursor, 'u' FROM new_holds n "
        f"WHERE NOT EXISTS (SELECT 1 FROM {schema}.newest w WHERE w._k = n._k)"
    )
    current.sql(
        "CREATE OR REPLACE TEMP TABLE new_held AS "
        f"SELECT n._k, {batch.number} AS _batch, n._ord, "
        f"CASE WHEN h._k IS NULL THEN {as_of}::BIGINT ELSE h.as_of END AS as_of, n.sentence "
        f"FROM new_holds n LEFT JOIN {schema}.held h ON h._k = n._k"
    )
    current.sql(f"DELETE FROM {schema}.held WHERE _k IN (SELECT _k FROM new_held)")
    current.sql(f"INSERT INTO {schema}.held SELECT * FROM new_held")


def write_features(desk: Desk, plan: PublishPlan, moment: Moment) -> list[FeatureSetState]:
    """Recomputes the plan's keys in every feature set it names; returns their new states, not yet committed."""
    changed = []
    for digest in plan.keys:
        state = desk.feature_sets.get(digest)
        if state is None or state.retired:
            continue
        keys = planned_keys(desk, plan, digest) if plan.keys[digest] else None
        writer = FeatureWriter(desk.current, desk.online, desk.integration.datasets, state, token=desk.token)
        if plan.keys[digest]:
            writer.write(keys, plan=plan.number, moment=moment)
        complete = state.complete or (plan.keys[digest] == EVERY_KEY and _all_published(desk, state, plan.dataset))
        if state.uses_as_of and (plan.keys[digest] == EVERY_KEY or plan.cause != "batch"):
            _tell_computed(desk, plan, digest, moment)
        changed.append(
            msgspec.structs.replace(
                state,
                plan=max(plan.number, state.plan),
                complete=complete,
                warn=blind_mappings(desk.current, desk.integration.datasets, state),
                refreshed_us=moment.ours_us if plan.keys[digest] == EVERY_KEY else state.refreshed_us,
                rows=desk.online.count(digest),
            )
        )
    return changed


def _tell_computed(desk: Desk, plan: PublishPlan, digest: str, moment: Moment) -> None:
    """Notes at which `$as_of` rows were computed, where history's batches do not tell: training sets ask for it."""
    told = {"feature_set": digest, "plan": plan.number, "cause": plan.cause, "dataset": plan.dataset}
    desk.tell(COMPUTED, {**told, "keys": plan.keys[digest], "as_of_us": moment.source_us})


def _all_published(desk: Desk, state: FeatureSetState, now_publishing: str) -> bool:
    return all(name == now_publishing or desk.dataset_state(name).as_of_us is not None for name in state.mapping)


def _advance(
    desk: Desk, batch: BatchRecord, plan: PublishPlan, sets: Sequence[FeatureSetState], cleaning: str
) -> BatchRecord:
    now = desk.clock.now_us()
    settled = msgspec.structs.replace(
        batch,
        status="published",
        settled_us=now,
        counts=desk.current.settled(batch.dataset, batch.number) or {},
    )
    state = desk.dataset_state(batch.dataset)
    if batch.mode != "backfill":
        state = msgspec.structs.replace(
            state,
            as_of_us=batch.began_us,
            as_of_source_us=batch.began_source_us,
            run_us=now - batch.began_us,
        )
    state = msgspec.structs.replace(
        state,
        published=batch.number,
        as_of_us=batch.trail_us or state.as_of_us,
        as_of_source_us=batch.trail_source_us or state.as_of_source_us,
        cleaning=cleaning or state.cleaning,
        **current_facts(desk, batch.dataset, settling=batch.number),
    )
    finish_plan(desk, plan, sets, [
        desk.datasets.write(batch.dataset, state),
        desk.batches.write(batch_name(batch.dataset, batch.number), settled),
        *chunk_settled(desk, settled),
    ])  # fmt: skip
    desk.at("published")
    desk.tell("batch.published", {"dataset": batch.dataset, "batch": batch.number, **settled.counts})
    return settled


def finish_plan(desk: Desk, plan: PublishPlan, sets: Sequence[FeatureSetState], writes: list[Write]) -> None:
    """The last commit of a plan: positions, feature sets, and the plan itself goes."""
    writes = [
        *writes,
        *(desk.feature_sets.write(one.digest, one) for one in sets),
        desk.publish_plans.remove(plan_name(plan)),
    ]
    desk.state.commit(writes, token=desk.token)
    if plan.file:
        (desk.plans / plan.file).unlink(missing_ok=True)


def current_facts(desk: Desk, dataset: str, *, settling: int = 0) -> dict[str, object]:
    """What state says of a dataset's current: rows, holds, quarantine, newest event, versions by state."""
    schema = schema_of(dataset)
    rows, newest = desk.current.one(f"SELECT count(*), max(_event) FROM {schema}.rows WHERE NOT _deleted")
    held = desk.current.one(f"SELECT count(*) FROM {schema}.held")[0]
    quarantined = desk.current.one(f"SELECT count(*) FROM {schema}.quarantine WHERE _state = 'quarantined'")[0]
    counts = {name: n for name, n in desk.current.counts(dataset).items() if name != "noop"}
    waiting = [one for one in desk.waiting(dataset) if one.number != settling]
    counts["waiting"] = sum(one.rows for one in waiting)
    counts["erased"] = counts.get("erased", 0) + sum(one.counts.get("erased", 0) for one in waiting)
    counts["landed"] = sum(counts.values())
    counts["noop"] = desk.dataset_state(dataset).counts.get("noop", 0)
    return {"rows": rows, "newest_us": newest, "held": held, "quarantined": quarantined, "counts": counts}


def recompute(desk: Desk, wanted: dict[str, str | None], *, dataset: str, cause: str, moment: Moment) -> PublishPlan:
    """Recomputes feature rows for a change that is already in current (build, refresh)."""
    plan = _standing(desk, wanted, cause) or record_plan(desk, wanted, dataset=dataset, batch=0, cause=cause)
    desk.at("plan-recorded")
    resume(desk, plan, moment)
    return plan


def _standing(desk: Desk, wanted: dict[str, str | None], cause: str) -> PublishPlan | None:
    """A plan for the same that could not be finished, so that trying again and again does not make more of them."""
    if any(sql is not None for sql in wanted.values()):
        return None
    keys = dict.fromkeys(wanted, EVERY_KEY)
    return next((one for one in desk.publish_plans.all().values() if (one.cause, one.keys) == (cause, keys)), None)


def resume(desk: Desk, plan: PublishPlan, moment: Moment) -> None:
    """Performs a recorded plan whose cause is not a batch, from the beginning or after a crash."""
    sets = write_features(desk, plan, moment)
    desk.at("online-written")
    writes = []
    if plan.dataset and plan.dataset in desk.integration.datasets:
        state = msgspec.structs.replace(desk.dataset_state(plan.dataset), **current_facts(desk, plan.dataset))
        writes.append(desk.datasets.write(plan.dataset, state))
    finish_plan(desk, plan, sets, writes)
    desk.at("published")


def next_state(desk: Desk, dataset: str, **changes: object) -> DatasetState:
    """The dataset's state with some fields replaced."""
    return msgspec.structs.replace(desk.dataset_state(dataset), **changes)
