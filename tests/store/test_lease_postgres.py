"""The lease over a database: it runs out, it moves, and whoever lost it writes nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from mainstay.core.errors import Fenced, LeaseOwned, StoreError
from mainstay.core.ports import Write
from mainstay.store.home import Home
from mainstay.store.lease_postgres import PostgresLease, take_postgres_lease
from mainstay.store.online_redis import RedisOnline
from mainstay.store.state_postgres import PostgresState
from mainstay.testing.online_suite import SET, online_row
from mainstay.testing.postgres import Database
from mainstay.testing.redis_server import RedisServer
from tests.store.holder import KEYS

HOLDER = Path(__file__).with_name("holder.py")


def poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s"
        time.sleep(0.01)


def home_of(folder: Path) -> Home:
    home = Home(folder, "churn")
    home.create()
    return home


@pytest.fixture
def state(postgres_db: Database) -> Iterator[PostgresState]:
    store = PostgresState(postgres_db.url, "churn")
    yield store
    with suppress(StoreError):
        store.close()


@pytest.fixture
def here(tmp_path: Path) -> Home:
    return home_of(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Home:
    return home_of(tmp_path / "there")


def test_one_machine_at_a_time(state: PostgresState, here: Home, there: Home) -> None:
    with take_postgres_lease(here, owner="pid 7 on büro", state=state) as lease:
        with pytest.raises(LeaseOwned, match="owned by pid 7 on büro") as caught:
            take_postgres_lease(there, owner="another", state=state)
        assert "the lease is free in" in caught.value.mend
        with pytest.raises(LeaseOwned, match="owned by pid 7 on büro") as caught:
            take_postgres_lease(here, owner="another", state=state)
        state.commit([Write(space="a", name="n", body=b"1")], token=lease.token)
    with take_postgres_lease(there, owner="another", state=state) as next_one:
        assert next_one.token == lease.token + 1
        with pytest.raises(Fenced):
            state.commit([Write(space="a", name="n", body=b"2")], token=lease.token)
    lease.release()
    with take_postgres_lease(here, owner="me", state=state) as third:
        assert third.token == lease.token + 2, "the token only grows"


def test_it_stays_ours_for_as_long_as_it_is_renewed(state: PostgresState, here: Home, there: Home) -> None:
    with take_postgres_lease(here, owner="me", state=state, lease_s=0.6) as lease:
        (first,) = state.postgres.rows("SELECT expires FROM mainstay_state_head")
        poll(lambda: state.postgres.rows("SELECT expires FROM mainstay_state_head")[0][0] > first[0])
        until = time.monotonic() + 1.5  # More than twice what it would last without being renewed.
        while time.monotonic() < until:
            with pytest.raises(LeaseOwned):
                take_postgres_lease(there, owner="another", state=state)
            lease.check()
        state.commit([Write(space="a", name="n", body=b"1")], token=lease.token)


def test_a_lease_that_ran_out_is_fenced_before_anybody_takes_it(state: PostgresState, here: Home) -> None:
    why: list[str] = []
    lease = take_postgres_lease(here, owner="me", state=state, lease_s=0.5, on_lost=why.append)
    state.commit([Write(space="a", name="n", body=b"1")], token=lease.token)
    state.postgres.transact(lambda one: one.execute("UPDATE mainstay_state_head SET expires = now() - interval '1 s'"))
    with pytest.raises(Fenced, match="ran out"):
        state.commit([Write(space="a", name="n", body=b"2")], token=lease.token)
    poll(lease.lost.is_set)
    with pytest.raises(Fenced, match="ran out"):
        lease.check()
    poll(lambda: bool(why))
    assert why == ["it ran out, or another process has taken it"], "told once"
    state.commit([Write(space="a", name="m", body=b"")])  # Without a token: a CLI's request needs no lease.
    lease.release()
    found = state.get("a", "n")
    assert found is not None
    assert found.body == b"1"


def test_a_database_that_is_away_too_long_loses_the_lease(
    state: PostgresState, here: Home, there: Home, postgres_db: Database
) -> None:
    why: list[str] = []
    lease = take_postgres_lease(here, owner="me", state=state, lease_s=0.5, on_lost=why.append)
    postgres_db.server.kill9()
    poll(lease.lost.is_set)
    assert why[0].startswith("it could not be renewed: ")
    postgres_db.server.start()
    lease.release()
    with take_postgres_lease(there, owner="another", state=state) as next_one:
        assert next_one.token == lease.token + 1


def test_a_killed_owner_frees_it_at_once_on_its_own_machine(state: PostgresState, here: Home, there: Home) -> None:
    """As after kill -9: nobody released it in the database, the operating system let go of the file."""
    lease = take_postgres_lease(here, owner="the dead one", state=state, lease_s=600)
    lease._released.set()
    lease._renewing.join()
    os.close(lease._handle)
    with pytest.raises(LeaseOwned, match="the dead one"):
        take_postgres_lease(there, owner="another machine", state=state)
    with take_postgres_lease(here, owner="the next one here", state=state) as following:
        assert following.token == lease.token + 1


def test_a_lease_counts_from_when_it_was_taken(state: PostgresState, here: Home, postgres_db: Database) -> None:
    """Taking it may wait for the row (another's commit, say): the time that took is not taken off the lease."""
    with psycopg.connect(postgres_db.url) as another:
        another.execute("SELECT FROM mainstay_state_head FOR UPDATE")
        taken: list[PostgresLease] = []
        thread = threading.Thread(
            target=lambda: taken.append(take_postgres_lease(here, owner="me", state=state, lease_s=1.0))
        )
        thread.start()
        time.sleep(1.2)
    thread.join()
    (lease,) = taken
    state.commit([Write(space="a", name="n", body=b"1")], token=lease.token)
    lease.release()


def test_only_one_of_many_takes_it_over(state: PostgresState, postgres_db: Database, tmp_path: Path) -> None:
    taken: list[int] = []
    start = threading.Barrier(5)

    def take(number: int) -> None:
        with closing(PostgresState(postgres_db.url, "churn")) as own:
            home = home_of(tmp_path / str(number))
            start.wait(30)
            with suppress(LeaseOwned):
                taken.append(take_postgres_lease(home, owner=str(number), state=own, lease_s=600).token)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [1]


class Holders:
    """Processes that want the lease, each as if on a machine of its own."""

    def __init__(self, state_url: str, redis_url: str, integration: str, folder: Path, lease_s: float) -> None:
        self._arguments = (state_url, redis_url, integration)
        self._folder = folder
        self._lease_s = lease_s
        self._all: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        home = self._folder / f"machine-{len(self._all)}"
        command = [sys.executable, str(HOLDER), *self._arguments, str(home), str(self._lease_s)]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        one = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        self._all.append(one)
        return one

    def close(self) -> None:
        for one in self._all:
            one.kill()
            one.wait()
            if one.stdout is not None:
                one.stdout.close()


def line(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline().strip()


@pytest.fixture
def holders(postgres_db: Database, redis: RedisServer, tmp_path: Path) -> Iterator[Holders]:
    redis.start()
    some = Holders(postgres_db.url, redis.url, str(tmp_path), tmp_path, lease_s=3.0)
    yield some
    some.close()


def tokens(state: PostgresState) -> list[int]:
    """The token that published each batch, in the batches' order; no number is left out and none is there twice."""
    found = state.scan("published")
    assert [int(each.name) for each in found] == list(range(1, len(found) + 1))
    assert {each.version for each in found} <= {1}
    return [int(each.body) for each in found]


def whole(state: PostgresState, online: RedisOnline) -> None:
    """Nothing is partly written: what was begun is redone by whoever has the lease now."""
    position = len(tokens(state))
    rows = online.get_many(SET, KEYS)
    for key in KEYS:
        assert rows[key] == online_row(key, rows[key].plan)
        assert rows[key].plan in {position, position + 1}


@pytest.mark.promise(1)
def test_a_killed_machine_is_followed_by_another(
    holders: Holders, postgres_db: Database, redis: RedisServer, tmp_path: Path
) -> None:
    with closing(PostgresState(postgres_db.url, str(tmp_path))) as state:
        last: subprocess.Popen[str] | None = None
        for token in (1, 2, 3, 4):
            following = holders.start()
            if last is not None:
                last.kill()
                last.wait()
            assert line(following) == f"owns {token}"
            poll(lambda: tokens(state)[-1:] == [token])  # noqa: B023 - called at once
            last = following
        assert last is not None
        last.kill()
        last.wait()
        found = tokens(state)
        assert found == sorted(found), "no older token wrote after a younger one"
        with closing(RedisOnline(redis.url, str(tmp_path), writable=False)) as online:
            whole(state, online)


@pytest.mark.promise(1)
def test_a_suspended_machine_wakes_up_fenced(
    holders: Holders, postgres_db: Database, redis: RedisServer, tmp_path: Path
) -> None:
    with closing(PostgresState(postgres_db.url, str(tmp_path))) as state:
        first = holders.start()
        assert line(first) == "owns 1"
        poll(lambda: len(state.scan("published")) > 5)
        os.kill(first.pid, signal.SIGSTOP)
        second = holders.start()
        assert line(second) == "owns 2"
        poll(lambda: tokens(state)[-1:] == [2])
        os.kill(first.pid, signal.SIGCONT)
        assert line(first) in {"fenced by state", "fenced by online"}
        assert first.wait(30) == 0
        seen = len(tokens(state))
        poll(lambda: len(tokens(state)) > seen + 5)
        second.kill()
        second.wait()
        found = tokens(state)
        assert found == sorted(found), "the woken one wrote nothing more"
        assert set(found) == {1, 2}
        with closing(RedisOnline(redis.url, str(tmp_path))) as online:
            whole(state, online)
            with pytest.raises(Fenced):
                online.put(SET, [online_row("k00", 10**6)], token=1)
