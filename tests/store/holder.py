"""A process that holds the shared lease and publishes batch after batch, to be killed or suspended by a test.

`holder.py STATE_URL REDIS_URL INTEGRATION HOME LEASE_S`: waits for the lease, prints `owns TOKEN`, publishes until it
is fenced, prints `fenced by STORE` then, and ends. A batch is published as the loop does it: plan, rows, position last.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import msgspec

from mainstay.core.errors import Fenced, LeaseOwned, StoreAway
from mainstay.core.ports import Write
from mainstay.store.home import Home
from mainstay.store.lease_postgres import PostgresLease, take_postgres_lease
from mainstay.store.online_redis import RedisOnline
from mainstay.store.state_postgres import PostgresState
from mainstay.testing.online_suite import SET, online_row

KEYS = [f"k{number:02d}" for number in range(20)]


def said(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def publish(state: PostgresState, online: RedisOnline, token: int) -> None:
    """One batch: what was begun is finished first, under its own number; so none is left out and none comes twice."""
    done = state.get("position", "published")
    number = 1 + (0 if done is None else msgspec.json.decode(done.body, type=int))
    plan = state.get("plan", f"{number:012d}")
    if plan is None:
        state.commit([Write(space="plan", name=f"{number:012d}", body=b"", expect=0)], token=token)
    online.put(SET, (online_row(key, number) for key in KEYS), token=token)
    state.commit(
        [
            Write(space="position", name="published", body=b"%d" % number, expect=done.version if done else 0),
            Write(space="published", name=f"{number:012d}", body=b"%d" % token, expect=0),
        ],
        token=token,
    )


def owned(home: Home, state: PostgresState, lease_s: float) -> PostgresLease:
    while True:
        try:
            return take_postgres_lease(home, owner=f"holder in {home.root.name}", state=state, lease_s=lease_s)
        except LeaseOwned:
            time.sleep(0.02)


def main(state_url: str, redis_url: str, integration: str, root: str, lease_s: str) -> None:
    home = Home(Path(root), "churn")
    home.create()
    state = PostgresState(state_url, integration)
    online = RedisOnline(redis_url, integration)
    with owned(home, state, float(lease_s)) as lease:
        online.put(
            SET, [], token=lease.token
        )  # Whoever comes from before is fenced here too, from the first moment on.
        said(f"owns {lease.token}")
        try:
            while True:
                with contextlib.suppress(StoreAway):  # a connection that did not outlive a suspension: begin again
                    publish(state, online, lease.token)
        except Fenced as error:
            said(f"fenced by {error.where.split()[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
