"""What was known when, out of a dataset's history: each version with the interval in which it was shown.

A version is known from the instant at which its batch had settled, or at which a person replayed it, until another
one of its row is; never from its event time. Rejected, discarded and superseded versions were shown to nobody.

| table      | a line per | columns                                                                                 |
|------------|------------|-----------------------------------------------------------------------------------------|
| `vN`       | version    | `_k`, `_batch`, `_ord`, `_op`, `_event`, `fk` (feature key), `from_us`, `until_us`, ... |
| `notesN`   | key, time  | `k`, `from_us`, `until_us`, `sentence`: held, or a newer version was discarded          |
| `settledN` | batch      | `batch`, `published_us`, `began_us`, `began_source_us`, where history does not say      |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mainstay.core.nouns import ColumnType, Dataset
from mainstay.core.records import BatchRecord
from mainstay.core.sql import DUCKDB_TYPES, identifier, literal
from mainstay.pipelines.currency import Rates, conversions, converted
from mainstay.pipelines.features import ALL, mapping_sql
from mainstay.pipelines.stage import RAW_TYPES, Shape, texts_sql

if TYPE_CHECKING:
    import duckdb

FOREVER = 2**62
"""Later than every instant."""

_KEPT_TYPES: dict[ColumnType, tuple[str, str]] = {
    "string": ("VARCHAR", "string"),
    "integer": ("BIGINT", "int64"),
    "number": ("DOUBLE", "double"),
    "boolean": ("BOOLEAN", "bool"),
    "date": ("DATE", "date32[day]"),
    "timestamp": ("BIGINT", "int64"),
    "json": ("VARCHAR", "string"),
    "bytes": ("BLOB", "binary"),
}
"""How history keeps a column: DuckDB's type, and the word behind `__` where its name was taken by another type."""

_META = {
    "key": "_k", "batch": "_batch", "ordinal": "_ord", "op": "_op", "event_us": "_event", "known_us": "_landed",
    "state": "_state", "reasons": "_reasons",
}  # fmt: skip
_LATER = {"released": "BOOLEAN", "published_us": "BIGINT", "began_us": "BIGINT", "began_source_us": "BIGINT"}
"""Columns that rows appended by earlier Mainstays do not have."""

_NOTHING = (
    "(SELECT NULL::VARCHAR AS key, NULL::BIGINT AS batch, NULL::BIGINT AS ordinal, NULL::VARCHAR AS op, "
    "NULL::BIGINT AS event_us, NULL::BIGINT AS known_us, NULL::VARCHAR AS state, NULL::VARCHAR AS reasons, "
    "NULL::VARCHAR AS cleaning, NULL::VARCHAR AS raw LIMIT 0)"
)
"""A history to which nothing was appended yet."""


class Versions:
    """A dataset's history, as today's contract cleans it.

    Args:
        db: The working database, with a schema `training`.
        place: Numbers the dataset's tables.
        dataset: The contract.
        mapping: How its rows map to the feature key.
        files: Of its history table.
        fates: Of the table of what became of its quarantined versions.
        form: How its raw values are read and cleaned today; None where landing has nothing left to tell it by.
        rates: Where the rates of its amounts are.
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        place: int,
        dataset: Dataset,
        mapping: str,
        *,
        files: Sequence[str],
        fates: Sequence[str],
        form: Shape | None,
        rates: Rates,
    ) -> None:
        self.db = db
        self.place = place
        self.dataset = dataset
        self.mapping = mapping
        self.form = form
        self._rates = rates
        self._files = _read(files) or _NOTHING
        self._fates = _read(fates)
        self._there = {name: kind for name, kind, *_ in db.execute(f"DESCRIBE SELECT * FROM {self._files}").fetchall()}
        self._unlike = self._unlike_today()
        self.recleaned = self._count(self._unlike) if self._unlike else 0

    @property
    def everywhere(self) -> bool:
        """Whether its rows are shown to every key."""
        return self.mapping == ALL

    # --- versions as today's contract cleans them ------------------------------------------------------------------

    def relation(self, names: Iterable[str]) -> str:
        """A query of every version: our columns (`_k`, `_batch`, ...) and `names` of the contract."""
        wanted = set(names)
        columns = [column for column in self.dataset.columns if column.name in wanted]
        kept = ", ".join([*self._meta(), *(f"{self._kept(c.name, c.type)} AS {identifier(c.name)}" for c in columns)])
        if not self._unlike:
            return f"(SELECT {kept} FROM {self._files})"
        again = self._cleaned_again([column.name for column in columns])
        return f"(SELECT {kept} FROM {self._files} WHERE NOT ({self._unlike}) UNION ALL {again})"

    def _meta(self) -> list[str]:
        later = (f"{name if name in self._there else 'NULL'}::{kind} AS _{name}" for name, kind in _LATER.items())
        return [*(f"{name} AS {ours}" for name, ours in _META.items()), *later]

    def _kept(self, name: str, kind: ColumnType) -> str:
        """A cleaned column as history has it, in the contract's type."""
        found = self._column_of(name, kind)
        if found is None:
            return f"NULL::{DUCKDB_TYPES[kind]}"
        return f"make_timestamp({found})" if kind == "timestamp" else f"{found}::{DUCKDB_TYPES[kind]}"

    def _column_of(self, name: str, kind: ColumnType) -> str | None:
        wanted, word = _KEPT_TYPES[kind]
        for candidate in (f"c_{name}", f"c_{name}__{word}"):
            if self._there.get(candidate) == wanted:
                return identifier(candidate)
        return None  # gained by the contract since, or never anything but NULL

    def _cleaned_again(self, names: Sequence[str]) -> str:
        """The versions that another cleaning made, out of their raw values."""
        if self.form is None:
            raise AssertionError("without a form nothing is unlike today")
        raw = (
            f"CAST(_texts[{place}] AS {RAW_TYPES.get(kind, 'VARCHAR')}) AS {identifier(name)}"
            for place, (name, kind) in enumerate(self.form.kinds.items(), 1)
        )
        parsed = f"(SELECT *, {texts_sql(self.form.raw)} AS _texts FROM {self._files} WHERE {self._unlike})"
        relation = f"(SELECT {', '.join([*self._meta(), *raw])} FROM {parsed})"
        ours = [*_META.values(), *(f"_{name}" for name in _LATER)]
        cleaned = self.form.cleaning.select(relation, keep=ours, bad=False)
        cleaned = converted(self.dataset, cleaned, self.form.timezone, self._rates)
        return f"SELECT {', '.join([*ours, *(identifier(name) for name in names)])} FROM ({cleaned})"

    def _unlike_today(self) -> str:
        """A condition: history's cleaned columns are not what today's contract makes of the raw ones. Empty: none is.

        History keeps no infinite timestamps: a version that may have one is cleaned again too.
        """
        if self.form is None:
            return ""
        parts = []
        other = f"cleaning IS DISTINCT FROM {literal(self.form.cleaned_with)}"
        if self._count(other):
            parts.append(other)
        for column in self.dataset.columns:
            found = self._column_of(column.name, column.type) if column.type == "timestamp" else None
            if found and self._count(f"op = 'u' AND {found} IS NULL"):
                path = literal("$." + json.dumps(column.source_name))
                parts.append(f"(op = 'u' AND {found} IS NULL AND json_extract_string(raw, {path}) IS NOT NULL)")
        for column, _ in conversions(self.dataset):
            # A row that waited for its rate went to history without an amount, and was shown with one later.
            found = self._column_of(column.name, column.type) or "NULL"
            if self._count(f"op = 'u' AND {found} IS NULL"):
                parts.append(f"(op = 'u' AND {found} IS NULL)")
        return " OR ".join(parts)

    def _count(self, condition: str) -> int:
        return int(first(self.db, f"SELECT count(*) FROM {self._files} WHERE {condition}")[0])

    # --- intervals -------------------------------------------------------------------------------------------------

    def load(self, settled: Mapping[int, BatchRecord]) -> None:
        """Makes `vN` and `notesN` for the keys in `training.wanted`."""
        self._load_settled(settled)
        source = f"SELECT *, {self._key()} AS fk FROM {self.relation(self._mapped_by())}"
        only = ""
        if self.mapping == self.dataset.key:
            only = "WHERE _k IN (SELECT k FROM training.wanted)"
        elif not self.everywhere:
            only = f"WHERE _k IN (SELECT _k FROM ({source}) WHERE fk IN (SELECT k FROM training.wanted))"
        fates = self._fates_sql()
        self.db.execute(f"""
            CREATE TABLE training.v{self.place} AS
            WITH found AS (SELECT * FROM ({source}) {only}),
            placed AS (
                SELECT h._k, h._batch, h._ord, h._op, h._event, h._landed, h.fk, h._state, f.fate, f.changed_us,
                    coalesce(h._published_us, s.published_us, h._landed) AS published_us,
                    coalesce(h._began_us, s.began_us) AS began_us,
                    coalesce(h._began_source_us, s.began_source_us, h._began_us, s.began_us) AS began_source_us,
                    h._published_us IS NULL AND s.published_us IS NULL AS about,
                    CASE WHEN coalesce(h._released, FALSE)
                        THEN concat_ws('; ', concat('released in batch ', h._batch), h._reasons)
                        WHEN h._state = 'published' THEN h._reasons END AS warn,
                    h._reasons AS reasons
                FROM found h LEFT JOIN ({fates}) f ON f.batch = h._batch AND f.ordinal = h._ord
                LEFT JOIN training.settled{self.place} s ON s.batch = h._batch
            ),
            shown AS (SELECT *, CASE WHEN _state = 'published' THEN published_us
                WHEN fate = 'published' THEN changed_us END AS from_us FROM placed)
            SELECT *, coalesce(lead(from_us IGNORE NULLS) OVER later, {FOREVER}) AS until_us,
                coalesce(lead(CASE WHEN _state = 'discarded' THEN published_us ELSE from_us END IGNORE NULLS)
                    OVER later, {FOREVER}) AS settled_us
            FROM shown WINDOW later AS (PARTITION BY _k ORDER BY _batch, _ord)""")
        self._load_notes()

    def batches_sql(self) -> str:
        """A query of (`published_us`, `began_us`): the batches that moved the dataset's as-of."""
        return (
            "SELECT min(coalesce(_published_us, s.published_us, _landed)) AS published_us, "
            "min(coalesce(_began_us, s.began_us, _landed)) AS began_us "
            f"FROM {self.relation(())} LEFT JOIN training.settled{self.place} s ON s.batch = _batch "
            "WHERE _state <> 'discarded' GROUP BY _batch"
        )

    def _key(self) -> str:
        if self.everywhere:
            return "NULL::VARCHAR"
        return "_k" if self.mapping == self.dataset.key else mapping_sql(self.dataset, self.mapping)

    def _mapped_by(self) -> set[str]:
        """The columns that the mapping reads."""
        if self.everywhere or self.mapping == self.dataset.key:
            return set()
        by_name = {column.name.lower(): column.name for column in self.dataset.columns}
        if self.mapping.lower() in by_name:
            return {by_name[self.mapping.lower()]}
        import sqlglot
        from sqlglot import exp

        read = {
            column.name.lower() for column in sqlglot.parse_one(self.mapping, dialect="duckdb").find_all(exp.Column)
        }
        return {name for lower, name in by_name.items() if lower in read}

    def _load_settled(self, settled: Mapping[int, BatchRecord]) -> None:
        import pyarrow as pa

        rows = list(settled.values())
        table = pa.table(
            {
                "batch": pa.array([one.number for one in rows], pa.int64()),
                "published_us": pa.array([one.settled_us for one in rows], pa.int64()),
                "began_us": pa.array([one.moves_us for one in rows], pa.int64()),
                "began_source_us": pa.array([one.began_source_us for one in rows], pa.int64()),
            }
        )
        self.db.register("settled_rows", table)
        self.db.execute(f"CREATE TABLE training.settled{self.place} AS SELECT * FROM settled_rows")
        self.db.unregister("settled_rows")

    def _fates_sql(self) -> str:
        if not self._fates:
            nothing = (
                "NULL::BIGINT AS batch, NULL::BIGINT AS ordinal, NULL::VARCHAR AS fate, NULL::BIGINT AS changed_us"
            )
            return f"SELECT {nothing} LIMIT 0"
        latest = "arg_max(state, changed_us) AS fate, max(changed_us) AS changed_us"
        return f"SELECT batch, ordinal, {latest} FROM {self._fates} GROUP BY ALL"

    def _load_notes(self) -> None:
        """When a key was held, or went on after a newer version of its row was discarded."""
        v = f"training.v{self.place}"
        discarded = "CASE WHEN _state = 'discarded' THEN published_us WHEN fate = 'discarded' THEN changed_us END"
        self.db.execute(f"""
            CREATE TABLE training.notes{self.place} AS
            WITH spans AS (
                SELECT _k, fk, published_us AS from_us, least(coalesce(changed_us, {FOREVER}), settled_us) AS until_us,
                    'held: ' || coalesce(reasons, 'rejected') AS sentence, TRUE AS held
                FROM {v} WHERE _state = 'quarantined'
                UNION ALL SELECT _k, fk, {discarded}, until_us, 'a newer version was discarded', FALSE
                FROM {v} WHERE {discarded} IS NOT NULL
            )
            SELECT fk AS k, from_us, until_us, sentence, held FROM spans WHERE from_us < until_us
            UNION SELECT v.fk, greatest(s.from_us, v.from_us), least(s.until_us, v.until_us), s.sentence, s.held
            FROM spans s JOIN {v} v USING (_k) WHERE greatest(s.from_us, v.from_us) < least(s.until_us, v.until_us)""")

    def evaluated_sql(self) -> str:
        """A query of (`k`, `at_us`, `source_us`): when rows of a key were computed, and at which `$as_of`.

        By a batch, or by what a person decided; `source_us` is NULL where only the journal says it.
        """
        v = f"training.v{self.place}"
        return f"""
            WITH acts AS (
                SELECT _k, fk, published_us AS at_us,
                    CASE WHEN _state <> 'discarded' THEN began_source_us END AS source_us
                FROM {v} WHERE _state <> 'superseded'
                UNION ALL SELECT _k, fk, changed_us, NULL FROM {v} WHERE fate IN ('published', 'discarded'))
            SELECT fk AS k, at_us, source_us FROM acts
            UNION SELECT v.fk, a.at_us, a.source_us FROM acts a JOIN {v} v USING (_k)
            WHERE (v.from_us < a.at_us AND a.at_us <= v.until_us)
                OR (v._state = 'quarantined' AND v.published_us < a.at_us
                    AND a.at_us <= least(coalesce(v.changed_us, {FOREVER}), v.settled_us))"""


def first(db: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    """The only row of a query. All is fetched: an unfinished result keeps the connection from other work."""
    rows: list[tuple[Any, ...]] = db.execute(sql).fetchall()
    return rows[0]


def rates_in(files: Sequence[str]) -> str:
    """The rates that a dataset's history has, as `converted` reads them: those of the newest version of each key."""
    if not files:
        return "(SELECT NULL::VARCHAR AS currency, NULL::DATE AS date, NULL::DOUBLE AS rate LIMIT 0)"
    newest = (
        f"SELECT * FROM {_read(files)} WHERE state = 'published' "
        "QUALIFY row_number() OVER (PARTITION BY key ORDER BY batch DESC, ordinal DESC) = 1"
    )
    return (
        "(SELECT c_currency AS currency, c_date AS date, arg_max(c_rate, row(batch, ordinal)) AS rate "
        f"FROM ({newest}) WHERE op = 'u' AND c_currency IS NOT NULL AND isfinite(c_date) AND c_rate > 0 "
        "AND isfinite(c_rate) GROUP BY ALL)"
    )


def _read(files: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in files)
    return f"read_parquet([{listed}], union_by_name => true)" if listed else ""
