"""What breaks beside us: a disk fills up, a file is locked, rows are garbage, a database hangs, the clock goes back.

Each is said, in an error or in `status`; nothing is lost, and nothing stays half done when the fault is over.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.app.loop import Loop
from mainstay.app.wiring import own
from mainstay.core.clock import HOUR, SECOND
from mainstay.core.errors import MainstayError, Refused, StoreBusy, StoreFull
from mainstay.core.records import ProcessState
from mainstay.pipelines import quarantine, sets
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.clock import FakeClock
from mainstay.testing.postgres import Database
from tests.app.shop import Shop
from tests.pipelines.test_properties import in_full, playing, published
from tests.pipelines.world import VIEW, World

ROWS = 3_000


def fill(folder: Path, leave: int) -> Path:
    """Takes all space but `leave` bytes."""
    ballast = folder / "ballast"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - leave))
    return ballast


@pytest.mark.promise(1)
@pytest.mark.promise(3)
def test_a_full_disk_is_said_and_costs_nothing_but_time(small_disk: Path) -> None:
    world = World(small_disk / "home")
    for number in range(1, 200):
        world.customer(number, tenure=number % 100, u=number)
    world.both()
    refused = 0
    for step, leave in enumerate((0, 16_384, 65_536, 200_000, 400_000, 900_000), 1):
        before = published(world)
        for number in range(1, ROWS):
            world.customers.append({"id": number, "tenure": str(step), "plan": f"{step}", "u": 1_000 * step})
        world.customers[:] = world.customers[-ROWS + 1 :]
        ballast = fill(small_disk, leave)
        try:
            world.run()
        except StoreFull:
            refused += 1
            assert leave or published(world) == before
        ballast.unlink()
        world.run()
        assert published(world) == in_full(world)
        assert {values[0] for values in map(world.values, range(1, ROWS)) if values} == {step}
        world.adds_up()
    assert refused >= 2
    world.close()


@pytest.mark.promise(1)
def test_a_command_that_may_write_no_more_says_so_and_the_next_one_goes_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path, rows=2_000)
    shop.apply()
    command = f"ulimit -f 100; exec {sys.executable} -m mainstay run"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 70), done.stdout + done.stderr
    assert "no space" in done.stderr or "could not be written" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    shop.run()
    assert shop.dataset().rows + shop.dataset().quarantined == 2_000
    assert shop.dataset().counts["landed"] == 2_000


@pytest.mark.promise(1)
@pytest.mark.parametrize(("file", "point"), [("state", "landed"), ("online", "current-written")])
def test_a_store_that_another_process_locks_is_waited_for_and_nothing_is_lost(
    tmp_path: Path, file: str, point: str
) -> None:
    other: list[sqlite3.Connection] = []

    def at(now: str) -> None:
        if now == point and len(other) == 0:
            other.append(sqlite3.connect(tmp_path / f"{file}.sqlite", isolation_level=None))
            other[0].execute("BEGIN IMMEDIATE")

    world = World(tmp_path)
    world.customer(1, u=1)
    world.both()
    for store in (world.desk.state, world.desk.online):
        assert isinstance(store, SqliteState | SqliteOnline)
        store._file._writer.execute("PRAGMA busy_timeout = 20")
    world.desk.at = at
    world.customer(2, tenure=22, u=2)
    with pytest.raises(StoreBusy):
        world.run()
    with closing(other[0]):
        other[0].execute("ROLLBACK")
    world.run()  # in the same process: nobody restarted anything
    assert world.values(2) == [22, "a", 0, None]
    assert [one.status for one in world.desk.batches.all("customers/").values()] == ["published"] * 2
    assert published(world) == in_full(world)
    world.adds_up()
    world.close()


garbage = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "\x00",
            "\x01",
            "'; DROP TABLE x; --",
            "9" * 400,
            "1e308",
            "-1e309",
            "NaN",
            "Infinity",
            "0x1F",
            "½",
            "１２",
            "\ud7ff",
        ]
    ),
    st.none(),
)


@settings(max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.tuples(garbage, garbage), min_size=1, max_size=12))
def test_garbage_is_put_aside_whole_and_stops_nobody(rows: list[tuple[str | None, str | None]]) -> None:
    with playing() as play:
        world = play.world
        world.customer(99, tenure=5, u=0)
        world.both()
        for number, (tenure, plan) in enumerate(rows, 1):
            world.customers.append({"id": number, "tenure": tenure, "plan": plan, "u": number})
        world.run()
        world.ticket(1, 99, severity=rows[0][0])
        world.run("tickets")
        play.look()
        assert world.values(99) is not None
        aside = {(one.raw["id"], one.raw["tenure"]) for one in quarantine.list_rows(world.desk, dataset="customers")}
        shown = {key for (key,) in world.desk.current.sql("SELECT _k FROM ds_customers.rows WHERE NOT _deleted")}
        for number, (tenure, _plan) in enumerate(rows, 1):
            assert ((str(number), tenure) in aside) != (str(number) in shown)


def test_feature_sql_that_fails_on_a_value_is_said_and_the_last_good_rows_stay(tmp_path: Path) -> None:
    view = msgspec.structs.replace(
        VIEW,
        sql="SELECT c.id, CAST(c.plan AS INTEGER) AS plan, count(t.ticket) AS tickets FROM customers c "
        "LEFT JOIN tickets t ON t.customer = c.id GROUP BY c.id, c.plan",
    )
    world = World(tmp_path, view=view)
    world.customer(1, plan="1", u=1)
    world.both()
    before = published(world)
    world.customer(2, plan="secret", u=2)
    for _ in range(3):
        with pytest.raises(Refused, match="SQL of feature view customer cannot be evaluated") as refused:
            world.run()
        assert "secret" not in str(refused.value)
    assert published(world) == before
    assert world.state().published == 1  # so its age grows
    assert len(world.desk.publish_plans.all()) == 1
    world.close()
    world.open()
    assert any("could not be repaired" in sentence for sentence in sets.recover(world.desk))
    world.close()


def test_the_loop_lives_on_with_a_feature_set_that_cannot_be_built_and_says_so(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    clock = FakeClock()
    shop.apply(sql="SELECT c.customer_id, CAST(c.city AS INTEGER) AS tenure FROM customers c")
    with own(shop.place, "a test", clock=clock) as works:
        loop = Loop(works)
        loop.start()
        for _ in range(20):
            loop.beat()
            clock.advance(2 * SECOND)
        state = works.desk.dataset_state("customers")
        found = works.state.get("process", "loop")
        assert found is not None
        told = state.error + msgspec.json.decode(found.body, type=ProcessState).note
        assert "SQL of feature view customer cannot be evaluated" in told
        assert len(works.desk.publish_plans.all()) <= 1
    assert not shop.plan()["steps"]  # commands still work


@pytest.mark.promise(5)
def test_a_clock_that_is_set_back_stops_no_dataset(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.apply()
    clock = FakeClock()
    with own(shop.place, "a test", clock=clock) as works:
        loop = Loop(works)
        loop.start()
        loop.beat()
        assert works.desk.dataset_state("customers").rows == 6
        clock.set_wall(clock.now_us() - HOUR)
        shop.exec("INSERT INTO customers VALUES ('new', 1, 'Bonn', 'gold')")
        for _ in range(3):
            loop.beat()
            clock.advance(SECOND)
        state = works.desk.dataset_state("customers")
        assert state.rows == 7
        assert state.as_of_us is not None
        assert state.as_of_us <= clock.now_us()


def test_a_database_that_hangs_is_left_alone_and_read_again_when_it_answers(
    tmp_path: Path, postgres_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres_db.exec("CREATE TABLE customers (customer_id text PRIMARY KEY, tenure int, city text)")
    postgres_db.exec("INSERT INTO customers VALUES ('a', 1, 'Bonn')")
    monkeypatch.setenv("SHOP_URL", postgres_db.url)
    shop = Shop(tmp_path)
    shop.write()
    guard = (
        "guard: {connections: 1, statement_timeout: 300ms, connect_timeout: 1s, retry_first: 10ms, retry_most: 20ms}"
    )
    text = shop.file.read_text().replace(
        "{kind: sqlite, path: crm.db}", f'{{kind: postgres, url: "${{SHOP_URL}}", {guard}}}'
    )
    shop.file.write_text(text)
    shop.begin()
    before = shop.dataset()
    postgres_db.server.freeze()
    try:
        with pytest.raises(MainstayError) as away:
            shop.run()
    finally:
        postgres_db.server.thaw()
    assert away.value.transient
    assert "postgres:postgres" not in str(away.value)
    assert shop.dataset().as_of_us == before.as_of_us
    postgres_db.exec("INSERT INTO customers VALUES ('b', 2, 'Bonn')")
    shop.run()
    assert shop.dataset().rows == 2
