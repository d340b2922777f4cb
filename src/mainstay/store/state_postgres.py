"""State on PostgreSQL: for an integration that several machines serve.

Names are stored as their UTF-8 bytes, so that any text is a name and the order is that of every other state, whatever
the database's encoding and collation are. `convert_from(name, 'UTF8')` shows them in psql.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainstay.core.errors import Corrupt, Fenced
from mainstay.core.ports import Versioned, Write
from mainstay.store.postgres import ANSWER_S, Postgres
from mainstay.store.sqlite_file import fenced
from mainstay.store.state_sqlite import conflict

if TYPE_CHECKING:
    from mainstay.store.postgres import Connection

SCHEMA = 1

_TABLES = """
CREATE TABLE mainstay_state (
    integration text NOT NULL,
    space text NOT NULL,
    name bytea NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (integration, space, name)
);
CREATE TABLE mainstay_state_head (
    integration text PRIMARY KEY,
    commits bigint NOT NULL DEFAULT 0,
    token bigint NOT NULL DEFAULT 0,
    owner text,
    place text,
    expires timestamptz
) WITH (fillfactor = 10);
"""
_HEAD = "INSERT INTO mainstay_state_head (integration) VALUES (%s) ON CONFLICT DO NOTHING"
_GET = "SELECT version, body FROM mainstay_state WHERE integration = %s AND space = %s AND name = %s"
_SCAN = """
SELECT name, version, body FROM mainstay_state
 WHERE integration = %s AND space = %s AND name >= %s AND (%s::bytea IS NULL OR name < %s) ORDER BY name
"""
_CHANGED = "SELECT commits FROM mainstay_state_head WHERE integration = %s"
# Its row is locked from here to COMMIT: one commit of an integration at a time, as in SQLite.
_BEGIN = """
UPDATE mainstay_state_head SET commits = commits + 1, token = greatest(token, %s::bigint) WHERE integration = %s
RETURNING token, coalesce(expires <= clock_timestamp(), false)
"""
_STANDING = """
SELECT space, name, version FROM mainstay_state
  JOIN unnest(%s::text[], %s::bytea[]) AS wanted (space, name) USING (space, name) WHERE integration = %s
"""
_WRITE = """
INSERT INTO mainstay_state (integration, space, name, version, body)
SELECT %s, * FROM unnest(%s::text[], %s::bytea[], %s::bigint[], %s::bytea[])
    ON CONFLICT (integration, space, name) DO UPDATE SET version = excluded.version, body = excluded.body
"""
_DELETE = """
DELETE FROM mainstay_state AS standing USING unnest(%s::text[], %s::bytea[]) AS going (space, name)
 WHERE standing.integration = %s AND standing.space = going.space AND standing.name = going.name
"""

_Place = tuple[str, bytes]


class PostgresState:
    """The `State` of `core.ports` in a PostgreSQL database. Thread-safe; any number of processes and machines.

    Args:
        url: The database; the tables are made in the first schema of its search path.
        integration: Whose records these are: integrations may share a database.
        answer_s: How long a database that hangs may keep a caller.
    """

    def __init__(self, url: str, integration: str, *, answer_s: float = ANSWER_S) -> None:
        self.integration = integration
        self.postgres = Postgres(url, store="state", answer_s=answer_s)
        try:
            self.postgres.make(SCHEMA, _TABLES)
            if not self.postgres.rows(_CHANGED, (integration,)):
                self.postgres.transact(lambda connection: connection.execute(_HEAD, (integration,)))
        except BaseException:
            self.postgres.close()
            raise

    def get(self, space: str, name: str) -> Versioned | None:
        rows = self.postgres.rows(_GET, (self.integration, space, name.encode()))
        return Versioned(space=space, name=name, version=rows[0][0], body=rows[0][1]) if rows else None

    def scan(self, space: str, prefix: str = "") -> tuple[Versioned, ...]:
        first = prefix.encode()
        past = first[:-1] + bytes((first[-1] + 1,)) if first else None  # UTF-8 has no byte 255
        rows = self.postgres.rows(_SCAN, (self.integration, space, first, past, past))
        return tuple(
            Versioned(space=space, name=name.decode(), version=version, body=body) for name, version, body in rows
        )

    def changed(self) -> int:
        """One indexed row: a round trip to the database."""
        rows = self.postgres.rows(_CHANGED, (self.integration,))
        if not rows:
            raise self._gone()
        number: int = rows[0][0]
        return number

    def commit(self, writes: Sequence[Write], *, token: int | None = None) -> None:
        self.postgres.transact(lambda connection: self._commit(connection, writes, token))

    def scrub(self) -> None:
        """Leaves no byte of what was removed or replaced in the table's files (erasure). Raises StoreBusy.

        The server's write-ahead log and its backups are the operator's to keep short.
        """
        self.postgres.alone("VACUUM (FULL) mainstay_state")

    def close(self) -> None:
        self.postgres.close()

    def _commit(self, connection: Connection, writes: Sequence[Write], token: int | None) -> None:
        head = connection.execute(_BEGIN, (token, self.integration)).fetchone()
        if head is None:
            raise self._gone()
        highest, over = head
        if token is not None and token < highest:
            raise fenced(token, highest, self.postgres.where)
        if token is not None and over:
            raise ran_out(token, self.postgres.where)
        if writes:
            self._write(connection, writes)

    def _write(self, connection: Connection, writes: Sequence[Write]) -> None:
        """Judges every expectation against what stands and what came before it in the commit; then writes it all."""
        places = list(dict.fromkeys((write.space, write.name.encode()) for write in writes))
        rows = connection.execute(_STANDING, (*_columns(places), self.integration), binary=True)
        versions: dict[_Place, int] = {(space, name): version for space, name, version in rows}
        bodies: dict[_Place, bytes | None] = {}
        for write in writes:
            place = (write.space, write.name.encode())
            version = versions.get(place, 0)
            if write.expect is not None and write.expect != version:
                raise conflict(write, version)
            versions[place] = 0 if write.body is None else version + 1
            bodies[place] = write.body
        going = [place for place, body in bodies.items() if body is None]
        coming = [place for place, body in bodies.items() if body is not None]
        if going:
            connection.execute(_DELETE, (*_columns(going), self.integration))
        if coming:
            numbers, contents = [versions[place] for place in coming], [bodies[place] for place in coming]
            connection.execute(_WRITE, (self.integration, *_columns(coming), numbers, contents))

    def _gone(self) -> Corrupt:
        sentence = f"state no longer knows the integration {self.integration}"
        return Corrupt(sentence, mend="restore it from a backup", where=self.postgres.where)


def ran_out(token: int, where: str) -> Fenced:
    """The error for a writer whose lease was not renewed in time, though nobody has taken it over yet."""
    return Fenced(
        f"lease token {token} ran out before it was renewed: another process may own the integration now",
        mend="stop this process; whoever takes the lease carries on",
        where=where,
    )


def _columns(places: Sequence[_Place]) -> tuple[list[str], list[bytes]]:
    return [space for space, _ in places], [name for _, name in places]
