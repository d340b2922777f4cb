"""Answers to requests with an Idempotency-Key of an integration that several machines serve: a table beside state's."""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.core.ports import Repeat
from mainstay.store.postgres import QUICK_S, Postgres
from mainstay.store.repeats_sqlite import SWEPT_MOST, beyond

SCHEMA = 1
_TABLES = """
CREATE TABLE mainstay_repeat (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    integration text NOT NULL,
    caller text NOT NULL,
    name bytea NOT NULL,
    payload bytea NOT NULL,
    ticket text NOT NULL,
    until_us bigint NOT NULL,
    status integer NOT NULL DEFAULT 0,
    kind text NOT NULL DEFAULT '',
    size bigint NOT NULL DEFAULT 0,
    body bytea NOT NULL DEFAULT '',
    UNIQUE (integration, caller, name),
    UNIQUE (integration, ticket)
);
CREATE INDEX mainstay_repeat_until ON mainstay_repeat (integration, until_us);
CREATE INDEX mainstay_repeat_share ON mainstay_repeat (integration, caller, until_us);
"""
_BEGIN = """
INSERT INTO mainstay_repeat AS standing (integration, caller, name, payload, ticket, until_us)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (integration, caller, name) DO UPDATE SET payload = excluded.payload, ticket = excluded.ticket,
    until_us = excluded.until_us, status = 0, kind = '', size = 0, body = '' WHERE standing.until_us <= %s
"""
_FIND = """
SELECT payload, status, kind, body FROM mainstay_repeat WHERE integration = %s AND caller = %s AND name = %s
"""
_FINISH = """
UPDATE mainstay_repeat SET status = %s, kind = %s, body = %s, size = %s, until_us = %s
 WHERE integration = %s AND ticket = %s
"""
_RELEASE = "DELETE FROM mainstay_repeat WHERE integration = %s AND ticket = %s"
_RAN_OUT = """
DELETE FROM mainstay_repeat WHERE id IN (
    SELECT id FROM mainstay_repeat WHERE integration = %s AND until_us <= %s LIMIT %s)
"""
_CALLERS = "SELECT DISTINCT caller FROM mainstay_repeat WHERE integration = %s"
_SHARE = """
SELECT id, size FROM mainstay_repeat WHERE integration = %s AND caller = %s AND status > 0
 ORDER BY until_us DESC, id DESC
"""
_REMOVE = "DELETE FROM mainstay_repeat WHERE id = ANY(%s)"
_BODIES = "SELECT id, body FROM mainstay_repeat WHERE integration = %s AND id > %s ORDER BY id LIMIT 100"


class PostgresRepeats:
    """The `Repeats` of `core.ports` in a PostgreSQL database. Thread-safe; any number of processes and machines.

    Args:
        url: The database of state.
        integration: Whose answers these are: integrations may share a database.
    """

    def __init__(self, url: str, integration: str) -> None:
        self._integration = integration
        self._postgres = Postgres(url, store="repeats", answer_s=QUICK_S)
        try:
            self._postgres.make(SCHEMA, _TABLES)
        except BaseException:
            self._postgres.close()
            raise

    def begin(
        self, caller: str, name: bytes, payload: bytes, *, ticket: str, at_us: int, until_us: int
    ) -> Repeat | None:
        values = (self._integration, caller, name, payload, ticket, until_us, at_us)
        place = (self._integration, caller, name)
        while True:
            if self._postgres.transact(lambda connection: connection.execute(_BEGIN, values).rowcount):
                return None
            found = self._postgres.rows(_FIND, place)
            if found:  # else it was released in between: try again
                payload, status, kind, body = found[0]
                return Repeat(payload=payload, status=status, kind=kind, body=body)

    def finish(self, ticket: str, answer: Repeat, *, until_us: int) -> bool:
        values = (answer.status, answer.kind, answer.body, len(answer.body), until_us, self._integration, ticket)
        return self._postgres.transact(lambda connection: connection.execute(_FINISH, values).rowcount > 0)

    def release(self, ticket: str) -> None:
        self._postgres.transact(lambda connection: connection.execute(_RELEASE, (self._integration, ticket)))

    def sweep(self, now_us: int) -> None:
        removed = SWEPT_MOST
        while removed == SWEPT_MOST:
            values = (self._integration, now_us, SWEPT_MOST)
            removed = self._postgres.transact(lambda connection: connection.execute(_RAN_OUT, values).rowcount)  # noqa: B023 - called at once
        for (caller,) in self._postgres.rows(_CALLERS, (self._integration,)):
            going = beyond(self._postgres.rows(_SHARE, (self._integration, caller)))
            for first in range(0, len(going), SWEPT_MOST):
                part = going[first : first + SWEPT_MOST]
                self._postgres.transact(lambda connection: connection.execute(_REMOVE, (part,)))  # noqa: B023

    def bodies(self) -> Iterator[bytes]:
        last = 0
        while rows := self._postgres.rows(_BODIES, (self._integration, last)):
            yield from (body for _, body in rows)
            last = rows[-1][0]

    def clear(self) -> None:
        """The same; the server's write-ahead log and its backups are the operator's to keep short."""
        everything = "DELETE FROM mainstay_repeat WHERE integration = %s"
        self._postgres.transact(lambda connection: connection.execute(everything, (self._integration,)))
        self._postgres.alone("VACUUM (FULL) mainstay_repeat")

    def close(self) -> None:
        self._postgres.close()
