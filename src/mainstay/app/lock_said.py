"""What `status` says of a process that holds a store's write lock, and with it everything that is to be changed.

The system tells who holds which lock, so that nothing has to be opened, and no lock asked for, by whoever only looks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from mainstay.core.verdicts import Finding, Verdict
from mainstay.store.home import Home

LOOKS = 6
LOOK_S = 0.1
"""A transaction of ours takes 50 ms at most: whoever is found at each look holds on to it."""
LOCKS = Path("/proc/locks")
_WRITE = 120
"""The byte of a store's shared index (`-shm`) that whoever writes has locked, by SQLite's file format."""


def findings(home: Home) -> Iterator[Finding]:
    """A warning for each store of one file that another process keeps from being written."""
    for store, path in (("state", home.state), ("online", home.online)):
        pid = held_by(path)
        if pid is None:
            continue
        yield Finding(
            check=f"stores.{store}", verdict=Verdict.WARN,
            sentence=f"process {pid}{_name(pid)} holds the write lock of {path.name}: answers go on, and nothing that "
            "is written there does",
            mend=f"end that process, or what it does there (ps {pid}); all goes on by itself then",
        )  # fmt: skip


def held_by(path: Path, locks: Path = LOCKS) -> int | None:
    """The process that holds the write lock of a SQLite file all the while; None: nobody, or it is not told."""
    holder = None
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_S)
        found = _holder(path, locks)
        if found is None or (look and found != holder):
            return None
        holder = found
    return holder


def is_locked(path: Path, locks: Path = LOCKS) -> bool | None:
    """Whether a process has locked the whole file (`store.lease.locked`); None: it is not told."""
    try:
        return bool(_write_locks(path, locks))
    except OSError:
        return None


def _holder(path: Path, locks: Path) -> int | None:
    try:
        found = _write_locks(path.with_name(f"{path.name}-shm"), locks)
    except OSError:
        return None
    for pid, first, last in found:
        if first <= _WRITE <= last and pid > 0:
            return pid
    return None


def _write_locks(path: Path, locks: Path) -> list[tuple[int, int, float]]:
    """Process, first and last byte of each lock on the file that is held for writing. Raises OSError."""
    file = path.stat()
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    found = []
    for line in locks.read_text().splitlines():
        parts = line.split()
        if "->" in parts or len(parts) < 8 or parts[3] != "WRITE" or parts[5] != place:
            continue  # "->" is one that waits
        found.append((int(parts[4]), int(parts[6]), float("inf") if parts[7] == "EOF" else int(parts[7])))
    return found


def _name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return ""
