"""What is kept no longer: settled rows of the quarantine, and receipts and events of history.

| role         | default  | what goes                                                              |
|--------------|----------|------------------------------------------------------------------------|
| `landing`    | 30 days  | settled batches that history has (pipelines/history)                   |
| `journal`    | 7 days   | sealed segments that history has (pipelines/archive)                   |
| `quarantine` | 90 days  | rows that were replayed, superseded or discarded, from current's table |
| `history`    | 730 days | receipts and events; versions of rows stay, current is rebuilt of them |
"""

from __future__ import annotations

from mainstay.core.clock import DAY
from mainstay.core.sql import literal
from mainstay.pipelines.desk import Desk
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


def trim_history(desk: Desk, table: str, now_us: int) -> int:
    """Removes a history table's rows older than is kept, by `at_us`. Returns how many; writes only where there are."""
    before = now_us - desk.integration.settings.retention_us.get("history", HISTORY_US)
    files = desk.history.files(table)
    if not files:
        return 0
    listed = "[" + ", ".join(literal(path) for path in files) + "]"
    old = desk.current.one(f"SELECT count(*) FROM read_parquet({listed}) WHERE at_us < {before}")[0]
    return desk.history.erase(table, f"at_us < {before}") if old else 0
