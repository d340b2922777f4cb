"""One API worker as a process: `python -m mainstay.http.serve --home H --integration N --fd F --slot api-1`.

It answers on a listening socket that it inherits. SIGTERM: not ready, drain, exit 0.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from mainstay.app import log_lines, tracing
from mainstay.app.closing import LEAD_S, keep_out_of
from mainstay.app.doors import Door, open_door
from mainstay.app.supervisor import orphaned
from mainstay.app.tls import secured
from mainstay.app.uvicorn_options import OPTIONS
from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.errors import MainstayError
from mainstay.core.nouns import Settings
from mainstay.core.trace import Trace
from mainstay.http.front import WAITING_MOST, forever
from mainstay.http.listening import Listening
from mainstay.http.patience import more_places, places
from mainstay.http.problems import report
from mainstay.http.routes import application
from mainstay.http.traced import Traced
from mainstay.serving.view import REFRESH_US

if TYPE_CHECKING:
    from mainstay.app.worker import Worker

DRAIN_SECONDS = 15
"""How long a worker that takes no new connection waits for what was begun."""
KEEP_ALIVE_SECONDS = 75
SWITCH_SECONDS = 0.0005
_ROUNDS = 3


class WorkerServer(uvicorn.Server):
    """uvicorn, with our own way to stop and our own background work.

    Args:
        worker: What answers.
        most: Requests begun or queued, above which new ones are refused.
        trace: Where spans go, if they are asked for.
        grpc: `host:port` on which gRPC is answered too; empty: nowhere.
    """

    def __init__(self, worker: Worker, most: int = WAITING_MOST, *, trace: Trace | None = None, grpc: str = "") -> None:
        self._worker = worker
        self._grpc = grpc
        self._door: Door | None = None
        self.grpc_port = 0
        """What is listened on once started; 0: nothing."""
        self._most = most
        self._work: list[asyncio.Task[None]] = []
        self._leaving = False
        self._kept_out = False
        self._problem = ""
        self._when = 0
        app: Any = application(worker.desk, most)
        if trace is not None:
            worker.desk.tell_of(trace)
            app = Traced(app, trace)
        config = uvicorn.Config(
            app,
            **OPTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)
        self._listening = Listening(self, places())
        snap = worker.desk.view.now
        self._secured = None if snap is None else secured(snap.integration)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unfit = ""
        """What was said of TLS files that do not fit, so that it is said once."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts answering, and what goes on beside it."""
        worker = self._worker
        self._loop = asyncio.get_running_loop()
        self.config.ssl = None if self._secured is None else self._secured.context
        if self._grpc:
            self._door = open_door("grpc", worker.desk, report, self._most)
            try:
                self.grpc_port = await self._door.start(self._grpc, self._secured)
            except OSError as error:
                report(f"gRPC is not answered: {error}")
                self.should_exit = True  # the supervisor starts this worker again, a little later
        await self._listening.listen(sockets or [], worker.desk.arrive_s)
        self._work = [
            asyncio.create_task(forever(work, every, what))
            for work, every, what in (
                (worker.refresh, REFRESH_US / 1_000_000, "looking for changes"),
                # Beside it: a model may take a minute to load, and a revoked key must not.
                (worker.desk.callers.ring.refresh, REFRESH_US / 1_000_000, "looking for API keys"),
                # And an issuer may be long in answering.
                (worker.desk.callers.refresh, 1.0, "looking for keys of issuers"),
                # Each by itself: counters that cannot be written keep no worker from leaving.
                (self._count, 1.0, "leaving the counters"),
                (self._tell, 1.0, "telling what does not answer"),
                (self._look, 1.0, "looking whether to go on"),
            )
        ]
        # What is loaded now stays for good: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finishes what was begun."""
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)  # in each round the event loop accepts whoever the system let in
        leaving = [] if self._door is None else [self._door.stop(DRAIN_SECONDS)]
        await asyncio.gather(super().shutdown(sockets), *leaving)
        for task in self._work:
            task.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Says `not ready` first and leaves a little later; a second signal leaves at once."""
        del sig, frame
        if self._leaving:
            self.should_exit = True
            return
        self.leave()

    def leave(self) -> None:
        """Begins to stop."""
        desk = self._worker.desk
        self._leaving = True
        desk.draining = self._listening.standing.leaving = True
        settings = Settings() if desk.view.now is None else desk.view.now.integration.settings
        self._when = desk.clock.monotonic_us() + settings.stop_after_us

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        desk = self._worker.desk
        desk.view.watch()
        if counter % 10 == 0:
            late = self._listening.look(desk.arrive_s)
            if late:
                desk.meter.request("late", 408, late)
        if self._leaving:
            left_us = self._when - desk.clock.monotonic_us()
            if self.grpc_port and not self._kept_out and left_us <= LEAD_S * SECOND:
                self._kept_out = True
                keep_out_of(self.grpc_port)
            self.should_exit = self.should_exit or left_us <= 0
        return await super().on_tick(counter)

    def _count(self) -> None:
        """Once a second: leaves the counters where every worker finds them."""
        desk = self._worker.desk
        desk.meter.unheard(log_lines.dropped(), desk.clock.now_us())
        desk.save()

    def _tell(self) -> None:
        """Once a second: says in the log why the newest state does not answer."""
        desk = self._worker.desk
        problem, self._problem = self._problem, desk.view.problem
        if desk.view.problem and desk.view.problem != problem:
            name = "" if desk.meter.file is None else f"{desk.meter.file.stem}: "
            report(f"{name}{desk.view.problem}")

    def _look(self) -> None:
        """Once a second: leaves when its supervisor or its settings are gone."""
        if not self._leaving and (orphaned(os.environ) or self._worker.outdated() or self._sealed_otherwise()):
            self.leave()

    def _sealed_otherwise(self) -> bool:
        """Whether TLS now is another than this process can change to; a renewed certificate it takes itself."""
        snap = self._worker.desk.view.now
        secured_by = None if self._secured is None else self._secured.tls
        assert self._loop is not None
        try:
            if snap is not None and snap.integration.settings.tls != secured_by:
                secured(snap.integration)  # Whoever left for files that do not fit could not begin again.
                return True
            anew = self._secured is not None and self._secured.look(self._loop.call_soon_threadsafe)
        except MainstayError as error:
            if str(error) != self._unfit:
                report(f"what was read of TLS before stays in use: {error}")
            self._unfit = str(error)
            return False
        else:
            self._unfit = ""
            return anew


def run_worker(
    root: Path,
    integration: str,
    listening: socket.socket,
    *,
    slot: str = "api-1",
    grpc: str = "",
    clock: Clock | None = None,
) -> int:
    """Answers on `listening` until told to stop. Returns the exit code: 0, also after SIGTERM."""
    from mainstay.app.worker import open_worker

    trace: Trace | None = None
    try:
        if tracing.asked(os.environ):
            trace = tracing.open_trace(os.environ, integration=integration, process=slot)
        worker = open_worker(root, integration, slot=slot, clock=clock or SystemClock(), env=os.environ)
    except MainstayError as error:
        report(f"{slot} cannot start: {error}")
        return error.exit_code
    try:
        WorkerServer(worker, trace=trace, grpc=grpc).run(sockets=[listening])
    except MainstayError as error:
        report(f"{slot} cannot start: {error}")
        return error.exit_code
    finally:
        worker.close()
        if trace is not None:
            trace.close()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The process' entry."""
    parser = argparse.ArgumentParser(description="One Mainstay API worker; `mainstay up` starts these.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--integration", required=True)
    parser.add_argument("--fd", type=int, required=True, help="the inherited listening socket")
    parser.add_argument("--slot", default="api-1", help="this worker's name among its siblings")
    parser.add_argument("--grpc", default="", help="host:port on which gRPC is answered too")
    given = parser.parse_args(argv)
    # A thread that asks a model of another process must not wait 5 ms for its turn while the event loop is busy.
    sys.setswitchinterval(SWITCH_SECONDS)
    # Between this line and uvicorn's own handlers a SIGTERM ends the process, which has answered nobody yet.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # gRPC's library would report as an error that it was told to listen no more.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    more_places()
    log_lines.install(os.environ, given.slot)
    listening = socket.socket(fileno=given.fd)
    return run_worker(given.home, given.integration, listening, slot=given.slot, grpc=given.grpc)


if __name__ == "__main__":
    sys.exit(main())
