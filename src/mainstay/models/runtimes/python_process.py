"""The process of one python model version: started, watched, restarted with back-off, ended.

`up` holds one `PythonHost` per version and calls `ensure` now and then; the API's workers only connect to its socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.errors import ModelAway, ModelError, ModelRefused, ModelTimeout

HOST_FILE = Path(__file__).with_name("python_host.py")
FIRST_WAIT_US = SECOND // 5
MOST_WAIT_US = 30 * SECOND
HEALTHY_US = 60 * SECOND

HostState = Literal["stopped", "starting", "ready", "waiting", "refused"]


class HostOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the host needs to open a model. Further fields of a version's options are the connection's business."""

    python: str
    """The lab's interpreter, as given: resolving a virtual environment's link would lose the environment."""
    format: Literal["joblib", "pickle", "skops", "torch", "class", "mlflow"]
    trusted: tuple[str, ...] = ()
    side: str = ""
    """Folder with what the lab's environment lacks; last on sys.path."""
    paths: tuple[str, ...] = ()
    """Folders with the lab's own modules that a pickle refers to."""
    load_timeout_us: int = 60 * SECOND
    frame: dict[str, Any] = {}
    outputs: list[dict[str, Any]] = []
    warm: list[Any] = []
    """A made-up row, in the order of `frame`, that the model is run on once before it is called ready."""


class HostHello(msgspec.Struct, frozen=True, kw_only=True):
    """What the host says of itself."""

    pid: int
    digest: str
    build: str
    libraries: dict[str, str]
    isolation: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class PythonHost:
    """Supervises one host process. Thread-safe.

    Args:
        artifact: The model file; the host checks it against `digest` before it opens it.
        options: See HostOptions; unknown fields are ignored.
        socket: Where it listens (mode 0600). The folder must exist.
        log: What the model's libraries print; appended to. None: nowhere.
    """

    def __init__(
        self,
        artifact: Path,
        digest: str,
        options: Mapping[str, Any],
        socket: Path,
        *,
        log: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.artifact = artifact
        self.digest = digest
        self.socket = socket
        self.state: HostState = "stopped"
        self.hello: HostHello | None = None
        self.error: ModelError | None = None
        self.restarts = 0
        self._options = msgspec.convert(dict(options), HostOptions)
        self._log = log
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._status = -1
        self._lifeline = -1
        self._heard = b""
        self._folder = ""
        self._began_us = 0
        self._retry_us = 0
        self._wait_us = FIRST_WAIT_US

    @property
    def pid(self) -> int | None:
        """The process as it is now; None when there is none."""
        return self._process.pid if self._process else None

    def start(self) -> HostHello:
        """Starts it and waits until it answers. Raises ModelRefused, ModelTimeout (hung while loading) or ModelAway."""
        with self._lock:
            if self.state in {"waiting", "refused"}:
                self._retry_us = 0
                self.state = "stopped"
            while self.ensure() == "starting":
                left_us = self._began_us + self._options.load_timeout_us - self._clock.monotonic_us()
                select.select([self._status], [], [], max(left_us, 0) / SECOND)
            if self.hello is None:
                raise self.error or ModelAway("the model's process ended while it started")
            return self.hello

    def ensure(self) -> HostState:
        """Moves it on without waiting: starts it, hears how that went, restarts a dead one after its back-off."""
        with self._lock:
            now_us = self._clock.monotonic_us()
            if self.state == "stopped" or (self.state == "waiting" and now_us >= self._retry_us):
                self._spawn(now_us)
            if self.state == "starting":
                self._listen(now_us)
            elif self.state == "ready" and self._process is not None and self._process.poll() is not None:
                ended = self._process.returncode
                healthy = now_us - self._began_us > HEALTHY_US
                self._fail(ModelAway(f"the model's process ended ({_how(ended)}) and is being restarted"), now_us)
                self._wait_us = FIRST_WAIT_US if healthy else self._wait_us
            return self.state

    def kill(self) -> None:
        """Ends the process and all of its group, now. A later `ensure` starts it again, after its back-off."""
        with self._lock:
            if self._process is not None:
                self._fail(ModelTimeout("the model's process was killed because it hung"), self._clock.monotonic_us())

    def close(self) -> None:
        """Ends it for good."""
        with self._lock:
            self._end()
            self.state = "stopped"
            self.hello = None
            with contextlib.suppress(FileNotFoundError):
                self.socket.unlink()

    def _spawn(self, now_us: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="mainstay-model-")
        status, told = os.pipe()
        lifeline, held = os.pipe()
        config = {
            "artifact": str(self.artifact.absolute()),
            "digest": self.digest,
            "socket": str(self.socket.absolute()),
            "folder": self._folder,
            "parent": os.getpid(),
            # The kernel's signal follows the thread that started it, so only the main thread may rely on it.
            "dies_with_parent": threading.current_thread() is threading.main_thread(),
            "status_fd": told,
            "lifeline_fd": lifeline,
            "load_timeout_s": self._options.load_timeout_us / SECOND,
            **msgspec.to_builtins(self._options),
        }
        try:
            with Path(self._log or os.devnull).open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - the interpreter that a person gave
                    [self._options.python, "-I", str(HOST_FILE), json.dumps(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment(self._folder),
                    pass_fds=(told, lifeline),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(status)
            os.close(held)
            self._fail(
                ModelRefused(
                    f"the interpreter {self._options.python} cannot be run: {error.strerror}",
                    mend="give the lab's interpreter with --python path/to/venv/bin/python",
                ),
                now_us,
            )
            return
        finally:
            os.close(told)
            os.close(lifeline)
        self._status, self._lifeline, self._heard = status, held, b""
        self._began_us = now_us
        self.state = "starting"

    def _listen(self, now_us: int) -> None:
        """Reads what the starting process says of itself, without waiting."""
        ended = False
        while select.select([self._status], [], [], 0)[0] and not ended:
            part = os.read(self._status, 65536)
            self._heard += part
            ended = not part
        if self._heard.endswith(b"\n"):
            told = json.loads(self._heard)
            if told.get("ready"):
                self.hello = msgspec.convert(told, HostHello)
                self.error = None
                self.state = "ready"
            else:
                self._fail(refusal_of(told), now_us)
        elif now_us - self._began_us >= self._options.load_timeout_us:
            span_s = self._options.load_timeout_us / SECOND
            self._fail(ModelTimeout(f"the model was not loaded within {span_s:g} s, so its process was killed"), now_us)
        elif ended:
            code = self._process.wait() if self._process else 0
            self._fail(ModelAway(f"the model's process ended while it started ({_how(code)})"), now_us)

    def _fail(self, error: ModelError, now_us: int) -> None:
        self._end()
        self.hello = None
        self.error = error
        self.state = "waiting" if error.transient else "refused"
        self.restarts += 1
        self._retry_us = now_us + self._wait_us
        self._wait_us = min(self._wait_us * 2, MOST_WAIT_US)

    def _end(self) -> None:
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.wait()
            self._process = None
        for handle in (self._status, self._lifeline):
            if handle >= 0:
                os.close(handle)
        self._status = self._lifeline = -1
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""


def environment(folder: str) -> dict[str, str]:
    """What a model's process may know: no variable of ours gets there but PATH and LANG."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "HOME": folder,
        "TMPDIR": folder,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def kill_group(pid: int) -> None:
    """SIGKILL to the process and to its group, where it leads one of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid and pid != os.getpgrp():
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def refusal_of(header: Mapping[str, Any]) -> ModelError:
    """The error that a host's `error` frame stands for."""
    sentence, code = str(header.get("sentence", "the model failed")), header.get("code")
    if code == "untrusted":
        types = " ".join(header.get("types", ()))
        return ModelRefused(f"{sentence}: {types}", mend=f"after looking at each of them: --trust {types}")
    if code == "missing":
        return ModelRefused(
            sentence, mend="install it there, or let `mainstay model add` put it into a side folder of its own"
        )
    if code == "unreadable":
        return ModelRefused(
            sentence, mend="name the interpreter that it was made with, its libraries in it: --python PATH"
        )
    if code == "deadline":
        return ModelTimeout(sentence)
    return ModelRefused(sentence) if header.get("terminal", True) else ModelAway(sentence)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
