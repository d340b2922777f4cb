"""Keeps processes running: starts them, restarts the dead with back-off, stops them all, and says so in state.

Each child leads a process group of its own, so that what it started ends with it. A listening socket belongs to the
supervisor and is inherited: a worker that dies takes its own connections with it and nobody else's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from mainstay.core.clock import MINUTE, SECOND, Clock, SystemClock, span
from mainstay.core.errors import Refused, StoreError
from mainstay.core.ports import State, Write
from mainstay.core.records import ProcessState, encode

PARENT = "MAINSTAY_SUPERVISOR"
"""Environment variable that tells a child who started it; see `orphaned`."""
RESTARTS = "MAINSTAY_RESTARTS"
"""Environment variable that tells a child how often it was restarted."""
ENDED = "MAINSTAY_ENDED"
"""Environment variable that tells a child how the one before it ended; see `still_told`."""

GRACE_US = 20 * SECOND
"""How long a child has to end: longer than a worker's `DRAIN_SECONDS`."""
STEADY_US = 10 * SECOND
"""A child that lived this long is restarted at once."""
TOLD_US = 10 * MINUTE
"""How long it is told that a process has ended by itself, once it runs again."""
_FIRST_US = SECOND // 4
_MOST_US = 30 * SECOND
_LOOPING = 3
_SAY_US = 2 * SECOND
_LATER_US = 10 * SECOND
"""For how long it is left alone when it could not be written."""
_POLL_S = 0.05


class PortTaken(Refused):
    """Another process listens there; it may be about to end."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process to keep running."""

    name: str
    """Unique; the name of its record in state."""
    argv: tuple[str, ...]
    fds: tuple[int, ...] = ()
    """Descriptors that it inherits under the same numbers: listening sockets."""
    env: dict[str, str] = {}
    """Added to our own environment."""
    ports: dict[str, int] = {}
    """What it listens on, for `status`."""
    restart: bool = True
    speaks: bool = False
    """Whether it writes its own record while it runs: one that hangs must not be reported as seen by us."""


class _Running:
    """A child and its process, past and present."""

    __slots__ = ("child", "due_us", "process", "quick", "restarts", "seen_us", "since_us", "started_us", "told")

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.started_us = 0
        self.since_us = 0
        self.seen_us = 0
        self.due_us: int | None = 0
        self.quick = 0
        self.restarts = -1
        self.told = ""


class Supervisor:
    """Runs children until told to stop.

    Args:
        children: What to run.
        state: Where ProcessState records go; None for nowhere.
        clock: For back-off.
        grace_us: How long a child has after SIGTERM before its group is killed.
        say: Where a line for the operator goes.
        suffix: After each name of a record: which machine this is, where several write into one state.
    """

    def __init__(
        self,
        children: Iterable[Child],
        *,
        state: State | None = None,
        clock: Clock | None = None,
        grace_us: int = GRACE_US,
        say: Callable[[str], None] | None = None,
        suffix: str = "",
    ) -> None:
        self._suffix = suffix
        self._running = {child.name: _Running(child) for child in children}
        self._state = state
        self._clock = clock or SystemClock()
        self._grace_us = grace_us
        self._say = say or _to_stderr
        self._stop = threading.Event()
        self._said_us = -_SAY_US
        self._unsaid = ""
        """Why records could not be written, so that it is said once."""

    def run(self, each: Callable[[], None] | None = None, *, ending: Callable[[], None] | None = None) -> int:
        """Runs until SIGTERM, SIGINT or `stop`. Returns 0, or 1 when a child had to be killed.

        `each` is called between looks, for whoever wants to add and remove children; `ending` once, before the children
        are told to end. Must be called in the main thread.
        """
        before = {number: signal.signal(number, self._told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while not self._stop.is_set():
                self.tick()
                if each is not None:
                    each()
                self._stop.wait(_POLL_S)
        finally:
            if ending is not None:
                ending()
            killed = self.end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return 1 if killed else 0

    def stop(self) -> None:
        """Makes `run` return after it has ended every child."""
        self._stop.set()

    def add(self, child: Child) -> None:
        """One more child, started at the next tick. Raises Refused when the name is taken."""
        if child.name in self._running:
            raise Refused(f"a process called {child.name} is running already")
        self._running[child.name] = _Running(child)

    def remove(self, name: str) -> None:
        """Ends a child and forgets it; unknown names are no error."""
        running = self._running.pop(name, None)
        if running is not None:
            self._end([running])
            self._forget([name])

    def names(self) -> tuple[str, ...]:
        return tuple(self._running)

    def pid(self, name: str) -> int | None:
        """The child's process id; None while it is not running."""
        process = self._running[name].process
        return None if process is None or process.poll() is not None else process.pid

    def tick(self) -> None:
        """One look at every child: reaps, starts what is due, and now and then writes how they are."""
        now_us = self._clock.monotonic_us()
        for running in self._running.values():
            self._look(running, now_us)
        if now_us - self._said_us >= _SAY_US:
            self._said_us = now_us
            self._record()

    def end(self) -> tuple[str, ...]:
        """Ends every child: SIGTERM, time to drain, SIGKILL for the group. Returns the names that had to be killed."""
        killed = self._end(list(self._running.values()))
        self._forget(self._running)
        return killed

    def _told(self, number: int, frame: object) -> None:
        del number, frame
        self._stop.set()

    def _look(self, running: _Running, now_us: int) -> None:
        process = running.process
        if process is not None:
            code = process.poll()
            if code is None:
                return
            _kill_group(process.pid)
            running.process = None
            self._died(running, code, now_us)
        if running.due_us is not None and now_us >= running.due_us:
            self._start(running, now_us)

    def _died(self, running: _Running, code: int, now_us: int) -> None:
        child = running.child
        lived = now_us - running.started_us
        if not child.restart:
            running.due_us = None
            running.told = f"ended with {_how(code)}"
            return
        running.quick = 0 if lived >= STEADY_US else running.quick + 1
        wait = 0 if running.quick == 0 else min(_FIRST_US << min(running.quick - 1, 10), _MOST_US)
        running.due_us = now_us + wait
        running.told = f"ended with {_how(code)} after {span(lived)}" if code else ""  # 0: it wanted to begin anew
        if running.quick >= _LOOPING:
            running.told = f"ends again and again ({running.quick} times, last {_how(code)}), next try in {span(wait)}"
        self._say(f"{child.name} {running.told or 'begins anew'}")
        self._said_us = -_SAY_US

    def _start(self, running: _Running, now_us: int) -> None:
        child = running.child
        running.restarts += 1
        env = {**os.environ, **child.env, PARENT: str(os.getpid())}
        env |= {RESTARTS: str(running.restarts), ENDED: running.told}
        running.started_us = now_us
        running.since_us = self._clock.now_us()
        try:
            running.process = subprocess.Popen(  # noqa: S603 - argv comes from our own wiring
                child.argv, env=env, pass_fds=child.fds, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            running.told = f"cannot be started: {error.strerror}"
            running.quick += 1
            running.due_us = now_us + min(_FIRST_US << min(running.quick, 10), _MOST_US)
            self._say(f"{child.name} {running.told}")
            return
        running.due_us = None if not child.restart else 0

    def _end(self, ending: Sequence[_Running]) -> tuple[str, ...]:
        alive = [running for running in ending if running.process is not None]
        for running in alive:
            if running.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    running.process.terminate()
        deadline = self._clock.monotonic_us() + self._grace_us
        killed: list[str] = []
        for running in alive:
            process = running.process
            if process is None:
                continue
            try:
                process.wait(max(0.0, (deadline - self._clock.monotonic_us()) / SECOND))
            except subprocess.TimeoutExpired:
                killed.append(running.child.name)
            _kill_group(process.pid)
            process.wait()
            running.process = None
            running.due_us = None
        return tuple(killed)

    def _record(self) -> None:
        if self._state is None:
            return
        now_us = self._clock.now_us()
        writes = []
        for child, running in self._running.items():
            name, process = child + self._suffix, running.process
            if process is not None:
                running.seen_us = now_us
                if running.child.speaks:
                    continue
            record = ProcessState(
                name=name,
                pid=process.pid if process is not None else 0,
                since_us=running.since_us,
                seen_us=running.seen_us,
                restarts=max(0, running.restarts),
                note=running.told if process is None or still_told(running.since_us, now_us) else "",
                ports=running.child.ports,
            )
            writes.append(Write(space="process", name=name, body=encode(record)))
        try:
            self._state.commit(writes)
        except StoreError as error:
            # A store that is locked keeps us for seconds, in which no dead child is seen.
            self._said_us = self._clock.monotonic_us() + _LATER_US
            if error.sentence != self._unsaid:
                self._say(f"cannot write how the processes are: {error.sentence}")
            self._unsaid = error.sentence
        else:
            self._unsaid = ""

    def _forget(self, names: Iterable[str]) -> None:
        """All at once: where the store is locked each try takes seconds."""
        if self._state is not None:
            with contextlib.suppress(StoreError):
                self._state.commit([Write(space="process", name=name + self._suffix, body=None) for name in names])


def listen(host: str, port: int, *, backlog: int = 1024, setting: str = "port: ...") -> socket.socket:
    """A listening socket to hand to workers by its descriptor. `port` 0 takes a free one. `setting`: what to change.

    Raises PortTaken, and Refused for an address that is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise not_to_be_had(host, port, setting, error) from error
    listening.listen(backlog)
    listening.setblocking(False)
    return listening


def not_to_be_had(host: str, port: int, setting: str, error: OSError) -> Refused:
    """The refusal of a port that nothing can listen on. `setting`: what to change."""
    sentence = f"cannot listen on {host} port {port}: {error.strerror}"
    kind = PortTaken if error.errno == errno.EADDRINUSE else Refused
    flag = {"grpc": "--grpc-port", "status_page": "--status-port"}.get(setting.partition(":")[0], "--port")
    return kind(sentence, mend=f"take a free one: mainstay up {flag} PORT for once, `settings: {{{setting}}}` for good")


def still_told(since_us: int, now_us: int) -> bool:
    """Whether it is still to be said how a process, which runs since then, ended the time before."""
    return 0 <= now_us - since_us < TOLD_US


def orphaned(env: Mapping[str, str]) -> bool:
    """Whether the supervisor that started this process is gone, so that it should end too."""
    parent = env.get(PARENT, "")
    return parent.isdecimal() and os.getppid() != int(parent)


def _kill_group(pid: int) -> None:
    """Ends what the child started and left behind. Its group outlives it as long as one of those does."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
