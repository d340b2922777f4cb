"""What callers of a retired API version read beside every answer: Deprecation, Sunset and Link."""

from __future__ import annotations

from mainstay.http.headers import Lines
from mainstay.serving.retirement import told
from mainstay.serving.view import Snapshot


def lines(snap: Snapshot | None) -> Lines:
    """The headers; empty while the API version is not retired."""
    if snap is None or snap.integration.retired is None:
        return ()
    return tuple((name.encode(), value.encode()) for name, value in told(snap.integration.retired))
