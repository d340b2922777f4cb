"""The loop hangs, and the clock of the machine is set, while `mainstay up` is under load."""

from __future__ import annotations

import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.app.shop import RULE, Shop
from tests.road.load import Load
from tests.road.running import Running

CLOCK = r"""
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const long long *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_AHEAD");
    int fd = path ? open(path, O_RDONLY) : -1;
    void *seen = fd < 0 ? MAP_FAILED : mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
    if (seen != MAP_FAILED) ahead = seen;
    if (fd >= 0) close(fd);
}

int clock_gettime(clockid_t which, struct timespec *found) {
    int failed = (int)syscall(SYS_clock_gettime, which, found);
    if (!failed && ahead && which == CLOCK_REALTIME) found->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *found, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}
"""
"""A clock that a whole tree of processes reads, and that a test can set: so many seconds ahead of the machine's."""


class Clock:
    """Sets it. `env`: for the processes that are to read it."""

    def __init__(self, folder: Path, compiler: str) -> None:
        source, library, self._ahead = folder / "clock.c", folder / "clock.so", folder / "ahead"
        source.write_text(CLOCK)
        self.set(0)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True)
        self.env = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": str(self._ahead)}

    def set(self, seconds: int) -> None:
        with self._ahead.open("r+b" if self._ahead.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))


@pytest.fixture
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("this machine has no C compiler, so that its processes' clock cannot be set alone")
    return Clock(tmp_path_factory.mktemp("clock"), compiler)


@contextmanager
def hanging(running: Running) -> Iterator[None]:
    """The loop neither works nor ends for the block."""
    (loop,) = [
        one
        for one in psutil.Process(running.process.pid).children()
        if "mainstay.app.loop_process" in one.cmdline()
    ]  # fmt: skip
    loop.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        loop.send_signal(signal.SIGCONT)


def told(running: Running) -> dict[str, str]:
    return {one["check"]: f"{one['verdict']} {one['sentence']}" for one in running.status()["wrong"]}


def refused(load: Load, what: str) -> None:
    """Waits until whoever asks by key is refused, while rows, which have no age, are answered."""
    before, rows = len(load.failed), sum(one.kind == "rows" for one in load.got)
    load.until(lambda: any("on_stale" in one for one in load.failed[before:]), what)
    load.until(lambda: sum(one.kind == "rows" for one in load.got) > rows + 3, "rows are answered")


@pytest.mark.promise(5)
@pytest.mark.timeout(300)
def test_a_loop_that_hangs_lets_rows_expire_and_is_said(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.write(model=RULE, every="200ms", more="settings: {stop_after: 100ms}\n")
    world.file.write_text(world.file.read_text().replace("{warn: 1h, fail: 2h}", "{warn: 3s, fail: 4s}"))
    world.begin()
    with Running(world) as running:
        load = Load(running.callers())
        with load.going():
            with hanging(running):
                refused(load, "rows expire")
                running.until(lambda: told(running).get("processes.loop", "").startswith("FAIL"), "it is said")
            load.more(3)
            running.until(lambda: "processes.loop" not in told(running), "it is over")
    assert {one.why.split(":")[0] for one in load.got} <= {"", "on_warn"}


@pytest.mark.promise(5)
@pytest.mark.timeout(300)
def test_a_clock_that_is_set_stops_nobody_for_longer_than_a_read_takes(tmp_path: Path, clock: Clock) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, every="200ms", more="settings: {stop_after: 100ms}\n")
    with Running(world, env=clock.env) as running:
        load = Load(running.callers())
        with load.going():
            with hanging(running):
                clock.set(-3600)
                refused(load, "ages are not known")
                found = told(running)
                assert "was set back by" in found["clock"], found
                assert "the age of customers is UNKNOWN" in found["clock"]
            load.more(3)
            running.until(lambda: "clock" not in told(running), "the next read is over")
            with hanging(running):
                clock.set(3 * 3600)
                refused(load, "rows expire")
                assert told(running)["customers.freshness"].startswith("FAIL")
            load.more(3)
            running.until(lambda: "customers.freshness" not in told(running), "the next read is over")
            failed = len(load.failed)
            load.more(3)
            assert load.failed[failed:] == []
    assert len({one.receipt for one in load.got}) == len(load.got)
