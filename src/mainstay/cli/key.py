"""`mainstay key`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.cli.spans import span_us

if TYPE_CHECKING:
    from mainstay.core.ports import State

app = typer.Typer(help="Create, rotate, list and revoke API keys.", no_args_is_help=True)


@contextmanager
def _state(session: Session) -> Iterator[State]:
    from mainstay.app.place import locate
    from mainstay.app.stores import open_state

    place = locate(session.find_file(), session.find_home())
    place.home.create()
    state = open_state(place.home)
    try:
        yield state
    finally:
        state.close()


@app.command()
def create(
    ctx: typer.Context,
    *,
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[str, typer.Option(help="predict, operate (also metrics and receipts) or admin.")] = "predict",
    days: Annotated[int | None, typer.Option(help="Days until it expires; never when left out.")] = None,
    rate: Annotated[str, typer.Option(help="Requests that it may send, 100/s say; else what the file says.")] = "",
) -> None:
    """Create an API key. It is shown once and kept only as its hash.

    Example: mainstay key create crm --role predict --days 365 --rate 100/s
    """
    from mainstay.app.place import whoami
    from mainstay.core.clock import DAY, SystemClock, iso
    from mainstay.core.errors import Refused
    from mainstay.core.rate import WANTED, read_rate
    from mainstay.serving.keys import create_key

    session: Session = ctx.obj
    clock = SystemClock()
    most = read_rate(rate) if rate else None
    if rate and most is None:
        raise Refused(f"`--rate`: wanted {WANTED}, found {rate!r}")
    expires = None if days is None else clock.now_us() + days * DAY
    with _state(session) as state:
        by = whoami("mainstay key create")
        token, key = create_key(state, name, role, clock=clock, expires_us=expires, rate=most, by=by)  # type: ignore[arg-type]
    session.out.document(
        {"key": token, "id": key.id, "name": key.name, "roles": key.roles, "expires_us": key.expires_us}
        | ({"rate": most.text} if most else {})
    )
    session.out.say(token, style="bold")
    session.out.say(f"id {key.id}, roles {', '.join(key.roles)}" + (f", until {iso(expires)}" if expires else ""))
    session.out.say("It is not shown again. Send it as `Authorization: Bearer ...`.")


@app.command()
def rotate(
    ctx: typer.Context,
    *,
    id: Annotated[str, typer.Argument(help="The id from `mainstay key list`.")],
    overlap: Annotated[str, typer.Option(help="How long the old secret is still taken; 0s ends it now.")] = "1h",
    days: Annotated[
        int | None, typer.Option(help="Days until it expires; as many as it was made for when left out.")
    ] = None,
) -> None:
    """Give an API key another secret: id, name, roles, rate and receipts stay. It is shown once.

    Example: mainstay key rotate abc2def4 --overlap 1h
    """
    from mainstay.app.place import whoami
    from mainstay.core.clock import DAY, SystemClock, iso
    from mainstay.serving.keys import rotate_key

    session: Session = ctx.obj
    clock = SystemClock()
    overlap_us = 0 if overlap == "0" else span_us("--overlap", overlap)
    expires = None if days is None else clock.now_us() + days * DAY
    with _state(session) as state:
        by = whoami("mainstay key rotate")
        token, key = rotate_key(state, id, overlap_us, clock=clock, expires_us=expires, by=by)
    ends_us = key.created_us + overlap_us
    session.out.document({"key": token, "id": key.id, "expires_us": key.expires_us, "old_until_us": ends_us})
    session.out.say(token, style="bold")
    session.out.say(
        f"id {key.id}, roles {', '.join(key.roles)}" + (f", until {iso(key.expires_us)}" if key.expires_us else "")
    )
    session.out.say(
        f"The old one is taken until {iso(ends_us)}." if overlap_us else "The old one is refused from now on."
    )
    session.out.say("It is not shown again. Send it as `Authorization: Bearer ...`.")


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List API keys, never the keys themselves: a rotated one once for each secret that it has or had.

    The last use is that of the prediction API on this machine, at most a second old.

    Example: mainstay key list
    """
    import msgspec

    from mainstay.app.place import locate
    from mainstay.app.worker import meters_folder
    from mainstay.core.clock import iso
    from mainstay.serving.keys import known_keys
    from mainstay.serving.meter import merged

    session: Session = ctx.obj
    with _state(session) as state:
        known = known_keys(state)
    seen = merged(meters_folder(locate(session.find_file(), session.find_home()).home)).used
    found = list(known.values())
    used = [seen.get(name) for name in known]
    told = [msgspec.to_builtins(one) | {"used_us": at_us} for one, at_us in zip(found, used, strict=True)]
    session.out.document({"keys": told})
    session.out.table(
        ["id", "name", "roles", "rate", "created", "last use", "expires", "revoked"],
        [
            (
                one.id,
                one.name,
                ", ".join(one.roles),
                one.rate.text if one.rate else None,
                iso(one.created_us),
                iso(at_us) if at_us else None,
                iso(one.expires_us) if one.expires_us else None,
                iso(one.revoked_us) if one.revoked_us else None,
            )
            for one, at_us in zip(found, used, strict=True)
        ],
    )


@app.command()
def revoke(ctx: typer.Context, *, id: Annotated[str, typer.Argument(help="The id from `mainstay key list`.")]) -> None:
    """Revoke an API key, every secret of it: it is refused everywhere within a second.

    Example: mainstay key revoke abc2def4
    """
    from mainstay.app.place import whoami
    from mainstay.core.clock import SystemClock
    from mainstay.serving.keys import revoke_key

    session: Session = ctx.obj
    with _state(session) as state:
        key = revoke_key(state, id, clock=SystemClock(), by=whoami("mainstay key revoke"))
    session.out.document(key)
    session.out.say(f"{key.name} ({key.id}) is revoked")
