"""The right to write an integration's stores: an operating-system lock, and a token that only grows.

The lock (flock on `home.lease`) goes with the process that holds it: kill -9 frees it at once. The token makes what a
paused, overtaken owner still writes harmless: each store keeps the highest token it has seen and refuses lower ones.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import msgspec

from mainstay.core.errors import Conflict, Corrupt, LeaseOwned
from mainstay.core.ports import State, Write
from mainstay.store.durable import translated

if TYPE_CHECKING:
    from pathlib import Path

    from mainstay.store.home import Home

SPACE, NAME = "lease", "token"
_OWNER_BYTES = 4_000


class LeaseToken(msgspec.Struct, frozen=True, kw_only=True):
    """What state remembers: the last token given out, and to whom."""

    v: int = 1
    token: int
    owner: str


class FileLease:
    """A lease that is ours until `release`, or until this process ends. Also a context manager.

    A child made by a bare fork would share the lock: start processes by exec, which closes it in them.
    """

    def __init__(self, handle: int, token: int, owner: str) -> None:
        self.token = token
        self.owner = owner
        self._handle = handle

    def release(self) -> None:
        """Lets go. A second call does nothing."""
        if self._handle < 0:
            return
        handle, self._handle = self._handle, -1
        try:
            os.ftruncate(handle, 0)
        finally:
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take_lease(home: Home, *, owner: str, state: State) -> FileLease:
    """Takes the integration's lease if it is free.

    Args:
        home: Whose `lease` file is locked; its folder must stand.
        owner: Who we are, for the message that others get: pid, host and command.
        state: Where the token is counted; its fence moves to the new token in the same commit.

    Raises LeaseOwned, naming the owner, when another process has it.
    """
    handle = locked(home.lease, owner)
    try:
        return FileLease(handle, _next_token(state, owner), owner)
    except BaseException:
        os.close(handle)
        raise


@contextmanager
def sole(path: Path, *, owner: str) -> Iterator[None]:
    """Holds a lock on `path`, so that one process at a time is inside; it goes with the process, as a lease does.

    Raises LeaseOwned, naming the owner, when another process is inside.
    """
    handle = locked(path, owner)
    try:
        yield
    finally:
        try:
            os.ftruncate(handle, 0)
        finally:
            os.close(handle)


def locked(path: Path, owner: str) -> int:
    """The locked file's descriptor, with the owner's name written into it."""
    with translated(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            raise LeaseOwned(
                _read_owner(handle), mend="wait for it, or stop that process; a killed one frees the lease at once"
            ) from None
        with translated(path):
            data = owner.encode()[:_OWNER_BYTES]
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))
    except BaseException:
        os.close(handle)
        raise
    return handle


def _read_owner(handle: int) -> str:
    text = os.pread(handle, _OWNER_BYTES, 0).decode(errors="replace").strip()
    return text or "another process"


def _next_token(state: State, owner: str) -> int:
    while True:
        found = state.get(SPACE, NAME)
        last = 0
        if found is not None:
            try:
                last = msgspec.json.decode(found.body, type=LeaseToken).token
            except msgspec.DecodeError as error:
                raise Corrupt(f"the lease's token cannot be read: {error}", where=f"{SPACE}/{NAME}") from error
        record = LeaseToken(token=last + 1, owner=owner)
        write = Write(
            space=SPACE, name=NAME, body=msgspec.json.encode(record), expect=0 if found is None else found.version
        )
        try:
            state.commit([write], token=record.token)
        except Conflict:
            continue  # Only a process without the lock could have written: read again.
        return record.token
