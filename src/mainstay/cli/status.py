"""`mainstay status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.app.status import Status
    from mainstay.cli.output import Output


def status(
    ctx: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")] = False,
) -> int:
    """Show what is wrong first, each with its mend; then datasets, model, traffic and disk. Exits 1 on FAIL.

    In the folder of an installation: every integration, one after the other.

    Example: mainstay status --watch
    """
    from mainstay.cli.each import each
    from mainstay.core.errors import NotFound

    session: Session = ctx.obj
    while True:
        if watch and not session.json:
            session.out.console.clear()
        try:
            session.find_files()
        except NotFound:
            if session.said_home is None:
                raise
            code = _one(session, None)
        else:
            code = each(session, lambda mine: _one(mine, mine.find_file()))
        if not watch:
            return code
        time.sleep(2)


def _one(session: Session, file: Path | None) -> int:
    from mainstay.app.place import locate
    from mainstay.app.status import read_status
    from mainstay.core.clock import SystemClock
    from mainstay.core.verdicts import Verdict

    found = read_status(locate(file, session.find_home(file)), SystemClock())
    session.out.document(found)
    _show(session.out, found)
    return 1 if found.verdict is Verdict.FAIL else 0


def _show(out: Output, found: Status) -> None:
    if out.json:
        return
    out.say(f"{found.integration}  {found.verdict}  {found.at}", style="bold")
    out.findings(found.wrong)
    if not found.wrong:
        out.say("nothing is wrong", style="green")
    out.table(
        ["dataset", "", "age", "promise", "last run", "rows", "quarantined", "held", "waiting", "blocked"],
        [
            (
                one.name,
                one.verdict,
                one.age,
                one.promise,
                one.last_run,
                one.rows,
                one.quarantined,
                one.held,
                one.waiting,
                ", ".join(map(str, one.blocked)),
            )
            for one in found.datasets
        ],
    )
    if found.model:
        model = found.model
        out.say(f"model    version {model['version']} of {model['name']} ({model['runtime']}) since {model['since']}")
    traffic = found.traffic
    latency = "" if traffic.p99_ms is None else f", p50 ≤ {traffic.p50_ms:g} ms, p99 ≤ {traffic.p99_ms:g} ms"
    degraded = "" if traffic.degraded_share is None else f", {traffic.degraded_share:.1%} degraded"
    by = ", ".join(f"{n:,} {reason}" for reason, n in traffic.refused_by.items())
    refused = f"{traffic.refused:,} refused by policy" + (f" ({by})" if by else "")
    said = f"{counted(traffic.requests, 'request')}, {counted(traffic.errors, 'error')}, {refused}"
    out.say(f"traffic  {said}{degraded}{latency}")
    for line in found.backfills:
        out.say(f"backfill {line}")
    for name, process in found.processes.items():
        out.say(f"process  {name}: {process.sentence}")
    if found.journal:
        out.say(f"journal  {found.journal}")
    out.say(f"disk     {found.disk}")
    out.say(f"         {_roles(found)}")


def _roles(found: Status) -> str:
    from mainstay.app.disk import amount

    biggest_first = sorted(found.disk_roles.items(), key=lambda one: -one[1])
    return ", ".join(f"{role} {amount(size)}" for role, size in biggest_first if size)
