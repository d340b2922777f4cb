"""The control plane as a process: `python -m mainstay.web.serve --home H --integration N --fd F [--file F]`.

The status page, which reads, and the control API below /control, which changes something. It answers on a listening
socket that it inherits, beside the prediction API and never in its way. SIGTERM: end, exit 0.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.app import log_lines
from mainstay.app.control import Control
from mainstay.app.doors import control_app, listening
from mainstay.app.pages import Pages
from mainstay.app.place import Place
from mainstay.app.stores import home_at, open_state
from mainstay.app.supervisor import orphaned
from mainstay.app.tls import AppliedTls, Secured
from mainstay.app.uvicorn_options import OPTIONS
from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import MainstayError
from mainstay.web.site import site

DRAIN_SECONDS = 3
LOOK_SECONDS = 1.0
CONTROL = "/control"
CONNECTIONS_MOST = 64
"""Connections at once, above which more are refused: a page that reads must not wear the machine out."""


class PageServer(uvicorn.Server):
    """uvicorn for one place; it ends with its supervisor.

    Args:
        place: The integration.
        clock: For ages and sessions.
        applied: What the applied file says of TLS; None: plain HTTP. People's browsers are asked for no certificate.
    """

    def __init__(self, place: Place, clock: Clock, applied: AppliedTls | None = None) -> None:
        self._applied = applied
        self._watching: asyncio.Task[None] | None = None
        tls = None if applied is None else applied.tls
        tls = None if tls is None else msgspec.structs.replace(tls, client_ca=None)
        self._secured = None if applied is None or tls is None else Secured(tls, applied.folder)
        self._control = Control(place, clock)
        self._api = control_app(self._control)
        app = beside(site(Pages(place, clock), place.home.secret(), clock), self._control, self._api)
        config = uvicorn.Config(
            app,
            **OPTIONS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)
        self._listening = listening(self, CONNECTIONS_MOST)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts answering, and watching for the supervisor's end."""
        self.config.ssl = None if self._secured is None else self._secured.context
        await asyncio.to_thread(self._control.look)
        await self._listening.listen(sockets or [], self._control.arrive_s)
        self._watching = asyncio.create_task(self._watch())
        self._api.start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finishes what was begun."""
        await super().shutdown(sockets)
        await self._api.stop()
        self._control.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends, and with exit code 0: uvicorn would raise the signal again when all is done."""
        del sig, frame
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if counter % 10 == 0:
            self._listening.look(self._control.arrive_s)
        return await super().on_tick(counter)

    async def _watch(self) -> None:
        """Ends with the supervisor, and to begin anew where TLS is to be another."""
        loop = asyncio.get_running_loop()
        while not self.should_exit:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                anew = await asyncio.to_thread(self._sealed_otherwise, loop.call_soon_threadsafe)
            except MainstayError as error:
                anew = False
                sys.stderr.write(f"what was read of TLS before stays in use: {error}\n")
            if anew or orphaned(os.environ):
                self.should_exit = True

    def _sealed_otherwise(self, on_loop: Callable[[Callable[[], None]], object]) -> bool:
        if self._applied is not None and self._applied.changed():
            return True
        return self._secured is not None and self._secured.look(on_loop)


def beside(page: ASGIApp, control: Control, api: ASGIApp) -> ASGIApp:
    """The page, and the control API on its own paths while the file lets it be served; else nothing is there."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and (scope["path"] == CONTROL or scope["path"].startswith(f"{CONTROL}/"))
            and await asyncio.to_thread(lambda: control.served)
        ):
            await api(scope, receive, send)
        else:
            await page(scope, receive, send)

    return app


def main(argv: Sequence[str] | None = None) -> int:
    """The process' entry. Returns 0, also after SIGTERM."""
    parser = argparse.ArgumentParser(description="The status page; `mainstay up` starts it.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--integration", required=True)
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--file", type=Path)
    given = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log_lines.install(os.environ, "the status page")
    place = Place(home_at(given.home, given.integration), given.file)
    try:
        state = open_state(place.home, quick=True)
        server = PageServer(place, SystemClock(), AppliedTls(state))
    except MainstayError as error:
        sys.stderr.write(f"the status page cannot start: {error}\n")
        return error.exit_code
    server.run(sockets=[socket.socket(fileno=given.fd)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
