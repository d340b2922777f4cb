"""A home at one instant, beside itself: what a backup reads while everything goes on.

Landed files, artifacts, journal segments and the files of history are never changed in place: they are replaced or
removed by name. So a second name for each (a hard link) keeps it as it is, at no cost in space and hardly any in time.
SQLite files are changed in place; they are copied by SQLite itself, each in one transaction. Only the lease's owner,
between two things that it does, can take all of it at one instant.

```
root/.backup/NAME/               locked by the process that backs up; without that lock it is left over
    installation.json  secret
    INTEGRATION/...              as in the home, without what is a cache or belongs to a running process
```
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mainstay.core.errors import LeaseOwned, NotFound, StoreBusy
from mainstay.store.durable import NO_LINKS, contained, translated
from mainstay.store.home import Home
from mainstay.store.lease import sole
from mainstay.store.sqlite_file import told

FOLDER = ".backup"
RESTORING, UNPACKED = ".restore.lock", ".restore-"
"""In the home: locked by a restore; and the beginning of the name of the folder that it unpacks into."""
OF_ROOT = ("installation.json", "secret")
_LEFT_OUT = {"lease", "up", "sockets", "logs", "meters", "repeats.sqlite"}
"""Of an integration's folder: what belongs to processes that run."""


def kept(home: Home) -> Iterator[Path]:
    """Files of the integration that a backup holds, relative to its folder.

    Current is a cache and is left out; so are links, which nothing of ours is.
    """
    for place, folders, files in os.walk(home.folder):
        at = Path(place).relative_to(home.folder)
        if at == Path():
            folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith("current.")]
            files = [name for name in files if name not in _LEFT_OUT and not name.startswith("current.")]  # noqa: PLW2901
        folders.sort()
        for name in sorted(files):
            in_the_making = (name.startswith(".") and name.endswith(".tmp")) or name.endswith((".new", ".rewritten"))
            beside_sqlite = name.endswith((".sqlite-wal", ".sqlite-shm"))
            if not in_the_making and not beside_sqlite and not (home.folder / at / name).is_symlink():
                yield at / name


@contextmanager
def place(root: Path, name: str) -> Iterator[Path]:
    """A folder for a snapshot, ours until the end of the block, when it goes; left over only by a kill."""
    clear(root)
    folder = root / FOLDER / contained(name, what="snapshot")
    with translated(folder):
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not folder.is_dir():
            raise StoreBusy("another backup cleared away what this one had begun", where=str(folder), mend="try again")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)
        with suppress(OSError):  # another backup has its own in there
            folder.parent.rmdir()


def clear(root: Path) -> int:
    """Removes snapshots that a killed backup left. Returns how many."""
    removed = 0
    with suppress(FileNotFoundError):
        for folder in sorted((root / FOLDER).iterdir()):
            if _free(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        if removed:
            with suppress(OSError):
                (root / FOLDER).rmdir()
    return removed


def clear_unpacked(root: Path) -> None:
    """Removes what a killed restore unpacked. To be called while no restore runs."""
    for folder in root.glob(f"{UNPACKED}*"):
        shutil.rmtree(folder, ignore_errors=True)


def clear_left(root: Path) -> None:
    """Removes what a killed backup and a killed restore left, and nothing of those that run."""
    clear(root)
    if any(root.glob(f"{UNPACKED}*")):
        with suppress(LeaseOwned), sole(root / RESTORING, owner="clearing up"):
            clear_unpacked(root)


def _free(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def take(home: Home, name: str, *, forget: Iterable[str] = ()) -> int:
    """Fills `INTEGRATION/` of the snapshot. To be called by the lease's owner. Returns the number of files.

    Args:
        home: Whose integration.
        name: Of the snapshot, whose folder stands.
        forget: Spaces of state that the copy goes without.

    Raises NotFound when the folder is gone: whoever wanted it has given up.
    """
    folder = home.root / FOLDER / contained(name, what="snapshot")
    if not folder.is_dir():
        raise NotFound("nobody waits for this backup any more", where=str(folder), mend="mainstay backup FILE")
    target = folder / home.integration
    count = 0
    with translated(target):
        target.mkdir(mode=0o700)
        for path in kept(home):
            made = target / path
            made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.suffix == ".sqlite":
                _copy_sqlite(home.folder / path, made, forget if path.name == home.state.name else ())
            else:
                _link(home.folder / path, made)
            count += 1
    return count


def take_root(root: Path, name: str) -> None:
    """Adds what belongs to the installation and to no integration."""
    with translated(root):
        for one in OF_ROOT:
            _link(root / one, root / FOLDER / name / one)


def _link(path: Path, made: Path) -> None:
    try:
        os.link(path, made, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(path, made, follow_symlinks=False)


def _copy_sqlite(path: Path, made: Path, forget: Iterable[str]) -> None:
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True)) as source,
            closing(sqlite3.connect(made, isolation_level=None)) as copy,
        ):
            source.backup(copy)  # in one step: one transaction, during which others may write
            copy.execute("PRAGMA secure_delete = ON")
            for space in forget:
                copy.execute("DELETE FROM record WHERE space = ?", (space,))
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise told(error, path) from error
    made.chmod(0o600)
