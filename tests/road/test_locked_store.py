"""Another process holds the write lock of state while `mainstay up` is under load."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mainstay.app import lock_said
from tests.app.shop import RULE, Shop
from tests.road.load import Load
from tests.road.running import Running
from tests.road.test_worker_killed import BROKEN


def test_whoever_holds_a_lock_is_named_and_nobody_who_waits_or_reads(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE)
    state = world.place.home.state
    with closing(sqlite3.connect(state, isolation_level=None)) as one:
        one.execute("BEGIN").execute("SELECT count(*) FROM record").fetchone()
        assert lock_said.held_by(state) is None  # reading holds nobody up
        one.execute("COMMIT")
        one.execute("BEGIN IMMEDIATE")
        wait = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0.3).execute('BEGIN IMMEDIATE')"
        with subprocess.Popen([sys.executable, "-c", wait, str(state)], stderr=subprocess.DEVNULL):
            assert lock_said.held_by(state) == os.getpid()
        (found,) = lock_said.findings(world.place.home)
        assert found.check == "stores.state"
        assert f"process {os.getpid()} (" in found.sentence
        one.execute("ROLLBACK")
    assert lock_said.held_by(state) is None
    assert lock_said.held_by(state, tmp_path / "no such system") is None
    assert lock_said.held_by(tmp_path / "no.sqlite") is None


@pytest.mark.promise(1)
@pytest.mark.timeout(300)
def test_a_locked_state_stops_changes_and_no_answers(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, every="500ms", more="settings: {stop_after: 100ms}\n")
    with Running(world) as running:
        load = Load(running.callers())
        with load.going(), closing(sqlite3.connect(world.place.home.state, isolation_level=None)) as other:
            load.more(2)
            other.execute("PRAGMA busy_timeout = 10000")
            other.execute("BEGIN EXCLUSIVE")
            load.more(5)
            told = {one["check"]: one["sentence"] for one in running.status()["wrong"]}
            assert f"process {os.getpid()} (" in told["stores.state"], told
            refused = running.cli("key", "create", "late", "--role", "predict", code=1)
            assert "another process held the file for more than 5 s" in refused
            assert "mainstay status names it" in refused
            assert "Traceback" not in refused
            running.workers()[0].kill()
            running.until(lambda: len(running.workers()) == 2, "the killed worker is started again")
            load.more(5)
            world.exec("UPDATE customers SET tenure = 77 WHERE customer_id = 'person-0003'")
            other.execute("ROLLBACK")
            load.until(lambda: load.got[-1].output == 0.77, "the loop publishes again")
            running.cli("key", "create", "late", "--role", "predict")
            load.more(2)
        assert "stores.state" not in {one["check"] for one in running.status()["wrong"]}
        assert running.log.count("cannot write how the processes are") <= 2
    for each in load.failed:  # whoever was connected to the killed one
        assert any(broken in each for broken in BROKEN), load.failed
    assert "Traceback" not in running.log
