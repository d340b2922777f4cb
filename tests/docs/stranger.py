"""Somebody who reads a page and types what it says, into an installation of their own over a real PostgreSQL."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError

from mainstay.cli.main import run
from mainstay.testing.ports import free_port
from mainstay.testing.postgres import Database
from tests.docs.blocks import Block, lines
from tests.docs.files import Tree, base, with_block, written
from tests.docs.lab import train

CRM = """
CREATE TABLE customers (
    customer_id text PRIMARY KEY, tenure integer, total_charges text, contract text, email text,
    updated_at timestamptz NOT NULL DEFAULT now(), churned boolean);
CREATE INDEX ON customers (updated_at);
CREATE TABLE tickets (
    ticket_id bigint PRIMARY KEY, customer_id text, opened timestamptz, updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO customers SELECT
    CASE n WHEN 1 THEN '7590-VHVEG' WHEN 2 THEN '5575-GNVDE' ELSE lpad(n::text, 4, '0') || '-CRMXY' END,
    n % 73, (n % 73 * 55.5)::numeric(10, 2)::text,
    (ARRAY['Month-to-month', 'One year', 'Two year'])[1 + n % 3], 'c' || n || '@example.com',
    now() - interval '1 hour', n % 4 = 0
    FROM generate_series(1, 1200) AS n;
INSERT INTO tickets SELECT n, '7590-VHVEG', now() - interval '3 days' FROM generate_series(1, 5) AS n;
DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'reader'; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
"""
WAIT_S = 60.0
"""A page waits this long at most for `mainstay up` to be ready."""

_RECEIPT = re.compile(r"\br[0-9a-v]{32}\b")
_ROW = re.compile(r"\b[a-z_]+/\d+/\d+\b")
_BATCH = re.compile(r"\b(?!draft)[a-z_]+/\d+\b(?!/)")
_KEY = re.compile(r"\bmsk_\w+")
_KEY_ID = re.compile(r"\bmsk_([a-z0-9]+)_")


class Stranger:
    """`with Stranger(folder, database) as reader: reader.does(block)`, block by block, in the page's order."""

    def __init__(self, folder: Path, crm: Database, *, uses_lab: bool = False) -> None:
        self.folder = folder
        self.crm = crm
        self.port, self.control = free_port(), free_port()
        self.env = {
            **os.environ, "CRM_URL": crm.server.url(crm.name, user="reader", password="reader"), "COLUMNS": "200",
            "NO_COLOR": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self._here_instead = {
            "postgresql://reader:...@db.example.com/crm": self.env["CRM_URL"],
            "postgresql://reader@db/crm": self.env["CRM_URL"],
            "lab/bin/python": sys.executable,
            "https://mainstay.example.com": f"http://127.0.0.1:{self.port}",
            "127.0.0.1:8700": f"127.0.0.1:{self.port}",
            "127.0.0.1:8701": f"127.0.0.1:{self.control}",
            "--status-port 8701": f"--status-port {self.control}",
            "/mnt/backups": str(folder / "backups"),
            "/tmp/units": str(folder / "units"),
        }
        """Places that a page names, and where they are on this machine."""
        self.seen: dict[str, str] = {}
        """What stands for a word in capitals: the last one of its kind that was printed."""
        self.printed = ""
        self.tree: Tree = base()
        (folder / "backups").mkdir()
        if uses_lab:
            train(folder / "lab")
        self._up: subprocess.Popen[bytes] | None = None
        self._write()

    def does(self, block: Block) -> None:
        """Types, writes or reads a block. Raises AssertionError where the page is wrong."""
        match block.language:
            case "yaml" if block.note("aside") is None and block.note("not mainstay.yaml") is None:
                self.tree = with_block(self.tree, block)
                self._write()
            case "sh" if block.note("not run:") is None:
                for statement in block.all("before in the CRM:"):
                    self.crm.exec(statement)
                for line in (*block.all("before:"), *lines(block)):
                    self._types(line, block)
            case "sql" if block.note("in the CRM") is not None:
                self.crm.exec(block.text)
            case "python" if block.note("typed") is not None:
                self._programs(block)
            case "csv" if block.note("file:") is not None:
                (self.folder / str(block.note("file:"))).write_text(block.text, "utf-8")
            case "text" if block.note("prints") is not None:
                self._reads(block)
            case _:
                pass

    def _write(self) -> None:
        tree = {**self.tree, "settings": {**self.tree.get("settings", {}), "port": self.port}}
        (self.folder / "mainstay.yaml").write_text(written(tree), "utf-8")

    def _types(self, line: str, block: Block) -> None:
        line = self._filled(line)
        words = shlex.split(line, comments=True)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.env[name] = value
        elif words[0] == "mainstay" and (words[-1] == "&" or words[-1] == "--up"):
            port = ["--port", str(self.port)] if words[1] == "new" else []  # what is written is not there yet
            self._starts([*(word for word in words[1:] if word != "&"), *port])
        elif words[0] == "mainstay" and (words[1] == "up" or "--watch" in words):
            self._interrupts(words[1:], f"{block.where}: {line}")
        elif words[0] == "mainstay":
            self._commands(words[1:], int(block.note("exits") or 0), f"{block.where}: {line}")
        elif words[0] == "sleep":
            time.sleep(float(words[1]))
        elif words[:2] == ["rm", "-r"]:
            shutil.rmtree(self.folder / words[2])
        elif words[0] == "curl":
            self._asks(words[1:], block.note("answers"), f"{block.where}: {line}")
        else:
            raise AssertionError(f"{block.where}: nobody types {words[0]!r} here; say why: <!-- not run: WHY -->")

    def _filled(self, line: str) -> str:
        """Words in capitals and variables replaced by what stands for them; the port by the one that is free here."""
        for name, value in self.seen.items():
            line = re.sub(rf"(?<![\w$]){name}(?!\w)", value, line)
        line = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: self.env[found[1] or found[2]], line)
        for shown, here in self._here_instead.items():
            line = line.replace(shown, here)
        return line

    def _commands(self, words: list[str], code: int, where: str) -> None:
        into = None
        if ">" in words:
            into, words = words[words.index(">") + 1], words[: words.index(">")]
        ended, out, told = self._commands_end(words)
        assert ended == code, f"{where}\nended with {ended}, not {code}:\n{out}\n{told}"
        if into is not None:
            (self.folder / into).write_text(out, "utf-8")
        self._notices(out + told)

    def _commands_end(self, words: list[str]) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `mainstay WORDS`, run in this process."""
        out, told = io.StringIO(), io.StringIO()
        with self._here(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
            sys.stdin, stdin = io.StringIO("y\n"), sys.stdin  # agrees when asked
            try:
                ended = run(words)
            finally:
                sys.stdin = stdin
        return ended, out.getvalue(), told.getvalue()

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            with contextlib.chdir(self.folder):
                yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _interrupts(self, words: list[str], where: str) -> None:
        """Runs what goes on until somebody presses Ctrl-C, and presses it as soon as something was printed."""
        log = self.folder / "stays.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "mainstay", *words],
                cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        deadline = time.monotonic() + WAIT_S
        while not log.stat().st_size:
            assert process.poll() is None, f"{where}: it ended"
            assert time.monotonic() < deadline, f"{where}: nothing was printed"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        ended = process.wait(WAIT_S)
        assert ended in (0, 130, -signal.SIGINT), f"{where}: ended with {ended}:\n{log.read_text('utf-8', 'replace')}"

    def _starts(self, words: list[str]) -> None:
        self._stops()
        with (self.folder / "up.log").open("wb") as log:
            self._up = subprocess.Popen(
                [sys.executable, "-m", "mainstay", *words],
                cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + WAIT_S
        while not (self._ready() and (words[0] != "up" or self._commands_end(["status"])[0] == 0)):
            said = (self.folder / "up.log").read_text("utf-8", "replace")
            assert self._up.poll() is None, f"`mainstay {' '.join(words)}` ended:\n{said}"
            assert time.monotonic() < deadline, f"`mainstay {' '.join(words)}` was not ready in time:\n{said}"
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False

    def _asks(self, words: list[str], status: str | None, where: str) -> None:
        """`curl -s URL -H 'NAME: VALUE' -d BODY`, as curl would send it."""
        headers, body, url = {"Content-Type": "application/x-www-form-urlencoded"}, None, ""
        rest = iter(words)
        for word in rest:
            if word in {"-H", "--header"}:
                name, _, value = next(rest).partition(": ")
                headers[name] = value
            elif word in {"-d", "--data"}:
                body = next(rest).encode()
            elif not word.startswith("-"):
                url = word
        got, text = _fetched(urllib.request.Request(url, data=body, headers=headers))
        deadline = time.monotonic() + WAIT_S
        while got == 401 and status != "401" and time.monotonic() < deadline:  # a person types slower than a key lives
            time.sleep(0.1)
            got, text = _fetched(urllib.request.Request(url, data=body, headers=headers))
        assert str(got) == status if status else got in (200, 201), f"{where}\nanswered {got}:\n{text}"
        with contextlib.suppress(json.JSONDecodeError):
            text = json.dumps(json.loads(text), indent=2)
        self._notices(text)

    def _programs(self, block: Block) -> None:
        command = [sys.executable, "-c", self._filled(block.text)]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.where}\n{done.stderr}"
        self._notices(done.stdout)

    def _notices(self, text: str) -> None:
        self.printed = text
        for word, pattern in (("RECEIPT", _RECEIPT), ("ROW", _ROW), ("BATCH", _BATCH), ("KEY", _KEY)):
            if found := pattern.findall(text):
                self.seen[word] = found[-1]
        if found := _KEY_ID.findall(text):
            self.seen["KEYID"] = found[-1]

    def _reads(self, block: Block) -> None:
        printed = " ".join(self.printed.split())
        for line in block.text.splitlines():
            parts = [re.escape(" ".join(part.split())) for part in line.split("...")]
            assert re.search(".*?".join(parts), printed), (
                f"{block.where}: {line!r} was not printed, but:\n{self.printed}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stops()

    def _stops(self) -> None:
        if self._up is not None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(30)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()


def _fetched(request: urllib.request.Request) -> tuple[int, str]:
    """Status and body, whatever the status."""
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
