"""Where something listens, other than the API itself."""

from __future__ import annotations

import msgspec


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where something other than the API itself listens."""

    port: int
    host: str = "127.0.0.1"


class StatusPage(Listener, frozen=True, kw_only=True):
    """The control plane's listener."""

    control: bool = True
    """Whether the control API is served there too."""
