"""`mainstay callers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session

if TYPE_CHECKING:
    from mainstay.core.nouns import Retired
    from mainstay.core.ports import State


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
    from mainstay.app.place import locate
    from mainstay.app.stores import open_state
    from mainstay.core.clock import SystemClock, iso
    from mainstay.core.errors import Refused
    from mainstay.serving.retirement import sentence
    from mainstay.spec.durations import DurationError, parse

    session: Session = ctx.obj
    try:
        since_us = SystemClock().now_us() - parse(since) if since else 0
    except DurationError as error:
        raise Refused(f"`--since`: wanted {error}, found {since!r}", mend=error.mend) from None
    place = locate(session.find_file(), session.find_home())
    place.home.create()
    state = open_state(place.home)
    try:
        lines = [line for line in found(state, since_us=since_us) if api in (None, line.api)]
        retired = _retired(state)
    finally:
        state.close()
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


def _retired(state: State) -> Retired | None:
    """What the applied file says; nothing where it cannot be read here, for want of a `${VAR}` say."""
    from mainstay.app.place import applied_record, read_applied
    from mainstay.core.errors import MainstayError

    try:
        applied = applied_record(state)
        return None if applied is None else read_applied(applied).retired
    except MainstayError:
        return None
