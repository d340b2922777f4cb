"""Files that are wholly there or not at all, also after a power loss; and the disk's refusals as our errors."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainstay.core.errors import Refused, StoreError, StoreFull

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EROFS, errno.EACCES, errno.EPERM}
NO_LINKS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK}
"""How a file system says that it knows no second name for a file, or not here."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def contained(name: str, *, what: str) -> str:
    """`name` if it can be a folder's name and nothing more: no path, no hidden file, at most 100 characters.

    Raises Refused otherwise.
    """
    if _NAME.fullmatch(name) is None or ".." in name:
        raise Refused(
            f"{what} name {name[:100]!r} cannot name a folder",
            mend="use letters, digits, `-`, `_` and `.`, beginning with a letter or digit, at most 100 of them",
        )
    return name


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Tells the disk's refusals as StoreFull (no space, no permission) or StoreError (anything else)."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NO_SPACE:
            raise StoreFull(f"no space to write: {reason}", mend="free space on this disk", where=str(path)) from error
        if error.errno in _NO_PERMISSION:
            mend = "make this path writable for the user that runs Mainstay"
            raise StoreFull(f"not allowed to write: {reason}", mend=mend, where=str(path)) from error
        raise StoreError(f"the disk refused: {reason}", where=str(path)) from error


def sync_file(path: Path) -> None:
    """Makes a file's bytes survive a power loss."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes a folder's names (files made, renamed, removed) survive a power loss."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def beside(path: Path) -> Path:
    """A name for a file in the making: in the same folder, hidden, used by nobody else."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def write_whole(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """Writes a small file: whoever opens `path` finds all of it or none, and it stays after a power loss.

    Raises FileExistsError when `replace` is off and `path` stands.
    """
    made = beside(path)
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            made.replace(path)
        else:
            os.link(made, path)
    finally:
        made.unlink(missing_ok=True)
    sync_folder(path.parent)
