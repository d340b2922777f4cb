"""What was taken from a folder, as the text that state keeps beside a dataset's position. Pure.

The text is the source position of a batch: which files came in by it, in order, with their rows. So an ordinal of the
batch leads back to a file and a row of it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence

import msgspec

GONE = 1_000
"""How many digests of files that lie there no longer are remembered."""
_BYTES = 16
"""Of a SHA-256 that are kept: enough that no two files of one folder ever share them by chance."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a read took in."""

    file: str
    sha256: str
    rows: int


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset took up to now."""

    v: int = 1
    new: tuple[Taken, ...] = ()
    """By the read that wrote this, in reading order."""
    seen: str = ""
    """Digests of every file that was taken, 16 bytes of each, oldest first, in Base64."""

    def digests(self) -> list[str]:
        """The digests in `seen`, oldest first, in hexadecimal digits."""
        raw = b64decode(self.seen)
        return [raw[at : at + _BYTES].hex() for at in range(0, len(raw), _BYTES)]

    def text(self) -> str:
        return msgspec.json.encode(self).decode()


def read_ledger(text: str | None) -> Ledger:
    """The ledger in a cursor's text; an empty one when there is none, or when it is the cursor of another kind."""
    try:
        return msgspec.json.decode(text or "{}", type=Ledger)
    except msgspec.DecodeError:
        return Ledger()


def short(sha256: str) -> str:
    """The part of a digest by which files are told apart."""
    return sha256[: _BYTES * 2]


def is_new(ledger: Ledger, digests: Sequence[str]) -> list[int]:
    """Places in `digests` of those that were never taken, each digest once."""
    seen = set(ledger.digests())
    found = []
    for at, digest in enumerate(digests):
        if short(digest) not in seen:
            seen.add(short(digest))
            found.append(at)
    return found


def after(ledger: Ledger, new: Sequence[Taken], lying: Sequence[str]) -> Ledger:
    """The ledger after a read that took `new` while files of the digests `lying` were there.

    What lies there stays known for as long as it does; of what was taken away the last GONE are.
    """
    here = {short(digest) for digest in lying}
    known = dict.fromkeys([*ledger.digests(), *(short(one.sha256) for one in new)])
    gone = [digest for digest in known if digest not in here]
    forgotten = set(gone[:-GONE])
    kept = b"".join(bytes.fromhex(digest) for digest in known if digest not in forgotten)
    return Ledger(new=tuple(new), seen=b64encode(kept).decode())


def whole(new: Sequence[Taken]) -> Ledger:
    """The ledger of a table that is these files and nothing else."""
    return after(Ledger(), new, [one.sha256 for one in new])


def origin(cursor: str | None, ordinal: int) -> tuple[str, int] | None:
    """The file, and the row in it from 1, of an ordinal of the batch with this cursor; None when it names no file."""
    before = 0
    for one in read_ledger(cursor).new:
        if ordinal < before + one.rows:
            return one.file, ordinal - before + 1
        before += one.rows
    return None
