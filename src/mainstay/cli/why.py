"""`mainstay why`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Personal, Session

if TYPE_CHECKING:
    from mainstay.app.answers import Link
    from mainstay.cli.output import Output

_INDENT = " " * 10
_LISTED = ("checks",)
"""Links whose details are sentences: a line each."""


def why(
    ctx: typer.Context,
    *,
    id: Annotated[str, typer.Argument(help="The receipt of an answer.")],
    personal: Personal = False,
    all: Annotated[bool, typer.Option("--all", help="A line for each value, and each check that passed.")] = False,
) -> None:
    """Lead one answer back to its rows and forward to what the person did: one screen.

    Example: mainstay why rAEb3... --all
    """
    from mainstay.app.answers import readers
    from mainstay.app.answers import why as chain
    from mainstay.app.place import locate

    session: Session = ctx.obj
    with readers(locate(session.find_file(), session.find_home()), whole=personal) as found:
        links = chain(found, id)
    session.out.document({"receipt": id, "links": links})
    if session.json:
        return
    for link in links:
        session.out.say(f"{link.what:<9} {link.sentence}", style="bold")
        (_whole if all else _brief)(session.out, link)


def _whole(out: Output, link: Link) -> None:
    for name, value in (*link.details, *link.passed):
        out.say(f"{_INDENT}  {name:<22} {value}")


def _brief(out: Output, link: Link) -> None:
    """The details that say something, in as few lines as they take."""
    if link.what in _LISTED:
        for name, value in link.details:
            out.say(f"{_INDENT}{name}  {value}")
        return
    said = [f"{name} {value}" for name, value in link.details if value]
    width = min(out.console.width, 120)
    for line in textwrap.wrap(" · ".join(said), width, initial_indent=_INDENT, subsequent_indent=_INDENT):
        out.say(line)
