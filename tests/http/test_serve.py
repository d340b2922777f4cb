from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from mainstay.app.supervisor import listen
from mainstay.core.clock import SystemClock
from mainstay.core.ports import OnlineRow, Write
from mainstay.core.records import Answering, Applied, DatasetState, FeatureSetState, ModelVersion, Receipt, encode
from mainstay.core.verdicts import Verdict
from mainstay.serving.keys import create_key, digest, list_keys, revoke_key
from mainstay.serving.meter import merged
from mainstay.store.home import Home
from mainstay.store.journal import SegmentJournal
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState
from tests.http.serving import Caller, Served, serving
from tests.serving.toy import SIGNATURE, Linear, Toy

FILE = """
integration: churn
api: 1
sources:
  crm: {kind: sqlite, path: /nowhere.sqlite, timezone: UTC}
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    every: 10s
    owner: x@example.com
    freshness: {warn: 5m, fail: 1h}
    columns:
      customer_id: {type: string, required: true}
features:
  customer: {key: customer_id, from: {customers: customer_id}, sql: features/customer.sql}
model: {name: churn, input: customer, constant: {churn: 0.3}}
"""


class Home2:
    """A home on disk as `apply` and the loop would have left it."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root, "churn")
        self.home.create()
        self.clock = SystemClock()
        self.state = SqliteState(self.home.state)
        now = self.clock.now_us()
        features: FeatureSetState = Toy.feature_set()
        constant = ModelVersion(
            number=1,
            name="churn",
            digest="sha256:constant",
            runtime="constant",
            options={"values": {"churn": 0.3}},
            signature=msgspec.structs.replace(SIGNATURE, inputs=()),
            feature_set=features.digest,
            origin="file",
            created_us=now,
        )
        files = {"mainstay.yaml": FILE, "features/customer.sql": "SELECT customer_id FROM customers"}
        self.put("applied", "file", Applied(digest="sha256:file", folder=str(root), files=files, at_us=now))
        self.put("feature_set", features.digest, features)
        self.put("dataset", "customers", DatasetState(as_of_us=now))
        self.put("model", "000001", constant)
        self.put("answering", "champion", Answering(version=1, since_us=now))
        self.token, self.key = create_key(self.state, "x", "predict", clock=self.clock)
        online = SqliteOnline(self.home.online)
        row = OnlineRow("A", 1, b'[1,2.5,"x"]', now, now, Verdict.PASS, "", False, None, False, None, b"{}")
        online.put(features.digest, [row], token=1)
        online.close()

    def put(self, space: str, name: str, record: msgspec.Struct) -> None:
        self.state.commit([Write(space=space, name=name, body=encode(record))])


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home2]:
    made = Home2(tmp_path)
    yield made
    made.state.close()


def start(home: Home2, listening: socket.socket) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "mainstay.http.serve", "--home", str(home.home.root), "--integration", "churn"]
    argv += ["--fd", str(listening.fileno())]
    return subprocess.Popen(argv, pass_fds=(listening.fileno(),), stderr=subprocess.PIPE)


def until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def ready(port: int) -> bool:
    caller = Caller(port, None)
    try:
        return caller.ask("GET", "/health/ready").status == 200
    except OSError:
        return False
    finally:
        caller.close()


@pytest.mark.promise(2)
def test_a_worker_killed_with_9_leaves_every_receipt_and_its_socket(home: Home2) -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    worker = start(home, listening)
    until(lambda: ready(port))
    caller = Caller(port, home.token)
    given = [caller.predict(key="A").json["receipt"] for _ in range(20)]
    worker.kill()
    worker.communicate()
    caller.close()
    journal = SegmentJournal(home.home.journal, secret=home.home.secret(), clock=home.clock, writable=False)
    for receipt in given:
        entry = journal.get(receipt)
        assert entry is not None
        assert msgspec.msgpack.decode(entry.payload, type=Receipt).output == {"churn": 0.3}
    # The listening socket is not the worker's: who connects now waits for the next one.
    waiting = Caller(port, home.token)
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(waiting.predict(key="A").status))
    asking.start()
    second = start(home, listening)
    asking.join(20)
    assert found == [200]
    waiting.close()
    second.terminate()
    second.communicate()
    listening.close()


def test_sigterm_says_not_ready_drains_and_exits_with_0(home: Home2) -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    worker = start(home, listening)
    until(lambda: ready(port))
    stop, statuses = threading.Event(), []

    def load() -> None:
        caller = Caller(port, home.token)
        while not stop.is_set():
            said = caller.predict(key="A")
            statuses.append(said.status)
            if said.headers.get("connection") == "close":
                stop.set()
        caller.close()

    asking = threading.Thread(target=load)
    asking.start()
    until(lambda: len(statuses) > 10)
    worker.send_signal(signal.SIGTERM)
    asking.join(20)
    stop.set()
    _, log = worker.communicate(timeout=20)
    assert worker.returncode == 0, log
    assert set(statuses) == {200}
    assert b"Traceback" not in log
    listening.close()


def test_what_changes_in_state_is_seen_within_a_second(home: Home2) -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    worker = start(home, listening)
    until(lambda: ready(port))
    caller = Caller(port, home.token)
    assert caller.predict(key="A").status == 200
    home.put("dataset", "customers", DatasetState(as_of_us=home.clock.now_us() - 2 * 3_600_000_000))
    until(lambda: caller.predict(key="A").status == 503, 5)
    revoke_key(home.state, home.key.id, clock=home.clock)
    until(lambda: caller.predict(key="A").status == 401, 5)
    caller.close()
    worker.terminate()
    worker.communicate()
    listening.close()


def test_a_revoked_key_is_refused_while_a_model_is_still_being_loaded(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    going, token = threading.Event(), toy.key()
    loading = threading.Event()

    def slow(number: int) -> Linear:
        loading.set()
        going.wait(20)
        return toy.models[number]

    toy.models[2] = Linear()
    assert toy.view.now is not None
    version = toy.view.now.version
    assert version is not None
    toy.view._open_model = lambda version: slow(version.number)
    with serving(toy) as served:
        caller = served.caller(token)
        assert caller.predict(key="A").status == 200
        toy.put("model", "000002", msgspec.structs.replace(version, number=2))
        toy.put("answering", "champion", Answering(version=2, since_us=1))
        assert loading.wait(10)
        (key,) = list_keys(toy.state)
        revoke_key(toy.state, key.id, clock=toy.clock)
        until(lambda: caller.predict(key="A").status == 401, 5)
        assert not going.is_set()
        going.set()
        caller.close()
    toy.journal.close()


def test_a_revoked_key_is_refused_while_every_thread_that_requests_wait_in_is_taken(served: Served) -> None:
    toy = served.toy
    token = toy.key()
    (key,) = toy.view.keys.now.values()
    caller = served.caller(token)
    assert caller.ask("POST", "/v1/churn/predict", {"key": "A"}, Idempotency_Key="first").status == 200
    with closing(sqlite3.connect(toy.folder / "repeats.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # who else wants to keep an answer waits

        def ask(name: int) -> int:
            one = served.caller(token)
            try:
                return one.ask("POST", "/v1/churn/predict", {"key": "A"}, Idempotency_Key=f"k{name}").status
            finally:
                one.close()

        with ThreadPoolExecutor(40) as threads:
            asked = [threads.submit(ask, number) for number in range(40)]
            until(lambda: len(served.server.server_state.tasks) == 40)
            revoke_key(toy.state, key.id, clock=toy.clock)
            until(lambda: caller.predict(key="A").status == 401)
            waiting = not any(one.done() for one in asked)
            other.execute("ROLLBACK")
    assert waiting
    caller.close()


def test_the_last_use_of_a_key_is_written_with_the_counters(home: Home2) -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    worker = start(home, listening)
    until(lambda: ready(port))
    before = home.clock.now_us()
    caller = Caller(port, home.token)
    assert caller.predict(key="A").status == 200
    caller.close()
    until(lambda: merged(home.home.meters).used.get(digest(home.token), 0) >= before, 5)
    worker.terminate()
    worker.communicate()
    listening.close()


def test_an_orphaned_worker_ends_by_itself(home: Home2) -> None:
    listening = listen("127.0.0.1", 0)
    before = dict(os.environ)
    os.environ["MAINSTAY_SUPERVISOR"] = "1"
    try:
        worker = start(home, listening)
    finally:
        os.environ.clear()
        os.environ.update(before)
    worker.communicate(timeout=20)
    assert worker.returncode == 0
    listening.close()


def test_a_home_of_a_later_version_is_refused_in_a_sentence(home: Home2) -> None:
    (home.home.root / "installation.json").write_text('{"schema": 99}')
    listening = listen("127.0.0.1", 0)
    worker = start(home, listening)
    _, log = worker.communicate(timeout=20)
    assert worker.returncode != 0
    assert b"cannot start" in log
    assert b"Traceback" not in log
    listening.close()
