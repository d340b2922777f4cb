"""`mainstay export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session

if TYPE_CHECKING:
    from mainstay.app.export import Facts

app = typer.Typer(help="Write the files that make it a service.", no_args_is_help=True)

Out = Annotated[Path | None, typer.Option("--out", help="Where to; the file's folder.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that say something else.")]


@app.command("systemd")
def systemd(
    ctx: typer.Context,
    *,
    out: Out = None,
    force: Force = False,
    user: Annotated[str, typer.Option(help="The user that the service runs as.")] = "mainstay",
) -> None:
    """Write a hardened systemd unit, and an example of its environment file. State: /var/lib/mainstay, or `--home`.

    In the folder of an installation: one unit for all its integrations, which share one guard.

    Example: mainstay export systemd --out /tmp/units
    """
    from mainstay.app import export

    session: Session = ctx.obj
    facts = _facts(session, user)
    _write(session, facts, export.systemd(facts), out, force=force)
    session.out.say("next: the lines at the top of the unit")


@app.command("docker")
def docker(ctx: typer.Context, *, out: Out = None, force: Force = False) -> None:
    """Write a Dockerfile and its .dockerignore: no root, no secret, a health check.

    In the folder of an installation: one image for all its integrations.

    Example: mainstay export docker
    """
    from mainstay.app import export

    session: Session = ctx.obj
    facts = _facts(session, "mainstay")
    _write(session, facts, export.docker(facts), out, force=force)
    session.out.say("next: the lines at the top of the Dockerfile")


def _facts(session: Session, user: str) -> Facts:
    from mainstay.app import export
    from mainstay.app.place import locate

    files = [file.absolute() for file in session.find_files()]
    if len(files) > 1:
        places = [locate(file, session.find_home(file)) for file in files]
        return export.look_whole(places, home=session.said_home, user=user)
    place = locate(files[0], session.find_home())
    return export.look(place, home=session.said_home, user=user)


def _write(session: Session, facts: Facts, files: dict[str, str], out: Path | None, *, force: bool) -> None:
    from mainstay.app import export

    written = export.write(files, out if out is not None else facts.folder, force=force)
    session.out.document({"files": [str(path) for path in written], "variables": facts.variables})
    for path in written:
        session.out.say(str(path), style="green")
    if facts.variables:
        session.out.say(f"to be set where it runs: {', '.join(facts.variables)}")
