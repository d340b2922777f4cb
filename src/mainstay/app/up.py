"""`mainstay up`: applies the file when nothing would break, then supervises loop, API workers and model hosts."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from mainstay import spec
from mainstay.app import apply as applying
from mainstay.app import issuers, memory
from mainstay.app.closing import LEAD_S, keep_out
from mainstay.app.commands import erase_again
from mainstay.app.doors import need, reserve
from mainstay.app.place import Place, applied_record, read_applied, whoami
from mainstay.app.stores import open_state, ships_journal
from mainstay.app.supervisor import GRACE_US, Child, PortTaken, Supervisor, listen, orphaned
from mainstay.app.tls import secured
from mainstay.app.up_said import machine
from mainstay.app.wiring import Works, own
from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import FileError, LeaseOwned, MainstayError, Refused
from mainstay.core.nouns import Integration
from mainstay.core.nouns_listeners import Listener, StatusPage
from mainstay.core.ports import State, StateReader, Write
from mainstay.core.records import ModelVersion, NotApplied, ProcessState, encode
from mainstay.models.registry import host_of
from mainstay.models.runtimes.python_process import PythonHost
from mainstay.pipelines import sets
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.lease import sole
from mainstay.store.shelf import Shelf, ShelfReader

LOOK_US = SECOND // 4
"""How often `up` looks for model versions that need a host."""
INHERIT_S = 30.0
"""How long what a killed `up` left running may take to end: its workers finish what they had begun."""
PAGE = "status-page"
PAGE_WAIT_S = 5.0
"""The same for a status page, which ends at once: nothing else is to wait for its port."""

T = TypeVar("T")
L = TypeVar("L", bound=Listener)


def up(
    place: Place,
    *,
    workers: int | None,
    port: int | None,
    status_port: int | None = None,
    grpc_port: int | None = None,
    host: str | None = None,
    say: Callable[[str], None],
) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code.

    Args:
        place: The integration.
        workers: API workers; None: as the file says.
        port: Of the API; None: as the file says. 0: a free one.
        status_port: Of the status page; None: as the file says. 0: a free one.
        grpc_port: Of gRPC; None: as the file says. 0: a free one.
        say: Where lines for the operator go.
        host: Address of the API; None: as the file says.
    """
    place.home.create()
    try:
        with sole(place.home.up, owner=whoami("mainstay up")):
            said = _Said(workers=workers, host=host, port=port, status_port=status_port, grpc_port=grpc_port)
            return _up(place, said, say)
    except LeaseOwned as error:
        raise Refused(
            f"{place.home.integration} is up already: {error.owner}", mend="stop it first, or look: mainstay status"
        ) from None


class _Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says in place of the file; None: as the file says."""

    workers: int | None
    host: str | None
    port: int | None
    status_port: int | None
    grpc_port: int | None


def _up(place: Place, said: _Said, say: Callable[[str], None]) -> int:
    clock = SystemClock()
    try:
        patiently(lambda: apply_at_start(place, say), say, most_s=INHERIT_S if place.home.stores is None else 0)
    except LeaseOwned as error:
        if place.home.stores is None:
            raise
        say(f"{error.sentence}: this machine answers, applies nothing, and takes over when the lease runs out")
    state = open_state(place.home, quick=True)
    try:
        applied = applied_record(state)
        if applied is None:
            raise MainstayError("there is no applied file to run", mend="mainstay apply")
        integration = read_applied(applied)
        settings = integration.settings
        address = settings.host if said.host is None else said.host
        listener = patiently(lambda: listen(address, settings.port if said.port is None else said.port), say)
        bound = int(listener.getsockname()[1])
        count = settings.workers if said.workers is None else said.workers
        scheme = _scheme(integration)
        page = _listener_of(settings.status_page, said.status_port, StatusPage)
        looking = listen_for_page(state, clock, page, say, scheme=scheme)
        calls = _reserved(_listener_of(settings.grpc, said.grpc_port, Listener), say)
        children = [
            _loop_child(place, integration),
            *((_journal_child(place, integration),) if ships_journal(place.home) else ()),
            *(_api_child(place, integration, listener, calls, n) for n in range(1, count + 1)),
            *(() if looking is None else (_page_child(place, integration, looking),)),
        ]
        hosts = ModelHosts(place, state, clock)
        grace = GRACE_US + settings.stop_after_us
        supervisor = Supervisor(children, state=state, clock=clock, grace_us=grace, say=say, suffix=machine(place.home))
        say(f"API on {scheme}://{address}:{bound}  ({counted(count, 'worker')}; Ctrl-C stops)")

        def look() -> None:
            hosts.look()
            if orphaned(os.environ):  # the `up` of the whole installation is gone
                supervisor.stop()

        door = _Door(listener, settings.stop_after_us / SECOND)
        try:
            return supervisor.run(look, ending=door.ending)
        finally:
            hosts.close()
            door.close()
            _let_go(looking, calls)
    finally:
        state.close()


def _let_go(*held: socket.socket | None) -> None:
    for one in held:
        if one is not None:
            one.close()


class _Door:
    """The API's listening socket, as the supervisor holds it.

    It must not be the last to hold it: what the system had accepted by then would be answered by nobody.
    """

    def __init__(self, listener: socket.socket, stop_after_s: float) -> None:
        self._listener = listener
        self._timer = threading.Timer(max(0.0, stop_after_s - LEAD_S), self._shut)
        self._timer.daemon = True

    def ending(self) -> None:
        """The workers are about to be told to end: they answer on for `stop_after`, then take no new connection."""
        self._timer.start()

    def _shut(self) -> None:
        keep_out(self._listener)
        self._listener.close()

    def close(self) -> None:
        self._timer.cancel()
        self._listener.close()


def _scheme(integration: Integration) -> str:
    """What the listeners speak. Raises Refused where files or packages are absent that callers need."""
    if integration.callers.oidc:
        issuers.need()
    return "http" if secured(integration) is None else "https"


def _listener_of(said: L | None, port: int | None, kind: type[L]) -> L | None:
    """Where something is to listen: as the file says, with the command line's port; None: nowhere."""
    if port is None:
        return said
    return kind(port=port) if said is None else msgspec.structs.replace(said, port=port)


def _reserved(wanted: Listener | None, say: Callable[[str], None]) -> socket.socket | None:
    """The port for gRPC. Each worker listens on it by itself: gRPC takes no listener that it did not make."""
    if wanted is None:
        return None
    need("grpc")
    held = patiently(lambda: reserve(wanted.host, wanted.port, setting="grpc: {port: ...}"), say)
    say(f"gRPC on {wanted.host}:{held.getsockname()[1]}")
    return held


def listen_for_page(
    state: State,
    clock: Clock,
    page: StatusPage | None,
    say: Callable[[str], None],
    *,
    most_s: float = PAGE_WAIT_S,
    scheme: str = "http",
) -> socket.socket | None:
    """The status page's listener. Where it is not to be had, that is said here and in `status`; all else runs."""
    note = Write(space="process", name=PAGE, body=None)
    try:
        if page is None:
            return None
        listener = patiently(
            lambda: listen(page.host, page.port, setting="status_page: {port: ...}"), say, most_s=most_s
        )
    except Refused as error:
        say(f"the status page is not served: {error}")
        now = clock.now_us()
        told = f"{error.sentence}; {error.mend}, then start `mainstay up` again"
        body = encode(ProcessState(name=PAGE, pid=0, since_us=now, seen_us=now, note=told))
        note = Write(space="process", name=PAGE, body=body)
        return None
    else:
        say(f"status page on {scheme}://{page.host}:{listener.getsockname()[1]}  (API key of role operate)")
        if page.control:
            say(
                f"control API on {scheme}://{page.host}:{listener.getsockname()[1]}/control/v1  (API key of role admin)"
            )
        return listener
    finally:
        state.commit([note])


def patiently(attempt: Callable[[], T], say: Callable[[str], None], *, most_s: float = INHERIT_S) -> T:
    """What `attempt` gives, once nobody else has the lease or the port: a killed `up` leaves children that end soon."""
    clock = SystemClock()
    until_us = clock.monotonic_us() + int(most_s * SECOND)
    said = ""
    while True:
        try:
            return attempt()
        except (LeaseOwned, PortTaken) as error:
            if clock.monotonic_us() >= until_us:
                raise
            if error.sentence != said:
                said = error.sentence
                say(f"waiting up to {most_s:.0f} s: {said}")
        time.sleep(0.1)


def apply_at_start(place: Place, say: Callable[[str], None]) -> None:
    """Applies a changed file when nothing would break; a breaking one is said, and the last applied file runs."""
    if place.file is None:
        return
    with own(place, whoami("mainstay up")) as works:
        before = applied_record(works.state)
        if before is not None and (people := erase_again(works)):
            say(f"erased again, as they had been after the restored backup was made: {people}")
        try:
            if before is not None:
                sets.recover(works.desk)
            new = applying.read(works)
            planned = applying.at_start(applying.plan(works, new))
            if planned.steps or planned.breaks:
                for sentence in applying.perform(works, new, planned):
                    say(f"applied: {sentence}")
            for finding in planned.warnings:
                say(f"{finding.verdict}: {finding.sentence}")
        except MainstayError as error:
            if before is None:
                raise
            _note_refusal(works, error)
            say(f"the changed file is not applied, the last applied one runs: {error}")


def _note_refusal(works: Works, error: MainstayError) -> None:
    """So that `status` says it first."""
    texts: dict[str, str] = {}
    if works.place.file is not None:
        with contextlib.suppress(FileError, OSError):
            texts = spec.file_texts(works.place.file)
    record = NotApplied(
        digest=spec.digest(texts) if texts else "",
        sentence=f"{error.where}: {error.sentence}" if error.where else error.sentence,
        mend=error.mend,
        at_us=works.clock.now_us(),
    )
    Shelf(works.state, "not_applied", NotApplied).put("file", record, token=works.lease.token)


def _loop_child(place: Place, integration: Integration) -> Child:
    argv = [
        sys.executable,
        "-m",
        "mainstay.app.loop_process",
        "--home",
        str(place.home.root),
        "--integration",
        integration.name,
    ]
    if place.file is not None:
        argv += ["--file", str(place.file)]
    return Child(name="loop", argv=tuple(argv), env=memory.modest(os.environ), speaks=True)


def _journal_child(place: Place, integration: Integration) -> Child:
    module, name = "mainstay.app.journal_process", integration.name
    argv = (sys.executable, "-m", module, "--home", str(place.home.root), "--integration", name)
    return Child(name="journal", argv=argv)


def _api_child(
    place: Place, integration: Integration, listener: socket.socket, calls: socket.socket | None, number: int
) -> Child:
    slot, fd = f"api-{number}", listener.fileno()
    argv = [
        sys.executable, "-m", "mainstay.http.serve", "--home", str(place.home.root), "--integration", integration.name,
        "--fd", str(fd), "--slot", slot,
    ]  # fmt: skip
    ports = {"http": int(listener.getsockname()[1])}
    if calls is not None:
        host, port = calls.getsockname()[:2]
        argv += ["--grpc", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
        ports["grpc"] = int(port)
    return Child(name=slot, argv=tuple(argv), fds=(fd,), ports=ports)


def _page_child(place: Place, integration: Integration, listener: socket.socket) -> Child:
    fd = listener.fileno()
    argv = [
        sys.executable, "-m", "mainstay.web.serve", "--home", str(place.home.root), "--integration", integration.name,
        "--fd", str(fd),
    ]  # fmt: skip
    if place.file is not None:
        argv += ["--file", str(place.file)]
    return Child(name=PAGE, argv=tuple(argv), fds=(fd,), ports={"http": int(listener.getsockname()[1])})


class ModelHosts:
    """One host process per python model version that is not retired.

    Args:
        place: The integration.
        state: Where versions are found; its reader half is enough.
        clock: For when to look again.
    """

    def __init__(self, place: Place, state: StateReader, clock: Clock) -> None:
        self._place = place
        self._state = state
        self._clock = clock
        self._hosts: dict[int, PythonHost] = {}
        self._looked_us = -LOOK_US
        self._artifacts = LocalArtifacts(place.home.artifacts)

    def look(self) -> None:
        """Starts what is missing, restarts what died, ends what was retired. Never waits."""
        now = self._clock.monotonic_us()
        if now - self._looked_us < LOOK_US:
            return
        self._looked_us = now
        wanted = {
            version.number: version
            for version in ShelfReader(self._state, "model", ModelVersion).all().values()
            if version.runtime == "python" and version.retired_us is None
        }
        for number in self._hosts.keys() - wanted.keys():
            self._hosts.pop(number).close()
        for number, version in wanted.items():
            if number not in self._hosts:
                self._hosts[number] = self._host(version)
            self._hosts[number].ensure()

    def _host(self, version: ModelVersion) -> PythonHost:
        home = self._place.home
        log = home.logs / f"model-{version.number}.log"
        return host_of(version, self._artifacts, home.sockets, log=log, clock=self._clock)

    def close(self) -> None:
        """Ends every host."""
        for host in self._hosts.values():
            host.close()
        self._hosts.clear()
