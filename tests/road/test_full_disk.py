"""A disk takes no more while `mainstay up` is under load: what callers get, what `status` says, and how it goes on."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.app.shop import RULE, Shop
from tests.road.load import Load
from tests.road.running import Running
from tests.road.test_worker_killed import lost

Full = Callable[[Running], Callable[[], None]]
"""Lets the disk take no more; gives what undoes it."""


def a_full_disk(running: Running) -> Callable[[], None]:
    ballast = running.shop.folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65_536, 4_096):  # others write meanwhile, so what is left is not known
            with suppress(OSError):
                while file.write(b"." * size) == size:
                    pass
    return ballast.unlink


def a_limit_of_the_system(running: Running) -> Callable[[], None]:
    """No process of this `up` may write into a file any more: what `ulimit -f` does, and close to what a quota does."""
    up = psutil.Process(running.process.pid)

    def limit(most: int) -> None:
        for one in (up, *(up.children(recursive=True) if up.is_running() else ())):  # those that begin later inherit it
            with suppress(ProcessLookupError):
                resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    limit(0)
    return lambda: limit(resource.RLIM_INFINITY)


@pytest.fixture(params=["a small disk", "a limit"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Full]:
    """A folder, and how its disk takes no more. A small disk of its own needs a machine that lets us mount one."""
    if request.param == "a limit":
        return tmp_path, a_limit_of_the_system
    return request.getfixturevalue("small_disk"), a_full_disk


def ends_with_its_supervisor(running: Running, fill_it: Full) -> None:
    """Nobody is left where the disk takes no more, no counters either, and `mainstay up` is killed."""
    everybody = psutil.Process(running.process.pid).children(recursive=True)
    undo = fill_it(running)
    running.process.kill()
    running.process.wait()
    _, left = psutil.wait_procs(everybody, timeout=60)
    assert [one.cmdline() for one in left] == []
    undo()


@pytest.mark.promise(2)
@pytest.mark.timeout(300)
def test_a_disk_that_takes_no_more_refuses_answers_and_loses_nothing(full: tuple[Path, Full]) -> None:
    folder, fill_it = full
    world = Shop(folder)
    world.begin(model=RULE, every="500ms", more="settings: {stop_after: 100ms}\n")
    with Running(world) as running:
        load = Load(running.callers())
        with load.going():
            load.more(2)
            undo = fill_it(running)
            refused = len(load.failed)
            load.until(lambda: len(load.failed) > refused + 20, "answers are refused")
            running.until(lambda: running.ready() == 503, "no load balancer sends anybody")
            told = running.status()["wrong"]
            if fill_it is a_full_disk:
                assert (told[0]["check"], told[0]["verdict"]) == ("disk", "FAIL"), told
            undo()
            running.until(lambda: running.ready() == 200, "there is space again")
            world.exec("UPDATE customers SET tenure = 77 WHERE customer_id = 'person-0003'")
            load.more(2)
            load.until(lambda: load.got[-1].output == 0.77, "the loop publishes again")
            failed = list(load.failed)
            assert len(running.workers()) == 2
            load.more(2)
        ends_with_its_supervisor(running, fill_it)
    assert load.failed[len(failed) :] == []
    for one in failed:
        assert "no receipt can be written" in one, failed
    assert lost(world, load.got) == []
    assert len({one.receipt for one in load.got}) == len(load.got)
    assert "Traceback" not in running.log
