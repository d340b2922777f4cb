"""The cron job of the glue: copies what changed in the CRM into SQLite. As people write it today.

python glue_cron.py CRM_URL COPY.db
"""

import sqlite3
import sys

import psycopg

KEYS = {"customers": "row_id", "subscriptions": "subscription_id", "tickets": "ticket_id"}


def copy(url: str, path: str) -> None:
    with psycopg.connect(url, connect_timeout=2) as crm, sqlite3.connect(path) as mine:
        for table, key in KEYS.items():
            mine.execute(f"CREATE TABLE IF NOT EXISTS {table} ({key} PRIMARY KEY, updated_at)")
            (newest,) = mine.execute(f"SELECT max(updated_at) FROM {table}").fetchone()
            rows = crm.execute(f"SELECT * FROM {table} WHERE updated_at > %s", (newest or "1900-01-01",))
            names = [column.name for column in rows.description]
            known = {row[1] for row in mine.execute(f"PRAGMA table_info({table})")}
            for name in names:
                if name not in known:
                    mine.execute(f"ALTER TABLE {table} ADD COLUMN {name}")
            marks = ", ".join("?" * len(names))
            for row in rows:
                values = [value if isinstance(value, int) or value is None else str(value) for value in row]
                mine.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(names)}) VALUES ({marks})", values)


if __name__ == "__main__":
    copy(sys.argv[1], sys.argv[2])
