"""`mainstay receipt`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainstay.cli.session import Personal, Session

app = typer.Typer(help="Show or verify the record of an answer.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The receipt of an answer.")]


@app.command()
def show(ctx: typer.Context, *, id: Id, personal: Personal = False) -> None:
    """Show the record of one answer. Values of columns marked `pii` are left out, unless asked for.

    Example: mainstay receipt show rAEb3...
    """
    import msgspec

    from mainstay.app.answers import readers, receipt_shown
    from mainstay.app.place import locate

    session: Session = ctx.obj
    with readers(locate(session.find_file(), session.find_home()), whole=personal) as found:
        one = receipt_shown(found, id)
    session.out.document(one)
    told = [(name.removesuffix("_us"), _told(name, value)) for name, value in msgspec.to_builtins(one).items()]
    session.out.table(["field", "value"], told)


_OURS = {"policy", "views"}
"""What holds instants of ours further in; the other fields that hold several have columns of the user's."""


def _told(name: str, value: Any) -> str:
    """A field for people: instants and spans as such, what holds several as JSON, nothing as nothing."""
    import msgspec

    from mainstay.cli.instants import spoken

    if value is None or value in ({}, [], (), ""):
        return ""
    if name.endswith("_us") or name in _OURS:
        value = spoken(value, name)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


@app.command()
def verify(ctx: typer.Context, *, id: Id) -> int:
    """Run the stored inputs on the stored artifact again: same version, same inputs, same output.

    Exits 1 when the output differs, 2 when it cannot be told: inputs erased, version retired, a picture (only its
    digest is kept), or a model that is served elsewhere and answers otherwise by now.

    Example: mainstay receipt verify rAEb3...
    """
    from mainstay.app.answers import readers
    from mainstay.app.answers import verify as run
    from mainstay.app.place import locate
    from mainstay.core.verdicts import Verdict

    session: Session = ctx.obj
    with readers(locate(session.find_file(), session.find_home())) as found:
        finding = run(found, id)
    session.out.document(finding)
    session.out.findings([finding])
    return {Verdict.PASS: 0, Verdict.UNKNOWN: 2}.get(finding.verdict, 1)
