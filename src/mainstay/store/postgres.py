"""Connections of a store to PostgreSQL: kept, replaced when they were lost, their errors told as ours.

A commit is durable when it returned, whatever the server's default is (`synchronous_commit`). A transaction that its
process left open (suspended, say) is ended by the server after a few seconds, so that its locks do not stay. A server
that hangs is given up from this side: its own timeouts run no more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from mainstay.core.errors import StoreAway, StoreBusy, StoreError, StoreFull
from mainstay.store.schema_number import compare

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5
BUSY_TIMEOUT_S = 5
"""How long a statement may take, waiting for others' locks included."""
ANSWER_S = BUSY_TIMEOUT_S + 1.0
"""How long the server may take to answer a statement at all."""
QUICK_S = 2.0
"""The same where somebody waits for an answer."""
PAUSE_S = 1.0
"""After a server did not answer in time, nobody else waits for it so long."""
IDLE_TIMEOUT_S = 3
"""How long the server lets a transaction stand open in which nothing happens."""

_SETTINGS = f"""
SELECT set_config('statement_timeout', '{BUSY_TIMEOUT_S}s', false),
       set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT_S}s', false),
       set_config('synchronous_commit', CASE WHEN asked IN ('off', 'local') THEN 'on' ELSE asked END, false)
  FROM current_setting('synchronous_commit') AS asked
"""
_NUMBERS = "CREATE TABLE IF NOT EXISTS mainstay_schema (store text PRIMARY KEY, number integer NOT NULL)"
_MAKING = 0x6D61696E  # an advisory lock, so that two who find no tables do not both make them

_AWAY = ("08", "57P", "25P03", "53300")
_BUSY = ("55P03", "57014", "40001", "40P01")
_FULL = ("53100", "25006")


class Postgres:
    """A database in which a store lives. Thread-safe.

    Args:
        url: Anything that libpq takes. `?options=-csearch_path%3DNAME` chooses the schema of the tables.
        store: What a message calls the store, e.g. `state`.
        answer_s: How long the server may take to answer a statement; StoreAway is raised then.
    """

    def __init__(self, url: str, *, store: str, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._silent_s = -PAUSE_S
        self._settings = {
            "application_name": f"mainstay {store}",
            "connect_timeout": min(CONNECT_TIMEOUT_S, max(2, int(answer_s))),
            "tcp_user_timeout": 2 * BUSY_TIMEOUT_S * 1000,
            **_parts(url, store),
        }
        self.where = _where(self._settings, store)
        self._store = store
        self._lock = threading.Lock()
        self._free: deque[Connection] = deque()
        self._all: set[Connection] = set()

    def rows(self, sql: LiteralString, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of one statement, which stands alone and may be sent twice. Raises StoreError."""
        return self._with_connection(
            lambda connection, _: connection.execute(sql, parameters, binary=True).fetchall(),
        )

    def transact(self, work: Callable[[Connection], T]) -> T:
        """`work` in one transaction: COMMIT when it returns, ROLLBACK when it raises.

        It is run again where the connection was lost before COMMIT was sent. Raises StoreAway when it was lost later:
        then only reading again tells whether it was committed.
        """

        def whole(connection: Connection, committing: Callable[[], None]) -> T:
            connection.execute("BEGIN")
            result = work(connection)
            committing()
            connection.execute("COMMIT")
            return result

        return self._with_connection(whole)

    def make(self, schema: int, tables: LiteralString) -> None:
        """Makes the store's tables where there are none; compares the schema number of those that there are.

        Raises StoreTooNew or StoreOld, StoreError when this login may not make them.
        """
        if not self.rows("SELECT 1 WHERE to_regclass('mainstay_schema') IS NOT NULL"):
            self.transact(lambda connection: self._create(connection, schema, tables))
        found = self._number()
        if not found:
            self.transact(lambda connection: self._create(connection, schema, tables))
            found = self._number()
        compare(found[0][0], schema, store=f"the {self._store} store", where=self.where)

    def alone(self, sql: LiteralString) -> None:
        """A statement that takes its time and stands outside of any transaction, on a connection of its own."""
        import psycopg

        try:
            with psycopg.connect(**self._settings, autocommit=True) as connection:
                connection.execute(sql)
        except psycopg.Error as error:
            raise self._told(error, committing=False) from error

    def close(self) -> None:
        """Ends every connection. A second call does nothing."""
        with self._lock:
            going, self._all = self._all, set()
            self._free.clear()
        for connection in going:
            connection.close()

    def _number(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT number FROM mainstay_schema WHERE store = %s", (self._store,))

    def _create(self, connection: Connection, schema: int, tables: LiteralString) -> None:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        connection.execute(_NUMBERS)
        if connection.execute("SELECT 1 FROM mainstay_schema WHERE store = %s", (self._store,)).fetchone() is None:
            connection.execute(tables)
            connection.execute("INSERT INTO mainstay_schema VALUES (%s, %s)", (self._store, schema))

    def _with_connection(self, act: Callable[[Connection, Callable[[], None]], T]) -> T:
        import psycopg

        while True:
            connection, kept = self._take()
            sent: list[bool] = []
            try:
                result = act(connection, lambda: sent.append(True))  # noqa: B023 - called at once
            except psycopg.Error as error:
                lost = self._give_back(connection)
                if lost and kept and not sent and not isinstance(error, no_answer()):
                    continue  # It was lost while it lay here, as by a restart of the server: try a new one.
                raise self._told(error, committing=bool(sent)) from error
            except BaseException:
                self._give_back(connection)
                raise
            self._free.append(connection)
            return result

    def _take(self) -> tuple[Connection, bool]:
        """A connection, and whether it was used before."""
        import psycopg

        left_s = self._silent_s + PAUSE_S - time.monotonic()
        if left_s > 0:
            sentence = "the database did not answer a moment ago"
            raise StoreAway(sentence, mend="it is asked again in a second", where=self.where)
        try:
            return self._free.pop(), True
        except IndexError:
            pass
        try:
            made = bounded(self._answer_s).connect(**self._settings, autocommit=True)
            made.execute(_SETTINGS)
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.ConnectionTimeout | no_answer()):
                self._silent_s = time.monotonic()
            raise self._refused(error) from error
        with self._lock:
            self._all.add(made)
        return made, False

    def _give_back(self, connection: Connection) -> bool:
        """After a failure: rolls back what was open. Returns whether the connection is lost."""
        import psycopg

        try:
            if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()
        if connection.closed:
            with self._lock:
                self._all.discard(connection)
            return True
        self._free.append(connection)
        return False

    def _refused(self, error: psycopg.Error) -> StoreError:
        text = str(error)
        if secret := self._settings.get("password"):
            text = text.replace(str(secret), "***")
        sentence = " ".join(text.split())
        mend = f"is it running, and are address and password of the {self._store} store right?"
        return StoreAway(f"no connection: {sentence}", mend=mend, where=self.where)

    def _told(self, error: psycopg.Error, *, committing: bool) -> StoreError:
        code = error.sqlstate or ""
        said = error.diag.message_primary or "the connection was lost"
        if committing and (not code or code.startswith(_AWAY)):
            self._silent_s = time.monotonic() if isinstance(error, no_answer()) else self._silent_s
            sentence = "the connection was lost during a commit: only reading again tells whether it was made"
            return StoreAway(sentence, where=self.where)
        if not code or code.startswith(_AWAY):
            if isinstance(error, no_answer()):
                self._silent_s = time.monotonic()
                said = str(error)
            return StoreAway(f"the database went away: {said}", where=self.where)
        if code in _BUSY:
            return StoreBusy(f"another held the store for more than {BUSY_TIMEOUT_S} s: {said}", where=self.where)
        if code in _FULL:
            return StoreFull(f"PostgreSQL cannot write: {said}", mend="see to the server's disk", where=self.where)
        grant = "grant this login what it lacks: CREATE on the schema for the first start, then all on its tables"
        mend = {
            "42501": grant,
            "3F000": grant,
            "42P01": "restore the tables from a backup",
        }.get(code, "")
        return StoreError(f"PostgreSQL refused: {said} ({code})", mend=mend, where=self.where)


@cache
def no_answer() -> type[psycopg.Error]:
    """The error for a server that accepts and says nothing."""
    import psycopg

    class NoAnswer(psycopg.OperationalError):
        """Given up from this side: whether the statement was carried out is not known."""

    return NoAnswer


@cache
def bounded(answer_s: float) -> type[Connection]:
    """Connections that wait for an answer so long; then they are closed, and the statement raises `no_answer()`."""
    import psycopg

    class Bounded(psycopg.Connection[tuple[Any, ...]]):
        """One whose server may hang."""

        def wait(self, gen: Any, *args: Any, **named: Any) -> Any:
            return super().wait(_until(gen, time.monotonic() + answer_s, self._give_up), *args, **named)

        def _give_up(self) -> psycopg.Error:
            self.pgconn.finish()
            return no_answer()(f"it did not answer within {answer_s:g} s")

    return Bounded


def _until(waiting: Any, deadline_s: float, give_up: Callable[[], BaseException]) -> Any:
    """The same generator, as psycopg waits with it: it is told now and then that nothing came, and raises then."""
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= deadline_s:
                waiting.close()
                raise give_up()
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value


def _parts(url: str, store: str) -> dict[str, Any]:
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        mend = "pip install 'mainstay[postgres]'"
        raise StoreError(f"the PostgreSQL driver cannot be loaded: {error}", mend=mend) from error
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.Error:  # its text quotes the url, password and all
        mend = "write it as postgresql://user:password@host:5432/database"
        raise StoreError(f"the url of the {store} store cannot be read", mend=mend) from None


def _where(settings: Mapping[str, Any], store: str) -> str:
    """The store's address without the password."""
    host, port = settings.get("host", "localhost"), settings.get("port", 5432)
    return f"{store} in postgresql://{host}:{port}/{settings.get('dbname', '')}"
