"""What batches that have left landing made of current, told again by history.

Three kinds of versions are recalled: the newest published one of each key, every quarantined one with what became of
it, and a newer one that was discarded. Their raw values are cleaned and judged as any batch is, so a contract that
changed since changes them too; then they get their own positions back.
"""

from __future__ import annotations

from mainstay.core.records import BatchRecord
from mainstay.core.sql import identifier, literal
from mainstay.pipelines import stage
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.fates import DISCARDED, latest_sql
from mainstay.pipelines.history import read_sql
from mainstay.pipelines.judge import Gate
from mainstay.pipelines.publish import apply_to_current
from mainstay.pipelines.retention import QUARANTINE_US
from mainstay.pipelines.run import Runner
from mainstay.pipelines.stage import Shape
from mainstay.store.current import FOLDED, schema_of


def recall(desk: Desk, runner: Runner, before: int) -> int:
    """Brings back what batches below `before` made of current. To be called in a transaction, with empty tables.

    Returns how many versions were published then and are rejected under today's contract.
    """
    name = runner.dataset.name
    if not desk.history.files(name) or not desk.landing.numbers(name):
        return 0
    form = runner.shape_of(desk.landing.open(name, desk.landing.numbers(name)[-1]).schema)
    _find(desk, name, before)
    rejected = _publish(desk, form, "NOT released", released=())
    rejected += _publish(
        desk, form, "released", released=tuple(check.name for check in Gate(desk.current, form).checks)
    )
    _keep(desk, form)
    return rejected


def _find(desk: Desk, dataset: str, before: int) -> None:
    """Makes `recalled`: a line per version that matters, `n` in the order of positions.

    What people made of a quarantined version counts where it happened before batch `before`; the rest is applied where
    it happened (`fates.Fates`).
    """
    files = read_sql(desk, dataset)
    there = {name for name, *_ in desk.current.sql(f"DESCRIBE SELECT * FROM {files}")}
    # Rows that were appended before history had these columns say nothing of them.
    before_us = "h.before_us" if "before_us" in there else "NULL::BIGINT"
    released = "coalesce(h.released, FALSE)" if "released" in there else "FALSE"
    keep = desk.clock.now_us() - desk.integration.settings.retention_us.get("quarantine", QUARANTINE_US)
    desk.current.sql(  # without the raw values, which are most of it
        "CREATE OR REPLACE TEMP TABLE placed AS SELECT h.key AS k, h.batch, h.ordinal, row(h.batch, h.ordinal) AS pos, "
        "h.state AS was, coalesce(f.state, h.state) AS state, f.changed_us, f.note, f.through, "
        f"row(coalesce(f.through, h.batch), coalesce(f.changed_us, 0)) AS done, {before_us} AS before_us, "
        f"h.state = 'published' AND {released} AS released FROM {files} h LEFT JOIN (SELECT * FROM "
        f"({latest_sql(desk, dataset)}) WHERE coalesce(through, 0) < {before}) f USING (batch, ordinal) "
        f"WHERE h.batch < {before} AND h.state <> 'superseded'"
    )
    desk.current.sql(
        f"CREATE OR REPLACE TEMP TABLE found AS WITH {_TURNS}, keys AS ("
        "SELECT k, max(pos) FILTER (state = 'published') AS shown, max(pos) FILTER (state <> 'superseded') AS newest, "
        "coalesce(max(done) FILTER (ends), row(0::BIGINT, 0::BIGINT)) AS ended, "
        "arg_max(state, done) FILTER (ends OR state = 'published') AS last_turn FROM turns GROUP BY k), holds AS ("
        "SELECT k, arg_min(before_us, pos) AS held_as_of FROM placed JOIN keys USING (k) "
        "WHERE was = 'quarantined' AND batch > ended[1] GROUP BY k) "
        "SELECT row_number() OVER (ORDER BY v.batch, v.ordinal) - 1 AS n, v.* EXCLUDE (k, pos, done), "
        "v.pos IS NOT DISTINCT FROM shown AS is_shown, "
        "v.pos = newest AND v.pos IS DISTINCT FROM shown AS is_newest, last_turn, held_as_of "
        "FROM placed v JOIN keys USING (k) LEFT JOIN holds USING (k) "
        "WHERE v.pos = shown OR (v.was = 'quarantined' AND (v.state = 'quarantined' OR v.changed_us >= "
        f"{keep})) OR (v.state = 'discarded' AND v.pos = newest)"
    )
    desk.current.sql(
        "CREATE OR REPLACE TEMP TABLE recalled AS SELECT found.*, h.key AS k, h.op, h.known_us, h.raw, h.reasons "
        f"FROM found JOIN {files} h USING (batch, ordinal)"
    )
    stage.clear(desk.current, "placed", "found")


_TURNS = (
    "late AS (SELECT DISTINCT v.batch, v.ordinal FROM placed v JOIN placed o ON o.k = v.k AND o.pos > v.pos "
    "AND o.batch <= v.done[1] WHERE v.was = 'quarantined' AND v.state IN ('published', 'discarded')), "
    "turns AS (SELECT v.*, v.state IN ('published', 'discarded') "
    "AND (v.was <> 'quarantined' OR (v.batch, v.ordinal) NOT IN (SELECT batch, ordinal FROM late)) AS ends "
    "FROM placed v)"
)
"""Which versions ended a hold of their key: by publishing, by discarding their batch; or, rejected first, by a replay
or a discard while nothing newer of the key had come."""


def _publish(desk: Desk, form: Shape, which: str, *, released: tuple[str, ...]) -> int:
    """Judges and applies the versions that were shown, then gives them their positions. Returns how many now fail."""
    current, schema = desk.current, schema_of(form.dataset.name)
    kept = f"SELECT n, op, k, raw FROM recalled WHERE is_shown AND {which}"
    if not stage.fill_kept(current, form, kept):
        return 0
    gate = Gate(current, form, released=frozenset(released), others="again")
    judgement = gate.judge()
    batch = BatchRecord(
        dataset=form.dataset.name, number=FOLDED, mode="increment", status="landed", began_us=0, began_source_us=0,
        landed_us=0, rows=0, digest="", released=released,
    )  # fmt: skip
    apply_to_current(desk, form, gate, judgement, batch)
    mine = "SET _batch = c.batch, _ord = c.ordinal"
    for table, more in (
        ("rows", f", _landed = c.known_us, _warn = replace(_warn, 'batch {FOLDED}', 'batch ' || c.batch)"),
        ("quarantine", ", _landed = c.known_us"),
        ("held", ", as_of = c.before_us"),
        ("newest", ""),
    ):
        current.sql(
            f"UPDATE {schema}.{table} t {mine}{more} FROM recalled c WHERE t._batch = {FOLDED} AND t._ord = c.n"
        )
    return judgement.quarantined


def _keep(desk: Desk, form: Shape) -> None:
    """Quarantine, holds, and what is newer than what is shown, as they were: only a replay judges them again."""
    current, schema = desk.current, schema_of(form.dataset.name)
    if not stage.fill_kept(
        current, form, "SELECT n, op, k, raw FROM recalled WHERE NOT is_shown OR was = 'quarantined'"
    ):
        return
    Gate(current, form, others="never").judge()
    names = ", ".join(identifier(column.name) for column in form.dataset.columns)
    current.sql(
        f"INSERT INTO {schema}.quarantine (_k, _batch, _ord, _digest, _event, _landed, _cursor, _warn, _reasons, _raw, "
        f"_state, _changed, _note, _through, _filled, {names}) "
        "SELECT j._k, c.batch, c.ordinal, j._digest, j._event, c.known_us, j._cursor, NULL, c.reasons, c.raw, c.state, "
        f"coalesce(c.changed_us, c.known_us), coalesce(c.note, ''), c.through, j._filled, {names} "
        "FROM judged j JOIN recalled c ON c.n = j._ord WHERE c.was = 'quarantined'"
    )
    current.sql(f"DELETE FROM {schema}.newest WHERE _k IN (SELECT k FROM recalled WHERE is_newest)")
    current.sql(
        f"INSERT INTO {schema}.newest SELECT j._k, c.batch, c.ordinal, j._digest, j._cursor, j._op "
        "FROM judged j JOIN recalled c ON c.n = j._ord WHERE c.is_newest AND c.state IN ('quarantined', 'discarded')"
    )
    held = "SELECT k FROM recalled WHERE is_newest AND state = 'quarantined'"
    current.sql(f"DELETE FROM {schema}.held WHERE _k IN ({held})")
    current.sql(
        f"INSERT INTO {schema}.held SELECT k, batch, ordinal, held_as_of, reasons FROM recalled "
        "WHERE is_newest AND state = 'quarantined'"
    )
    dropped = "SELECT k FROM recalled WHERE last_turn = 'discarded'"
    current.sql(f"UPDATE {schema}.rows SET _warn = {literal(DISCARDED)} WHERE _k IN ({dropped})")
