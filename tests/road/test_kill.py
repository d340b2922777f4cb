"""The kill harness: every process of a running integration is killed with -9, at commit points and at random.

A real PostgreSQL changes all the time, two API workers answer all the time. After each blow the writer pauses, and what
is published must come to equal the source, key by key; at the end each answer that was given must have its receipt.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import psycopg
import pytest

from mainstay.core.ids import digest_text
from mainstay.core.records import BatchRecord, DatasetState, FeatureSetState, Request
from mainstay.store.home import Home
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.shelf import Shelf, ShelfReader
from mainstay.store.state_sqlite import SqliteState
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import Database

POINTS = (
    "before-landing", "landed", "batch-recorded", "plan-recorded", "current-written", "online-written", "published",
    "history-appended",
)  # fmt: skip
KEYS = 60
GUARD_S = 60.0
"""The most that a round waits for what must happen; how long it took is printed, never asserted."""

FILE = """\
integration: kill
api: 1
sources:
  crm:
    kind: postgres
    url: ${KILL_URL}
    guard: {connections: 2, retry_first: 50ms, retry_most: 200ms}
datasets:
  accounts:
    source: crm
    table: accounts
    key: id
    cursor: {column: v, lag: 20}
    deletes: {reconcile: 500ms, max_share: 1.0}
    every: 100ms
    columns:
      id:     {type: integer, required: true}
      amount: {type: integer, min: 0}
      v:      {type: integer}
  notes:
    source: crm
    table: notes
    key: note
    deletes: {max_share: 1.0}
    every: 200ms
    columns:
      note:    {type: integer, required: true}
      account: {type: integer}
      weight:  {type: integer}
features:
  account:
    key: id
    from: {accounts: id, notes: account}
    sql: |
      SELECT a.id, a.amount, count(n.note) AS notes, sum(n.weight) AS weight
      FROM accounts a LEFT JOIN notes n ON n.account = a.id GROUP BY a.id, a.amount
model:
  name: kill
  input: account
  constant: {score: 0.5}
  outputs:
    score: {type: number, unit: probability, min: 0, max: 1}
answer: {on_stale: refuse, on_held: refuse}
settings: {workers: 2, port: PORT}
"""

TABLES = f"""
CREATE SEQUENCE version;
CREATE TABLE accounts (id bigint PRIMARY KEY, amount bigint, v bigint DEFAULT nextval('version'));
CREATE TABLE notes (note bigint PRIMARY KEY, account bigint, weight bigint);
INSERT INTO accounts (id, amount) SELECT i, i FROM generate_series(1, {KEYS}) i;
INSERT INTO notes SELECT i, 1 + i % {KEYS}, i FROM generate_series(1, 40) i;
"""

SOURCE = """
SELECT a.id::text, a.amount, count(n.note), sum(n.weight)::bigint FROM accounts a LEFT JOIN notes n ON n.account = a.id
GROUP BY a.id, a.amount
"""


class Writer(threading.Thread):
    """The legacy system's everyday life: a change every few milliseconds, a bad value now and then."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.chance = random.Random(3)
        self.running = threading.Event()
        self.idle = threading.Event()
        self.ended = threading.Event()
        self.changes = 0

    def run(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            while not self.ended.is_set():
                if not self.running.is_set():
                    self.idle.set()
                    self.running.wait(0.05)
                    continue
                self.idle.clear()
                self.change(connection)
                self.changes += 1
                self.ended.wait(0.008)

    def change(self, connection: psycopg.Connection[Any]) -> None:
        chance = self.chance
        key, value, what = chance.randint(1, KEYS), chance.randint(0, 999), chance.random()
        if what < 0.5:
            amount = -1 if chance.random() < 0.05 else value
            connection.execute("UPDATE accounts SET amount = %s, v = nextval('version') WHERE id = %s", (amount, key))
        elif what < 0.6:
            connection.execute("DELETE FROM accounts WHERE id = %s", (key,))
        elif what < 0.7:
            connection.execute("INSERT INTO accounts (id, amount) VALUES (%s, %s) ON CONFLICT DO NOTHING", (key, value))
        elif what < 0.8:
            connection.execute("DELETE FROM notes WHERE note = %s", (chance.randint(1, 40),))
        elif what < 0.9:
            note = chance.randint(1, 40)
            connection.execute(
                "INSERT INTO notes VALUES (%s, %s, %s) ON CONFLICT (note) DO UPDATE SET account = excluded.account",
                (note, key, value),
            )
        else:
            connection.execute("UPDATE notes SET weight = %s WHERE account = %s", (value, key))

    def pause(self) -> None:
        self.running.clear()
        self.idle.clear()
        assert self.idle.wait(10)

    def end(self) -> None:
        self.ended.set()
        self.running.set()
        self.join(10)


class Caller(threading.Thread):
    """An application that asks all the time and writes down each answer that it got to the end."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{port}/v1/kill/predict"
        self.headers = {"Authorization": f"Bearer {key}"}
        self.answers: list[tuple[str, str, int]] = []
        """(receipt, key asked for, status)."""
        self.broken = 0
        self.ended = threading.Event()

    def run(self) -> None:
        chance = random.Random(5)
        client = httpx.Client(timeout=10)
        while not self.ended.wait(0.05):
            key = str(chance.randint(1, KEYS))
            try:
                reply = client.post(self.url, json={"key": key}, headers=self.headers)
            except httpx.TransportError:
                self.broken += 1
                client.close()
                client = httpx.Client(timeout=10)
                continue
            receipt = reply.json().get("receipt")
            if receipt:
                self.answers.append((receipt, key, reply.status_code))
        client.close()

    def end(self) -> None:
        self.ended.set()
        self.join(15)


class Harness:
    """The integration, its processes and who watches them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database
        self.port = free_port()
        self.order = folder / "die-at"
        self.log = folder / "up.log"
        self.chance = random.Random(11)
        self.up: subprocess.Popen[bytes] | None = None
        self.kills: dict[str, int] = {}
        database.exec(TABLES)
        folder.mkdir(exist_ok=True)
        (folder / "mainstay.yaml").write_text(FILE.replace("PORT", str(self.port)))
        self.home = Home(folder / ".mainstay", "kill")
        self.cli("apply", "--yes")
        key = json.loads(self.cli("key", "create", "caller", "--role", "operate", "--json"))["key"]
        self.state = SqliteState(self.home.state)
        self.writer = Writer(database.url)
        self.caller = Caller(self.port, key)

    def env(self) -> dict[str, str]:
        return {**os.environ, "KILL_URL": self.database.url, "MAINSTAY_DIE_AT": str(self.order), "NO_COLOR": "1"}

    def cli(self, *args: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", *args],
            cwd=self.folder, env=self.env(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{args}: {done.stdout} {done.stderr}"
        return done.stdout

    # --- processes ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """`mainstay up`, as systemd would: again when it ends, because what was left of the last one still leaves."""
        with self.log.open("ab") as log:
            self.up = subprocess.Popen(
                [sys.executable, "-m", "mainstay", "up"],
                cwd=self.folder, env=self.env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def keep_up(self) -> None:
        if self.up is not None and self.up.poll() is not None:
            self.start()

    def processes(self) -> dict[str, psutil.Process]:
        """The loop and the workers that live now, by name."""
        found = {}
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                words = child.cmdline()
                if "mainstay.app.loop_process" in words:
                    found["loop"] = child
                elif "--slot" in words:
                    found[words[words.index("--slot") + 1]] = child
        return found

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.up is not None
        return self.up

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + GUARD_S
        while not condition():
            self.keep_up()
            tail = self.log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < deadline, f"waited {GUARD_S:.0f} s in vain until {what}\n{tail}"
            time.sleep(0.1)

    # --- the blows ----------------------------------------------------------------------------------------------

    def blow(self, victim: str) -> None:
        """Kills the victim with -9, in the middle of whatever it does."""
        self.until(lambda: "loop" in self.processes() and "api-1" in self.processes(), "all processes live")
        kind = victim.partition(":")[0]
        self.kills[kind] = self.kills.get(kind, 0) + 1
        self.writer.running.set()
        if victim.startswith("at:"):
            self.order.write_text(victim.removeprefix("at:"))
            if victim.endswith("history-appended"):
                request = Request(id=f"flush-{sum(self.kills.values())}", command="flush", at_us=0)
                Shelf(self.state, "request", Request).put(request.id, request)
            self.until(lambda: not self.order.exists(), f"the loop dies {victim}")
            return
        self.until(lambda: self.writer.changes, "the writer writes")
        time.sleep(self.chance.random() * 0.3)  # the moment of the blow, wherever it falls
        if victim in ("supervisor", "everything"):
            children = list(self.processes().values()) if victim == "everything" else []
            self.process.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            self.process.wait()
            return
        found = self.processes().get(victim)
        if found is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.kill()

    def round(self, victim: str) -> None:
        self.blow(victim)
        self.writer.pause()
        self.until(self.equal, f"source and published are equal after {victim}: {self.difference()}")

    # --- what was promised --------------------------------------------------------------------------------------

    def source(self) -> dict[str, str]:
        """Key -> hash of its row in the source; a row that breaks the contract is held."""
        rows = self.database.exec(SOURCE)
        return {
            str(key): "held" if amount < 0 else hash_of((amount, notes, weight)) for key, amount, notes, weight in rows
        }

    def published(self) -> dict[str, str]:
        """Key -> hash of its row online."""
        found = list(ShelfReader(self.state, "feature_set", FeatureSetState).all().values())
        if not found or not self.home.online.exists():
            return {}
        online = SqliteOnline(self.home.online, writable=False)
        try:
            digest = found[0].digest
            rows = {key: online.get(digest, key) for key in online.keys(digest)}
        finally:
            online.close()
        there = {key: row for key, row in rows.items() if row is not None and (row.held or row.values is not None)}
        return {
            key: "held" if row.held or row.values is None else hash_of(json.loads(row.values))
            for key, row in there.items()
        }

    def equal(self) -> bool:
        return self.source() == self.published()

    def difference(self) -> str:
        source, published = self.source(), self.published()
        keys = [key for key in source.keys() | published.keys() if source.get(key) != published.get(key)]
        return f"{len(keys)} keys differ"

    def adds_up(self) -> int:
        """Promise 3, and that no batch was landed twice; returns the versions landed."""
        total = 0
        batches = ShelfReader(self.state, "batch", BatchRecord).all()
        for name, state in ShelfReader(self.state, "dataset", DatasetState).all().items():
            mine = [one for one in batches.values() if one.dataset == name]
            assert [one.number for one in mine] == list(range(1, state.read + 1))
            counts = state.counts
            parts = ("published", "superseded", "quarantined", "discarded", "waiting", "erased")
            assert counts["landed"] == sum(counts.get(part, 0) for part in parts) == sum(one.rows for one in mine)
            total += counts["landed"]
        return total

    def receipts_lost(self) -> list[str]:
        """Answers that were given and whose receipt is not to be had, or tells something else."""
        lost = []
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=self.caller.headers, timeout=30) as client:
            for receipt, key, status in self.caller.answers:
                reply = client.get(f"/v1/receipts/{receipt}")
                told = reply.json() if reply.status_code == 200 else {}
                told = told.get("receipt", told) if isinstance(told.get("receipt"), dict) else told
                if (str(told.get("key")), told.get("status")) != (key, status):
                    lost.append(f"{receipt}: {reply.status_code} {reply.text[:200]}")
        return lost

    def __enter__(self) -> Self:
        self.start()
        self.writer.start()
        self.caller.start()
        self.until(self.equal, "the first rows are published")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.end()
        self.caller.end()
        if self.up is not None:
            self.up.send_signal(signal.SIGTERM)
            try:
                self.up.wait(30)
            except subprocess.TimeoutExpired:
                for child in psutil.Process(self.up.pid).children(recursive=True):
                    child.kill()
                self.up.kill()
                self.up.wait()
        self.state.close()


def hash_of(values: Sequence[float | None]) -> str:
    return digest_text(*(str(None if value is None else float(value)) for value in values))


def victims(rounds: int) -> Iterator[str]:
    """Every commit point in turn; between them the loop, a worker, the supervisor, everything, at random moments."""
    others = ("api-1", "loop", "everything", "api-2", "supervisor")
    for number in range(rounds):
        yield f"at:{POINTS[number // 2 % len(POINTS)]}" if number % 2 == 0 else others[number // 2 % len(others)]


def ordeal(folder: Path, database: Database, rounds: int, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with Harness(folder, database) as harness:
        for victim in victims(rounds):
            harness.round(victim)
        harness.caller.end()
        harness.until(lambda: "api-1" in harness.processes(), "a worker answers")
        harness.until(harness.equal, "source and published are equal at the end")
        versions, lost = harness.adds_up(), harness.receipts_lost()
        answers = harness.caller.answers
        doubled = len(answers) - len({receipt for receipt, _, _ in answers})
        with capsys.disabled():
            print(  # noqa: T201 - the figures that the harness is for
                f"\nkill harness: {rounds} rounds {harness.kills}, {harness.writer.changes} changes, "
                f"{versions} versions landed, {len(answers)} answers ({harness.caller.broken} calls broken off), "
                f"receipts lost {len(lost)}, doubled {doubled}, keys differing 0, {time.monotonic() - began:.0f} s"
            )
        assert not lost, lost[:5]
        assert doubled == 0
        assert len(answers) > rounds


@pytest.mark.timeout(600)
@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
def test_killed_twenty_times_nothing_is_lost_or_doubled(
    tmp_path: Path, postgres_db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    ordeal(tmp_path / "kill", postgres_db, 20, capsys)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_killed_two_hundred_times_nothing_is_lost_or_doubled(
    tmp_path: Path, postgres_db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    ordeal(tmp_path / "kill", postgres_db, 200, capsys)
