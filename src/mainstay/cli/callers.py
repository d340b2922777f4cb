"""`mainstay callers`."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.session import Session
from mainstay.cli.spans import span_us


def callers(
    ctx: typer.Context,
    *,
    since: Annotated[str, typer.Option(help="Only who called in this time, 30d say; all when left out.")] = "",
    api: Annotated[int | None, typer.Option(help="Only callers of this API version.")] = None,
) -> None:
    """Show who still calls what: whom to tell before an API version, a door or a model version goes.

    The counts are at most ten seconds old. Requests for answers are counted, refused ones too.

    Example: mainstay callers --since 30d --api 1
    """
    from mainstay.app.callers import callers as found
    from mainstay.app.callers import retired as retired_by
    from mainstay.app.place import locate, opened
    from mainstay.core.clock import SystemClock, iso
    from mainstay.serving.retirement import sentence

    session: Session = ctx.obj
    since_us = SystemClock().now_us() - span_us("--since", since) if since else 0
    with opened(locate(session.find_file(), session.find_home())) as state:
        lines = [line for line in found(state, since_us=since_us) if api in (None, line.api)]
        retired = retired_by(state)
    session.out.document({"callers": lines, "retired": retired})
    session.out.table(
        ["caller", "API key", "API version", "door", "model version", "requests", "first call", "last call"],
        [
            (
                (line.caller or "(unknown)") + (" (revoked)" if line.revoked else ""), line.key, f"api {line.api}",
                line.door, f"version {line.model_version}", line.requests, iso(line.first_us), iso(line.last_us),
            )
            for line in lines
        ],
    )  # fmt: skip
    if not lines:
        session.out.say("nobody called" + (f" in the last {since}" if since else " yet"))
    if retired is not None:
        session.out.say(sentence(retired))
