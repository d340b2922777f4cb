"""Doors that a process of another folder opens: literal name -> "module:Class", loaded only where one is asked for.

gRPC beside HTTP in a worker; the control API beside the status page.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from mainstay.app.supervisor import not_to_be_had
from mainstay.app.tls import Secured
from mainstay.core.errors import Refused
from mainstay.serving.desk import Desk

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from mainstay.app.control import Control

BUILT_IN = {"grpc": "mainstay.grpc.door:GrpcDoor"}
CONTROL = "mainstay.http.control:ControlDoor"
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
    module, _, attribute = CONTROL.partition(":")
    return cast("ControlApp", getattr(import_module(module), attribute)(control))


def need(name: str) -> None:
    """Raises Refused where what a door needs is not installed."""
    _class_of(name)


def _class_of(name: str) -> DoorClass:
    module, _, attribute = BUILT_IN[name].partition(":")
    try:
        return cast("DoorClass", getattr(import_module(module), attribute))
    except ImportError as error:
        mend = f"pip install '{EXTRAS[name]}'"
        raise Refused(f"the {name} door needs a package that is not installed ({error.name})", mend=mend) from None


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
