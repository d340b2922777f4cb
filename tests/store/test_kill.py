"""Real processes are killed with -9 while they write: what they said was done is there, whole; nothing is torn."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.core.errors import LeaseOwned
from mainstay.core.ids import digest_bytes
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.home import Home
from mainstay.store.landing_local import LocalLanding
from mainstay.store.lease import take_lease
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.landing_suite import rows_of
from mainstay.testing.online_suite import SET, online_row

WORKER = Path(__file__).with_name("worker.py")
KEYS = [f"k{number:05d}" for number in range(2000)]
ROUNDS = 8


class Nursery:
    """Starts children that write, and kills them."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.chance = random.Random(7)

    def start(self, kind: str, folder: Path) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{kind} {folder}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            poll(lambda: not alive(pid))

    def run_and_kill(self, kind: str, folder: Path) -> int:
        """One child is killed at a random moment after a random number of things done. Returns the last one done."""
        before = len(acks(folder))
        pid = self.start(kind, folder)
        wanted = before + self.chance.randrange(1, 4)
        poll(lambda: len(acks(folder)) >= wanted or not alive(pid))
        assert alive(pid), "the child works until it is killed"
        time.sleep(self.chance.random() * 0.01)  # The moment of the blow, wherever it falls.
        self.kill(pid)
        return acks(folder)[-1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def acks(folder: Path) -> list[int]:
    path = folder / "acks"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def poll(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s"
        time.sleep(0.001)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    one = Nursery()
    yield one
    one.close()


@pytest.mark.promise(1)
def test_state_has_all_of_a_commit_or_none(nursery: Nursery, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        done = nursery.run_and_kill("state", tmp_path)
        state = SqliteState(tmp_path / "state.sqlite")
        numbers = {int(record.body) for record in state.scan("a")}
        state.close()
        assert len(numbers) == 1, "the records of one commit are of one number"
        assert numbers <= {done, done + 1}


@pytest.mark.promise(1)
def test_online_rows_are_whole_and_a_redo_completes_them(nursery: Nursery, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        done = nursery.run_and_kill("online", tmp_path)
        online = SqliteOnline(tmp_path / "online.sqlite")
        found = online.get_many(SET, KEYS)
        assert found.keys() == set(KEYS)
        for key, row in found.items():
            assert row.plan in {done, done + 1}
            assert row == online_row(key, row.plan)
        online.put(SET, (online_row(key, done + 1) for key in KEYS), token=1)
        assert {row.plan for row in online.get_many(SET, KEYS).values()} == {done + 1}
        online.close()


@pytest.mark.promise(1)
def test_a_batch_is_landed_whole_or_not_at_all(nursery: Nursery, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        done = nursery.run_and_kill("land", tmp_path)
        landing = LocalLanding(tmp_path / "landing")
        numbers = landing.numbers("customers")
        assert numbers in {tuple(range(1, done + 1)), tuple(range(1, done + 2))}
        for number in numbers[-3:]:
            assert rows_of(landing, "customers", number) == [(number, "x" * 100)] * 6000


def test_a_rewritten_batch_is_the_old_or_the_new_one(nursery: Nursery, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        done = nursery.run_and_kill("rewrite", tmp_path)
        landing = LocalLanding(tmp_path / "landing")
        manifest = landing.manifest("customers", 1)
        assert manifest is not None
        assert manifest.noops in {done, done + 1}
        assert rows_of(landing, "customers", 1) == [(manifest.noops, "x" * 100)] * 6000
        landing.rewrite(manifest, landing.open("customers", 1))
        left = [path.name for path in (tmp_path / "landing/customers/000000000001").glob("part-*")]
        assert len(left) == 1, "the next rewrite leaves nothing of the killed one"


def test_an_artifact_is_whole_or_not_there(nursery: Nursery, tmp_path: Path) -> None:
    for _ in range(ROUNDS):
        done = nursery.run_and_kill("artifact", tmp_path)
        artifacts = LocalArtifacts(tmp_path / "artifacts")
        data = b"%d" % done * 100_000
        assert artifacts.path(digest_bytes(data)).read_bytes() == data
        for path in (tmp_path / "artifacts/sha256").rglob("*"):
            if path.is_file():
                artifacts.path(f"sha256:{path.parent.name}{path.name}")


def test_a_killed_owner_frees_the_lease_at_once(nursery: Nursery, tmp_path: Path) -> None:
    tokens = []
    home = Home(tmp_path, "churn")
    home.create()
    state = SqliteState(home.state)
    for number in range(1, 6):
        pid = nursery.start("lease", tmp_path)
        poll(lambda: len(acks(tmp_path)) >= number)  # noqa: B023 - called at once
        with pytest.raises(LeaseOwned, match=f"owned by pid {pid}: the one to be killed") as caught:
            take_lease(home, owner="me", state=state)
        assert caught.value.owner == f"pid {pid}: the one to be killed"
        nursery.kill(pid)
        with take_lease(home, owner="me", state=state) as lease:
            tokens += [acks(tmp_path)[-1], lease.token]
    state.close()
    assert tokens == list(range(1, 11)), "each taking has a higher token, whoever takes"
