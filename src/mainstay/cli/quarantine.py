"""`mainstay quarantine`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainstay.cli.session import Personal, Session

app = typer.Typer(help="List, show, replay and discard rejected rows.", no_args_is_help=True)

Dataset = Annotated[str | None, typer.Option("--dataset", "-d", help="Only this dataset.")]
Key = Annotated[str | None, typer.Option("--key", "-k", help="Only this key.")]


def _ask(session: Session, command: str, args: dict[str, Any]) -> dict[str, Any]:
    from mainstay.app.commands import ask
    from mainstay.app.place import locate

    return ask(locate(session.find_file(), session.find_home()), command, args)


@app.command("list")
def list_(
    ctx: typer.Context,
    *,
    dataset: Dataset = None,
    key: Key = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also rows that were replayed, superseded or discarded.")
    ] = False,
    limit: Annotated[int, typer.Option(help="At most this many, newest first.")] = 50,
    personal: Personal = False,
) -> None:
    """List quarantined rows, newest first, with every check that each failed.

    Example: mainstay quarantine list --dataset customers
    """
    session: Session = ctx.obj
    args = {"dataset": dataset, "key": key, "limit": limit, "state": None if every else "quarantined"}
    args |= {"masked": not personal}
    rows = _ask(session, "quarantine.list", args)["rows"]
    session.out.document({"rows": rows})
    if not rows:
        session.out.say("no quarantined rows", style="green")
        return
    session.out.table(
        ["id", "key", "failed checks", "state", "landed", "note"],
        [
            (
                one["id"],
                "masked" if "key" in one.get("masked", ()) else one["key"],
                one["reasons"],
                one["state"],
                one["landed"],
                one["note"],
            )
            for one in rows
        ],
    )


@app.command()
def show(
    ctx: typer.Context,
    *,
    id: Annotated[str, typer.Argument(help="dataset/batch/ordinal, from the list.")],
    personal: Personal = False,
) -> None:
    """Show one quarantined row: its raw values and every failed check.

    Values of columns marked `pii`, and of columns that the dataset contract does not name, are left out unless asked
    for.

    Example: mainstay quarantine show customers/12/3
    """
    session: Session = ctx.obj
    row = _ask(session, "quarantine.show", {"id": id, "masked": not personal})["row"]
    masked = set(row.get("masked", ()))
    session.out.document(row)
    for name in ("id", "key", "state", "reasons", "landed", "note"):
        session.out.say(f"{name:<9} {'masked' if name in masked else row[name]}")
    shown = [(name, "masked" if name in masked else value) for name, value in row["raw"].items()]
    session.out.table(["raw column", "value"], shown)
    if masked:
        session.out.say(
            "masked: columns marked `pii`, and those that the contract does not name; --personal shows them"
        )


@app.command()
def replay(
    ctx: typer.Context,
    *,
    ids: Annotated[list[str] | None, typer.Argument(help="Which rows; all of them when left out.")] = None,
    dataset: Dataset = None,
    key: Key = None,
) -> None:
    """Judge rows again by today's cleaning and checks; publish those that pass and are newer than current.

    Doing it twice changes nothing.

    Example: mainstay quarantine replay --dataset customers
    """
    session: Session = ctx.obj
    results = _ask(session, "quarantine.replay", {"ids": ids or [], "dataset": dataset, "key": key})["results"]
    session.out.document({"results": results})
    session.out.table(
        ["dataset", "tried", "published", "superseded", "still rejected"],
        [(name, r["tried"], r["published"], r["superseded"], r["still_rejected"]) for name, r in results.items()],
    )


@app.command()
def discard(
    ctx: typer.Context,
    *,
    ids: Annotated[list[str], typer.Argument(help="dataset/batch/ordinal, from the list.")],
    reason: Annotated[str, typer.Option(help="Why what current has stands.")],
) -> None:
    """Let what current has stand: the holds end, with WARN until the next version. The rows stay in history.

    Example: mainstay quarantine discard customers/12/3 --reason "test account"
    """
    session: Session = ctx.obj
    done = _ask(session, "quarantine.discard", {"ids": ids, "reason": reason})
    session.out.document(done)
    for name, count in done["discarded"].items():
        session.out.say(f"{name}: {count} discarded")
