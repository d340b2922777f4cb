"""`mainstay key`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.cli.spans import span_us

if TYPE_CHECKING:
    from mainstay.app.place import Place

app = typer.Typer(help="Create, rotate, list and revoke API keys.", no_args_is_help=True)


def _place(session: Session) -> Place:
    from mainstay.app.place import locate

    return locate(session.find_file(), session.find_home())


@app.command()
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[str, typer.Option(help="predict, operate (also metrics and receipts) or admin.")] = "predict",
    days: Annotated[int | None, typer.Option(help="Days until it expires; never when left out.", min=1)] = None,
    rate: Annotated[str, typer.Option(help="Requests that it may send, 100/s say; else what the file says.")] = "",
) -> None:
    """Create an API key. It is shown once and kept only as its hash.

    Example: mainstay key create crm --role predict --days 365 --rate 100/s
    """
    from mainstay.app import api_keys
    from mainstay.app.place import whoami
    from mainstay.core.clock import SystemClock, iso

    session: Session = ctx.obj
    by = whoami("mainstay key create")
    made = api_keys.create(_place(session), name, role, clock=SystemClock(), by=by, days=days, rate=rate)
    expires = made.key.expires_us
    session.out.document(made.document)
    session.out.paste(made.token, style="bold")
    session.out.say(
        f"id {made.key.id}, roles {', '.join(made.key.roles)}" + (f", until {iso(expires)}" if expires else "")
    )
    session.out.say("It is not shown again. Send it as `Authorization: Bearer ...`.")


@app.command()
def rotate(
    ctx: typer.Context,
    *,
    id: Annotated[str, typer.Argument(help="The id from `mainstay key list`.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret is still taken; 0s ends it now.")] = "1h",
    days: Annotated[
        int | None, typer.Option(help="Days until it expires; as many as it was made for when left out.", min=1)
    ] = None,
) -> None:
    """Give an API key another secret: id, name, roles, rate and receipts stay. It is shown once.

    Example: mainstay key rotate abc2def4 --overlap 1h
    """
    from mainstay.app import api_keys
    from mainstay.app.place import whoami
    from mainstay.core.clock import SystemClock, iso

    session: Session = ctx.obj
    overlap_us = 0 if overlap == "0" else span_us("--overlap", overlap)
    by = whoami("mainstay key rotate")
    made = api_keys.rotate(_place(session), id, overlap_us, clock=SystemClock(), by=by, days=days)
    key = made.key
    session.out.document(made.document)
    session.out.paste(made.token, style="bold")
    session.out.say(
        f"id {key.id}, roles {', '.join(key.roles)}" + (f", until {iso(key.expires_us)}" if key.expires_us else "")
    )
    session.out.say(
        f"The old one is taken until {iso(made.old_until_us)}."
        if overlap_us and made.old_until_us
        else "The old one is refused from now on."
    )
    session.out.say("It is not shown again. Send it as `Authorization: Bearer ...`.")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List API keys, never the keys themselves: a rotated one once for each secret that it has or had.

    The last use is that of the prediction API on this machine, at most a second old.

    Example: mainstay key list
    """
    from mainstay.app import api_keys
    from mainstay.core.clock import iso

    session: Session = ctx.obj
    found = api_keys.listed(_place(session))
    session.out.document({"keys": [one.document for one in found]})
    session.out.table(
        ["id", "name", "roles", "rate", "created", "last use", "expires", "revoked"],
        [
            (
                one.key.id,
                one.key.name,
                ", ".join(one.key.roles),
                one.key.rate.text if one.key.rate else None,
                iso(one.key.created_us),
                iso(one.used_us) if one.used_us else None,
                iso(one.key.expires_us) if one.key.expires_us else None,
                iso(one.key.revoked_us) if one.key.revoked_us else None,
            )
            for one in found
        ],
    )


@app.command()
def revoke(ctx: typer.Context, *, id: Annotated[str, typer.Argument(help="The id from `mainstay key list`.")]) -> None:
    """Revoke an API key, every secret of it: it is refused everywhere within a second.

    Example: mainstay key revoke abc2def4
    """
    from mainstay.app import api_keys
    from mainstay.app.place import whoami
    from mainstay.core.clock import SystemClock

    session: Session = ctx.obj
    key = api_keys.revoke(_place(session), id, clock=SystemClock(), by=whoami("mainstay key revoke"))
    session.out.document(key)
    session.out.say(f"{key.name} ({key.id}) is revoked")
