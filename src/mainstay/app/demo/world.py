"""Everything that runs in the demo: the CRM and its life, the glue of today, and Mainstay; all real, on loopback."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import psutil

from mainstay.app.demo.ask import Said, ask
from mainstay.core.errors import MainstayError
from mainstay.testing import toy_crm
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import PostgresServer

TEMPLATE = Path(__file__).parent / "churn"
SEED = 7
Value = TypeVar("Value")


class DemoFailed(MainstayError):
    """Something that the story needs did not happen."""


@dataclass(frozen=True)
class Ran:
    """A command of the public CLI that was run."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class World:
    """Start with `with World(folder) as world`; everything that it started ends with it.

    Args:
        folder: Where the integration, its state and the logs lie.
        customers: How many the CRM has.
    """

    def __init__(self, folder: Path, *, customers: int = 2_000) -> None:
        self.folder = folder
        self.integration = folder / "churn"
        self.logs = folder / "logs"
        self.customers = customers
        self.server = PostgresServer()
        self.port = free_port()
        self.glue_port = free_port()
        self.page_port = free_port()
        self.status_port = free_port()
        self.model = folder / "model.joblib"
        self.example = folder / "example.csv"
        self.copy = folder / "copy.db"
        self.api_key = ""
        self.spare: set[str] = set()
        """Customers whom the CRM's everyday life leaves alone, because the story looks at them."""
        self.alive = False
        """Whether the CRM's everyday life goes on."""
        self.env: dict[str, str] = {}
        """What the environment of every process says beside where the CRM is."""
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []

    # --- the CRM -------------------------------------------------------------------------------------------------

    @property
    def crm_url(self) -> str:
        """As the integration reaches the CRM: a role that may only read."""
        return self.server.url("crm", user="reader", password="reader")  # noqa: S106 - of a toy on loopback

    def start_crm(self) -> None:
        """Starts PostgreSQL and fills the CRM."""
        self.server.start()
        database = self.server.create_database("crm")
        with self.crm() as connection:
            toy_crm.fill(connection, toy_crm.generate(seed=SEED, customers=self.customers, now=datetime.now(UTC)))
        database.exec(
            "CREATE ROLE reader LOGIN PASSWORD 'reader'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
        )

    def crm(self) -> toy_crm.Connection:
        """A connection of the CRM's own application, which may write."""
        import psycopg

        return psycopg.connect(self.server.url("crm"), connect_timeout=2)

    def live(self) -> None:
        """From now on rows change every half second, and now and then a dirty one arrives."""
        self.alive = True
        self._thread(self._life)

    def _life(self) -> None:
        import psycopg

        rng = random.Random(SEED)  # noqa: S311 - a toy world, repeatable
        while not self._ending.wait(0.5):
            if not self.alive:
                continue
            try:
                with self.crm() as connection:
                    toy_crm.tick(connection, rng, dirty=0.05, spare=self.spare)
            except psycopg.Error:
                continue  # the CRM is away, or a column is: its people wait as well

    # --- the glue ------------------------------------------------------------------------------------------------

    def start_glue(self) -> None:
        """The cron copy, every second, and the 40 lines of FastAPI, restarted when they die, as systemd would."""
        self._copy_once()
        self._thread(self._cron)
        self.start_glue_api()
        self.until(lambda: self.glue("C-00000").status == 200, 120, "the glue answers")

    def start_glue_api(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "glue:app", "--host", "127.0.0.1", "--port", str(self.glue_port)]
        env = {"GLUE_COPY": str(self.copy), "GLUE_MODEL": str(self.model)}
        self._start("glue", [*command, "--log-level", "warning"], cwd=TEMPLATE, env=env)

    def _cron(self) -> None:
        while not self._ending.wait(1.0):
            self._copy_once()

    def _copy_once(self) -> None:
        command = [sys.executable, str(TEMPLATE / "glue_cron.py"), self.crm_url, str(self.copy)]
        with (self.logs / "cron.log").open("ab") as log:
            subprocess.run(command, stdout=log, stderr=log, check=False)  # noqa: S603 - the demo's own script

    def glue(self, key: str) -> Said:
        """What the glue says of a customer."""
        return ask(f"http://127.0.0.1:{self.glue_port}/churn/{key}")

    # --- Mainstay ------------------------------------------------------------------------------------------------

    def write_integration(self) -> None:
        """The integration's files, as they lie in the package, with ports that are free here."""
        self.logs.mkdir(parents=True, exist_ok=True)
        shutil.copytree(TEMPLATE, self.integration, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        file = self.integration / "mainstay.yaml"
        text = file.read_text("utf-8").replace("port: 8700", f"port: {self.port}")
        text = text.replace("status_page: {port: 8702}", f"status_page: {{port: {self.status_port}}}")
        file.write_text(text.replace("http://127.0.0.1:8701", f"http://127.0.0.1:{self.page_port}"), "utf-8")

    def cli(self, *args: str, check: bool = True, timeout_s: float = 120.0, folder: Path | None = None) -> Ran:
        """Runs `mainstay ARGS` in the integration's folder (or another), as a user does."""
        folder = folder or self.integration
        done = subprocess.run(  # noqa: S603 - our own CLI
            [sys.executable, "-m", "mainstay", *args],
            cwd=folder, env=self._env({}), capture_output=True, text=True, check=False, timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        ran = Ran(done.returncode, done.stdout, done.stderr)
        if check and ran.code:
            raise DemoFailed(
                f"`mainstay {' '.join(args)}` ended with {ran.code}: {(ran.err or ran.out).strip()[-2_000:]}",
                mend=f"its folder is {folder}",
            )
        return ran

    def start_up(self) -> None:
        """`mainstay up`, its output in logs/up.log. Returns when it is ready."""
        self.start("up", "up", folder=self.integration)
        self.until(lambda: ask(f"{self.url}/health/ready").status == 200, 60, "`mainstay up` is ready")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def status_url(self) -> str:
        return f"http://127.0.0.1:{self.status_port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    def mainstay(self, key: str) -> Said:
        """What Mainstay says of a customer."""
        return ask(f"{self.url}/v1/churn/predict", {"key": key}, headers=self.headers)

    def workers(self) -> list[psutil.Process]:
        """The API's worker processes, by who listens on its port."""
        up = psutil.Process(self._running["up"].pid)
        children = [child for child in up.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
        return [child for child in children if _listens(child, self.port)]

    def start(self, name: str, *args: str, folder: Path) -> None:
        """`mainstay ARGS` that goes on until `stop(name)`; its output in logs/NAME.log."""
        self._start(name, [sys.executable, "-m", "mainstay", *args], cwd=folder)

    # --- processes and waiting -----------------------------------------------------------------------------------

    def kill9(self, name: str) -> None:
        """Kills a process that this world started."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill9_all(self, name: str) -> None:
        """Kills a process that this world started, and all that it started, as when its machine stops."""
        tree = psutil.Process(self._running[name].pid).children(recursive=True)
        self.kill9(name)
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self, name: str) -> None:
        """Ends a process that this world started."""
        self._end([self._running.pop(name)])

    def until(self, condition: Callable[[], Value | None], seconds: float, what: str) -> Value:
        """Waits until the condition holds and returns its value. Raises DemoFailed after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            for name, process in self._running.items():
                if process.poll() is not None:
                    tail = (self.logs / f"{name}.log").read_text("utf-8", "replace")[-2_000:]
                    raise DemoFailed(f"{name} ended with {process.returncode}: {tail}", where=str(self.logs))
            if time.monotonic() > deadline:
                raise DemoFailed(f"waited {seconds:.0f} s in vain: {what}", mend=f"see the logs in {self.logs}")
            time.sleep(0.1)

    def _start(self, name: str, command: Sequence[str], *, cwd: Path, env: dict[str, str] | None = None) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own programs
                command, cwd=cwd, env=self._env(env or {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for the story, which then ends them in order
            )  # fmt: skip

    def _env(self, more: dict[str, str]) -> dict[str, str]:
        own = {"CRM_URL": self.crm_url, "NO_COLOR": "1"}
        return {**os.environ, **own, **self.env, **more}

    @staticmethod
    def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _thread(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(10)
        self._end([*self._running.values()])
        self.server.close()


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections("tcp")
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)
