"""`mainstay up` of a shop, with two workers, HTTP and gRPC."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from mainstay.testing.ports import free_port
from tests.app.shop import Shop
from tests.road.load import Asking, everybody


class Running:
    """The shop's integration, live. Its log is `up.log` in the shop's folder."""

    def __init__(self, shop: Shop, *, env: dict[str, str] | None = None, output: int | None = None) -> None:
        self.shop = shop
        self._output = output
        """Where its log goes in place of `up.log`."""
        self.port, self.calls = free_port(), free_port()
        self.token: str = json.loads(self.cli("--json", "key", "create", "crm", "--role", "operate"))["key"]
        self._env = {**os.environ, **(env or {})}

    def cli(self, *args: str, code: int = 0) -> str:
        """What a command prints; it must end with `code`."""
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", *args], cwd=self.shop.folder, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, f"{args}: {done.stdout} {done.stderr}"
        return done.stdout + done.stderr if code else done.stdout

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", "mainstay", "up", "--port", str(self.port), "--grpc-port", str(self.calls)]
        with (self.shop.folder / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*argv, "--workers", "2"], cwd=self.shop.folder, env=self._env, stdin=subprocess.DEVNULL,
                stdout=log if self._output is None else self._output,
                stderr=log if self._output is None else self._output,
            )  # fmt: skip
        self.until(lambda: self.ready() == 200 and len(self.listening()) == 2, "it is ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    @property
    def log(self) -> str:
        return "elsewhere" if self._output else Path(self.shop.folder / "up.log").read_text(errors="replace")

    def until(self, condition: Any, what: str, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"`mainstay up` ended: {self.log[-3000:]}"
            assert time.monotonic() < deadline, f"waited in vain until {what}: {self.log[-3000:]}"
            time.sleep(0.05)

    def ready(self) -> int:
        """What a load balancer is told; 0: nobody listens."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=10) as reply:
                return int(reply.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return 0

    def callers(self) -> list[Asking]:
        """One of each kind, who ask about a person of tenure 30."""
        return everybody(self.port, self.calls, self.token, "person-0003", {"tenure": 30, "city": "Bonn"})

    def workers(self) -> list[psutil.Process]:
        found = []
        for one in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it is dead, and nobody has looked yet
                found += [one] if "mainstay.http.serve" in one.cmdline() else []
        return found

    def listening(self) -> list[psutil.Process]:
        """The workers that answer: each listens for gRPC by itself, while the port of HTTP is handed to it."""
        found = []
        for one in self.workers():
            with suppress(psutil.Error):
                ports = [each.laddr.port for each in one.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
                found += [one] if self.calls in ports else []
        return found

    def metrics(self) -> str:
        asked = Request(f"http://127.0.0.1:{self.port}/metrics", headers={"Authorization": f"Bearer {self.token}"})
        with urlopen(asked, timeout=10) as reply:
            return str(reply.read(), "utf-8")

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", "--json", "status"], cwd=self.shop.folder, env=self._env,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        return found
