"""Digests of files: computed while writing, checked before reading, and not computed again for an unchanged file."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import Corrupt

CHUNK = 1 << 20
"""Bytes read at once."""
SETTLED_US = 100_000
"""How long a file must have been at rest before its stamp is believed."""

_Stamp = tuple[tuple[int, int, int, int], ...]


class DigestingSink(io.RawIOBase):
    """A file opened for writing that keeps the SHA-256 of what went through it. Not buffered.

    Args:
        path: Made; must not stand.
        whole: The hash to carry on with, so that one digest covers several files.
    """

    def __init__(self, path: Path, whole: Any = None) -> None:
        self.whole = hashlib.sha256() if whole is None else whole
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """All of `data`: a disk that takes only a part is asked again and says why it takes no more."""
        rest = memoryview(data).cast("B")
        self.whole.update(rest)
        size = rest.nbytes
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        return size

    def sync(self) -> None:
        """Makes what was written survive a power loss."""
        os.fsync(self._handle)

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


class CheckedFiles:
    """Remembers which files had the right bytes, by inode, size and times: a hot path does not hash them again.

    Args:
        clock: The one that the file system's times come from.
        most: How many answers are remembered.
    """

    def __init__(self, clock: Clock | None = None, most: int = 1000) -> None:
        self._clock = clock or SystemClock()
        self._most = most
        self._right: OrderedDict[tuple[str, ...], tuple[str, _Stamp]] = OrderedDict()

    def check(self, paths: Sequence[Path], digest: str) -> None:
        """Raises Corrupt, naming the files, when their bytes in order do not have `digest`.

        FileNotFoundError when one is not there.
        """
        names = tuple(map(str, paths))
        # The stamp is taken first: a file changed while it is hashed has another one afterwards.
        stamp = stamp_of(paths)
        if self._right.get(names) == (digest, stamp):
            return
        found = digest_of(paths)
        if found != digest:
            raise Corrupt(
                f"the bytes have digest {found}, {digest} was written down",
                mend="restore it from a backup",
                where=", ".join(names),
            )
        changed_ns = max((part[3] for part in stamp), default=0)
        if self._clock.now_us() - changed_ns // 1_000 < SETTLED_US:
            return  # A file system's clock ticks slowly: a second change could carry the same times.
        self._right[names] = (digest, stamp)
        while len(self._right) > self._most:
            self._right.popitem(last=False)


def stamp_of(paths: Sequence[Path]) -> _Stamp:
    """What a file cannot keep while its bytes change: inode, size, time of modification, time of change."""
    stats = [path.stat() for path in paths]
    return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats)


def digest_of(paths: Sequence[Path]) -> str:
    """`sha256:...` over the bytes of the files in order, read in pieces of a mebibyte."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(CHUNK):
                whole.update(piece)
    return "sha256:" + whole.hexdigest()
