"""A real Redis of one's own on a free port of 127.0.0.1, for tests and benchmarks.

The server is the machine's own (`redis-server`, or `valkey-server`); there is no wheel of it that is kept up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mainstay.core.errors import MainstayError
from mainstay.testing.ports import free_port

if TYPE_CHECKING:
    import redis

_SAFE = {"appendonly": "yes", "appendfsync": "always", "save": ""}


def redis_binary() -> str | None:
    """The server's program; None when this machine has none."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A server with its own folder. `with RedisServer() as server:` starts it and removes all of it at the end.

    Args:
        password: Of the default user.
        settings: Further `redis.conf` settings. Unless given, every write is on disk before it is acknowledged.
    """

    def __init__(self, *, password: str = "redis-secret", settings: Mapping[str, str] | None = None) -> None:  # noqa: S107 - of a throw-away server on loopback
        # In memory where there is such a folder: it outlives the process as a disk does, and its fsync costs nothing.
        memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
        self.folder = Path(tempfile.mkdtemp(prefix="redis-", dir=memory if memory.is_dir() else None))
        self.log = self.folder / "log"
        self.port = free_port()
        self.password = password
        self.settings = {**_SAFE, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, timeout_s: float = 30.0) -> None:
        """Starts the server; returns when it answers. No-op when it runs."""
        if self.running:
            return
        binary = redis_binary()
        if binary is None:
            raise MainstayError("there is no Redis to start", mend="apt-get install redis-server")
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--requirepass", self.password]
        for name, value in self.settings.items():
            command += [f"--{name}", value]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the machine's own server
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        self._await_answer(timeout_s)

    def client(self) -> redis.Redis:
        """A connection of one's own; to be closed."""
        import redis

        return redis.Redis.from_url(self.url)

    def kill9(self) -> None:
        """Ends the server as a power cut would; `start` then reads its files."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the server as `redis-cli shutdown` does. No-op when it does not run."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stops the process in its tracks: the port accepts, nobody answers. `thaw` lets it go on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends the server and removes its data."""
        self.kill9()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        if self._process is not None:
            self._process.wait(30)
            self._process = None

    def _await_answer(self, timeout_s: float) -> None:
        import redis

        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running:
                tail = self.log.read_text(errors="replace")[-800:]
                raise MainstayError(f"Redis ended while starting: {tail}", where=str(self.folder))
            client = self.client()
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return
            finally:
                client.close()
