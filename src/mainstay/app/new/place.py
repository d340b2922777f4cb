"""Where `new` writes before anything stands: a hidden folder beside, which becomes the folder by one rename.

A killed process leaves its place behind, with what a person answered and secrets in it. It is marked and locked for as
long as its process lives, so that the next `new` tells it from everything else and removes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = ".mainstay-new"
"""Within the place, from when it is locked on."""


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A place on the folder's disk; gone at the end, if it was not renamed."""
    place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a disk without locks: then nobody is taken for dead there, and nothing is marked
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (place / MARK).touch(mode=0o600)
        place.chmod(0o755)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def settle(place: Path, folder: Path) -> None:
    """Makes the place the folder, which may stand empty. The mark goes last: a kill in between leaves it there only."""
    if folder.exists():
        folder.rmdir()
    place.rename(folder)
    (folder / MARK).unlink(missing_ok=True)


def remove_left(parent: Path, say: Callable[[str], None]) -> None:
    """Removes the places in `parent` whose processes are dead: marked, this user's, and locked by nobody."""
    for place in sorted(parent.glob(".*-*")):
        with suppress(OSError):  # it went, or is not ours to read
            if place.is_symlink() or not (place / MARK).is_file() or place.stat().st_uid != os.geteuid():
                continue
            _remove(place, say)


def _remove(place: Path, say: Callable[[str], None]) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # Raises BlockingIOError while its process lives.
        if os.path.samestat(os.fstat(handle), place.stat()):  # else it was renamed while we looked
            shutil.rmtree(place)
            say(f"removed {place.name}: a `mainstay new` that was killed had left it")
    finally:
        os.close(handle)
