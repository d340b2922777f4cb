"""Lines of a log that nobody waits for: a pipe that is not read, or a full disk, costs lines and stops no process.

Whoever writes leaves whole lines in a bounded queue, and a thread hands them to the system. What finds no room there,
or what the system does not take, is counted, and said when lines are taken again.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

from mainstay.core.counts import counted

FORMAT = "MAINSTAY_LOG_FORMAT"
WAITING_MOST = 1_000
"""Lines that wait for whoever reads them."""
LINE_MOST = 16 * 1024
"""Characters of a line; the rest is cut off."""
LAST_S = 1.0
"""How long the end of a process waits for its last lines to be taken."""


class LogLines:
    """Takes the place of `sys.stdout` and `sys.stderr`. Thread-safe; writing never waits and never fails.

    Args:
        fd: Where lines go.
        lost: How it is said that so many lines were dropped.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd: int, lost: Callable[[int], str]) -> None:
        self._fd = fd
        self._lost = lost
        self._part = ""
        self._lines: deque[bytes] = deque()
        self._unsaid = 0
        self._busy = False
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0
        """Lines so far that nobody took."""

    def write(self, text: str) -> int:
        """Takes text; a line of it leaves when it is whole."""
        with self._change:
            *whole, self._part = (self._part + text).split("\n")
            if len(self._part) > LINE_MOST:
                self._part = self._part[:LINE_MOST]
            for line in whole:
                self._put(line)
            if whole and self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="mainstay-log")
                self._thread.start()
            self._change.notify_all()
        return len(text)

    def flush(self) -> None:
        """Whole lines leave by themselves, and nobody waits for them."""

    def isatty(self) -> bool:
        """Whether a person reads along, so that colours make sense."""
        return os.isatty(self._fd)

    def fileno(self) -> int:
        """Where lines go."""
        return self._fd

    def close(self) -> None:
        """Waits a moment for the last lines to be taken."""
        until = time.monotonic() + LAST_S
        if self._part:
            self.write("\n")
        with self._change:
            while (self._lines or self._busy) and self._thread is not None:
                left = until - time.monotonic()
                if left <= 0:
                    return
                self._change.wait(left)

    def _put(self, line: str) -> None:
        if len(self._lines) >= WAITING_MOST:
            self._drop()
            return
        self._lines.append(line[:LINE_MOST].encode(self.encoding, self.errors) + b"\n")

    def _drop(self) -> None:
        self.dropped += 1
        self._unsaid += 1

    def _work(self) -> None:
        while True:
            with self._change:
                self._busy = False
                self._change.notify_all()
                while not self._lines:
                    self._change.wait()
                line, self._busy = self._lines.popleft(), True
            taken = self._hand_over(line)
            with self._change:
                if not taken:
                    self._drop()
                elif self._unsaid and len(self._lines) < WAITING_MOST:
                    unsaid, self._unsaid = self._unsaid, 0
                    self._put(self._lost(unsaid))

    def _hand_over(self, line: bytes) -> bool:
        """Whether the system took it. Waits for whoever reads."""
        try:
            while line:
                try:
                    line = line[os.write(self._fd, line) :]
                except BlockingIOError:
                    select.select((), (self._fd,), (), 1.0)
        except (OSError, ValueError):
            return False
        return True


def lines_of(stream: TextIO, env: Mapping[str, str], process: str) -> TextIO | LogLines:
    """What to write to in place of a stream of the system's; a stream that is none stays.

    Args:
        stream: Standard output or standard error.
        env: Says whether lines are JSON.
        process: Who writes.
    """
    try:
        fd = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return stream
    stream.flush()

    def lost(count: int) -> str:
        said = f"{counted(count, 'log line')} dropped: nobody took what {process} wrote"
        if (env.get(FORMAT) or "text").lower() == "json":
            return json.dumps({"event": said, "level": "warning", "process": process})
        return said

    lines = LogLines(fd, lost)
    atexit.register(lines.close)
    return lines


def install(env: Mapping[str, str], process: str) -> None:
    """For good: what this process writes to its output stops it no more."""
    sys.stdout, sys.stderr = (lines_of(one, env, process) for one in (sys.stdout, sys.stderr))


def dropped() -> int:
    """Lines of this process, so far, that nobody took."""
    return sum(one.dropped for one in (sys.stdout, sys.stderr) if isinstance(one, LogLines))


def last() -> None:
    """For a process that ends without Python's own way to end: waits a moment for its last lines to be taken."""
    for one in (sys.stdout, sys.stderr):
        if isinstance(one, LogLines):
            one.close()
        else:
            one.flush()
