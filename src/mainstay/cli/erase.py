"""`mainstay erase`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainstay.cli.session import Session
from mainstay.core.errors import Refused


def erase(
    ctx: typer.Context,
    *,
    key: Annotated[str, typer.Option("--key", "-k", help="The business key of the person.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Only search every store; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Erase a person from every store, and keep them from coming back. Cannot be undone.

    Example: mainstay erase --key 7590-VHVEG --reason "request of 2026-11-20"
    """
    from mainstay.app.commands import ask
    from mainstay.app.place import locate

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    args: dict[str, Any] = {"key": key, "reason": reason}
    if verify:
        found = ask(place, "erase.verify", args)
        return _tell(session, found)
    if not reason.strip():
        raise Refused("an erasure says why", mend="add --reason '...'")
    if not yes and (session.json or not typer.confirm(f"Erase {key} from every store for good?", default=False)):
        raise Refused("not agreed to; nothing was changed", mend="add --yes")
    found = ask(place, "erase", args)
    for name, count in found["erased"].items():
        session.out.say(f"{name:<12} {count:,} removed")
    return _tell(session, found)


def _tell(session: Session, found: dict[str, Any]) -> int:
    session.out.document(found)
    if found.get("ledger"):
        session.out.say(found["ledger"], style="yellow")
    for trace in found["traces"]:
        session.out.say(f"still in {trace}", style="red")
    if found["clean"]:
        session.out.say("searched every store: nothing is left", style="green")
    return 0 if found["clean"] else 1
