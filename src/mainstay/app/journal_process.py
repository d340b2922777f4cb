"""What brings a machine's receipts to PostgreSQL: `python -m mainstay.app.journal_process --home H --integration N`.

One beside the workers of each machine that keeps its journal in a database. When it is killed, the next goes on where
it stood; what a killed worker left is shipped all the same.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from mainstay.app import log_lines, logs
from mainstay.app.loop_process import EXIT_AFTER_FAULT
from mainstay.app.stores import home_at, open_shipped
from mainstay.app.supervisor import orphaned
from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.errors import MainstayError, StoreError
from mainstay.store.journal_postgres import PostgresJournal

LOOK_S = 0.1
"""How often it looks for what is new: what a machine whose disk dies has lost at most, while the database takes it."""
SEEN_US = 2 * SECOND
RETRY_S = 1.0


class Shipping:
    """Ships until told to stop; a database that is away is tried again and again, and said once.

    Args:
        journal: Of this machine.
        clock: For when the others are told that it is there.
    """

    def __init__(self, journal: PostgresJournal, clock: Clock) -> None:
        self._shipper = journal.shipper
        self._clock = clock
        self._seen_us: int | None = None
        self._away = ""
        self._log = structlog.get_logger()

    def run(self, stop: Callable[[], bool], sleep: Callable[[float], object]) -> None:
        """Returns after the last look, when `stop` says so."""
        while not stop():
            sleep(LOOK_S if self.look() else RETRY_S)
        self.look()

    def look(self) -> bool:
        """Ships what is new. Whether the database took it."""
        now_us = self._clock.monotonic_us()
        try:
            self._shipper.ship()
            if self._seen_us is None or now_us - self._seen_us >= SEEN_US:
                self._shipper.seen()
                self._seen_us = now_us
        except StoreError as error:
            if not self._away:
                self._log.warning("receipts stay on this machine's disk for now", why=error.sentence, mend=error.mend)
            self._away = error.sentence
            return False
        if self._away:
            self._log.info("receipts are shipped again")
        self._away = ""
        return True


def main() -> int:
    """Runs until SIGTERM, SIGINT or the end of its supervisor."""
    options = argparse.ArgumentParser(prog="mainstay journal")
    options.add_argument("--home", type=Path, required=True)
    options.add_argument("--integration", required=True)
    given = options.parse_args()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log_lines.install(os.environ, "the journal")
    logs.configure(os.environ)
    clock = SystemClock()
    try:
        journal = open_shipped(home_at(given.home, given.integration), clock)
    except MainstayError as error:
        structlog.get_logger().warning("receipts are not shipped", why=error.sentence, mend=error.mend)
        return EXIT_AFTER_FAULT
    try:
        Shipping(journal, clock).run(lambda: stopping.is_set() or orphaned(os.environ), stopping.wait)
    finally:
        journal.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
