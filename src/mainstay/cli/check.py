"""`mainstay check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstay.cli.session import Session

if TYPE_CHECKING:
    from mainstay.app.check import Report
    from mainstay.cli.output import Output


def check(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Show what passed as well.")] = False,
) -> int:
    """Find out all that can be known before going live: connections, columns, rows, features, model, promises.

    Reads the file on disk and a few rows of each dataset; changes nothing. Exits 1 on FAIL, and on ERROR: something
    could not be looked at. In the folder of an installation: every integration, and what they must not share.

    Example: mainstay check --all
    """
    from mainstay.cli.each import each

    session: Session = ctx.obj
    return each(session, lambda mine: _one(mine, everything=everything), lambda files: _apart(session, files))


def _apart(session: Session, files: Sequence[Path]) -> tuple[int, dict[str, Any]]:
    """What two integrations both have, though only one can; files that cannot be read were told of before."""
    from mainstay.app.installation import clashes
    from mainstay.app.place import read_file
    from mainstay.core.errors import FileError

    read = {}
    for file in files:
        with suppress(FileError):
            read[file.parent.name] = read_file(file)
    found = list(clashes(read))
    session.out.findings(found)
    return (1 if found else 0), {"installation": found}


def _one(session: Session, *, everything: bool) -> int:
    from mainstay.app.check import check as look
    from mainstay.app.place import Place, read_file
    from mainstay.app.stores import home_of
    from mainstay.core.clock import SystemClock

    file = session.find_file().absolute()
    integration = read_file(file)
    place = Place(home_of(file, session.find_home(file), integration.name), file)
    found = look(place, integration, SystemClock())
    session.out.document(found)
    show(session.out, found, everything=everything)
    return 0 if found.ready else 1


def show(out: Output, found: Report, *, everything: bool, elsewhere: Mapping[str, str] | None = None) -> None:
    """Prints a report: what did not pass, or everything.

    Args:
        out: Where.
        found: The report.
        everything: Also what passed.
        elsewhere: Area -> where its findings stand as well, so that they are counted but not listed.
    """
    from mainstay.core.verdicts import Verdict

    for area in found.areas:
        shown = [one for one in area.findings if everything or one.verdict is not Verdict.PASS]
        passed = len(area.findings) - len(shown)
        more = f"{passed} passed" if passed else ""
        where = (elsewhere or {}).get(area.name)
        if where and shown:
            more, shown = where, []
        out.say(f"{area.name:<10}{area.verdict:<9}{more}".rstrip(), style="bold")
        out.findings(shown)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.counts.items() if count)
    out.say(f"{found.integration}: {counts}" + ("" if everything else "   (--all shows what passed)"))
