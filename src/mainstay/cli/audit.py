"""`mainstay audit` and `mainstay audit verify`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.cli.spans import span_us

if TYPE_CHECKING:
    from mainstay.core.audit import AuditRecord


def audit(
    ctx: typer.Context,
    *,
    what: Annotated[str, typer.Option(help="Only changes whose name begins so: key, model.use, erase.")] = "",
    by: Annotated[str, typer.Option(help="Only those of whom: a part of user, machine or command.")] = "",
    object: Annotated[str, typer.Option(help="Only those of a thing: a part of its name.")] = "",
    since: Annotated[str, typer.Option(help="Only the newest of so long: 7d, 12h.")] = "",
    limit: Annotated[int, typer.Option(help="At most this many, the newest.", min=1)] = 100,
) -> None:
    """List who changed what: API keys, models, the file, quarantine, batches, erasures, backfills, maps, backups.

    Example: mainstay audit --what key --since 30d
    """
    from mainstay.app.auditing import Wanted, listed
    from mainstay.app.place import locate
    from mainstay.core.clock import SystemClock, iso

    session: Session = ctx.obj
    since_us = SystemClock().now_us() - span_us("--since", since) if since else 0
    wanted = Wanted(what=what, by=by, object=object, since_us=since_us, limit=limit)
    found = listed(locate(session.find_file(), session.find_home()), wanted)
    session.out.document({"records": found})
    if not found:
        session.out.say("no records")
        return
    session.out.table(
        ["number", "at", "what", "object", "details", "by"],
        [(str(one.number), iso(one.at_us), one.what, one.object, _details(one), one.by) for one in found],
    )


def _details(one: AuditRecord) -> str:
    """Each detail that says something, digests by their first digits, and long lists as their number."""
    from mainstay.cli.instants import spoken

    said = spoken(one.details)
    told = {name: _listed(value) if isinstance(value, list) else value for name, value in said.items()}
    text = ", ".join(f"{name} {value}" for name, value in told.items() if value not in (None, ""))
    return _DIGEST.sub(r"\1…", text)[:200]


def _listed(several: list[str]) -> str:
    text = " ".join(several)
    return text if len(text) <= _SHORT else str(len(several))


_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_SHORT = 24
"""Roles of an API key are shown, steps of a plan are counted."""


def verify(
    ctx: typer.Context,
    *,
    head: Annotated[str, typer.Option(help="A hash that an earlier verify printed, kept elsewhere.")] = "",
) -> int:
    """Compare every record of the audit with its hash and the one before: names the first that is not as written.

    Exits 1 when a record was changed, removed or put in another place.

    Example: mainstay audit verify
    """
    from mainstay.app.auditing import document_of, verified
    from mainstay.app.place import locate

    session: Session = ctx.obj
    checked, finding = verified(locate(session.find_file(), session.find_home()), head)
    session.out.document(document_of(checked, finding))
    session.out.findings([finding])
    return 1 if checked.fault is not None else 0
