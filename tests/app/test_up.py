"""`mainstay up` after one that was killed, and beside one that runs."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError

import psutil
import pytest

import grpc
from mainstay.app.supervisor import listen
from mainstay.app.up import patiently
from mainstay.core.errors import LeaseOwned, Refused
from mainstay.grpc.door import OIP
from mainstay.grpc.messages import kind
from mainstay.store.home import Home
from mainstay.store.lease import sole
from mainstay.testing.ports import free_port
from tests.app.shop import Shop


@contextmanager
def up(world: Shop, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    with (world.folder / "up.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mainstay", "up", "--port", str(port), "--workers", "2", *more],
            cwd=world.folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def ready(world: Shop, port: int, process: subprocess.Popen[bytes], times: int) -> bool:
    """Whether a worker of the `up` that started as the `times`-th says that it is; the log shows when it listens."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, "`mainstay up` ended"
        if (world.folder / "up.log").read_text().count("API on http") < times:
            time.sleep(0.05)
            continue
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as reply:
                return bool(json.load(reply)["ready"])
        except (HTTPError, URLError, OSError):
            time.sleep(0.05)
    return False


@pytest.mark.promise(1)
def test_up_starts_again_at_once_after_its_supervisor_was_killed(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin()
    port = free_port()
    for times in (1, 2, 3):
        with up(world, port) as process:
            assert ready(world, port, process, times)
            process.kill()
            process.wait(10)
        # Loop and workers of the killed one still run at this moment: the next one waits for what they hold.
    with up(world, port) as process:
        assert ready(world, port, process, 4)
        beside = subprocess.run(
            [sys.executable, "-m", "mainstay", "up"],
            cwd=world.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert beside.returncode == 3
        assert f"churn is up already: pid {process.pid}" in beside.stderr
        assert "mainstay status" in beside.stderr


def test_grpc_is_answered_by_every_worker_and_goes_on_when_one_is_killed(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin()
    port, calls = free_port(), free_port()
    token = subprocess.run(
        [sys.executable, "-m", "mainstay", "--json", "key", "create", "crm"], cwd=world.folder, capture_output=True,
        check=True,
    ).stdout  # fmt: skip
    metadata = (("authorization", f"Bearer {json.loads(token)['key']}"),)
    request = kind("ModelInferRequest")(model_name="churn")
    request.inputs.add(name="key", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"person-0003")

    def ask() -> float:
        with grpc.insecure_channel(f"127.0.0.1:{calls}") as channel:
            infer = channel.unary_unary(f"/{OIP}/ModelInfer")
            found = infer(request.SerializeToString(), metadata=metadata, wait_for_ready=True, timeout=60)
        raw: bytes = kind("ModelInferResponse").FromString(found).raw_output_contents[0]
        return float(struct.unpack("<d", raw)[0])

    with up(world, port, "--grpc-port", str(calls)) as process:
        assert ready(world, port, process, 1)
        assert f"gRPC on 127.0.0.1:{calls}" in (world.folder / "up.log").read_text()
        first = ask()
        workers = [one for one in psutil.Process(process.pid).children() if "mainstay.http.serve" in one.cmdline()]
        assert len(workers) == 2
        workers[0].kill()
        for _ in range(5):  # each by a connection of its own
            assert ask() == first


def test_what_is_taken_is_waited_for_and_said_once() -> None:
    said: list[str] = []
    tried = iter([LeaseOwned("pid 7"), LeaseOwned("pid 7"), None])

    def attempt() -> str:
        error = next(tried)
        if error is not None:
            raise error
        return "ours"

    assert patiently(attempt, said.append) == "ours"
    assert said == ["waiting up to 30 s: the integration is owned by pid 7"]


def test_waiting_ends_and_other_errors_are_not_waited_for() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = int(listening.getsockname()[1])
        with pytest.raises(Refused, match=f"port {port}"):
            patiently(lambda: listen("127.0.0.1", port), lambda _: None, most_s=0.05)
    said: list[str] = []
    with pytest.raises(Refused):
        patiently(lambda: listen("192.0.2.1", 80), said.append)
    assert said == []


def test_one_process_at_a_time_is_inside(tmp_path: Path) -> None:
    home = Home(tmp_path, "churn")
    home.create()
    with sole(home.up, owner="pid 7"), pytest.raises(LeaseOwned, match="pid 7"), sole(home.up, owner="pid 8"):
        pass
    with sole(home.up, owner="pid 9"):
        pass
