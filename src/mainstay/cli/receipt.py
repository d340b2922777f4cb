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
    session.out.table(
        ["field", "value"], [(name, _told(name, value)) for name, value in msgspec.to_builtins(one).items()]
    )


def _told(name: str, value: Any) -> str:
    """A field for people: instants and spans as such, what holds several as JSON, nothing as nothing."""
    import msgspec

    from mainstay.core.clock import iso

    if value is None or value in ({}, [], (), ""):
        return ""
    if name in _SPANS:
        return f"{value / 1_000_000:g} s" if value >= 1_000_000 else f"{value / 1_000:g} ms"
    if name.endswith("_us"):
        return iso(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


_SPANS = {"age_us", "latency_us"}


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
