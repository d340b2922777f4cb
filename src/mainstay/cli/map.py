"""`mainstay map`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.app.mapping import Proposal, ToConfirm
    from mainstay.cli.output import Output

_OTHERS = 3


Dataset = Annotated[str, typer.Argument(help="The dataset; it must have been read once.")]
ColumnName = Annotated[str, typer.Argument(help="A column of texts that are categories.")]
To = Annotated[
    Path | None, typer.Option("--to", help="The CSV file of old and new values; else the column's map_file.")
]
Known = Annotated[list[str] | None, typer.Option(help="A value that is right; once for each.")]
ValuesOf = Annotated[str | None, typer.Option("--values-of", help="DATASET.COLUMN whose values are the right ones.")]
Least = Annotated[float, typer.Option(min=0, max=1, help="Propose nothing that is less alike.")]
Above = Annotated[float | None, typer.Option("--accept-above", min=0, max=1, help="With --yes: from which score on.")]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Confirm at once what is above --accept-above and not in doubt.")
]
By = Annotated[str | None, typer.Option(help="Who confirms; else the user of this machine.")]
Timeout = Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")]


def map_values(
    ctx: typer.Context,
    *,
    dataset: Dataset,
    column: ColumnName,
    to: To = None,
    known: Known = None,
    values_of: ValuesOf = None,
    least: Least = 0.6,
    accept_above: Above = None,
    yes: Yes = False,
    by: By = None,
    timeout: Timeout = 60,
) -> int:
    """Propose what each unknown value of a column means, ask one by one, and keep what you confirm in the map file.

    Unknown are values of current and of the quarantine that are neither right nor mapped. Right are those of --known,
    else of --values-of, of the column's `values` or `references`, or else what the file maps to. Nothing unconfirmed is
    written, and nothing changes before `mainstay apply`. With --json the proposals are listed and nobody is asked.

    Example: mainstay map customers region --to maps/regions.csv --values-of regions.name
    """
    from mainstay.app.commands import ask
    from mainstay.app.mapping import Wish, propose
    from mainstay.app.place import locate
    from mainstay.core.clock import SECOND
    from mainstay.core.errors import Refused

    session: Session = ctx.obj
    if yes != (accept_above is not None):
        mend = "--yes --accept-above 0.95" if yes else "add --yes, or leave it out and be asked"
        raise Refused("--yes and --accept-above belong together", mend=mend)
    main = session.find_file()
    place = locate(main, session.find_home())
    wish = Wish(dataset=dataset, column=column, to=to, known=tuple(known or ()), values_of=values_of or "", least=least)
    found = propose(main, wish, lambda body: ask(place, "map", body, timeout_us=timeout * SECOND))
    if not yes and not session.json and found.proposals and not sys.stdin.isatty():
        mend = "run it in a terminal, list with --json, or say --yes --accept-above 0.95"
        raise Refused("nobody is here to confirm what is proposed", mend=mend)
    written = _confirmed(session, main, found, by=by or _user(), above=accept_above)
    session.out.document({"mapping": found, "written": written})
    _tell(session.out, found, written)
    return 0


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"


def _confirmed(session: Session, main: Path, found: ToConfirm, *, by: str, above: float | None) -> dict[str, str]:
    """The pairs that were confirmed, each written at once: whatever interrupts, what was confirmed stays."""
    from mainstay.app.mapping import confirm
    from mainstay.app.place import locate
    from mainstay.core.clock import SystemClock

    written: dict[str, str] = {}
    place, clock = locate(main, session.find_home()), SystemClock()
    if above is not None:
        sure = {one.value: one.near[0].value for one in found.proposals if one.clear and one.near[0].score >= above}
        if sure:
            confirm(place, main, found, sure, by=f"{by}, all above {above:g}", clock=clock)
        return sure
    if session.json:
        return written
    _head(session.out, found)
    for number, one in enumerate(found.proposals, 1):
        _show(one, f"{number} of {len(found.proposals)}")
        answer = _asked(one, found.known)
        if answer is None:
            break
        if answer:
            confirm(place, main, found, {one.value: answer}, by=by, clock=clock)
            written[one.value] = answer
    return written


def _head(out: Output, found: ToConfirm) -> None:
    if found.proposals:
        of = f"of {found.dataset}.{found.column}"
        values = counted(len(found.proposals), f"value {of} is", f"values {of} are")
        out.say(f"{values} none of the {len(found.known):,} known ({found.known_from})", style="bold")


def _show(one: Proposal, where: str) -> None:
    count = counted(one.rows + one.quarantined, "row")
    held = f", {one.quarantined:,} in quarantine" if one.quarantined else ""
    typer.echo(f"{where}: {one.value!r}, {count}{held}")
    if not one.near:
        typer.echo("    nothing that is known is like it")
    for place, near in enumerate(one.near[:_OTHERS], 1):
        typer.echo(f"  {place} {near.value!r}  {near.score:.2f}: {near.evidence}")


def _asked(one: Proposal, known: tuple[str, ...]) -> str | None:
    """What the value means; empty: left as it is; None: enough."""
    right = frozenset(known)
    choices = "y yes, 2.. that one, o other, n no, q enough" if one.near else "o other, n no, q enough"
    while True:
        said = str(typer.prompt(f"    {choices}", prompt_suffix=" > ")).strip().lower()
        if said in {"n", "no", "s", "skip"}:
            return ""
        if said in {"q", "quit"}:
            return None
        if said in {"y", "yes"} and one.near:
            return one.near[0].value
        if said.isdigit() and 0 < int(said) <= len(one.near[:_OTHERS]):
            return one.near[int(said) - 1].value
        if said in {"o", "other"}:
            other = str(typer.prompt("    which value")).strip()
            if other in right or typer.confirm(f"    {other!r} is none of the known values; take it all the same?"):
                return other
            continue
        typer.echo(f"    {said!r} is no answer here")


def _tell(out: Output, found: ToConfirm, written: dict[str, str]) -> None:
    left = len(found.proposals) - len(written)
    rest = counted(left, "value is left as it is", "values are left as they are")
    if not found.proposals:
        out.say("every value is known or mapped", style="green")
    if written:
        out.table(["value", "becomes"], written.items())
        out.say(f"written into {found.file}: {counted(len(written), 'pair')}; {rest}")
    elif found.proposals:
        out.say(f"nothing was confirmed, and {found.file} is as it was; {rest}")
    if not (written or found.waiting):
        return
    out.say("next:", style="bold")
    if not found.declared:
        out.say(f"  in mainstay.yaml, last in `clean:` of {found.column}: {{map_file: {found.file}}}")
    out.say("  mainstay apply: current is cleaned again in place, and the quarantine is judged again")
