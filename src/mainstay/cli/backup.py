"""`mainstay backup`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted


def backup(
    ctx: typer.Context,
    *,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write: .tar, .tar.gz or .tgz.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be in it; write nothing.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a running loop to come to it.")] = 600.0,
) -> int:
    """Back the whole home up into one file, also while `mainstay up` runs.

    The file holds the installation's secret and personal data: it is readable for its user only; keep it so.

    Example: mainstay backup /mnt/backups/churn-2026-11-27.tar.gz
    """
    from mainstay.app import backup as backups
    from mainstay.core.clock import SECOND, SystemClock

    session: Session = ctx.obj
    root = session.find_whole_home()
    there = backups.listed(root)
    size = sum(there.values())
    if dry_run:
        session.out.document({"files": there, "bytes": size})
        session.out.table(["file", "bytes"], list(there.items()))
        session.out.say(f"{counted(len(there), 'file')}, {size:,} bytes before compression; nothing was written")
        return 0
    with progress_bar("backing up", size, shown=not session.json) as progress:
        made = backups.backup(root, target, clock=SystemClock(), progress=progress, timeout_us=int(timeout * SECOND))
    session.out.document({"file": str(target), "bytes": target.stat().st_size, "files": len(made.files), **_told(made)})
    for sentence in made.notes:
        session.out.say(sentence, style="yellow")
    session.out.say(f"{target}: {counted(len(made.files), 'file')} of {', '.join(made.integrations)}", style="green")
    return 0


def _told(made: object) -> dict[str, object]:
    return {name: getattr(made, name) for name in ("integrations", "notes", "mainstay", "made_us")}


@contextmanager
def progress_bar(what: str, total: int, *, shown: bool) -> Iterator[Callable[[str, int], None]]:
    """A bar on stderr where a person looks, and what to call with each file and the bytes done."""
    if not shown or not sys.stderr.isatty():
        yield lambda _name, _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda _name, done: bar.advance(task, done)
