"""Connections to PostgreSQL: guarded, few, read-only, and never waited for without an end.

libpq is driven directly (through psycopg's wrapper) for two reasons: it hands over one row of a COPY at a time, which
tells us where rows end without parsing them, and every wait can have a deadline even when the server is frozen.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import SourceAway, SourceError, SourceRefused
from mainstay.core.nouns import Guard
from mainstay.sources.guard import ConnectionCap
from mainstay.sources.postgres_errors import from_connecting, from_statement

if TYPE_CHECKING:
    import psycopg

_GRACE_S = 1.0
"""How much longer than the server's own time-out we wait for it to tell us of it."""
_IDLE_S = 300.0
_KEEPALIVE = {"keepalives": "1", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
_CHECKS_CLIENT = 140000
"""The first version that can notice, while it computes, that we are gone."""

Row = tuple[str | None, ...]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect and under which guard."""

    params: dict[str, str]
    """libpq's own words, the password among them: never printed."""
    guard: Guard
    where: str
    places: str = ""
    """Where connections of every process are counted; then none is kept between reads."""

    def __repr__(self) -> str:
        return f"Target({self.where})"


def parse_url(url: str, *, application_name: str, guard: Guard, where: str, places: str = "") -> Target:
    """The url in libpq's words, our defaults beneath and our guard above. Raises SourceRefused, without the url."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    mend = "write postgresql://user:password@host:5432/database, with %40 for @ and %2F for / in the password"
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.Error:
        raise SourceRefused("its url cannot be understood", mend=mend, where=where) from None
    # A password with a bare @ or / ends up in the host or port, which the driver's messages would print.
    odd_port = not given.get("port", "").replace(",", "").isdigit() and "port" in given
    if odd_port or "@" in given.get("host", ""):
        raise SourceRefused("its url has a host or port that cannot be one", mend=mend, where=where)
    timeout_s = max(1, -(-guard.connect_timeout_us // 1_000_000))
    params = {**_KEEPALIVE, "application_name": application_name, **given}
    params |= {"connect_timeout": str(timeout_s), "client_encoding": "utf8"}
    # Sent with the connection, not as SET: behind a pooler a SET would stay on a connection that others use.
    limits = f"-c default_transaction_read_only=on -c statement_timeout={guard.statement_timeout_us // 1000}"
    params["options"] = f"{given.get('options', '')} {limits}".strip()
    return Target(params=params, guard=guard, where=where, places=places)


class Wire:
    """One connection. Used by one thread at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection = _connect(target)
        self._pg = self._connection.pgconn
        self._poll = select.poll()
        self._poll.register(self._pg.socket, select.POLLIN)
        self.used_s = time.monotonic()

    @property
    def version(self) -> int:
        """The server's version as a number, 160004 for 16.4."""
        return self._pg.server_version

    def begin(self) -> None:
        """Begins a read-only transaction; its first query takes the snapshot that all later ones see."""
        timeout_ms = self._target.guard.statement_timeout_us // 1000
        settings = {
            "statement_timeout": str(timeout_ms),
            "lock_timeout": str(min(timeout_ms, 5000)),
            "idle_in_transaction_session_timeout": str(max(timeout_ms, 60_000)),
            "standard_conforming_strings": "on",
            "TimeZone": "'UTC'",
            "DateStyle": "'ISO, YMD'",
            "IntervalStyle": "'iso_8601'",
            "bytea_output": "'hex'",
            "extra_float_digits": "3",
        }
        if self.version >= _CHECKS_CLIENT:
            settings["client_connection_check_interval"] = "5000"
        sets = "".join(f"SET LOCAL {name} = {value};" for name, value in settings.items())
        self.query(f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{sets}")

    def commit(self) -> None:
        self.query("COMMIT")

    def query(self, sql: str, params: Sequence[str | None] = ()) -> list[Row]:
        """Runs a statement, or several without parameters; the rows of the last one, as text.

        Raises SourceAway and SourceRefused.
        """
        from psycopg import Error

        try:
            results = self._run(sql, params)
        except Error as error:
            raise self._told(error) from error
        last = results[-1]
        width = last.nfields
        return [tuple(_text(last.get_value(row, column)) for column in range(width)) for row in range(last.ntuples)]

    def copy(self, sql: str, *, most_rows: int, most_bytes: int) -> Iterator[tuple[int, bytearray]]:
        """Runs `COPY ... TO STDOUT`; yields (rows, their bytes), whole rows only, until the last one.

        The server has `statement_timeout` to come up with the next rows; the time that we take over them does not
        count, so that a large table can be read under a short limit.
        """
        from psycopg import Error

        try:
            yield from self._copy(sql, most_rows, most_bytes)
        except Error as error:
            raise self._told(error) from error

    def usable(self) -> bool:
        """Whether it is connected and idle, as far as can be known without asking."""
        from psycopg import pq

        if self._connection.closed or self._pg.transaction_status != pq.TransactionStatus.IDLE:
            return False
        # An idle server has hardly anything to say but goodbye.
        return time.monotonic() - self.used_s < _IDLE_S and not self._poll.poll(0)

    def close(self) -> None:
        """Ends the connection, a statement that still runs first."""
        from psycopg import Error, pq

        closed: bool = self._connection.closed
        if not closed and self._pg.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(Error):  # it is closed in any case; then the server notices by itself
                self._connection.cancel_safe(timeout=_GRACE_S)
        self._connection.close()

    def _run(self, sql: str, params: Sequence[str | None], *, grace_s: float = _GRACE_S) -> list[Any]:
        from psycopg import errors, pq

        if params:
            values = [None if value is None else value.encode() for value in params]
            self._pg.send_query_params(sql.encode(), values)
        else:
            self._pg.send_query(sql.encode())
        deadline = time.monotonic() + self._target.guard.statement_timeout_us / 1e6 + grace_s
        results: list[Any] = []
        failed: Any = None
        while (result := self._result(deadline)) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                failed = result
            results.append(result)
            if result.status == pq.ExecStatus.COPY_OUT:
                return results
        if failed is not None:
            raise errors.error_from_result(failed)
        return results

    def _copy(self, sql: str, most_rows: int, most_bytes: int) -> Iterator[tuple[int, bytearray]]:
        pg = self._pg
        timeout_s = self._target.guard.statement_timeout_us / 1e6
        # The server's own limit is over the whole statement, our time included: here ours stands in for it.
        self._run("SET LOCAL statement_timeout = 0", ())
        self._run(sql, (), grace_s=0.0)
        # One growing buffer, not a list of rows: each row's memory is used again at once, which is faster by a half.
        data, rows, total = bytearray(), 0, 0
        while True:
            length, row = pg.get_copy_data(1)
            if length > 0:
                data += row
                rows += 1
                if rows >= most_rows or len(data) >= most_bytes:
                    yield rows, data
                    data, rows, total = bytearray(), 0, total + rows
            elif length == 0:
                self._wait(time.monotonic() + timeout_s)
            else:
                break
        if rows:
            yield rows, data
        self._end_copy(total + rows)

    def _end_copy(self, total: int) -> None:
        from psycopg import errors, pq

        deadline = time.monotonic() + _GRACE_S
        sent: int | None = None
        while (result := self._result(deadline)) is not None:
            if result.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(result)
            sent = result.command_tuples
        if sent != total:
            raise SourceAway(f"it sent {sent} rows of which {total} arrived", where=self._target.where)

    def _result(self, deadline: float) -> Any:
        self._flush(deadline)
        while self._pg.is_busy():
            self._wait(deadline)
        return self._pg.get_result()

    def _flush(self, deadline: float) -> None:
        while self._pg.flush():
            self._poll.modify(self._pg.socket, select.POLLIN | select.POLLOUT)
            try:
                self._wait(deadline)
            finally:
                self._poll.modify(self._pg.socket, select.POLLIN)

    def _wait(self, deadline: float) -> None:
        """Until the server says something. Past the deadline the statement is cancelled and SourceAway raised."""
        ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            self.close()
            limit = self._target.guard.statement_timeout_us / 1e6
            raise SourceAway(
                f"it gave nothing for {limit:g} s, so the statement was cancelled",
                mend="index what the read filters by, or raise `guard.statement_timeout`",
                where=self._target.where,
            )
        if ready[0][1] != select.POLLOUT:
            self._pg.consume_input()

    def _told(self, error: psycopg.Error) -> SourceError:
        return from_statement(error, where=self._target.where)


class Pool:
    """At most `guard.connections` connections, kept between reads. Thread-safe.

    Where several processes share the guard, a connection is closed with its read: an idle one would keep others out.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        wait_us = target.guard.statement_timeout_us
        self._cap = ConnectionCap(target.guard.connections, wait_us=wait_us, where=target.where, places=target.places)
        self._idle: list[Wire] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        """A connection for as long as the context lasts. One that was left in the middle of something is closed."""
        with self._cap.one():
            wire = self._take()
            try:
                yield wire
            finally:
                self._give(wire)

    def close(self) -> None:
        """Closes what is idle now, and what is in use when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    def _take(self) -> Wire:
        while True:
            with self._lock:
                wire = self._idle.pop() if self._idle else None
            if wire is None:
                return Wire(self._target)
            if wire.usable():
                return wire
            wire.close()

    def _give(self, wire: Wire) -> None:
        wire.used_s = time.monotonic()
        if wire.usable() and not self._target.places:
            with self._lock:
                if not self._closed:
                    self._idle.append(wire)
                    return
        wire.close()


def _connect(target: Target) -> psycopg.Connection[Any]:
    import psycopg

    secret = target.params.get("password", "")
    params: dict[str, Any] = dict(target.params)
    try:
        try:
            return psycopg.connect(**params, autocommit=True)
        except psycopg.OperationalError as error:
            # PgBouncer takes no options; every transaction sets the same limits for itself (see `begin`).
            if "unsupported startup parameter" not in str(error):
                raise
            del params["options"]
            return psycopg.connect(**params, autocommit=True)
    except psycopg.Error as error:
        raise from_connecting(error, secret=secret, where=target.where) from None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()
