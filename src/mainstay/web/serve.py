"""The status page as a process: `python -m mainstay.web.serve --home H --integration N --fd F [--file F]`.

It answers on a listening socket that it inherits, beside the API and never in its way. SIGTERM: end, exit 0.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from mainstay.app.pages import Pages
from mainstay.app.place import Place
from mainstay.app.stores import home_at
from mainstay.app.supervisor import orphaned
from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import MainstayError
from mainstay.web.site import site

DRAIN_SECONDS = 3
LOOK_SECONDS = 1.0
WAITING_MOST = 64
"""Requests at once, above which more are refused: a page that reads must not wear the machine out."""


class PageServer(uvicorn.Server):
    """uvicorn for one place; it ends with its supervisor."""

    def __init__(self, place: Place, clock: Clock) -> None:
        app = site(Pages(place, clock), place.home.secret(), clock)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=WAITING_MOST,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts answering, and watching for the supervisor's end."""
        await super().startup(sockets)
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends, and with exit code 0: uvicorn would raise the signal again when all is done."""
        del sig, frame
        self.should_exit = True

    def _watch(self) -> None:
        self.should_exit = self.should_exit or orphaned(os.environ)
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch)


def main(argv: Sequence[str] | None = None) -> int:
    """The process' entry. Returns 0, also after SIGTERM."""
    parser = argparse.ArgumentParser(description="The status page; `mainstay up` starts it.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--integration", required=True)
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--file", type=Path)
    given = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    place = Place(home_at(given.home, given.integration), given.file)
    try:
        server = PageServer(place, SystemClock())
    except MainstayError as error:
        sys.stderr.write(f"the status page cannot start: {error}\n")
        return error.exit_code
    server.run(sockets=[socket.socket(fileno=given.fd)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
