"""`mainstay profile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.app.profile import ColumnBeside, DatasetProfile
    from mainstay.cli.output import Output

_COMMON = 3
_WIDE = 24


def profile(
    ctx: typer.Context,
    *,
    dataset: Annotated[str, typer.Argument(help="The dataset; it must have been read once.")],
    pin: Annotated[bool, typer.Option("--pin", help="Write profiles/DATASET.json.")] = False,
    timeout: Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")] = 60,
) -> None:
    """Show what stands in a dataset beside its contract, and propose checks that it would bear.

    Looks at 100,000 rows of current at most; changes nothing. Of columns marked `pii` no value is shown.

    With --pin, all rows are counted, and a file beside mainstay.yaml says how each column is distributed: for git,
    and for the check `distribution`. Of personal columns it has the share of empty values alone.

    Example: mainstay profile customers --pin
    """
    import msgspec

    from mainstay.app import profile_pin
    from mainstay.app.commands import ask
    from mainstay.app.place import locate
    from mainstay.app.profile import DatasetProfile
    from mainstay.core.clock import SECOND

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    done = ask(place, "profile", {"dataset": dataset, "pin": pin}, timeout_us=timeout * SECOND)
    session.out.document(done)
    found = msgspec.convert(done, DatasetProfile)
    _show(session.out, found)
    if found.pinned:
        session.out.say(f"pinned in {profile_pin.write(place.folder, found.dataset, found.pinned)}: keep it in git")


def _show(out: Output, found: DatasetProfile) -> None:
    looked = "" if found.looked_at == found.rows else f", {found.looked_at:,} of them looked at"
    out.say(f"{found.dataset}: {counted(found.rows, 'row')}{looked}", style="bold")
    out.table(
        ["column", "type", "empty", "distinct", "from", "to", "most common", "contract"], map(_row, found.columns)
    )
    proposals = [(one.name, text) for one in found.columns for text in one.proposed]
    if found.checks:
        out.say("the rows would bear, under `checks:`", style="bold")
        for text in found.checks:
            out.say(f"  - {text}")
    if not proposals and not found.checks:
        out.say("no further check is proposed", style="green")
    if not proposals:
        return
    out.say("the rows would bear, under `columns:`", style="bold")
    for name, text in proposals:
        out.say(f"  {name}: {{{text}}}")


def _row(one: ColumnBeside) -> tuple[object, ...]:
    seen = one.seen
    empty = seen.nulls + seen.blanks
    share = "" if not empty else f"{empty / seen.rows:.1%}"
    common = ", ".join(f"{_short(value)} {count / seen.rows:.0%}" for value, count in seen.common[:_COMMON])
    if seen.distinct == seen.present:
        common = ""  # each value once: none is common
    return (
        one.name, one.type, share, seen.distinct, _short(seen.low), _short(seen.high), common, ", ".join(one.contract),
    )  # fmt: skip


def _short(value: str | None) -> str:
    if value is None:
        return ""
    return value if len(value) <= _WIDE else value[: _WIDE - 1] + "…"
