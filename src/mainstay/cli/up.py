"""`mainstay up`."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.session import Session


def up(
    ctx: typer.Context,
    *,
    workers: Annotated[int | None, typer.Option(help="API workers; as the file says when left out.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the API; as the file says when left out.")] = None,
) -> int:
    """Run the integration: the loop that keeps data current, and the API that answers.

    A changed file is applied first, if nothing would break. Ctrl-C stops it: not ready, drain, end.

    Example: mainstay up --workers 2
    """
    from mainstay.app.place import locate
    from mainstay.app.up import up as run_up

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    return run_up(place, workers=workers, port=port, say=lambda line: typer.echo(line, err=True))
