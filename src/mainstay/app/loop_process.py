"""The loop as a process: `python -m mainstay.app.loop_process --home H --integration N [--file F]`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from mainstay.app import log_lines, logs
from mainstay.app.loop import Loop
from mainstay.app.place import Place, whoami
from mainstay.app.stores import home_at
from mainstay.app.supervisor import orphaned
from mainstay.app.wiring import own
from mainstay.core.errors import LeaseOwned, MainstayError, StoreBusy, StoreFull

EXIT_AFTER_FAULT = 75
"""Told to the supervisor: try again later (EX_TEMPFAIL)."""
WAIT_S = 1.0
"""How often the lease is asked for while another machine has it."""
RAN_S = 30.0
"""A loop that fails after so long says so again; one that fails again and again says it once."""
ORPHAN_LOOK_S = 0.25
ORPHAN_GRACE_S = 5.0
"""How long a run may go on after the supervisor is gone; then it is cut off, as by kill -9, and redone by the next."""


def main() -> None:
    """Runs until SIGTERM, SIGINT or the end of its supervisor.

    Exits 0 then, and 75 when the stores or the lease are not to be had.
    """
    options = argparse.ArgumentParser(prog="mainstay loop")
    options.add_argument("--home", type=Path, required=True)
    options.add_argument("--integration", required=True)
    options.add_argument("--file", type=Path)
    given = options.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=_end_with_supervisor, args=(stopping,), daemon=True, name="mainstay-orphan").start()
    place = Place(home_at(given.home, given.integration), given.file)
    log_lines.install(os.environ, "the loop")
    logs.configure(os.environ)
    log = structlog.get_logger()
    waiting = ""
    while not stopping.is_set():
        began = time.monotonic()
        try:
            with own(place, whoami("mainstay up"), at=_dies_at(os.environ.get("MAINSTAY_DIE_AT", ""))) as works:
                loop = Loop(works)
                loop.start()
                log.info("loop started", pid=os.getpid(), integration=given.integration)
                loop.run(stopping.is_set, stopping.wait)
        except MainstayError as error:
            if isinstance(error, LeaseOwned) and place.home.stores is not None:  # Another machine has it, and may die.
                if error.owner != waiting:
                    log.info("waiting for the lease", owner=error.owner)
                waiting = error.owner
                stopping.wait(WAIT_S)
                continue
            if isinstance(error, StoreBusy | StoreFull):  # it passes, and nothing is half done
                if error.sentence != waiting or time.monotonic() - began > RAN_S:
                    log.warning("loop waits", why=error.sentence, mend=error.mend)
                waiting = error.sentence
                stopping.wait(WAIT_S)
                continue
            log.warning("loop stopped", why=error.sentence, mend=error.mend)
            sys.exit(EXIT_AFTER_FAULT)


def _end_with_supervisor(stopping: threading.Event) -> None:
    """The lease must not stay with a process that nobody can stop any more."""
    while not orphaned(os.environ):
        time.sleep(ORPHAN_LOOK_S)
    stopping.set()
    time.sleep(ORPHAN_GRACE_S)
    log_lines.last()
    os._exit(EXIT_AFTER_FAULT)


def _dies_at(order: str) -> Callable[[str], None]:
    """For fault tests: this process kills itself at a commit point, once, as kill -9 would.

    `order` is a file that names the point. It is removed first, so that the process after this one lives.
    """
    if not order:
        return lambda _point: None
    file = Path(order)

    def at(now: str) -> None:
        if file.exists() and file.read_text() == now:
            file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    return at


if __name__ == "__main__":
    main()
    # Everything is closed. DuckDB's bindings print leak reports of their own at an ordinary exit.
    log_lines.last()
    os._exit(0)
