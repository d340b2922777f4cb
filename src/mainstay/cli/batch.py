"""`mainstay batch`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

app = typer.Typer(help="List, show, release and discard batches.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="dataset/number, from the list.")]


def _parts(id: str) -> tuple[str, int]:
    from mainstay.core.errors import NotFound

    dataset, _, number = id.partition("/")
    if not number.isdigit():
        raise NotFound(f"{id} is not the id of a batch", mend="ids look like customers/12; see `mainstay batch list`")
    return dataset, int(number)


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    dataset: Annotated[str | None, typer.Option("--dataset", "-d", help="Only this dataset.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only batches that are not settled.")] = False,
    limit: Annotated[int, typer.Option(help="At most this many, newest first.")] = 30,
) -> None:
    """List batches, newest first.

    Example: mainstay batch list --waiting
    """
    from mainstay.app.batches import listed
    from mainstay.app.place import locate
    from mainstay.core.clock import iso

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    found = listed(place, dataset, waiting=waiting, limit=limit)
    session.out.document({"batches": found})
    session.out.table(
        ["id", "status", "mode", "rows", "published", "quarantined", "read began", "reason"],
        [
            (f"{one.dataset}/{one.number}", one.status, one.mode, one.rows, one.counts.get("published", 0),
             one.counts.get("quarantined", 0), iso(one.began_us), one.reason)
            for one in found
        ],
    )  # fmt: skip


@app.command()
def show(ctx: typer.Context, *, id: Id) -> None:
    """Show one batch with every finding.

    Example: mainstay batch show customers/12
    """
    from mainstay.app.batches import batch
    from mainstay.app.place import locate
    from mainstay.core.clock import iso

    session: Session = ctx.obj
    dataset, number = _parts(id)
    found = batch(locate(session.find_file(), session.find_home()), dataset, number)
    session.out.document(found)
    session.out.say(
        f"{id}  {found.status}  {found.mode}, {counted(found.rows, 'row')}, {counted(found.noops, 'no-op re-read')}"
    )
    session.out.say(f"read began {iso(found.began_us)}, landed {iso(found.landed_us)}, digest {found.digest}")
    session.out.say(", ".join(f"{name} {n:,}" for name, n in found.counts.items()))
    if found.reason:
        session.out.say(f"reason: {found.reason}")
    session.out.findings(found.findings)


@app.command()
def release(
    ctx: typer.Context,
    *,
    id: Id,
    reason: Annotated[str, typer.Option(help="Why its findings may be overridden.")],
    through: Annotated[int | None, typer.Option(help="Also every waiting batch up to this number.")] = None,
) -> None:
    """Override the findings that block a batch; its rows are published and carry WARN.

    Example: mainstay batch release customers/12 --reason "the new branch is real"
    """
    session: Session = ctx.obj
    dataset, number = _parts(id)
    done = _ask(session, "batch.release", {"dataset": dataset, "number": number, "reason": reason, "through": through})
    session.out.document(done)
    for one in done["batches"]:
        session.out.say(f"{one['dataset']}/{one['number']} is {one['status']}")


@app.command()
def discard(
    ctx: typer.Context, *, id: Id, reason: Annotated[str, typer.Option(help="Why what current has stands.")]
) -> None:
    """Let what current has stand instead of a blocked batch. Its rows stay in landing and history.

    Example: mainstay batch discard customers/12 --reason "half a table after their migration"
    """
    session: Session = ctx.obj
    dataset, number = _parts(id)
    done = _ask(session, "batch.discard", {"dataset": dataset, "number": number, "reason": reason})
    session.out.document(done)
    session.out.say(f"{id} is {done['batch']['status']}")


def _ask(session: Session, command: str, args: dict[str, Any]) -> dict[str, Any]:
    from mainstay.app.commands import ask
    from mainstay.app.place import locate

    return ask(locate(session.find_file(), session.find_home()), command, args)
