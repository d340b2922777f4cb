"""Two machines (two homes) of one integration, over one state, one online and one shared folder."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import psutil
import pytest

from mainstay.app.place import Place
from mainstay.app.stores import home_of, open_state
from mainstay.core.records import BatchRecord, DatasetState
from mainstay.store.shelf import ShelfReader
from mainstay.testing.postgres import Database
from mainstay.testing.redis_server import RedisServer
from tests.app.shop import RULE, Shop, file_of

STORES = """
stores:
  state: {{kind: postgres, url: "${{STATE_URL}}"}}
  online: {{kind: redis, url: "${{ONLINE_URL}}"}}
  folder: {folder}
"""


def poll(condition: Callable[[], Any], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s: {what}"
        time.sleep(0.1)


class Machine:
    """A home of its own over the shop's file, and `mainstay up` in it."""

    def __init__(self, shop: Shop, name: str, database: str) -> None:
        self.name = name
        self.root = shop.folder / name
        self.log = shop.folder / f"{name}.log"
        self.place = Place(home_of(shop.file, self.root, "churn"), shop.file)
        self.database = database
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        command = [sys.executable, "-m", "mainstay", "up", "--file", str(self.place.file), "--home", str(self.root)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*command, "--port", "0", "--workers", "1"], stdout=log, stderr=log)
        poll(lambda: "API on http://127.0.0.1:" in self.said(), f"{self.name} listens")
        self.port = int(self.said().rsplit("API on http://127.0.0.1:", 1)[1].split()[0])
        poll(self.ready, f"{self.name} is ready")

    def said(self) -> str:
        return self.log.read_text()

    def ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5) as reply:
                return bool(json.load(reply)["ready"])
        except (HTTPError, URLError, OSError):
            return False

    def all(self) -> list[psutil.Process]:
        assert self._process is not None
        one = psutil.Process(self._process.pid)
        return [one, *one.children(recursive=True)]

    def signal(self, number: signal.Signals) -> None:
        """To every process at once, as when the machine stops."""
        for process in self.all():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def answer(self, token: str, key: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/churn/predict",
            data=json.dumps({"key": key}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            return dict(json.load(reply))

    def receipt(self, token: str, name: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/receipts/{name}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            return dict(json.load(reply))

    def decide(self, token: str, receipt: str, decision: str) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/churn/decisions",
            data=json.dumps({"receipt": receipt, "decision": decision, "id": "once"}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            return dict(json.load(reply))

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for process in self.all():
                    process.send_signal(signal.SIGCONT)
                self._process.terminate()
            self._process.wait(60)


class Shared:
    def __init__(self, shop: Shop, database: str) -> None:
        self.shop = shop
        self.machines = [Machine(shop, name, database) for name in ("here", "there")]

    def dataset(self) -> DatasetState:
        with closing(open_state(self.machines[0].place.home)) as state:
            return ShelfReader(state, "dataset", DatasetState).get("customers") or DatasetState()

    def batches(self) -> list[BatchRecord]:
        with closing(open_state(self.machines[0].place.home)) as state:
            return list(ShelfReader(state, "batch", BatchRecord).all().values())

    def owner(self, database: Database) -> str:
        rows = database.exec("SELECT owner FROM mainstay_state_head WHERE expires > clock_timestamp()")
        return str(rows[0][0]) if rows else ""


@contextmanager
def sharing(
    folder: Path, database: Database, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, more: str = ""
) -> Iterator[Shared]:
    """The shop served by two machines; `more` is added to `stores:`."""
    redis.start()
    with closing(redis.client()) as client:
        client.flushall()
    monkeypatch.setenv("STATE_URL", database.url)
    monkeypatch.setenv("ONLINE_URL", redis.url)
    shop = Shop(folder)
    stores = STORES.format(folder=folder / "disk") + more
    shop.file.write_text(file_of(model=RULE, more=stores).replace("every: 10s", "every: 1s"))
    world = Shared(shop, database.url)
    try:
        yield world
    finally:
        for machine in world.machines:
            machine.close()


def answers(machine: Machine, token: str, key: str, wanted: float) -> bool:
    try:
        return bool(machine.answer(token, key)["output"]["churn_probability"] == wanted)
    except (HTTPError, URLError, OSError):
        return False
