"""What is kept no longer: settled rows of the quarantine, and receipts and events of history.

| role         | default  | what goes                                                              |
|--------------|----------|------------------------------------------------------------------------|
| `landing`    | 30 days  | settled batches that history has (pipelines/history)                   |
| `journal`    | 7 days   | sealed segments that history has (pipelines/archive)                   |
| `quarantine` | 90 days  | rows that were replayed, superseded or discarded, from current's table |
| `history`    | 730 days | receipts and events; versions of rows that another one replaced        |
"""

from __future__ import annotations

from mainstay.core.clock import DAY
from mainstay.core.sql import literal
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.history import fates_of, read_sql
from mainstay.store.current import schema_of

QUARANTINE_US = 90 * DAY
HISTORY_US = 730 * DAY


def trim_quarantine(desk: Desk, dataset: str, now_us: int) -> int:
    """Removes settled rows that were settled longer ago than is kept; counts stay. Returns how many."""
    keep = desk.integration.settings.retention_us.get("quarantine", QUARANTINE_US)
    return int(
        desk.current.one(
            f"DELETE FROM {schema_of(dataset)}.quarantine WHERE _state <> 'quarantined' AND _changed < {now_us - keep}"
        )[0]
    )


def trim_versions(desk: Desk, dataset: str, now_us: int) -> int:
    """Removes versions that a published one replaced longer ago than is kept, and their fates. Returns how many.

    What was known at any instant within the retention stays known, and so does what current is made of again: the
    newest published version of each key, every version that nothing published has replaced, and whatever quarantine
    still lists.
    """
    before = now_us - desk.integration.settings.retention_us.get("history", HISTORY_US)
    rows = read_sql(desk, dataset)
    if not rows or not desk.current.one(f"SELECT count(*) FROM {rows} WHERE known_us < {before}")[0]:
        return 0
    fates = read_sql(desk, fates_of(dataset))
    later = (
        f"SELECT batch, ordinal, arg_max(state, changed_us) AS fate FROM {fates} GROUP BY ALL"
        if fates
        else ("SELECT NULL::BIGINT AS batch, NULL::BIGINT AS ordinal, NULL::VARCHAR AS fate WHERE FALSE")
    )
    gone = desk.current.table(
        f"WITH v AS (SELECT key, batch, ordinal, known_us, coalesce(fate, state) AS state FROM {rows} "
        f"LEFT JOIN ({later}) USING (batch, ordinal)), replaced AS (SELECT *, max(row(batch, ordinal)) "
        f"FILTER (state = 'published' AND known_us < {before}) OVER (PARTITION BY key) AS by_one FROM v) "
        "SELECT batch, ordinal FROM replaced WHERE row(batch, ordinal) < by_one AND state <> 'quarantined' "
        f"AND (batch, ordinal) NOT IN (SELECT _batch, _ord FROM {schema_of(dataset)}.quarantine)"
    )
    if not gone.num_rows:
        return 0
    if fates:
        desk.history.remove(fates_of(dataset), gone)
    return desk.history.remove(dataset, gone)


def trim_history(desk: Desk, table: str, now_us: int) -> int:
    """Removes a history table's rows older than is kept, by `at_us`. Returns how many; writes only where there are."""
    before = now_us - desk.integration.settings.retention_us.get("history", HISTORY_US)
    files = desk.history.files(table)
    if not files:
        return 0
    listed = "[" + ", ".join(literal(path) for path in files) + "]"
    old = desk.current.one(f"SELECT count(*) FROM read_parquet({listed}) WHERE at_us < {before}")[0]
    return desk.history.erase(table, f"at_us < {before}") if old else 0
