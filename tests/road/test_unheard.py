"""Nobody reads what `mainstay up` writes: predictions, the loop and restarts go on; lines are dropped and counted."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mainstay.app.log_lines import WAITING_MOST
from tests.app.shop import RULE, Shop
from tests.app.test_log_lines import fill
from tests.road.load import Load
from tests.road.running import Running
from tests.road.test_worker_killed import BROKEN

TALKING = """
import sys, threading, time

def talk():
    while type(sys.stderr).__name__ != "LogLines":
        time.sleep(0.05)
    for number in range({lines}):
        print("line", number, file=sys.stderr)

if "mainstay.http.serve" in sys.orig_argv:
    threading.Thread(target=talk, daemon=True).start()
"""
"""Makes a worker write more lines than may wait, as soon as its output is such that it can."""


@pytest.mark.timeout(300)
def test_a_log_that_nobody_reads_stops_nobody(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, every="500ms", more="settings: {stop_after: 100ms}\n")
    reading, writing = os.pipe()
    (tmp_path / "talking").mkdir()
    (tmp_path / "talking" / "sitecustomize.py").write_text(TALKING.format(lines=2 * WAITING_MOST))
    fill(writing)
    running = Running(world, output=writing, env={"PYTHONPATH": str(tmp_path / "talking")})
    load = Load(running.callers())
    read: list[bytes] = []
    try:
        with running, load.going():
            load.more(5)
            world.exec("UPDATE customers SET tenure = 77 WHERE customer_id = 'person-0003'")
            load.until(lambda: load.got[-1].output == 0.77, "the loop publishes")
            running.workers()[0].kill()
            running.until(lambda: len(running.workers()) == 2, "the supervisor, who says so, starts another")
            load.more(5)

            def said() -> bool:
                return any(one["check"] == "logs" for one in running.status()["wrong"])

            running.until(said, "status tells of lines that were dropped")
            assert "mainstay_log_lines_dropped_total" in running.metrics()

            def reader() -> None:
                while part := os.read(reading, 65_536):
                    read.append(part)

            thread = threading.Thread(target=reader)
            thread.start()
            running.until(lambda: b"nobody took what api-" in b"".join(read), "the log tells of them")
            load.more(2)
    finally:
        os.close(writing)
        os.close(reading) if not read else None
    thread.join(10)
    for each in load.failed:  # whoever was connected to the killed one
        assert any(broken in each for broken in BROKEN), load.failed
