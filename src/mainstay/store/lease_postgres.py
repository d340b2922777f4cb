"""The right to write an integration's stores, where several machines could: a lease that runs out unless renewed.

It stands in the row that every commit of the integration locks, so that taking it over and committing never overlap.
Only the database's clock counts. Whoever takes it gets a token one higher than the highest ever seen; a commit of a
lower token, or of a lease that ran out, is refused (Fenced). On its own machine the owner holds the lock on
`home.lease` as well: so a killed process frees the lease at once for the next process of the same home, and only
another machine waits until it runs out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString, Self

from mainstay.core.errors import Corrupt, LeaseOwned, StoreError
from mainstay.store.lease import locked
from mainstay.store.state_postgres import PostgresState, ran_out

if TYPE_CHECKING:
    from mainstay.store.home import Home
    from mainstay.store.postgres import Connection

LEASE_S = 15.0
"""How long a machine that is gone keeps the others waiting."""
RENEWALS = 3
"""How often it is renewed in that time."""

# Before the clock is asked: what an UPDATE computes, it computes before it waits for the row.
_LOCK = "SELECT 1 FROM mainstay_state_head WHERE integration = %s FOR UPDATE"
_TAKE = """
UPDATE mainstay_state_head
   SET token = token + 1, owner = %s, place = %s, expires = clock_timestamp() + make_interval(secs => %s)
 WHERE integration = %s AND (expires IS NULL OR expires <= clock_timestamp() OR place = %s)
RETURNING token
"""
_LOOK = """
SELECT owner, ceil(extract(epoch FROM expires - clock_timestamp()))::int FROM mainstay_state_head
 WHERE integration = %s
"""
_RENEW = """
UPDATE mainstay_state_head SET expires = clock_timestamp() + make_interval(secs => %s)
 WHERE integration = %s AND token = %s AND expires > clock_timestamp()
RETURNING token
"""
_RELEASE = """
UPDATE mainstay_state_head SET owner = NULL, place = NULL, expires = NULL WHERE integration = %s AND token = %s
RETURNING token
"""


class PostgresLease:
    """A lease that is ours until `release`, and for at most `lease_s` longer than this process runs.

    A thread renews it. When it could not in time, or another process has the lease, `lost` is set for good and
    `on_lost` is called once, in that thread.
    """

    def __init__(
        self,
        state: PostgresState,
        handle: int,
        token: int,
        *,
        owner: str,
        lease_s: float,
        on_lost: Callable[[str], None],
    ) -> None:
        self.token = token
        self.owner = owner
        self.lost = threading.Event()
        self._state = state
        self._handle = handle
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._released = threading.Event()
        self._until_s = time.monotonic() + lease_s
        self._renewing = threading.Thread(target=self._renew, daemon=True, name="mainstay-lease")
        self._renewing.start()

    def check(self) -> None:
        """Raises Fenced once the lease is lost: before anything is written that no token fences."""
        if self.lost.is_set() or (time.monotonic() >= self._until_s and not self._released.is_set()):
            raise ran_out(self.token, self._state.postgres.where)

    def release(self) -> None:
        """Lets go. A second call does nothing."""
        if self._released.is_set():
            return
        self._released.set()
        self._renewing.join()
        try:
            if not self.lost.is_set():
                _execute(self._state, _RELEASE, (self._state.integration, self.token))
        except StoreError:
            pass  # It runs out by itself.
        finally:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _renew(self) -> None:
        wait_s = self._lease_s / RENEWALS
        while not self._released.wait(wait_s):
            asked_s = time.monotonic()
            wait_s = self._lease_s / RENEWALS
            try:
                if not _execute(self._state, _RENEW, (self._lease_s, self._state.integration, self.token)):
                    self._lose("it ran out, or another process has taken it")
                    return
                self._until_s = asked_s + self._lease_s
            except StoreError as error:
                wait_s = min(wait_s, 1.0)
                if asked_s >= self._until_s:
                    self._lose(f"it could not be renewed: {error.sentence}")
                    return

    def _lose(self, why: str) -> None:
        self.lost.set()
        self._on_lost(why)


def take_postgres_lease(
    home: Home,
    *,
    owner: str,
    state: PostgresState,
    lease_s: float = LEASE_S,
    on_lost: Callable[[str], None] = lambda _why: None,
    elsewhere: Callable[[], None] = lambda: None,
) -> PostgresLease:
    """Takes the integration's lease if it is free, ran out, or was left by a dead process of this home.

    Args:
        home: Whose `lease` file is locked beside it; its folder must stand.
        owner: Who we are, for the message that others get: pid, host and command.
        state: Where the lease stands; its fence moves to the new token in the same statement.
        lease_s: How long it is ours without being renewed.
        on_lost: Called with the reason when it is no longer ours though nobody released it.
        elsewhere: Called when another machine has it, while no other process of this home can take it.

    Raises LeaseOwned, naming the owner, when another process has it.
    """
    handle = locked(home.lease, owner)
    try:
        token = _taken(state, owner, _place(home.lease), lease_s)
        return PostgresLease(state, handle, token, owner=owner, lease_s=lease_s, on_lost=on_lost)
    except LeaseOwned:
        elsewhere()
        os.close(handle)
        raise
    except BaseException:
        os.close(handle)
        raise


def _taken(state: PostgresState, owner: str, place: str | None, lease_s: float) -> int:
    taken = _execute(state, _TAKE, (owner, place, lease_s, state.integration, place))
    if taken is None:
        raise _owned(state)
    return taken[0]


def leased(state: PostgresState) -> bool:
    """Whether somebody owns the lease now, on whichever machine."""
    rows = state.postgres.rows(_LOOK, (state.integration,))
    return bool(rows) and rows[0][1] is not None and rows[0][1] > 0


def _owned(state: PostgresState) -> LeaseOwned | Corrupt:
    rows = state.postgres.rows(_LOOK, (state.integration,))
    if not rows:
        return Corrupt("state no longer knows the integration", mend="restore it from a backup")
    owner, left = rows[0]
    mend = f"wait for it, or stop that process; if it is dead, the lease is free in {max(1, left or 1)} s"
    return LeaseOwned(owner or "another process", mend=mend)


def _execute(state: PostgresState, sql: LiteralString, parameters: tuple[object, ...]) -> tuple[int, ...] | None:
    def work(connection: Connection) -> tuple[int, ...] | None:
        connection.execute(_LOCK, (state.integration,))
        return connection.execute(sql, parameters).fetchone()

    return state.postgres.transact(work)


def _place(lock: Path) -> str | None:
    """What names the locked file among all machines while this kernel runs: whoever holds its lock is alone there.

    None where the system does not tell its boots apart: then even the next process here waits.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    found = lock.stat()
    return f"{boot}:{found.st_dev}:{found.st_ino}"
