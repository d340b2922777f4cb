"""`mainstay profile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session

if TYPE_CHECKING:
    from mainstay.app.profile import ColumnBeside, DatasetProfile
    from mainstay.cli.output import Output

_COMMON = 3
_WIDE = 24


def profile(
    ctx: typer.Context,
    *,
    dataset: Annotated[str, typer.Argument(help="The dataset; it must have been read once.")],
    timeout: Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")] = 60,
) -> None:
    """Show what stands in a dataset beside its contract, and propose checks that it would bear.

    Looks at 100,000 rows of current at most; changes nothing. Of columns marked `pii` no value is shown.

    Example: mainstay profile customers
    """
    import msgspec

    from mainstay.app.commands import ask
    from mainstay.app.place import locate
    from mainstay.app.profile import DatasetProfile
    from mainstay.core.clock import SECOND

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    done = ask(place, "profile", {"dataset": dataset}, timeout_us=timeout * SECOND)
    session.out.document(done)
    _show(session.out, msgspec.convert(done, DatasetProfile))


def _show(out: Output, found: DatasetProfile) -> None:
    looked = "" if found.looked_at == found.rows else f", {found.looked_at:,} of them looked at"
    out.say(f"{found.dataset}: {found.rows:,} rows{looked}", style="bold")
    out.table(
        ["column", "type", "empty", "distinct", "from", "to", "most common", "contract"], map(_row, found.columns)
    )
    proposals = [(one.name, text) for one in found.columns for text in one.proposed]
    if not proposals:
        out.say("no further check is proposed", style="green")
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
