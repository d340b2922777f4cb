"""`mainstay run`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainstay.cli.session import Session


def run(
    ctx: typer.Context,
    *,
    datasets: Annotated[list[str] | None, typer.Argument(help="Which datasets; all of them when left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and judge; land nothing, advance nothing.")] = False,
    timeout: Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")] = 60,
) -> int:
    """Read, judge and publish datasets now. Exits 1 when a batch is blocked.

    Example: mainstay run customers --dry-run
    """
    import msgspec

    from mainstay.app.commands import ask
    from mainstay.app.place import locate
    from mainstay.core.clock import SECOND
    from mainstay.core.verdicts import Finding, Verdict

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    args: dict[str, Any] = {"datasets": datasets or [], "dry_run": dry_run}
    done = ask(place, "run", args, timeout_us=timeout * SECOND)
    session.out.document(done)
    columns = ["dataset", "mode", "read", "noops", "landed", "published", "quarantined", "batch", "status"]
    session.out.table(columns, [[one[name] for name in columns] for one in done["results"]])
    for one in done["results"]:
        found = msgspec.convert(one["findings"], list[Finding])
        session.out.findings(finding for finding in found if finding.verdict is not Verdict.PASS)
    return 1 if any(one["status"] in ("blocked", "error") for one in done["results"]) else 0
