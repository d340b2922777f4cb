"""`mainstay why`."""

from __future__ import annotations

from typing import Annotated

import typer

from mainstay.cli.session import Session


def why(ctx: typer.Context, *, id: Annotated[str, typer.Argument(help="The receipt of an answer.")]) -> None:
    """Lead one answer back to its rows and forward to what the person did: one screen.

    Example: mainstay why rAEb3...
    """
    from mainstay.app.answers import readers
    from mainstay.app.answers import why as chain
    from mainstay.app.place import locate

    session: Session = ctx.obj
    with readers(locate(session.find_file(), session.find_home())) as found:
        links = chain(found, id)
    session.out.document({"receipt": id, "links": links})
    for link in links:
        session.out.say(f"{link.what:<9} {link.sentence}", style="bold")
        for name, value in link.details:
            session.out.say(f"            {name:<22} {value}")
