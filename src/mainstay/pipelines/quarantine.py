"""Quarantine in the hands of a person: list, show, replay, discard. Batches: `settling`.

A replayed row is judged again by today's cleaning and checks; it is published only if it is newer than what current
shows, else marked superseded. Doing it twice changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.audit import said
from mainstay.core.clock import iso
from mainstay.core.counts import counted
from mainstay.core.errors import NotFound, Refused
from mainstay.core.keys import shown_key, typed_key
from mainstay.core.nouns import Dataset
from mainstay.core.ports import SourceKind
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.currency import conversions, lacking
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.features import ALL, Moment, affected_sql, known_to_sql
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.publish import (
    record_plan,
    resume,
)
from mainstay.pipelines.run import Runner
from mainstay.store.current import ROW_COLUMNS, schema_of


class QuarantinedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One rejected version. `id` is `dataset/batch/ordinal`."""

    id: str
    dataset: str
    key: str
    batch: int
    ordinal: int
    reasons: str
    state: str
    landed: str
    note: str
    raw: dict[str, Any]


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay changed, by count."""

    tried: int
    published: int
    superseded: int
    still_rejected: int


def list_rows(
    desk: Desk,
    *,
    dataset: str | None = None,
    state: str | None = "quarantined",
    key: str | None = None,
    before: tuple[int, int] | None = None,
    limit: int = 100,
) -> list[QuarantinedRow]:
    """Rejected versions, newest first. `state` None: whatever became of them. `before`: older than (batch, ordinal)."""
    found: list[QuarantinedRow] = []
    for name in [dataset] if dataset else sorted(desk.integration.datasets):
        names = dataset_of(desk, name).key_names
        wanted = _typed(names, key) if key is not None else None
        if key is not None and wanted is None:
            if dataset is not None:
                need_key(desk, dataset, key)
            continue
        conditions = ["TRUE"]
        conditions += [f"_state = {literal(state)}"] if state else []
        conditions += [f"_k = {literal(wanted)}"] if wanted is not None else []
        conditions += [f"(_batch, _ord) < ({before[0]}, {before[1]})"] if before is not None else []
        for k, batch, ordinal, reasons, now, landed, note, raw, without in desk.current.sql(
            f"SELECT _k, _batch, _ord, _reasons, _state, _landed, _note, _raw, {_lacking(desk, name)} "
            f"FROM {schema_of(name)}.quarantine WHERE {' AND '.join(conditions)} "
            f"ORDER BY _batch DESC, _ord DESC LIMIT {limit - len(found)}"
        ):
            found.append(
                QuarantinedRow(
                    id=f"{name}/{batch}/{ordinal}",
                    dataset=name,
                    key=_shown(names, k),
                    batch=batch,
                    ordinal=ordinal,
                    reasons=in_words(reasons or "", without),
                    state=now,
                    landed=iso(landed),
                    note=note or "",
                    raw=json.loads(raw),
                )
            )
    return found


def _lacking(desk: Desk, name: str) -> str:
    """An expression: check -> what a row lacked that could not be converted, as a map; NULL without such checks."""
    dataset = desk.integration.datasets[name]
    zone = desk.integration.sources[dataset.source].timezone
    told = [
        f"{literal(check.name)}: {lacking(dataset, check, zone)}"
        for check in dataset.checks
        if check.kind == "currency"
    ]
    return f"MAP {{{', '.join(told)}}}" if told else "NULL"


def in_words(reasons: str, without: Mapping[str, str] | None) -> str:
    """The failed checks, each that lacked a rate with what it lacked."""
    for check, why in (without or {}).items():
        names = [f"{name} ({why})" if name == check else name for name in reasons.split(", ")]
        reasons = ", ".join(names)
    return reasons


def _shown(names: Sequence[str], key: str) -> str:
    """A key as a person reads it: rows that have none are marked by a control character inside."""
    return "(no key)" if key.startswith("\x01") else shown_key(names, key)


def _typed(names: Sequence[str], key: str) -> str | None:
    """A key as a person types it, as it is kept; None where it is no key of these columns."""
    try:
        return typed_key(names, key)
    except ValueError:
        return None


def row(desk: Desk, id: str) -> QuarantinedRow:
    """One rejected version by its id. Raises NotFound."""
    dataset, batch, ordinal = parse_id(id)
    for found in list_rows(desk, dataset=dataset, state=None, limit=1_000_000):
        if (found.batch, found.ordinal) == (batch, ordinal):
            return found
    raise NotFound(f"there is no quarantined row {id}", mend="mainstay quarantine list")


def parse_id(id: str) -> tuple[str, int, int]:
    """(dataset, batch, ordinal) of a row id. Raises NotFound for anything else."""
    parts = id.split("/")
    if len(parts) != 3 or not all(one.isascii() and one.isdigit() for one in parts[1:]):
        raise NotFound(f"{id} is not the id of a quarantined row", mend="ids look like customers/12/3; see the list")
    return parts[0], int(parts[1]), int(parts[2])


def replay(
    desk: Desk, *, dataset: str, ids: list[str] | None = None, key: str | None = None, keys_sql: str = ""
) -> ReplayResult:
    """Judges quarantined rows again and publishes those that pass and are newer than current. None: all of them.

    Args:
        desk: The integration's stores.
        dataset: Which dataset.
        ids: Only these rows.
        key: Only rows of this key.
        keys_sql: Only rows of the keys that this query gives, because what they lacked has come. Those that fail still
            are listed with today's reasons from then on, so that they are not taken up again.
    """
    contract = dataset_of(desk, dataset)
    schema = schema_of(dataset)
    wanted = ["_state = 'quarantined'"]
    if ids is not None:
        pairs = ", ".join(f"({b}, {o})" for d, b, o in map(parse_id, ids) if d == dataset)
        wanted.append(f"(_batch, _ord) IN ({pairs})" if pairs else "FALSE")
    if key is not None:
        typed = _typed(contract.key_names, key)
        wanted.append("FALSE" if typed is None else f"_k = {literal(typed)}")
    if keys_sql:
        wanted.append(f"_k IN ({keys_sql})")
    runner = Runner(desk, contract)
    form = stage.shape(contract, _kinds(desk, runner), runner.timezone)
    tried = _stage_quarantined(desk, form, schema, " AND ".join(wanted))
    gate = Gate(desk.current, form)
    gate.judge()
    affected = affected_keys(desk, contract, "(SELECT * FROM judged)", "SELECT _k FROM judged")
    _place(desk, gate, schema)
    if keys_sql:
        _give_new_reasons(desk, schema)
    published = superseded = 0
    if desk.current.one("SELECT count(*) FROM replayed WHERE ok")[0]:
        rows = int(desk.current.one("SELECT count(*) FROM replayed WHERE ok")[0])
        by_hand = None if keys_sql else desk.change("quarantine.replay", dataset, {"rows": rows})
        plan = record_plan(desk, affected, dataset=dataset, batch=0, cause="discard", change=by_hand)
        desk.at("plan-recorded")
        published, superseded = _apply_replay(desk, contract, gate)
        desk.at("current-written")
        resume(desk, plan, moment_of(desk, dataset))
    desk.tell("quarantine.replayed", {"dataset": dataset, "published": published, "superseded": superseded})
    return ReplayResult(
        tried=tried, published=published, superseded=superseded, still_rejected=tried - published - superseded
    )


def _stage_quarantined(desk: Desk, form: stage.Shape, schema: str, condition: str) -> int:
    """Brings rejected versions into `stage`, of each key those of its last batch: the others can only be superseded."""
    desk.current.sql(
        "CREATE OR REPLACE TEMP TABLE replaying AS "
        "SELECT row_number() OVER (ORDER BY _batch, _ord) - 1 AS _n, _k, _batch, _ord, _landed, _raw, "
        "_batch = max(_batch) OVER (PARTITION BY _k) AS last "
        f"FROM {schema}.quarantine WHERE {condition}"
    )
    stage.fill_kept(desk.current, form, "SELECT _n AS n, 'u' AS op, _k AS k, _raw AS raw FROM replaying WHERE last")
    return int(desk.current.one("SELECT count(*) FROM replaying")[0])


def _place(desk: Desk, gate: Gate, schema: str) -> None:
    """Makes `replayed`, each judged version with what follows, and `replay_ends`, every version that goes with them."""
    desk.current.sql(
        "CREATE OR REPLACE TEMP TABLE replayed AS "
        f"SELECT j.*, q._batch AS _from, q._ord AS _from_ord, q._landed AS _was, {gate.accepted()} AS ok, "
        f"{gate.reasons('quarantine', 'warn', 'block')} AS _why, "
        f"NOT EXISTS (SELECT 1 FROM {schema}.rows r WHERE r._k = j._k "
        "AND row(r._batch, r._ord) > row(q._batch, q._ord)) "
        f"AND row(q._batch, q._ord) >= (SELECT max(row(p._batch, p._ord)) FROM replaying p WHERE p._k = j._k) AS newer "
        "FROM judged j JOIN replaying q ON q._n = j._ord"
    )
    desk.current.sql(
        "CREATE OR REPLACE TEMP TABLE replay_ends AS SELECT _from, _from_ord, ok, newer FROM replayed "
        "UNION ALL SELECT q._batch, q._ord, TRUE, FALSE FROM replaying q WHERE NOT q.last "
        "AND EXISTS (SELECT 1 FROM replayed p WHERE p._k = q._k AND p.ok)"
    )


def _give_new_reasons(desk: Desk, schema: str) -> None:
    desk.current.sql(
        f"UPDATE {schema}.quarantine q SET _reasons = p._why FROM replayed p "
        "WHERE NOT p.ok AND q._batch = p._from AND q._ord = p._from_ord"
    )


def _apply_replay(desk: Desk, dataset: Dataset, gate: Gate) -> tuple[int, int]:
    current, schema = desk.current, schema_of(dataset.name)
    names = ", ".join(identifier(column.name) for column in dataset.columns)
    now, through = desk.clock.now_us(), current.last_applied(dataset.name)
    with current.transaction():
        current.sql(f"DELETE FROM {schema}.rows WHERE _k IN (SELECT _k FROM replayed WHERE ok AND newer)")
        current.sql(
            f"INSERT INTO {schema}.rows ({ROW_COLUMNS}, {names}) "
            f"SELECT _k, _from, _from_ord, _digest, _event, _was, _cursor, {gate.reasons('warn')}, FALSE, _filled, "
            f"{names} FROM replayed WHERE ok AND newer"
        )
        current.sql(
            f"DELETE FROM {schema}.held h WHERE EXISTS (SELECT 1 FROM replayed p WHERE p._k = h._k AND p.ok "
            "AND p.newer AND row(p._from, p._from_ord) >= row(h._batch, h._ord))"
        )
        current.sql(
            f"DELETE FROM {schema}.newest n WHERE EXISTS (SELECT 1 FROM {schema}.rows r WHERE r._k = n._k "
            "AND r._batch = n._batch AND r._ord = n._ord)"
        )
        moved = {"published": 0, "superseded": 0}
        for after, condition in (("published", "ok AND newer"), ("superseded", "ok AND NOT newer")):
            for batch, n in current.sql(f"SELECT _from, count(*) FROM replay_ends WHERE {condition} GROUP BY _from"):
                current.move(dataset.name, int(batch), "quarantined", after, int(n))
                moved[after] += int(n)
            note = "'replayed'"
            if after == "published" and any(
                conversions(dataset)
            ):  # history has the version as it was put aside: its rates are told here
                rates = "SELECT '; ' || p._rates FROM replayed p WHERE p._from = q._batch AND p._from_ord = q._ord"
                note = f"concat('replayed', ({rates}))"
            current.sql(
                f"UPDATE {schema}.quarantine q SET _state = '{after}', _changed = {now}, _note = {note}, "
                f"_through = {through} WHERE _state = 'quarantined' AND EXISTS (SELECT 1 FROM replay_ends p "
                f"WHERE p._from = q._batch AND p._from_ord = q._ord AND {condition})"
            )
    return moved["published"], moved["superseded"]


def discard_rows(desk: Desk, *, dataset: str, ids: list[str], reason: str) -> int:
    """What current has stands: the holds end, and their rows carry WARN until the next version."""
    contract = dataset_of(desk, dataset)
    need_reason(reason)
    schema = schema_of(dataset)
    pairs = ", ".join(f"({b}, {o})" for d, b, o in map(parse_id, ids) if d == dataset)
    if not pairs:
        raise NotFound(f"none of the ids is of dataset {dataset}", mend="mainstay quarantine list")
    condition = f"_state = 'quarantined' AND (_batch, _ord) IN ({pairs})"
    affected = affected_keys(
        desk, contract, f"(SELECT * FROM {schema}.quarantine WHERE {condition})",
        f"SELECT _k FROM {schema}.quarantine WHERE {condition}",
    )  # fmt: skip
    counted = desk.current.sql(f"SELECT _batch, count(*) FROM {schema}.quarantine WHERE {condition} GROUP BY _batch")
    if not counted:
        return 0
    count = sum(int(n) for _, n in counted)
    change = desk.change("quarantine.discard", dataset, {"rows": count, "reason": said(reason)})
    plan = record_plan(desk, affected, dataset=dataset, batch=0, cause="discard", change=change)
    desk.at("plan-recorded")
    with desk.current.transaction():
        for batch, n in counted:
            desk.current.move(dataset, int(batch), "quarantined", "discarded", int(n))
        desk.current.sql(
            f"UPDATE {schema}.rows SET _warn = 'a newer version was discarded' WHERE _k IN "
            f"(SELECT h._k FROM {schema}.held h WHERE (h._batch, h._ord) IN ({pairs}))"
        )
        desk.current.sql(f"DELETE FROM {schema}.held WHERE (_batch, _ord) IN ({pairs})")
        desk.current.sql(
            f"UPDATE {schema}.quarantine SET _state = 'discarded', _changed = {desk.clock.now_us()}, "
            f"_note = {literal(reason)}, _through = {desk.current.last_applied(dataset)} WHERE {condition}"
        )
    desk.at("current-written")
    resume(desk, plan, moment_of(desk, dataset))
    desk.tell("quarantine.discarded", {"dataset": dataset, "rows": count, "reason": reason})
    return count


def affected_keys(desk: Desk, dataset: Dataset, relation: str, keys_sql: str) -> dict[str, str | None]:
    """Feature set -> SQL of the keys that rows of `relation` and what is shown of `keys_sql` map to."""
    wanted: dict[str, str | None] = {}
    for one in desk.live_feature_sets(dataset.name):
        mapping = one.mapping[dataset.name]
        if mapping == ALL:
            wanted[one.digest] = None
            continue
        parts = [affected_sql(dataset, mapping, relation), *known_to_sql(dataset, mapping, keys_sql)]
        wanted[one.digest] = _kept(desk, " UNION ".join(parts))
    return wanted


def _kept(desk: Desk, sql: str) -> str:
    """The keys now, as a list: what the SQL reads is about to change."""
    keys = sorted(str(k) for (k,) in desk.current.sql(f"SELECT k FROM ({sql}) WHERE k IS NOT NULL"))
    if not keys:
        return "SELECT NULL::VARCHAR AS k WHERE FALSE"
    return "SELECT unnest([" + ", ".join(literal(key) for key in keys) + "]) AS k"


def _kinds(desk: Desk, runner: Runner) -> dict[str, SourceKind]:
    """Raw kinds from the newest landed batch, so that a replay needs no source."""
    name = runner.dataset.name
    need_landed(desk, [name])
    numbers = desk.landing.numbers(name)
    return dict(runner.shape_of(desk.landing.open(name, numbers[-1]).schema).kinds)


def moment_of(desk: Desk, dataset: str) -> Moment:
    """Now by both clocks, as far as the dataset's last read tells."""
    state = desk.dataset_state(dataset)
    now = desk.clock.now_us()
    skew = (state.as_of_source_us or 0) - (state.as_of_us or 0)
    return Moment(now, now + skew)


def dataset_of(desk: Desk, name: str) -> Dataset:
    """The dataset's contract. Raises NotFound, naming those that there are."""
    found = desk.integration.datasets.get(name)
    if found is None:
        raise NotFound(f"there is no dataset {name}", mend=f"one of {', '.join(sorted(desk.integration.datasets))}")
    return found


def need_datasets(desk: Desk, names: Sequence[str]) -> None:
    """Raises NotFound where one of them is not in the file."""
    for name in names:
        dataset_of(desk, name)


def need_landed(desk: Desk, names: Sequence[str]) -> None:
    """Raises NotFound where one of them is not in the file, or nothing of it was ever landed."""
    need_datasets(desk, names)
    for name in names:
        if not desk.landing.numbers(name):
            raise NotFound(f"nothing of {name} was ever landed", mend="mainstay run")


def need_key(desk: Desk, dataset: str, key: str) -> None:
    """Raises Refused where a text is no key of the dataset, which has several columns."""
    names = dataset_of(desk, dataset).key_names
    if _typed(names, key) is None:
        wanted = ",".join(f"{name}=..." for name in names)
        raise Refused(f"the key of {dataset} has {counted(len(names), 'column')}", mend=f"name each: --key {wanted}")


def need_reason(reason: str) -> None:
    """Raises Refused where a person gives none."""
    if not reason.strip():
        raise Refused("a person who overrides a check says why", mend="add --reason '...'")
