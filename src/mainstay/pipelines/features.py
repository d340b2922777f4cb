"""Feature rows: the SQL of a feature set over current, for the keys that a change affects, written to online.

Only rows that map to an affected key are shown to the SQL, so what it costs follows the change and not the table.
Where a mapping is `all`, or every key is affected, the SQL sees everything: incremental equals full for equal `$as_of`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.clock import naive_utc
from mainstay.core.counts import counted
from mainstay.core.errors import Refused
from mainstay.core.keys import joined_sql, key_names, shown_names
from mainstay.core.nouns import ColumnType, Dataset
from mainstay.core.ports import Online, OnlineRow, PackedRow
from mainstay.core.records import FeatureSetState
from mainstay.core.sql import identifier, literal
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.ahead import ahead
from mainstay.pipelines.feature_fault import failing_key, rows_of_key, suspects_sql
from mainstay.pipelines.feature_sql import filled_columns
from mainstay.pipelines.packed import packed_rows
from mainstay.store.current import Current, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

ALL = "all"
CHUNK = 20_000
MOST_VALUES = 10_000_000
"""Values of feature rows that are sorted at once."""

_FACTS = "dataset, event, landed, position, warn, held_as_of, held, blind, why, deleted, filled"
"""What a line of `source_facts` says of a feature key `k`."""


class Moment(msgspec.Struct, frozen=True):
    """When feature rows are computed, by both clocks."""

    ours_us: int
    source_us: int


def mapping_sql(dataset: Dataset, mapping: str) -> str:
    """The feature key of a row of `dataset` as canonical text, over its cleaned columns."""
    columns = {column.name for column in dataset.columns}
    return joined_sql(
        [f"CAST({identifier(part) if part in columns else f'({part})'} AS VARCHAR)" for part in key_names(mapping)]
    )


def affected_sql(dataset: Dataset, mapping: str, relation: str) -> str:
    """The feature keys that rows of `relation` map to."""
    return f"SELECT DISTINCT {mapping_sql(dataset, mapping)} AS k FROM {relation}"


def known_to_sql(dataset: Dataset, mapping: str, keys_sql: str) -> list[str]:
    """The feature keys that what is shown of some of a dataset's keys maps to.

    That is the row in current, the rejected version by which a key is held, and the key itself where it is the feature
    key.
    """
    schema = schema_of(dataset.name)
    held = f"SELECT q.* FROM {schema}.quarantine q SEMI JOIN {schema}.held USING (_k, _batch, _ord)"
    parts = [
        affected_sql(dataset, mapping, f"(SELECT * FROM {schema}.rows WHERE _k IN ({keys_sql}))"),
        affected_sql(dataset, mapping, f"({held} WHERE q._k IN ({keys_sql}))"),
    ]
    if mapping == dataset.key:
        parts.append(f"SELECT _k AS k FROM ({keys_sql}) WHERE _k NOT LIKE chr(1) || '%'")
    return parts


def values_sql(columns: Sequence[tuple[str, ColumnType]]) -> str:
    """A row's values as the JSON text that OnlineRow.values holds."""
    plain = ", ".join(_plain_sql(name, kind) for name, kind in columns)
    numbers = [identifier(name) for name, kind in columns if kind == "number"]
    if not numbers:
        return f"CAST(json_array({plain}) AS VARCHAR)"
    # JSON has no word for infinity. Spelling every number costs three times what the array costs: only where needed.
    finite = " AND ".join(f"coalesce(isfinite({number}::DOUBLE), TRUE)" for number in numbers)
    spelled = ", ".join(
        _spelled_sql(identifier(name)) if kind == "number" else _plain_sql(name, kind) for name, kind in columns
    )
    return f"CAST(CASE WHEN {finite} THEN json_array({plain}) ELSE json_array({spelled}) END AS VARCHAR)"


def _plain_sql(name: str, kind: ColumnType) -> str:
    column = identifier(name)
    if kind == "number":
        return f"{column}::DOUBLE"
    if kind == "timestamp":
        return f"CASE WHEN isfinite({column}) THEN epoch_us({column}) END"
    if kind == "bytes":
        return f"base64({column})"
    if kind == "date":
        return f"CAST({column} AS VARCHAR)"
    return column


def _spelled_sql(column: str) -> str:
    text = (
        f"CASE WHEN isnan({column}::DOUBLE) THEN 'NaN' WHEN {column}::DOUBLE > 0 THEN 'Infinity' ELSE '-Infinity' END"
    )
    finite = f"{column} IS NULL OR isfinite({column}::DOUBLE)"
    return f"CASE WHEN {finite} THEN to_json({column}::DOUBLE) ELSE to_json({text}) END"


class FeatureWriter:
    """Computes and writes the feature rows of one feature set.

    Args:
        current: The open DuckDB file.
        online: Where the rows go.
        datasets: Every dataset by name; those in `state.mapping` are read.
        state: The feature set.
        token: The lease's fencing token.
    """

    def __init__(
        self, current: Current, online: Online, datasets: dict[str, Dataset], state: FeatureSetState, *, token: int
    ) -> None:
        self.current = current
        self.online = online
        self.datasets = {name: datasets[name] for name in state.mapping}
        self.state = state
        self._key = joined_sql([f"CAST({identifier(name)} AS VARCHAR)" for name in state.key_names])
        self.token = token
        self._may_be_filled = filled_columns(state, self.datasets)

    def write(self, keys: pa.Table | None, *, plan: int, moment: Moment) -> int:
        """Computes the rows of `keys` (column `k`; None: all) and writes them under the publish plan's number.

        Returns:
            How many rows were written. Raises Refused when the SQL gives more than one row for a key.
        """
        everything = keys is None
        if keys is not None:
            self._load_keys(keys)
        self._show_datasets(everything=everything)
        self._compute(moment, everything=everything)
        empty = everything and not self.online.count(self.state.digest)
        lone = self._lone_dataset() if everything else None
        if lone is not None:
            self._load_exceptions(lone)
        general = everything and lone is None
        self._facts(everything=general)
        rows = self._online_rows(plan, moment, everything=general)
        written = self.online.put(self.state.digest, rows, token=self.token)
        if lone is not None:
            with closing(ahead(self._plain_rows(lone, plan, moment))) as chunks:
                plain = chain.from_iterable(chunks)
                written += self.online.put_packed(self.state.digest, plain, token=self.token)
        if not empty:
            self._remove_vanished(plan, everything=everything)
        self._hide_datasets()
        return written

    # --- every key of a set over one dataset's own key: nearly all have one row each and nothing to be said ----------

    def _lone_dataset(self) -> Dataset | None:
        """The only dataset of the set, where its feature key is its own key, row by row; else None."""
        if len(self.datasets) != 1:
            return None
        ((name, dataset),) = self.datasets.items()
        if self.state.mapping[name] != dataset.key:
            return None
        key = mapping_sql(dataset, dataset.key)
        other = self.current.one(
            f"SELECT EXISTS (SELECT 1 FROM {schema_of(name)}.rows WHERE NOT _deleted AND {key} <> _k)"
        )[0]
        return None if other else dataset

    def _load_exceptions(self, dataset: Dataset) -> None:
        """Makes `affected` the keys that are held or deleted: they take the road of a change."""
        parts = self._held_facts(dataset.name, dataset, dataset.key, mapping_sql(dataset, dataset.key))
        wanted = [f"SELECT _k AS k FROM {schema_of(dataset.name)}.rows WHERE _deleted"]
        if parts:
            wanted.append(f"SELECT k FROM ({' UNION ALL '.join(parts)}) AS held (k, {_FACTS}) WHERE k IS NOT NULL")
        self.current.sql(f"CREATE OR REPLACE TEMP TABLE affected AS {' UNION '.join(wanted)}")

    def _plain_rows(self, dataset: Dataset, plan: int, moment: Moment) -> Iterator[list[PackedRow]]:
        """Every other key's row, packed, in the order of keys: an index is filled three times as fast in its order."""
        position = literal(f'{{"{dataset.name}":[') + " || r._batch || ',' || r._ord || ']}'"
        filled = literal(f'{{"{dataset.name}":[') + f" || {self._filled_sql(dataset.name)} || ']}}'"
        evaluated = moment.ours_us if self.state.uses_as_of else None
        # sorted a piece at a time: the values of a large or wide set are more than memory
        for low, high in self._ranges():
            own, computed = _between("_k", low, high), _between("k", low, high)
            reader = self.current.reader(
                "SELECT c.k, c.v, r._event AS event, coalesce(r._landed, 0) AS landed, r._warn AS warn, "
                f"CASE WHEN r._k IS NULL THEN '{{}}' ELSE {position} END AS positions, {filled} AS filled "
                f"FROM (SELECT * FROM computed WHERE {computed}) c "
                f"LEFT JOIN (SELECT * FROM {schema_of(dataset.name)}.rows "
                f"WHERE NOT _deleted AND {mapping_sql(dataset, dataset.key)} IS NOT NULL AND {own}) r ON r._k = c.k "
                "WHERE NOT EXISTS (SELECT 1 FROM affected a WHERE a.k = c.k) ORDER BY c.k",
                CHUNK,
            )
            for batch in reader:
                yield packed_rows(batch, plan=plan, evaluated_us=evaluated)

    def _ranges(self) -> list[tuple[str | None, str | None]]:
        """Bounds, as literals, that part the keys of `computed` into ranges of so many rows that their values are few.

        From the first on, up to the second; None: no bound.
        """
        rows = max(CHUNK, MOST_VALUES // max(1, len(self.state.columns)))
        if int(self.current.one("SELECT count(*) FROM computed")[0]) <= rows:
            return [(None, None)]
        starts = self.current.sql(
            "SELECT k FROM (SELECT k, row_number() OVER (ORDER BY k) AS n FROM computed) "
            f"WHERE n > 1 AND n % {rows} = 1 ORDER BY k"
        )
        return list(pairwise([None, *(literal(str(k)) for (k,) in starts), None]))

    def _filled_sql(self, name: str, over: str = "") -> str:
        """The columns that the SQL reads and whose `fill` stands in for an absent value: a JSON list without brackets.

        NULL: none. `over`: the aggregate by which several rows are one.
        """
        there = "list_contains(string_split(_filled, ', '), {})"
        names = [
            f"CASE WHEN {over}({there.format(literal(one))}) THEN {literal(json.dumps(one, ensure_ascii=False))} END"
            for one in self._may_be_filled.get(name, ())
        ]
        return f"nullif(concat_ws(',', {', '.join(names)}), '')" if names else "NULL::VARCHAR"

    def _load_keys(self, keys: pa.Table) -> None:
        self.current.db.register("affected_in", keys)
        self.current.sql(
            "CREATE OR REPLACE TEMP TABLE affected AS SELECT DISTINCT k FROM affected_in WHERE k IS NOT NULL"
        )
        self.current.db.unregister("affected_in")

    def _show_datasets(self, *, everything: bool) -> None:
        for name, dataset in self.datasets.items():
            columns = ", ".join(identifier(column.name) for column in dataset.columns)
            mapping = self.state.mapping[name]
            narrowed = (
                ""
                if everything or mapping == ALL
                else f" AND {mapping_sql(dataset, mapping)} IN (SELECT k FROM affected)"
            )
            self.current.sql(
                f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS "
                f"SELECT {columns} FROM {schema_of(name)}.rows WHERE NOT _deleted{narrowed}"
            )

    def _hide_datasets(self) -> None:
        for name in self.datasets:
            self.current.sql(f"DROP VIEW IF EXISTS temp.main.{identifier(name)}")

    def _evaluate(self, moment: Moment, columns: Sequence[tuple[str, ColumnType]]) -> None:
        parameters = {"as_of": naive_utc(moment.source_us)} if self.state.uses_as_of else None
        self.current.sql(
            "CREATE OR REPLACE TEMP TABLE computed AS "
            f"SELECT {self._key} AS k, {values_sql(columns)} AS v FROM ({self.state.sql}) "
            f"WHERE {self._key} IS NOT NULL",
            parameters,
        )

    def _compute(self, moment: Moment, *, everything: bool) -> None:
        import duckdb

        try:
            self._evaluate(moment, self.state.columns)
        except duckdb.Error as error:  # its text may quote a value, which may be a person's
            raise Refused(
                f"the SQL of feature view {self.state.view} cannot be evaluated on "
                f"{self._fault(moment, everything=everything)}: {type(error).__name__}",
                mend="let it give NULL where it cannot compute (TRY_CAST, CASE), or check the column before it",
            ) from error
        twice = self.current.sql("SELECT count(*) FROM computed HAVING count(*) > count(DISTINCT k)")
        if twice:
            key = shown_names(self.state.key)
            raise Refused(
                f"the SQL of feature view {self.state.view} gives more than one row for a {key}",
                mend=f"aggregate or filter so that each {key} has one row",
            )

    def _fault(self, moment: Moment, *, everything: bool) -> str:
        """The first row that the SQL fails on, with the feature that does, where it is one row's fault; for people."""
        import duckdb

        def fails(columns: Sequence[tuple[str, ColumnType]] = self.state.columns) -> bool:
            try:
                self._evaluate(moment, columns)
            except duckdb.Error:
                return True
            return False

        mapping = self.state.mapping
        keys = {
            name: ALL if mapping[name] == ALL else mapping_sql(one, mapping[name])
            for name, one in self.datasets.items()
        }
        suspects = suspects_sql(self.datasets, keys) if everything else "SELECT k FROM affected"
        self.current.sql(f"CREATE OR REPLACE TEMP TABLE suspects AS {suspects}")
        self.current.sql("CREATE OR REPLACE TEMP TABLE affected AS SELECT k FROM suspects LIMIT 0")
        self._show_datasets(everything=False)
        if failing_key(self.current, fails) is None:
            return "these rows"
        rows = rows_of_key(self.current, tuple(self.datasets), keys)
        column = next((f", feature {one[0]}" for one in self.state.columns if fails((one,))), "")
        return f"one row ({rows}{column})"

    def _facts(self, *, everything: bool) -> None:
        """Makes `source_facts`: per feature key and dataset, times, warnings and positions of the rows behind it."""
        parts = []
        for name, dataset in self.datasets.items():
            mapping = self.state.mapping[name]
            key = "NULL" if mapping == ALL else mapping_sql(dataset, mapping)
            only = "" if everything or mapping == ALL else f" AND {key} IN (SELECT k FROM affected)"
            own = mapping == dataset.key
            parts.append(
                f"SELECT {key} AS k, {literal(name)} AS dataset, max(_event) AS event, max(_landed) AS landed, "
                "max(row(_batch, _ord)) AS position, min(_warn) AS warn, NULL::BIGINT AS held_as_of, FALSE AS held, "
                f"FALSE AS blind, NULL::VARCHAR AS why, FALSE AS deleted, "
                f"{self._filled_sql(name, 'bool_or')} AS filled "
                f"FROM {schema_of(name)}.rows WHERE NOT _deleted{only} GROUP BY ALL"
            )
            if own:
                parts.append(
                    f"SELECT _k, {literal(name)}, NULL, _landed, row(_batch, _ord), NULL, NULL, FALSE, FALSE, NULL, "
                    f"TRUE, NULL FROM {schema_of(name)}.rows WHERE _deleted"
                    + ("" if everything else " AND _k IN (SELECT k FROM affected)")
                )
            parts.extend(self._held_facts(name, dataset, mapping, key))
        self.current.sql("CREATE OR REPLACE TEMP TABLE source_facts AS " + " UNION ALL ".join(parts))

    def _held_facts(self, name: str, dataset: Dataset, mapping: str, key: str) -> list[str]:
        schema = schema_of(name)
        if not self.current.one(f"SELECT EXISTS (SELECT 1 FROM {schema}.held)")[0]:
            return []
        good = f"LEFT JOIN (SELECT _k AS good FROM {schema}.rows WHERE NOT _deleted) r ON r.good = h._k"
        rejected = f"{schema}.quarantine q ON q._k = h._k AND q._batch = h._batch AND q._ord = h._ord"
        # the good row that stays, and the rejected version: old mapping and new
        stays = (
            f"SELECT {key}, {literal(name)}, NULL, NULL, NULL, NULL, h.as_of, TRUE, FALSE, h.sentence, FALSE, NULL "
            f"FROM {schema}.held h JOIN {schema}.rows r ON r._k = h._k WHERE NOT r._deleted"
        )
        newer = (
            f"SELECT {key}, {literal(name)}, NULL, NULL, NULL, NULL, h.as_of, TRUE, r.good IS NULL, h.sentence, "
            f"FALSE, NULL FROM {schema}.held h JOIN {rejected} {good}"
        )
        parts = [stays, newer]
        if mapping == dataset.key:
            parts.append(
                f"SELECT h._k, {literal(name)}, NULL, NULL, NULL, NULL, h.as_of, TRUE, r.good IS NULL, "
                f"h.sentence, FALSE, NULL FROM {schema}.held h {good} WHERE h._k NOT LIKE chr(1) || '%'"
            )
        return parts

    def _online_rows(self, plan: int, moment: Moment, *, everything: bool) -> Iterator[OnlineRow]:
        keys = (
            "SELECT k FROM computed UNION SELECT k FROM source_facts WHERE k IS NOT NULL AND (held OR deleted)"
            if everything
            else "SELECT k FROM affected"
        )
        reader = self.current.reader(
            f"WITH wanted AS ({keys}), own AS ("
            "SELECT k, max(event) AS event, max(landed) AS landed, min(warn) AS warn, min(held_as_of) AS held_as_of, "
            "bool_or(held) AS held, bool_or(blind) AS blind, min(why) AS why, bool_or(deleted) AS deleted, "
            "string_agg(DISTINCT CASE WHEN position IS NOT NULL THEN "
            "'\"' || dataset || '\":[' || position[1] || ',' || position[2] || ']' END, ',') AS positions, "
            "string_agg(DISTINCT '\"' || dataset || '\":[' || filled || ']', ',') AS filled "
            "FROM source_facts WHERE k IS NOT NULL GROUP BY k), shared AS ("
            "SELECT max(event) AS event, max(landed) AS landed, min(warn) AS warn, min(held_as_of) AS held_as_of, "
            "coalesce(bool_or(held), FALSE) AS held, coalesce(bool_or(blind), FALSE) AS blind, min(why) AS why, "
            "string_agg(DISTINCT CASE WHEN position IS NOT NULL THEN "
            "'\"' || dataset || '\":[' || position[1] || ',' || position[2] || ']' END, ',') AS positions, "
            "string_agg(DISTINCT '\"' || dataset || '\":[' || filled || ']', ',') AS filled "
            f"FROM source_facts WHERE k IS NULL AND dataset IN ({self._shared()})) "
            "SELECT w.k, c.v, greatest(o.event, s.event) AS event, "
            "coalesce(greatest(o.landed, s.landed), 0) AS landed, "
            "coalesce(o.warn, s.warn) AS warn, coalesce(o.held, FALSE) OR s.held AS held, "
            "least(o.held_as_of, s.held_as_of) AS held_as_of, coalesce(o.blind, FALSE) OR s.blind AS blind, "
            "coalesce(o.why, s.why) AS why, coalesce(o.deleted, FALSE) AS deleted, "
            "'{' || concat_ws(',', o.positions, s.positions) || '}' AS positions, "
            "nullif('{' || concat_ws(',', o.filled, s.filled) || '}', '{}') AS filled "
            "FROM wanted w LEFT JOIN computed c ON c.k = w.k LEFT JOIN own o ON o.k = w.k CROSS JOIN shared s "
            "WHERE c.v IS NOT NULL OR coalesce(o.deleted, FALSE) OR coalesce(o.held, FALSE)",
            CHUNK,
        )
        for batch in reader:
            yield from self._rows_of(batch, plan, moment)

    def _shared(self) -> str:
        names = [literal(name) for name, mapping in self.state.mapping.items() if mapping == ALL]
        return ", ".join(names) or "''"

    def _rows_of(self, batch: pa.RecordBatch, plan: int, moment: Moment) -> Iterator[OnlineRow]:
        evaluated = moment.ours_us if self.state.uses_as_of else None
        for k, v, event, landed, warn, held, held_as_of, blind, why, deleted, positions, filled in zip(
            *(column.to_pylist() for column in batch.columns), strict=True
        ):
            yield OnlineRow(
                key=k,
                plan=plan,
                values=None if v is None else v.encode(),
                event_us=event,
                landed_us=landed,
                verdict=Verdict.WARN if warn or held else Verdict.PASS,
                sentence=why or warn or "",
                held=held,
                held_as_of_us=None if blind else held_as_of,
                deleted=deleted and v is None,
                evaluated_us=evaluated,
                positions=positions.encode(),
                filled=(filled or "").encode(),
            )

    def _remove_vanished(self, plan: int, *, everything: bool) -> None:
        if everything:
            self.online.prune(self.state.digest, below=plan, token=self.token)
            return
        gone = self.current.sql(
            "SELECT k FROM affected WHERE k NOT IN (SELECT k FROM computed) AND k NOT IN "
            "(SELECT k FROM source_facts WHERE k IS NOT NULL AND (held OR deleted))"
        )
        if gone:
            self.online.remove(self.state.digest, [k for (k,) in gone], plan=plan, token=self.token)


def blind_mappings(current: Current, datasets: dict[str, Dataset], state: FeatureSetState) -> str:
    """Why every row of the set is WARN: a held version whose mapping cannot be evaluated; empty when there is none."""
    for name, mapping in state.mapping.items():
        if mapping == ALL:
            continue
        schema = schema_of(name)
        key = mapping_sql(datasets[name], mapping)
        lost = current.one(
            f"SELECT count(*) FROM {schema}.held h JOIN {schema}.quarantine q "
            f"ON q._k = h._k AND q._batch = h._batch AND q._ord = h._ord WHERE {key} IS NULL"
        )[0]
        if lost:
            return f"{counted(lost, 'quarantined row')} of {name} cannot be mapped to a {shown_names(state.key)}"
    return ""


def _between(key: str, low: str | None, high: str | None) -> str:
    return " AND ".join(filter(None, [low and f"{key} >= {low}", high and f"{key} < {high}"])) or "TRUE"
