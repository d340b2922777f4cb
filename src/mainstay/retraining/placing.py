"""Which state of its key each label saw, in the working database: from labels and versions to the groups of a plan.

A label's state is what was known of its key at its instant: since when nothing about the key had changed (`since`), as
which datasets mapped to `all` stood then (`e0`, `e1`, ...), and, where the SQL uses it, the `$as_of` of the feature row
that was served (`as_of`). Labels of one key between two changes share a state, and its row is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.records import FeatureSetState
from mainstay.core.sql import literal
from mainstay.retraining.known import FOREVER, Versions
from mainstay.retraining.plan import Group

if TYPE_CHECKING:
    import duckdb


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A computation of feature rows that the journal tells of: for every key, or for what a person decided."""

    at_us: int
    """When it was told; its rows were shown just before."""
    source_us: int
    """Its `$as_of`."""
    dataset: str
    cause: str
    every_key: bool


def place_labels(
    db: duckdb.DuckDBPyConnection,
    state: FeatureSetState,
    versions: Sequence[Versions],
    evaluations: Sequence[Evaluation],
) -> tuple[Group, ...]:
    """Makes `training.states` and `training.placed` (label `n` -> state `sid`) out of `training.seen`."""
    keyed = [one for one in versions if not one.everywhere]
    shared = [one for one in versions if one.everywhere]
    _touches(db, keyed)
    steps = _Steps(db)
    steps.add(
        "SELECT l.n, l.k, l.at_us, coalesce(t.at_us, 0) AS since FROM {before} l "
        "ASOF LEFT JOIN training.touches t ON l.k = t.k AND l.at_us >= t.at_us"
    )
    for one in shared:
        _boundaries(db, one)
        steps.add(
            f"SELECT l.*, coalesce(b.at_us, 0) AS e{one.place} FROM {{before}} l "
            f"ASOF LEFT JOIN training.boundaries{one.place} b ON l.at_us >= b.at_us"
        )
    if state.uses_as_of:
        _evaluations(db, versions, evaluations)
        _find_as_of(steps, state)
    else:
        steps.add("SELECT *, 0 AS as_of FROM {before}")
    return _states(db, steps.last, [f"e{one.place}" for one in shared])


class _Steps:
    """Tables that follow one another, each the one before with a column more."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        self._number = 0
        self.last = "training.seen"

    def add(self, sql: str) -> None:
        self._number += 1
        name = f"training.step{self._number}"
        self._db.execute(f"CREATE TABLE {name} AS {sql.format(before=self.last)}")
        if self.last != "training.seen":
            self._db.execute(f"DROP TABLE {self.last}")
        self.last = name


def _touches(db: duckdb.DuckDBPyConnection, keyed: Sequence[Versions]) -> None:
    """Instants at which what is known of a key changed."""
    parts = ["SELECT NULL::VARCHAR AS k, NULL::BIGINT AS at_us LIMIT 0"]
    for one in keyed:
        v = f"training.v{one.place} WHERE from_us IS NOT NULL AND fk IS NOT NULL"
        parts += [f"SELECT fk, from_us FROM {v}", f"SELECT fk, until_us FROM {v} AND until_us < {FOREVER}"]
    united = " UNION ".join(f"({part})" for part in parts)
    db.execute(f"CREATE TABLE training.touches AS SELECT k, at_us FROM ({united})")


def _boundaries(db: duckdb.DuckDBPyConnection, one: Versions) -> None:
    v = f"training.v{one.place} WHERE from_us IS NOT NULL"
    db.execute(
        f"CREATE TABLE training.boundaries{one.place} AS SELECT from_us AS at_us FROM {v} "
        f"UNION SELECT until_us FROM {v} AND until_us < {FOREVER}"
    )


def _evaluations(
    db: duckdb.DuckDBPyConnection, versions: Sequence[Versions], evaluations: Sequence[Evaluation]
) -> None:
    """Makes `own` (per key) and `every` (for all keys): when rows were computed, and at which `$as_of`."""
    import pyarrow as pa

    told = pa.table(
        {
            "at_us": pa.array([one.at_us for one in evaluations], pa.int64()),
            "source_us": pa.array([one.source_us for one in evaluations], pa.int64()),
            "dataset": pa.array([one.dataset for one in evaluations], pa.string()),
            "cause": pa.array([one.cause for one in evaluations], pa.string()),
            "every_key": pa.array([one.every_key for one in evaluations], pa.bool_()),
        }
    )
    db.register("told_rows", told)
    db.execute("CREATE TABLE training.told AS SELECT * FROM told_rows")
    db.unregister("told_rows")
    acts = " UNION ALL ".join(
        f"SELECT k, at_us, source_us, {literal(one.dataset.name)} AS dataset FROM ({one.evaluated_sql()}) "
        f"WHERE {'TRUE' if one.everywhere else 'k IS NOT NULL'}"  # a row that maps to no key has none computed
        for one in versions
    )
    nearest = (
        "(SELECT arg_min(t.source_us, abs(t.at_us - a.at_us)) FROM training.told t "
        "WHERE t.cause = 'discard' AND t.dataset = a.dataset)"
    )
    db.execute(
        "CREATE TABLE training.acts AS SELECT k, at_us, max(source_us) AS source_us FROM ("
        f"SELECT k, at_us, coalesce(source_us, {nearest}) AS source_us FROM ({acts}) a) "
        "WHERE source_us IS NOT NULL GROUP BY ALL"
    )
    db.execute("CREATE TABLE training.own AS SELECT * FROM training.acts WHERE k IS NOT NULL")
    db.execute(
        "CREATE TABLE training.every_one AS SELECT at_us, max(source_us) AS source_us, bool_or(told) AS told FROM ("
        "SELECT at_us, source_us, TRUE AS told FROM training.told WHERE every_key "
        "UNION ALL SELECT at_us, source_us, FALSE FROM training.acts WHERE k IS NULL) GROUP BY at_us"
    )


def _find_as_of(steps: _Steps, state: FeatureSetState) -> None:
    """The `$as_of` of the row that was served: of the last computation that a label's key had, for whatever reason.

    Before the journal tells of the set it was not kept, so no row was served: a set with `refresh` is then taken as
    refreshed at each full multiple of it, and any other as computed when its rows last changed.
    """
    steps.add(
        "SELECT l.*, o.at_us AS own_at, o.source_us AS own_as_of FROM {before} l "
        "ASOF LEFT JOIN training.own o ON l.k = o.k AND l.at_us >= o.at_us"
    )
    steps.add(
        "SELECT l.*, v.at_us AS every_at, v.source_us AS every_as_of FROM {before} l "
        "ASOF LEFT JOIN training.every_one v ON l.at_us >= v.at_us"
    )
    last = "CASE WHEN own_at IS NULL OR every_at >= own_at THEN coalesce(every_as_of, own_as_of) ELSE own_as_of END"
    if state.refresh_us:
        kept = "l.at_us >= (SELECT coalesce(min(at_us), 9223372036854775807) FROM training.every_one WHERE told)"
        grid = f"l.at_us // {state.refresh_us} * {state.refresh_us}"
        last = f"CASE WHEN {kept} THEN {last} ELSE greatest({last}, {grid}) END"
    steps.add(
        f"SELECT l.* EXCLUDE (own_at, own_as_of, every_at, every_as_of), coalesce({last}, 0) AS as_of FROM {{before}} l"
    )


def _states(db: duckdb.DuckDBPyConnection, labels: str, epochs: list[str]) -> tuple[Group, ...]:
    together = ", ".join(["as_of", *epochs])
    known = "TRUE" if epochs else "since > 0"
    db.execute(f"""
        CREATE TABLE training.states AS
        WITH apart AS (SELECT DISTINCT k, since, {together} FROM {labels} WHERE {known}),
        waves AS (SELECT *, row_number() OVER (PARTITION BY k, {together} ORDER BY since) AS wave FROM apart)
        SELECT row_number() OVER () - 1 AS sid, * EXCLUDE (wave), dense_rank() OVER (ORDER BY {together}, wave) AS grp,
            row_number() OVER (PARTITION BY {together}, wave ORDER BY k) - 1 AS place FROM waves""")
    same = " AND ".join(f"s.{name} = l.{name}" for name in ("k", "since", "as_of", *epochs))
    db.execute(f"CREATE TABLE training.placed AS SELECT l.n, s.sid FROM {labels} l JOIN training.states s ON {same}")
    shown = ", ".join(epochs) if epochs else "NULL"
    rows = db.execute(
        f"SELECT grp, as_of, [{shown}], count(*) FROM training.states GROUP BY ALL ORDER BY grp"
    ).fetchall()
    return tuple(Group(number, as_of, tuple(at) if epochs else (), states) for number, as_of, at, states in rows)


def erased_keys(db: duckdb.DuckDBPyConnection, erased: Callable[[str], bool] | None) -> None:
    """Makes `training.erased`: the keys of labels that were erased."""
    db.execute("CREATE TABLE training.erased (k VARCHAR)")
    if erased is None:
        return
    cursor = db.cursor().execute("SELECT DISTINCT k FROM training.labels")
    while keys := cursor.fetchmany(10_000):
        gone = [(key,) for (key,) in keys if erased(key)]
        if gone:
            db.executemany("INSERT INTO training.erased VALUES (?)", gone)
