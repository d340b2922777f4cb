"""A worker is killed with -9 under load: the other answers, it comes back, and no given answer lacks its receipt."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import SystemClock
from mainstay.core.records import Receipt
from mainstay.store.journal import SegmentJournal
from tests.app.shop import RULE, Shop
from tests.road.load import Got, Load
from tests.road.running import Running

KILLS = 4


def lost(world: Shop, got: list[Got]) -> list[str]:
    """Answers whose receipt is not in the journal, or tells another answer."""
    home = world.place.home
    journal = SegmentJournal(home.journal, secret=home.secret(), clock=SystemClock(), writable=False)
    found = []
    for one in got:
        entry = journal.get(one.receipt)
        told = None if entry is None else msgspec.msgpack.decode(entry.payload, type=Receipt)
        if told is None or told.output != {"churn_probability": one.output} or told.version != one.version:
            found.append(f"{one}: {told}")
    journal.close()
    return found


BROKEN = (
    "RemoteDisconnected", "ConnectionReset", "BrokenPipe", "UNAVAILABLE", "Connection reset", "Socket closed",
    "IncompleteRead",
)  # fmt: skip
"""How clients tell of a connection that broke."""


@pytest.mark.promise(2)
@pytest.mark.timeout(300)
def test_a_worker_killed_under_load_takes_no_receipt_with_it_and_comes_back(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, more="settings: {stop_after: 100ms}\n")
    with Running(world) as running:
        load = Load(running.callers())
        with load.going():
            for number in range(KILLS):
                before = {one.pid for one in running.workers()}
                victim = running.workers()[number % 2]
                load.more(5)
                victim.kill()
                load.more(10)  # the other one answers everybody

                def back(before: set[int] = before, gone: int = victim.pid) -> bool:
                    now = {one.pid for one in running.workers()}
                    return len(now) == 2 and gone not in now and bool(now - before)

                running.until(back, "the worker is back")
            load.more(10)

            def told() -> bool:
                processes = running.status()["processes"]
                return bool(sum(processes[name]["restarts"] for name in ("api-1", "api-2")) == KILLS)

            running.until(told, "status tells of every restart")  # the supervisor notes them every few seconds
    # Whoever was connected to the killed one saw the connection break, and nothing else.
    for each in load.failed:
        assert any(broken in each for broken in BROKEN), load.failed
    assert len(load.failed) <= KILLS * len(running.callers())
    assert len({one.receipt for one in load.got}) == len(load.got)
    assert {one.kind for one in load.got} == {"key", "rows", "oip", "grpc"}
    assert lost(world, load.got) == []
