"""What to do, as a caller of the control API does it: routes in place of the commands that sentences name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

COMMANDS = {
    "status": "GET /control/v1/status",
    "model list": "GET /control/v1/models",
    "model show": "GET /control/v1/models/{number}",
    "model use": "POST /control/v1/models/{number}/use",
    "key list": "GET /control/v1/keys",
    "key create": "POST /control/v1/keys",
    "key rotate": "POST /control/v1/keys/{id}/rotate",
    "key revoke": "POST /control/v1/keys/{id}/revoke",
    "quarantine list": "GET /control/v1/quarantine",
    "quarantine replay": "POST /control/v1/quarantine/replay",
    "quarantine discard": "POST /control/v1/quarantine/discard",
    "batch list": "GET /control/v1/batches",
    "batch show": "GET /control/v1/batches/{dataset}/{number}",
    "batch release": "POST /control/v1/batches/{dataset}/{number}/release",
    "batch discard": "POST /control/v1/batches/{dataset}/{number}/discard",
    "run": "POST /control/v1/run",
    "audit verify": "GET /control/v1/audit/verify",
    "audit": "GET /control/v1/audit",
}
"""Command -> what does the same here. Longer names stand before those that they begin with."""
_COMMAND = re.compile(rf"mainstay ({'|'.join(COMMANDS)})\b(?: (\d+)\b)?(?: --dataset ([\w-]+))?( --waiting)?")


def over_http(mend: str) -> str:
    """`mend` with `METHOD /route` for each command that has one; other commands stay."""
    return _COMMAND.sub(_route, mend)


def near(path: str, routes: Iterable[str]) -> str | None:
    """The route that is close to a path that is none; None: there is none."""
    asked = _parts(path)
    found: dict[str, str] = {}
    for route in routes:
        parts = _parts(route)
        if len(parts) == len(asked):
            parts = [given if part.startswith("{") else part for part, given in zip(parts, asked, strict=True)]
        found.setdefault("/".join(parts), route)
    close = difflib.get_close_matches("/".join(asked), found, n=1)
    return found[close[0]] if close else None


def _parts(path: str) -> list[str]:
    """What tells routes apart; all begin alike."""
    return path.removeprefix("/control").strip("/").removeprefix("v1/").split("/")


def _route(found: re.Match[str]) -> str:
    command, number, dataset, waiting = found.groups()
    route = COMMANDS[command] if number is None else COMMANDS[command].replace("{number}", number)
    sent = [f"dataset={dataset}"] * bool(dataset) + ["waiting=true"] * bool(waiting)
    return f"{route}?{'&'.join(sent)}" if sent else route
