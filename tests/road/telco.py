"""The integration of examples/telco on the real data: a PostgreSQL as CRM, the lab, `mainstay up`, and its doors."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar

import httpx

from mainstay.cli.main import run
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import Database

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "telco"
DATA = ROOT.parent / "shared" / "data" / "telco-customer-churn.csv"
OUTPUT = "churn_probability=predict_proba[Yes]:probability"
STEADY = "5575-GNVDE"
"""A customer whose row is good, and whom no story makes dirty."""
GUARD_S = 30.0
"""A story waits this long at most for what must happen; how long it took is printed, not asserted."""

T = TypeVar("T")


class Ran(NamedTuple):
    """A command of the CLI that was run."""

    code: int
    out: str
    err: str


def load(database: Database) -> None:
    """The dump into the CRM's table, every row as old as 2019, and a login that may only read."""
    import psycopg

    with DATA.open(encoding="utf-8") as dump:
        width = len(next(csv.reader(dump)))
    database.exec((EXAMPLE / "crm.sql").read_text("utf-8"))
    columns = (
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'customers' ORDER BY ordinal_position"
    )
    names = ", ".join(row[0] for row in database.exec(columns)[:width])
    with (
        psycopg.connect(database.url) as connection,
        connection.cursor().copy(f"COPY customers ({names}) FROM STDIN CSV HEADER".encode()) as copy,
    ):
        copy.write(DATA.read_bytes())
    database.exec(
        "DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'reader'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"
    )


class Lab:
    """What the data scientist hands over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        done = subprocess.run(
            [sys.executable, str(EXAMPLE / "train.py"), str(DATA), str(folder)],
            capture_output=True, text=True, check=False, env=environment({}),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with (folder / "lab.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.said = {name: {row["customer_id"]: float(row[name]) for row in rows} for name in ("boosting", "native")}

    def add(self, telco: Telco, name: str) -> dict[str, Any]:
        """`mainstay model add` of one of them; returns what it says."""
        found: dict[str, Any] = telco.json(
            "model", "add", str(self.folder / f"{name}.joblib"), "--python", sys.executable,
            "--example", str(self.folder / "example.csv"), "--output", OUTPUT,
        )  # fmt: skip
        return found


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """One thread for scikit-learn: on a small machine its threads would wait for each other and for PostgreSQL."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **more}


class Telco:
    """`with Telco(folder, database) as telco:` ends what it started.

    Args:
        folder: Where the integration and its state lie.
        crm: The CRM's database, filled by `load`.
        replace: Texts of the example's mainstay.yaml -> what stands in their place, beside the seconds that tests need.
    """

    def __init__(self, folder: Path, crm: Database, replace: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.crm = crm
        self.port = free_port()
        self.log = folder / "up.log"
        self._up: subprocess.Popen[bytes] | None = None
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("*.py", "README.md"), dirs_exist_ok=True)
        self.rewrite({"port: 8700": f"port: {self.port}", "every: 10s": "every: 1s"})
        self.rewrite(replace or {})
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self._env = environment({"CRM_URL": crm.server.url(crm.name, user="reader", password="reader")})

    # --- the file and the CLI ------------------------------------------------------------------------------------

    @property
    def file(self) -> Path:
        return self.folder / "mainstay.yaml"

    def rewrite(self, replace: Mapping[str, str]) -> None:
        """Changes mainstay.yaml; each text must stand in it once."""
        text = self.file.read_text("utf-8")
        for old, new in replace.items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.file.write_text(text, "utf-8")

    def cli(self, *args: str, code: int | None = 0) -> Ran:
        """`mainstay ARGS` on the file, in this process: only `up` needs one of its own. `code` None: any exit code."""
        out, err = io.StringIO(), io.StringIO()
        before = dict(os.environ)
        os.environ.update(self._env)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                ended = run([*args, "--file", str(self.file)])
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert code is None or ended == code, f"{args}: {ended}\n{out.getvalue()}\n{err.getvalue()}"
        return Ran(ended, out.getvalue(), err.getvalue())

    def json(self, *args: str, code: int | None = 0) -> Any:
        return json.loads(self.cli(*args, "--json", code=code).out)

    @contextmanager
    def applied(self, replace: Mapping[str, str]) -> Iterator[None]:
        """For the block, another file is the applied one."""
        before = self.file.read_text("utf-8")
        self.rewrite(replace)
        self.apply()
        try:
            yield
        finally:
            self.file.write_text(before, "utf-8")
            self.apply()

    def apply(self) -> None:
        """Applies the file, and waits for the first read by it: the types that the source has then are agreed to."""
        self.cli("apply", "--yes")
        now = datetime.now(UTC).isoformat()
        self.until(lambda: self.dataset()["as_of"] > now, "the next read is published", pause_s=0.1)

    # --- running it ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Applies, starts `mainstay up`, makes an API key, and waits for the first published read."""
        self.cli("apply", "--yes")
        with self.log.open("ab") as log:
            self._up = subprocess.Popen(
                [sys.executable, "-m", "mainstay", "up"],
                cwd=self.folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        token = self.json("key", "create", "crm", "--role", "operate")["key"]
        self.api.headers["Authorization"] = f"Bearer {token}"
        self.until(lambda: self.ready() and self.ask(STEADY).status_code == 200, "the first read is published")

    def ready(self) -> bool:
        try:
            return self.api.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self._up is not None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(30)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
            self._up = None

    def loop_pid(self) -> int:
        """The loop's process id, from what `status` says of it."""
        return int(self.json("status", code=None)["processes"]["loop"]["pid"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.api.close()

    # --- asking and waiting --------------------------------------------------------------------------------------

    def ask(self, key: str) -> httpx.Response:
        return self.api.post("/v1/churn/predict", json={"key": key})

    def answers(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Every key's item, asked for by the thousand."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(keys), 1_000):
            reply = self.api.post("/v1/churn/predict", json={"keys": keys[start : start + 1_000]})
            assert reply.status_code == 200, reply.text
            found.update((item["key"], item) for item in reply.json()["results"])
        return found

    def dataset(self) -> dict[str, Any]:
        """The dataset's line of `status`."""
        found: dict[str, Any] = self.json("status", code=None)["datasets"][0]
        return found

    def until(self, condition: Callable[[], T | Literal[False]], what: str, *, pause_s: float = 0.02) -> T:
        """Waits until the condition holds; returns its value."""
        deadline = time.monotonic() + GUARD_S
        while not (value := condition()):
            tail = self.log.read_text("utf-8", "replace")[-3_000:] if self.log.exists() else ""
            assert self._up is None or self._up.poll() is None, f"`mainstay up` ended: {tail}"
            assert time.monotonic() < deadline, f"waited {GUARD_S:.0f} s in vain until {what}\n{tail}"
            time.sleep(pause_s)
        return value

    def settled(self) -> dict[str, int]:
        """The dataset's counts, after checking promise 3: every landed version is in exactly one state."""
        states = ("published", "superseded", "quarantined", "discarded", "waiting", "erased")
        counts, batches = self.until(self._at_rest, "nothing is landed while we count")
        assert sum(counts.get(name, 0) for name in states) == counts["landed"], counts
        assert sum(batch["rows"] for batch in batches) + counts.get("erased", 0) >= counts["landed"], counts
        assert sum(batch["rows"] for batch in batches) <= counts["landed"], counts
        return counts

    def _at_rest(self) -> tuple[dict[str, int], list[dict[str, Any]]] | Literal[False]:
        """The counts and the batches of one moment."""
        before: dict[str, int] = self.dataset()["counts"]
        batches: list[dict[str, Any]] = self.json("batch", "list", "--limit", "100000")["batches"]
        after: dict[str, int] = self.dataset()["counts"]
        same = all(before.get(name) == count for name, count in after.items() if name != "noop")
        return same and (after, batches)
