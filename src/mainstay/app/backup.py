"""`mainstay backup`: a home in one file, while it is at work.

Each integration is taken at one instant by the owner of its lease (hard links and two copies by SQLite: moments), and
packed afterwards at leisure, from the snapshot. Answers go on all the time; datasets wait for those moments.
"""

from __future__ import annotations

from pathlib import Path

from mainstay import __version__
from mainstay.app import commands
from mainstay.app.alone import integrations_of
from mainstay.app.place import Place, whoami
from mainstay.app.snapshots import FORGOTTEN, repair, take_snapshot
from mainstay.app.wiring import own
from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.errors import LeaseOwned, NotFound
from mainstay.core.ids import new_id
from mainstay.core.records import Request
from mainstay.store import backup_file, snapshot, upgrades
from mainstay.store.backup_file import Contents, Progress
from mainstay.store.home import Home

TIMEOUT_US = 600 * SECOND
"""How long the owner may take until it comes to us: a first load can be long."""


def listed(root: Path) -> dict[str, int]:
    """What a backup made now would hold: path relative to the home -> bytes. Raises NotFound when nothing is there."""
    found = {}
    for home in homes_of(root):
        for path in snapshot.kept(home):
            found[f"{home.integration}/{path.as_posix()}"] = (home.folder / path).stat().st_size
    return found | {name: (root / name).stat().st_size for name in snapshot.OF_ROOT}


def backup(
    root: Path,
    file: Path,
    *,
    clock: Clock,
    progress: Progress = lambda _name, _done: None,
    timeout_us: int = TIMEOUT_US,
) -> Contents:
    """Backs the home up into `file`, which must not stand yet; it appears whole or not at all, for its user only.

    Raises LeaseOwned when an integration's owner does not come to it within `timeout_us`.
    """
    backup_file.check_new(file)
    homes = homes_of(root)
    name = new_id("backup")
    with snapshot.place(root, name) as folder:
        taken = {home.integration: _take(home, name, timeout_us) for home in homes}
        snapshot.take_root(root, name)
        about = Contents(
            mainstay=__version__,
            made_us=clock.now_us(),
            integrations={each: dict(one["schemas"]) for each, one in taken.items()},
            notes=tuple(note for one in taken.values() for note in one["notes"]),
        )
        return backup_file.write(file, folder, about, progress)


def backup_still(root: Path, file: Path, *, clock: Clock, progress: Progress = lambda _name, _done: None) -> Contents:
    """The same for a home in which nobody is at work, of this version or an earlier one: no store is opened.

    To be called inside `alone`. Rows that people replayed or discarded in the last minutes are in quarantine again.
    """
    backup_file.check_new(file)
    homes = homes_of(root)
    name = new_id("backup")
    with snapshot.place(root, name) as folder:
        for home in homes:
            snapshot.take(home, name, forget=FORGOTTEN)
        snapshot.take_root(root, name)
        about = Contents(
            mainstay=__version__,
            made_us=clock.now_us(),
            integrations={home.integration: upgrades.numbers(home) for home in homes},
        )
        return backup_file.write(file, folder, about, progress)


def homes_of(root: Path) -> list[Home]:
    """The homes of the integrations under `root`. Raises NotFound when there is none."""
    names = integrations_of(root) if root.is_dir() else ()
    if not names:
        raise NotFound("no integration has state here", where=str(root), mend="name the home: --home DIR")
    return [Home(root, name) for name in names]


def _take(home: Home, name: str, timeout_us: int) -> commands.Body:
    """By whoever owns the lease; by us, when nobody does. Secrets of the file are not needed for that."""
    place = Place(home, None)
    by = whoami("mainstay backup")
    try:
        with own(place, by) as works:
            repair(works)
            return take_snapshot(works, {"name": name})
    except LeaseOwned as owned:
        now = SystemClock().now_us()
        request = Request(id=new_id("req"), command="backup.snapshot", args={"name": name}, by=by, at_us=now)
        return commands.ask_owner(place, request, owned, timeout_us)
