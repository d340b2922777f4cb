"""Processes to be killed: started once with everything imported, forks a child per line read, prints its pid.

A line is `kind folder`. The child works until it is killed, and notes in `folder/acks` each number that is done.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
import pyarrow as pa

from mainstay.core.ports import Write
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.home import Home
from mainstay.store.landing_local import LocalLanding
from mainstay.store.lease import take_lease
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.landing_suite import batch_manifest, batch_rows
from mainstay.testing.online_suite import SET, online_row

Ack = Callable[[int], None]
RECORDS = 30
KEYS = [f"k{number:05d}" for number in range(2000)]


def state(folder: Path, ack: Ack) -> None:
    store = SqliteState(folder / "state.sqlite")
    found = store.get("a", "00")
    for number in count(1 + (0 if found is None else int(found.body))):
        store.commit([Write(space="a", name=f"{name:02d}", body=b"%d" % number) for name in range(RECORDS)])
        ack(number)


def online(folder: Path, ack: Ack) -> None:
    store = SqliteOnline(folder / "online.sqlite")
    found = store.get(SET, KEYS[0])
    for plan in count(1 if found is None else found.plan):
        store.put(SET, (online_row(key, plan) for key in KEYS), token=1)
        ack(plan)


def rows(number: int) -> pa.RecordBatchReader:
    batch: list[tuple[int, str | None]] = [(number, "x" * 100)] * 2000
    return batch_rows(batch, batch, batch)


def land(folder: Path, ack: Ack) -> None:
    store = LocalLanding(folder / "landing")
    for number in count(1 + max(store.numbers("customers"), default=0)):
        store.land(batch_manifest(number), rows(number))
        ack(number)


def rewrite(folder: Path, ack: Ack) -> None:
    store = LocalLanding(folder / "landing")
    manifest = store.manifest("customers", 1)
    if manifest is None:
        manifest = store.land(msgspec.structs.replace(batch_manifest(1), noops=0), rows(0))
    for number in count(manifest.noops + 1):
        store.rewrite(msgspec.structs.replace(manifest, noops=number), rows(number))
        ack(number)


def artifact(folder: Path, ack: Ack) -> None:
    store = LocalArtifacts(folder / "artifacts")
    for number in count(1):
        store.put(b"%d" % number * 100_000)
        ack(number)


def lease(folder: Path, ack: Ack) -> None:
    home = Home(folder, "churn")
    home.create()
    taken = take_lease(home, owner=f"pid {os.getpid()}: the one to be killed", state=SqliteState(home.state))
    ack(taken.token)
    signal.pause()


WORK: dict[str, Callable[[Path, Ack], None]] = {
    work.__name__: work for work in (state, online, land, rewrite, artifact, lease)
}


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    rows(0)  # pyarrow imports pandas at the first Python list: once here, not in every child.
    for line in sys.stdin:
        kind, _, folder = line.strip().partition(" ")
        child = os.fork()
        if child == 0:
            work(kind, Path(folder))
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def work(kind: str, folder: Path) -> None:
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def ack(number: int) -> None:
        os.write(acks, b"%d\n" % number)

    WORK[kind](folder, ack)


if __name__ == "__main__":
    main()
