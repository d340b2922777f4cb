"""`mainstay restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.app.erasures import Line
    from mainstay.app.restore import Restored
    from mainstay.store.backup_file import Contents


def restore(
    ctx: typer.Context,
    *,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `mainstay backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Move what stands there aside.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and compare all of it; change nothing.")] = False,
    erasures: Annotated[
        Path | None,
        typer.Option(help="The ledger of erasures; erasures.jsonl beside the file."),
    ] = None,
) -> int:
    """Put a backup's home in place, whole or not at all, after every digest was compared.

    Whoever was erased after the backup was made is erased again, as far as the ledger of erasures knows.

    Example: mainstay restore /mnt/backups/churn-2026-11-27.tar.gz --home .mainstay
    """
    from mainstay.app import restore as restoring
    from mainstay.app.place import whoami
    from mainstay.cli.backup import progress_bar
    from mainstay.core.clock import SystemClock

    session: Session = ctx.obj
    size = source.stat().st_size if source.is_file() else 0
    if dry_run:
        contents = restoring.look(source)
        session.out.document(contents)
        session.out.table(["file", "bytes"], [(one.path, one.size) for one in contents.files])
        session.out.say(f"{_about(contents)}; every digest is right; nothing was changed")
        return 0
    root = session.find_whole_home()
    ledger, found = _ledger(session, root, erasures)
    with progress_bar("restoring", size, shown=not session.json) as progress:
        done = restoring.restore(
            source,
            root,
            clock=SystemClock(),
            force=force,
            ledger=ledger,
            by=whoami("mainstay restore"),
            progress=progress,
        )
    again = _erase_again(session, root, done)
    _tell(session, done, again, ledger_found=found)
    return 0


def _about(contents: Contents) -> str:
    from mainstay.core.clock import iso

    files = f"{counted(len(contents.files), 'file')} of {', '.join(contents.integrations)}"
    return f"{files}, made {iso(contents.made_us)} by Mainstay {contents.mainstay}"


def _ledger(session: Session, root: Path, given: Path | None) -> tuple[tuple[Line, ...], bool]:
    """The ledger's lines, and whether there was one."""
    from mainstay.app import erasures

    if given is not None:
        return erasures.named(given), True
    ledgers = [file.parent / erasures.FILE for file in _files(session)] or [root.absolute().parent / erasures.FILE]
    there = [file for file in ledgers if file.is_file()]
    return tuple(line for file in there for line in erasures.read(file)), bool(there)


def _files(session: Session) -> tuple[Path, ...]:
    from mainstay.core.errors import NotFound

    try:
        return session.find_files()
    except NotFound:
        return ()


def _erase_again(session: Session, root: Path, done: Restored) -> dict[str, str]:
    """Integration -> why people could not be erased again at once; it is done before anything is answered."""
    from mainstay.app import commands
    from mainstay.app.place import Place, locate
    from mainstay.core.errors import MainstayError
    from mainstay.store.home import Home

    places = {place.home.integration: place for place in (locate(file, root) for file in _files(session))}
    failed = {}
    for name in done.erased_since:
        try:
            commands.ask(places.get(name, Place(Home(root, name), None)), "erase.again", {})
        except MainstayError as error:
            failed[name] = error.sentence
    return failed


def _tell(session: Session, done: Restored, failed: dict[str, str], *, ledger_found: bool) -> None:
    out = session.out
    out.document({
        "files": len(done.contents.files),
        "integrations": done.contents.integrations,
        "made_us": done.contents.made_us,
        "aside": done.aside,
        "erased_since": done.erased_since,
        "not_erased_yet": failed,
        "ledger": ledger_found,
    })  # fmt: skip
    out.say(f"restored: {_about(done.contents)}", style="green")
    if done.aside:
        out.say(f"what stood there is in {done.aside}: it holds personal data; remove it when you are sure")
    for name, n in done.erased_since.items():
        said = "erased again" if name not in failed else f"erased again before anything is answered: {failed[name]}"
        out.say(
            f"{name}: {counted(n, 'person was', 'people were')} erased after this backup was made; {said}",
            style="yellow",
        )
    if not ledger_found:
        out.say(
            "no ledger of erasures (erasures.jsonl) was found: whoever was erased after the backup was made is back. "
            "Erase them again: mainstay erase --key K --reason '...'",
            style="yellow",
        )
    out.say("next: mainstay up; it reads what the source has changed since, and makes current again")
