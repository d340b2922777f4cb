"""Doors that a process of another folder opens: literal name -> "module:Class", loaded only where one is asked for.

gRPC beside HTTP in a worker; the control API beside the status page, and how both listen.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from mainstay.app.supervisor import not_to_be_had
from mainstay.app.tls import Secured
from mainstay.core.errors import Refused
from mainstay.serving.desk import Desk

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import Receive, Scope, Send

    from mainstay.app.control import Control

BUILT_IN = {"grpc": "mainstay.grpc.door:GrpcDoor"}
CONTROL = "mainstay.http.control:ControlDoor"
LISTENING = "mainstay.http.listening:Listening"
EXTRAS = {"grpc": "mainstay[grpc]"}


class Door(Protocol):
    """Answers a desk's callers by another protocol, on the event loop of its worker."""

    async def start(self, address: str, secured: Secured | None = None) -> int:
        """Listens on `host:port`, which other workers share, by TLS where it is given. Returns the port."""

    async def stop(self, grace_seconds: float) -> None:
        """Takes nothing new, and lets what was begun come to its end for so long."""


class DoorClass(Protocol):
    """What a door's "module:Class" names."""

    def __call__(self, desk: Desk, report: Callable[[str], None], waiting: int) -> Door: ...


def open_door(name: str, desk: Desk, report: Callable[[str], None], waiting: int) -> Door:
    """The door of this name, not yet listening. Raises Refused where what it needs is not installed."""
    return _class_of(name)(desk, report, waiting)


class ControlApp(Protocol):
    """The control API as an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    def start(self) -> None:
        """Begins what it does beside answering, on the event loop that runs."""

    async def stop(self) -> None:
        """Begins nothing new."""


def control_app(control: Control) -> ControlApp:
    """The control API of an integration."""
    return cast("ControlApp", _named(CONTROL)(control))


class Listens(Protocol):
    """The connections of one server, with the bounds that the prediction API's have."""

    async def listen(self, sockets: Sequence[socket.socket], within: float) -> None:
        """Accepts connections, and waits `within` seconds for a TLS handshake."""

    def look(self, within: float) -> int:
        """Once a second: gives up on whoever keeps us waiting for `within` seconds. Returns how many were told so."""


def listening(server: uvicorn.Server, most: int) -> Listens:
    """How a server that is not yet started takes connections, at most so many."""
    return cast("Listens", _named(LISTENING)(server, most))


def need(name: str) -> None:
    """Raises Refused where what a door needs is not installed."""
    _class_of(name)


def _class_of(name: str) -> DoorClass:
    try:
        return cast("DoorClass", _named(BUILT_IN[name]))
    except ImportError as error:
        mend = f"pip install '{EXTRAS[name]}'"
        raise Refused(f"the {name} door needs a package that is not installed ({error.name})", mend=mend) from None


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def reserve(host: str, port: int, *, setting: str) -> socket.socket:
    """A port that workers listen on each by themselves: taken here, so that it is ours while they come and go.

    Raises Refused where it is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as alone:  # shared with nobody: whoever else has it is found out
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
            port = int(alone.getsockname()[1])
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise not_to_be_had(host, port, setting, error) from error
    return held
