"""The journal in a folder of segments: promise 2 stands on this file.

Each process writes segments of its own, so appending asks nobody: one write(2) on an O_APPEND descriptor, after which
the kernel has the record whatever happens to the process. A writer holds a lock on its open segment; readers see by the
lock whether more may come. Segment numbers only grow and are never used twice, also not after a segment was removed:
an id names one record for ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from mainstay.core.clock import DAY, Clock
from mainstay.core.errors import Conflict, StoreError, StoreFull
from mainstay.core.ports import Entry, JournalKind, Segment
from mainstay.store import segment as bytes_of
from mainstay.store.receipt_ids import ReceiptIds

SEGMENT_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"(\d+)-(\d{6,})")
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class _OpenSegment:
    """The segment that this process appends to."""

    __slots__ = ("day", "end", "failed", "fd", "name", "number", "pid", "synced", "syncing", "torn", "until_us")

    def __init__(self, *, fd: int, name: str, day: int, number: int) -> None:
        self.fd = fd
        self.name = name
        self.day = day
        self.number = number
        self.end = bytes_of.FIRST
        self.until_us = (day + 1) * DAY
        self.pid = os.getpid()
        self.torn = False
        self.synced = 0
        self.syncing = False
        self.failed = False


class SegmentJournal:
    """Append-only facts in `folder`. One writer per process, any number of readers; thread-safe.

    Args:
        folder: Created when absent, for its owner only.
        secret: The installation's; signs ids.
        clock: Says the day.
        durability: `power`: an append returns after an fdatasync that concurrent appends share.
        writable: False for readers: appending raises StoreError.
        segment_bytes: A segment this long is closed before the next append.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secret: bytes,
        clock: Clock,
        durability: Literal["process", "power"] = "process",
        writable: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder = folder
        self._ids = ReceiptIds(secret)
        self._clock = clock
        self._power = durability == "power"
        self._writable = writable
        self._limit = segment_bytes
        self._open: _OpenSegment | None = None
        self._promised = False
        self._lock = threading.Lock()
        self._synced = threading.Condition()

    # --- writing ---------------------------------------------------------------------------------------------

    def next_id(self) -> str:
        with self._lock:
            segment = self._current()
            self._promised = True
            return self._ids.make(segment.day, segment.number, segment.end)

    def append(self, kind: JournalKind, payload: bytes) -> str:
        return self.append_with(kind, lambda _id: payload)

    def append_with(self, kind: JournalKind, build: Callable[[str], bytes]) -> str:
        return self.append_each(kind, (build,))[0]

    def append_each(self, kind: JournalKind, builds: Sequence[Callable[[str], bytes]]) -> list[str]:
        given, records = [], []
        with self._lock:
            segment = self._current()
            end = segment.end
            for build in builds:
                one = self._ids.make(segment.day, segment.number, end)
                records.append(bytes_of.pack(kind, build(one)))
                given.append(one)
                end += len(records[-1])
            self._write(segment, b"".join(records))
            self._promised = False
            end = segment.end
        if self._power:
            self._sync(segment, end)
        return given

    def seal(self) -> None:
        with self._lock:
            self._retire()

    def close(self) -> None:
        self.seal()

    def _current(self) -> _OpenSegment:
        """The segment for the next record. A promised id keeps its segment past midnight and past the limit."""
        segment = self._open
        if segment is not None and segment.pid != os.getpid():
            os.close(segment.fd)  # inherited by a fork: the segment belongs to the parent
            self._open = segment = None
        if (
            segment is not None
            and not segment.torn
            and (self._promised or (segment.end < self._limit and self._clock.now_us() < segment.until_us))
        ):
            return segment
        if not self._writable:
            raise StoreError("this journal was opened for reading", where=str(self._folder))
        self._retire()
        try:
            self._open = self._create()
        except OSError as error:
            raise _unwritten(error, self._folder) from error
        return self._open

    def _write(self, segment: _OpenSegment, record: bytes) -> None:
        # Until the record's end is known again, an exception out of a signal handler leaves the segment closed to us.
        segment.torn = True
        try:
            written = os.write(segment.fd, record)
        except OSError as error:
            _cut(segment)
            raise _unwritten(error, self._folder) from error
        if written != len(record):
            _cut(segment)
            raise _full(self._folder)
        segment.end += written
        segment.torn = False

    def _sync(self, segment: _OpenSegment, end: int) -> None:
        """Returns when the disk has the segment up to `end`: as leader of one fdatasync, or carried by another's."""
        with self._synced:
            while segment.syncing and segment.synced < end and not segment.failed:
                self._synced.wait()
            if segment.synced >= end:
                return
            if segment.failed:
                raise _full(self._folder)
            segment.syncing = True
        upto, done = segment.end, False
        try:
            os.fdatasync(segment.fd)
            done = True
        except OSError as error:
            raise _unwritten(error, self._folder) from error
        finally:
            with self._synced:
                segment.syncing = False
                if done:
                    segment.synced = max(segment.synced, upto)
                else:  # the kernel may have dropped the pages: a second try would lie
                    segment.failed = segment.torn = True
                self._synced.notify_all()

    def _retire(self) -> None:
        segment, self._open, self._promised = self._open, None, False
        if segment is None or segment.pid != os.getpid():
            return
        with self._synced:
            while segment.syncing:
                self._synced.wait()
            if self._power and not segment.failed:
                try:
                    os.fdatasync(segment.fd)
                    segment.synced = segment.end
                except OSError:
                    segment.failed = True  # whoever waits for it is told
            elif not self._power:
                segment.synced = segment.end
            os.close(segment.fd)
            self._synced.notify_all()

    def _create(self) -> _OpenSegment:
        """A segment that is locked and has its header before any reader can see it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        day = self._clock.now_us() // DAY
        with self._next_number() as number:
            for left in self._folder.glob("*.new"):
                left.unlink()
            name = f"{day}-{number:06d}"
            begun, final = self._folder / f"{name}.new", self._path(name)
            fd = _begin(begun)
            try:
                os.link(begun, final)
                begun.unlink()
                _fsync_folder(self._folder)
            except BaseException:
                os.close(fd)
                raise
        return _OpenSegment(fd=fd, name=name, day=day, number=number)

    @contextmanager
    def _next_number(self) -> Iterator[int]:
        """A segment number that was never given before, under the lock of the file that counts them."""
        counter = os.open(self._folder / "numbers", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(counter, fcntl.LOCK_EX)
            told = os.pread(counter, 32, 0).decode("ascii", "replace").strip()
            seen = max((segment[1] for segment in self._names().values()), default=0)
            number = max(int(told) if told.isdecimal() else 0, seen) + 1
            if os.pwrite(counter, f"{number:<20}\n".encode(), 0) != 21:
                raise _full(self._folder)
            os.fsync(counter)
            yield number
        finally:
            os.close(counter)

    # --- reading ---------------------------------------------------------------------------------------------

    def get(self, id: str) -> Entry | None:
        place = self._ids.read(id)
        path = self._path(f"{place.day}-{place.number:06d}")
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if not bytes_of.check_header(os.pread(fd, bytes_of.FIRST, 0), str(path)):
                return None
            found = bytes_of.read_one(fd, place.offset, str(path))
        finally:
            os.close(fd)
        return None if found is None else Entry(id, found.kind, found.payload)

    def segments(self) -> tuple[Segment, ...]:
        """Every segment, in order of number."""
        found = []
        for name, (day, number) in sorted(self._names().items(), key=lambda item: item[1][1]):
            with suppress(FileNotFoundError), self._path(name).open("rb") as file:
                # The lock is asked first: once it is free nobody appends, and the size is final.
                live = written_to(file.fileno())
                size = os.fstat(file.fileno()).st_size
                found.append(Segment(name=name, day=day, number=number, bytes=size, open=live))
        return tuple(found)

    def scan(self, segment: str, offset: int = 0) -> Iterator[tuple[Entry, int]]:
        """(record, offset of the next). Raises CorruptRecord at a damaged record with sound ones behind it."""
        path = self._path(segment)
        day, number = parts_of(segment)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            fd = file.fileno()
            if not bytes_of.check_header(os.pread(fd, bytes_of.FIRST, 0), str(path)):
                return
            for found in bytes_of.records(fd, offset, str(path)):
                yield Entry(self._ids.make(day, number, found.offset), found.kind, found.payload), found.next

    # --- keeping ---------------------------------------------------------------------------------------------

    def remove(self, segment: str) -> None:
        """Deletes a sealed segment; one that is gone already is no error. Raises Conflict while a process writes it."""
        path = self._path(segment)
        with suppress(FileNotFoundError), path.open("rb") as file:
            if written_to(file.fileno()):
                raise _in_use(path)
            path.with_suffix(".rewritten").unlink(missing_ok=True)
            path.unlink()

    def rewrite(self, segment: str, change: Callable[[Entry], bytes | None]) -> int:
        path = self._path(segment)
        if not path.exists():
            return 0
        with path.open("rb") as file:
            if written_to(file.fileno()):
                raise _in_use(path)
            data = bytearray(file.read())
        changed, end = 0, bytes_of.FIRST
        for entry, following in self.scan(segment):
            payload = change(entry)
            if payload is not None:
                room = following - end - bytes_of.RECORD.size
                record = bytes_of.pack_into(entry.kind, payload, room)
                if record is None:
                    raise StoreError(
                        f"a record of {len(payload)} bytes does not fit where one of {room} stood",
                        where=f"{path} at offset {end}",
                    )
                data[end:following] = record
                changed += 1
            end = following
        if changed or end < len(data):
            self._replace(path, bytes(data[:end]))
        return changed

    def scrub(self) -> None:
        """Nothing is left to do: a rewritten or removed file has no name any more."""

    def _replace(self, path: Path, data: bytes) -> None:
        begun = path.with_suffix(".rewritten")
        try:
            with begun.open("wb") as file:
                begun.chmod(0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            begun.replace(path)
            _fsync_folder(self._folder)
        except OSError as error:
            begun.unlink(missing_ok=True)
            raise _unwritten(error, self._folder) from error

    def _names(self) -> dict[str, tuple[int, int]]:
        if not self._folder.is_dir():
            return {}
        return {path.stem: parts_of(path.stem) for path in self._folder.glob("*.seg") if _NAME.fullmatch(path.stem)}

    def _path(self, segment: str) -> Path:
        parts_of(segment)
        return self._folder / f"{segment}.seg"


def parts_of(segment: str) -> tuple[int, int]:
    """Day and number of a segment's name."""
    match = _NAME.fullmatch(segment)
    if match is None:
        raise StoreError(f"{segment!r} is not the name of a journal segment", mend="names look like 20780-000001")
    return int(match[1]), int(match[2])


def written_to(fd: int) -> bool:
    """Whether a writer holds the file. The test's own lock is shared and lasts for microseconds."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _cut(segment: _OpenSegment) -> None:
    """Takes a torn record off the end; where even that fails, the next append opens another segment."""
    with suppress(OSError):
        os.ftruncate(segment.fd, segment.end)
        segment.torn = False


def _begin(path: Path) -> int:
    """A descriptor on a new file that holds the header, locked. The caller closes it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    if os.write(fd, bytes_of.header()) != bytes_of.FIRST:
        os.close(fd)
        raise _full(path.parent)
    return fd


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _full(folder: Path) -> StoreFull:
    return StoreFull("the journal has no space left", mend="free space on its disk", where=str(folder))


def _unwritten(error: OSError, folder: Path) -> StoreError:
    if error.errno in _NO_ROOM:
        return StoreFull(
            f"the journal could not be written: {os.strerror(error.errno or 0)}",
            mend="free space on its disk, or give this user the right to write there",
            where=str(folder),
        )
    return StoreError(f"the journal could not be written: {error.strerror}", where=str(folder))


def _in_use(path: Path) -> Conflict:
    return Conflict("a process still writes this segment", mend="ask it to seal, then try again", where=str(path))
