"""What people made of quarantined versions, applied to current that is being made again, where it happened.

A replay or a discard ends a hold only for what had come by then: a version that was rejected afterwards begins a hold
of its own, with the as-of of the batch before it. So each takes its turn between the batches, by `through`, the last
batch that current had when it happened. What was remembered before there was `through` comes after all batches.
"""

from __future__ import annotations

from mainstay.core.nouns import Dataset
from mainstay.core.sql import identifier, literal
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.history import fates_of, read_sql
from mainstay.store.current import ROW_COLUMNS, schema_of

DISCARDED = "a newer version was discarded"
"""What a row says, as a warning, whose newer version somebody discarded."""

_LAST = 2**62


def latest_sql(desk: Desk, dataset: str) -> str:
    """A query of `batch`, `ordinal`, `state`, `changed_us`, `note`, `through`: what became of each version at last."""
    known = read_sql(desk, fates_of(dataset))
    if not known:
        return (
            "SELECT NULL::BIGINT AS batch, NULL::BIGINT AS ordinal, NULL::VARCHAR AS state, "
            "NULL::BIGINT AS changed_us, NULL::VARCHAR AS note, NULL::BIGINT AS through WHERE FALSE"
        )
    there = {name for name, *_ in desk.current.sql(f"DESCRIBE SELECT * FROM {known}")}
    return (
        "SELECT batch, ordinal, arg_max(state, changed_us) AS state, max(changed_us) AS changed_us, "
        f"arg_max(note, changed_us) AS note, "
        f"{'arg_max(through, changed_us)' if 'through' in there else 'NULL::BIGINT'} AS through "
        f"FROM {known} GROUP BY batch, ordinal"
    )


class Fates:
    """The fates that current does not have yet.

    Args:
        desk: The integration's stores.
        dataset: Which dataset.
        first: The first batch that is applied again; what happened before it is in current.
        judge_again: Leave those in quarantine that had been replayed: the contract changed, and rejects them now.
    """

    def __init__(self, desk: Desk, dataset: Dataset, first: int, *, judge_again: bool) -> None:
        self.desk = desk
        self.dataset = dataset
        desk.current.sql(
            f"CREATE OR REPLACE TEMP TABLE every_fate AS SELECT *, coalesce(through, {_LAST}) AS turn "
            f"FROM ({latest_sql(desk, dataset.name)}) "
            f"WHERE (through >= {first} OR (through IS NULL AND batch >= {first}))"
            + (" AND state <> 'published'" if judge_again else "")
        )
        self._turns: list[tuple[int, int | None]] = desk.current.sql(
            "SELECT DISTINCT turn, CASE WHEN through IS NOT NULL THEN changed_us END FROM every_fate ORDER BY 1, 2"
        )

    def apply(self, *, before: int = _LAST + 1) -> None:
        """Applies, in the order in which they happened, those that happened before this batch was applied."""
        while self._turns and self._turns[0][0] < before:
            turn, changed_us = self._turns.pop(0)
            self._apply(f"turn = {turn}" + ("" if changed_us is None else f" AND changed_us = {changed_us}"))

    def _apply(self, condition: str) -> None:
        current, schema = self.desk.current, schema_of(self.dataset.name)
        current.sql(
            "CREATE OR REPLACE TEMP TABLE fates AS SELECT q._k, q._batch, q._ord, f.state, f.changed_us, f.note, "
            f"f.through FROM every_fate f JOIN {schema}.quarantine q ON q._batch = f.batch AND q._ord = f.ordinal "
            f"WHERE q._state = 'quarantined' AND f.{condition}"
        )
        self._replay(schema)
        dropped = f"SELECT f._k FROM fates f JOIN {schema}.held h USING (_k, _batch, _ord) WHERE f.state = 'discarded'"
        current.sql(f"UPDATE {schema}.rows SET _warn = {literal(DISCARDED)} WHERE _k IN ({dropped})")
        current.sql(f"DELETE FROM {schema}.held WHERE _k IN ({dropped})")
        for batch, state, n in current.sql("SELECT _batch, state, count(*) FROM fates GROUP BY ALL"):
            current.move(self.dataset.name, int(batch), "quarantined", str(state), int(n))
        current.sql(
            f"UPDATE {schema}.quarantine q SET _state = f.state, _changed = f.changed_us, _note = f.note, "
            "_through = f.through FROM fates f WHERE f._batch = q._batch AND f._ord = q._ord"
        )

    def _replay(self, schema: str) -> None:
        """Shows the replayed versions again that are newer than what is shown; a check that only warned still does."""
        current = self.desk.current
        names = ", ".join(identifier(column.name) for column in self.dataset.columns)
        warning = ", ".join(literal(check.name) for check in self.dataset.checks if check.on_fail == "warn")
        warn = f"list_filter(string_split(_reasons, ', '), lambda one: list_contains([{warning}]::VARCHAR[], one))"
        current.sql(
            "CREATE OR REPLACE TEMP TABLE replayed_then AS SELECT q.* FROM fates f "
            f"JOIN {schema}.quarantine q USING (_batch, _ord) WHERE f.state = 'published' AND NOT EXISTS (SELECT 1 "
            f"FROM {schema}.rows r WHERE r._k = q._k AND row(r._batch, r._ord) > row(q._batch, q._ord)) "
            "QUALIFY row_number() OVER (PARTITION BY q._k ORDER BY _batch DESC, _ord DESC) = 1"
        )
        current.sql(f"DELETE FROM {schema}.rows WHERE _k IN (SELECT _k FROM replayed_then)")
        current.sql(
            f"INSERT INTO {schema}.rows ({ROW_COLUMNS}, {names}) SELECT _k, _batch, _ord, _digest, _event, _landed, "
            f"_cursor, nullif(array_to_string({warn}, ', '), ''), FALSE, _filled, {names} FROM replayed_then"
        )
        current.sql(
            f"DELETE FROM {schema}.held h WHERE EXISTS (SELECT 1 FROM replayed_then p WHERE p._k = h._k "
            "AND row(p._batch, p._ord) >= row(h._batch, h._ord))"
        )
        current.sql(
            f"DELETE FROM {schema}.newest n WHERE EXISTS (SELECT 1 FROM {schema}.rows r WHERE r._k = n._k "
            "AND r._batch = n._batch AND r._ord = n._ord)"
        )
