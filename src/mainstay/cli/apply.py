"""`mainstay apply`."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted
from mainstay.core.errors import Refused


def apply(
    ctx: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Perform the plan without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    timeout: Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")] = 600,
) -> int:
    """Print what the changed file means here, ask, and perform it.

    Nothing is performed when an API contract would break: raise `api:` for that. In the folder of an installation:
    every integration, each for itself.

    Example: mainstay apply --yes
    """
    from mainstay.cli.each import each

    return each(ctx.obj, lambda mine: _one(mine, yes=yes, dry_run=dry_run, timeout=timeout))


def _one(session: Session, *, yes: bool, dry_run: bool, timeout: int) -> int:
    from mainstay.app.commands import ask
    from mainstay.app.place import locate
    from mainstay.core.clock import SECOND

    place = locate(session.find_file(), session.find_home())
    plan = ask(place, "plan", {}, timeout_us=timeout * SECOND)
    _show(session, plan)
    if plan["breaks"]:
        broken = "; ".join(one["sentence"] for one in plan["breaks"])
        raise Refused(broken, mend=plan["breaks"][0].get("mend", "") or "raise `api:` in the file")
    if dry_run or not plan["steps"]:
        session.out.document({"plan": plan, "done": []})
        return 0
    if not yes and (session.json or not typer.confirm("Perform this?", default=False)):
        raise Refused("the plan was not agreed to; nothing was changed", mend="add --yes")
    done = ask(place, "apply", {"digest": plan["digest"]}, timeout_us=timeout * SECOND)
    session.out.document({"plan": plan, **done})
    session.out.say(f"applied: {counted(len(done['done']), 'step')}", style="green")
    return 0


def _show(session: Session, plan: dict) -> None:  # type: ignore[type-arg]
    from mainstay.core.verdicts import Finding

    out = session.out
    if session.json:
        return
    import msgspec

    out.findings(msgspec.convert(plan["warnings"], list[Finding]))
    out.findings(msgspec.convert(plan["breaks"], list[Finding]))
    if not plan["steps"]:
        out.say("nothing to do: the file is applied as it is", style="green")
    for number, step in enumerate(plan["steps"], 1):
        out.say(f"{number:>3}. {step['sentence']}")
