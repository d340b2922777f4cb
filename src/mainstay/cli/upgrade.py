"""`mainstay upgrade`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.app.upgrade import Line


def upgrade(
    ctx: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; change nothing.")] = False,
    backup: Annotated[Path | None, typer.Option(help="Back everything up into this file first.")] = None,
    no_backup: Annotated[bool, typer.Option("--no-backup", help="Go without: there is a backup already.")] = False,
) -> int:
    """Bring stores that an earlier version wrote to this version's schema. `mainstay up` must not run.

    Example: mainstay upgrade --backup /mnt/backups/churn-before.tar.gz
    """
    from mainstay import __version__
    from mainstay.app import upgrade as upgrading
    from mainstay.app.place import whoami
    from mainstay.core.clock import SystemClock

    session: Session = ctx.obj
    out = session.out
    root = session.find_whole_home()
    if dry_run:
        due = upgrading.plan(root)
        out.document({"steps": due, "done": False})
        out.table(["integration", "store", "schema", "step"], [_cells(one) for one in due])
        out.say(
            _told(len(due), __version__)
            if not due
            else f"{counted(len(due), 'step is due', 'steps are due')}; nothing was changed"
        )
        return 0
    upgrading.agreed(root, backup=backup, without=no_backup)
    done = upgrading.upgrade(
        root,
        clock=SystemClock(),
        backup=backup,
        by=whoami("mainstay upgrade"),
        say=lambda one: out.say("  ".join(_cells(one))),
    )
    out.document({"steps": done, "done": True})
    out.say(_told(len(done), __version__), style="green")
    return 0


def _cells(one: Line) -> tuple[str, str, str, str]:
    return one.integration or "(home)", one.store, f"{one.from_schema} -> {one.to_schema}", one.sentence


def _told(steps: int, version: str) -> str:
    if not steps:
        return f"nothing to upgrade: every store has the schema that Mainstay {version} writes"
    return f"{counted(steps, 'step done', 'steps done')}: every store has the schema that Mainstay {version} writes"
