"""`mainstay backfill`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.app.backfill_following import Followed
    from mainstay.app.place import Place
    from mainstay.core.records import Backfill

LINE_EVERY_S = 10.0
"""Without a terminal, how often a line says how far it is."""
INTERRUPTED = 130


def backfill(
    ctx: typer.Context,
    *,
    dataset: Annotated[str | None, typer.Argument(help="Which dataset.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="The first value that is read again.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The first value that is not; left out: to the end.")] = None,
    by: Annotated[str, typer.Option(help="What the range is of: cursor, key or a column.")] = "",
    deletes: Annotated[
        bool, typer.Option("--deletes", help="Delete keys of the range that the source no longer has.")
    ] = False,
    rows_per_second: Annotated[
        int | None, typer.Option(help="At most so many; guard.backfill_rows when left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be read; read nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to the loop of `mainstay up`.")] = False,
    show: Annotated[bool, typer.Option("--list", help="List backfills, newest first.")] = False,
    cancel: Annotated[str | None, typer.Option(help="End the backfill with this id where it is.")] = None,
    timeout: Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")] = 60,
) -> int:
    """Read a range of a dataset again, in chunks that let increments go first.

    Rows that differ from what was landed are new versions; equal ones are no-ops. Given again, the same range goes on
    where it was. Exits 1 when a batch is blocked or somebody cancelled it.

    Example: mainstay backfill customers --from 2026-01-01 --to 2026-02-01
    """
    from mainstay.app.commands import ask
    from mainstay.app.place import locate
    from mainstay.cli.commands import Usage
    from mainstay.core.clock import SECOND

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    if show:
        return _list(session, place)
    if cancel is not None:
        done = ask(place, "backfill.cancel", {"id": cancel}, timeout_us=timeout * SECOND)
        session.out.document(done)
        one, many = "row was read and stays as it is", "rows were read and stay as they are"
        session.out.say(f"{cancel} is cancelled; {counted(done['backfill']['read'], one, many)}")
        return 0
    if dataset is None:
        raise Usage("a backfill is of a dataset", mend="mainstay backfill DATASET --from VALUE, or --list")
    args = {
        "dataset": dataset, "by": by, "from": begin, "to": end, "deletes": deletes, "rate": rows_per_second,
        "dry_run": dry_run,
    }  # fmt: skip
    return _begin(session, place, args, detach=detach, timeout_us=timeout * SECOND)


def _begin(session: Session, place: Place, args: dict[str, Any], *, detach: bool, timeout_us: int) -> int:
    from mainstay.app.backfills import check_rate
    from mainstay.app.commands import ask

    check_rate(args["rate"])
    plan = ask(place, "backfill", args, timeout_us=timeout_us)
    _say_plan(session, plan, dry_run=args["dry_run"])
    if args["dry_run"] or detach:
        session.out.document(plan)
        if not args["dry_run"]:
            session.out.say("the loop of `mainstay up` goes on with it; mainstay backfill --list says how far it is")
        return 0
    return _end(session, _follow(session, place, plan["backfill"]["id"]))


def _list(session: Session, place: Place) -> int:
    from mainstay.app.backfill_following import read_backfills
    from mainstay.app.backfills import range_of, said
    from mainstay.core.clock import iso

    found = sorted(read_backfills(place).values(), key=lambda one: one.started_us, reverse=True)
    session.out.document({"backfills": found})
    if not found:
        session.out.say("no backfills")
        return 0
    session.out.table(
        ["id", "dataset", "range", "status", "started", "how far"],
        [(one.id, one.dataset, range_of(one), one.status, iso(one.started_us), said(one)) for one in found],
    )
    return 0


def _say_plan(session: Session, plan: dict[str, Any], *, dry_run: bool) -> None:
    import msgspec

    from mainstay.app.backfills import range_of
    from mainstay.core.records import Backfill

    one = msgspec.convert(plan["backfill"], Backfill)
    rows = "it cannot say how many rows" if one.estimate is None else f"about {counted(one.estimate, 'row')}"
    again = f"; it goes on behind {counted(one.read, 'row')}" if plan["resumed"] else ""
    name = f"{one.dataset}: " if dry_run else f"{one.id} of {one.dataset}: "
    session.out.say(f"{name}{range_of(one)}: {rows}, {one.size:,} at a time, at most {one.rate:,} a second{again}")
    if plan["note"]:
        session.out.say(plan["note"], style="yellow")
    if one.deletes:
        session.out.say("keys of the range that the source no longer has are deleted")


def _follow(session: Session, place: Place, id: str) -> Followed:
    from mainstay.app.backfill_following import follow

    with _interrupts() as interrupted, _shown(session) as show:
        return follow(place, id, show, interrupted)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C is only noted: what is being written is written to its end."""
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        del frame
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _shown(session: Session) -> Iterator[Callable[[Backfill], None]]:
    """What tells a person how far it is: a bar on a terminal, else a line every so often; nothing with `--json`."""
    if session.json:
        yield lambda _one: None
    elif sys.stdout.isatty():
        yield from _bar(session)
    else:
        yield _lines(session)


def _bar(session: Session) -> Iterator[Callable[[Backfill], None]]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeRemainingColumn(),
    )
    first: list[tuple[float, int]] = []
    with Progress(*columns, console=session.out.console) as progress:
        task = progress.add_task("", said="")

        def show(one: Backfill) -> None:
            first[:] = first or [(time.monotonic(), one.read)]
            pace = (one.read - first[0][1]) / max(time.monotonic() - first[0][0], 1.0)
            counts = f"{counted(one.read, 'row')}, {pace:,.0f}/s, {one.changed:,} changed, {one.rejected:,} rejected"
            more = one.error or one.waits
            total = one.read if one.status == "done" else one.estimate and max(one.estimate, one.read)
            progress.update(task, total=total, completed=one.read, said=f"{counts}; {more}" if more else counts)

        yield show


def _lines(session: Session) -> Callable[[Backfill], None]:
    from mainstay.app.backfills import said

    last: list[tuple[float, str]] = []

    def show(one: Backfill) -> None:
        due = not last or time.monotonic() >= last[0][0] + LINE_EVERY_S or one.waits != last[0][1]
        if due and one.status == "running":
            last[:] = [(time.monotonic(), one.waits)]
            session.out.say(said(one))

    return show


def _end(session: Session, followed: Followed) -> int:
    from mainstay.app.backfills import said

    one = followed.backfill
    session.out.document({"backfill": one})
    session.out.say(said(one))
    if one.blocked:
        session.out.say(
            f"→ mainstay batch show {one.blocked}; what comes behind it waits until it is settled", style="yellow"
        )
        return 1
    if one.status == "running":
        goes_on = (
            "it goes on in `mainstay up`" if followed.owned else "it goes on with `mainstay up`, or by this command"
        )
        session.out.say(f"{goes_on}; mainstay backfill --cancel {one.id} ends it")
        return INTERRUPTED
    return 0 if one.status == "done" else 1
