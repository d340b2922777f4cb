"""A backup as one file: a tar, gzipped where its name says so, with a manifest at its end.

    churn/state.sqlite, ...      the files of the home, regular ones only
    manifest.json                Contents: what is in here, each with size and SHA-256
    manifest.sha256              of the manifest itself

The manifest stands last, because digests are taken while files are written, and each file is read once. A file that was
cut off therefore has none, and is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self, cast

import msgspec

from mainstay.core.errors import Corrupt, NotFound, Refused, StoreTooNew
from mainstay.store.digests import CHUNK
from mainstay.store.durable import NO_LINKS, beside, sync_folder, translated

VERSION = 1
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
ENDINGS = (".tar", ".tar.gz", ".tgz")
_GZIP_LEVEL = 1
_MANIFEST_MOST = 256 * 1024 * 1024
"""Bytes of a manifest; a file takes some 130 of them."""
_HEADER_MOST = 64 * 1024
"""Bytes of what stands before a member: its long name, say. They are read into memory at once."""
_BEFORE = frozenset(
    (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
)
_DAMAGED = (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError)

Progress = Callable[[str, int], None]
"""Called with a file's name and the bytes of it that were just done."""


class Member(msgspec.Struct, frozen=True):
    """One file of a backup."""

    path: str
    """Relative to the home, with `/`."""
    size: int
    sha256: str


class _Version(msgspec.Struct, frozen=True):
    """What every manifest has, whatever else a later version writes into it."""

    v: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    v: int = VERSION
    mainstay: str
    """The version that wrote it."""
    made_us: int
    """When the last integration was taken."""
    integrations: dict[str, dict[str, int]]
    """Integration -> store -> schema number."""
    notes: tuple[str, ...] = ()
    """What is not in it and might be missed, a sentence each."""
    files: tuple[Member, ...] = ()


def write(file: Path, folder: Path, about: Contents, progress: Progress) -> Contents:
    """Writes `folder` into `file`, whole or not at all; returns `about` with its files.

    Raises Refused when `file` stands or has another ending, StoreFull when there is no room.
    """
    check_new(file)
    made = beside(file)
    with translated(file):
        try:
            members = []
            with _packing(made, gzipped=not file.name.endswith(".tar")) as tar:
                for path in sorted(one for one in folder.rglob("*") if one.is_file()):
                    name = path.relative_to(folder).as_posix()
                    members.append(_add(tar, path, name, progress))
                contents = msgspec.structs.replace(about, files=tuple(members))
                data = msgspec.json.encode(contents)
                _add_bytes(tar, MANIFEST, data)
                _add_bytes(tar, SEAL, hashlib.sha256(data).hexdigest().encode())
            _name(made, file)
            sync_folder(file.parent)
        except FileExistsError:
            raise Refused("there is such a file already", where=str(file), mend="give another name") from None
        finally:
            made.unlink(missing_ok=True)
    return contents


def _name(made: Path, file: Path) -> None:
    """Unlike a rename, a link never replaces a file that came meanwhile; not every shared folder knows links."""
    try:
        os.link(made, file)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if file.exists():
            raise FileExistsError from error
        made.rename(file)


def check_new(file: Path) -> None:
    """Raises Refused or NotFound when a backup could not be written to `file`, before any work is done."""
    _check_ending(file)
    if file.exists():
        raise Refused("there is such a file already", where=str(file), mend="give another name")
    if not file.absolute().parent.is_dir():
        raise NotFound("there is no such folder", where=str(file.absolute().parent), mend="make it first")


def _check_ending(file: Path) -> None:
    if not file.name.endswith(ENDINGS):
        raise Refused(
            "the name does not say what kind of file it is", where=str(file), mend=f"end it with {', '.join(ENDINGS)}"
        )


@contextmanager
def _packing(made: Path, *, gzipped: bool) -> Iterator[tarfile.TarFile]:
    handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with ExitStack() as stack:
        raw = stack.enter_context(os.fdopen(handle, "wb"))
        out: IO[bytes] = raw
        if gzipped:  # the time stamp stays out, so that equal homes make equal files
            packed = gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0)
            out = cast("IO[bytes]", stack.enter_context(packed))
        with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            yield tar
        if gzipped:
            packed.close()
        raw.flush()
        os.fsync(raw.fileno())


def _add(tar: tarfile.TarFile, path: Path, name: str, progress: Progress) -> Member:
    """Adds the file as long as it is now: a journal segment may grow meanwhile."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        info = tarfile.TarInfo(name)
        info.size, info.mode = stat.st_size, stat.st_mode & 0o755
        info.mtime = int(stat.st_mtime)
        reading = _Hashed(file, lambda done: progress(name, done))
        tar.addfile(info, reading)
    return Member(name, stat.st_size, reading.whole.hexdigest())


class _Hashed:
    """A file that keeps the digest of what was read from it."""

    def __init__(self, file: IO[bytes], done: Callable[[int], None]) -> None:
        self.whole = hashlib.sha256()
        self._file = file
        self._done = done

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.whole.update(data)
        self._done(len(data))
        return data


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    tar.addfile(info, io.BytesIO(data))


# --- reading ---------------------------------------------------------------------------------------------------


class _Header(tarfile.TarInfo):
    """A header that is refused before what it announces is read: a few packed megabytes can be gigabytes of it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As `TarInfo.frombuf`. Raises tarfile.ReadError for more than a header of ours has."""
        found = super().frombuf(buf, encoding, errors)
        if found.type in _BEFORE and found.size > _HEADER_MOST:
            raise tarfile.ReadError("a header is too large")
        return found


def unpack(file: Path, into: Path | None, progress: Progress) -> Contents:
    """Reads the whole backup, compares every digest, and writes its files below `into` (None: only compares).

    Raises Corrupt naming the file of the backup that is damaged, Refused for a member that leads out of `into` or is
    not a regular file, StoreTooNew for a later version's backup, NotFound when there is none.
    """
    _check_ending(file)
    if not file.is_file():
        raise NotFound("there is no such file", where=str(file))
    found: dict[str, Member] = {}
    small: dict[str, bytes] = {}
    at = "its beginning"
    with translated(file), file.open("rb") as raw:
        try:
            with _unpacking(raw, gzipped=not file.name.endswith(".tar")) as tar:
                for info in tar:
                    at = info.name
                    name = _checked_name(info, file, found)
                    data = tar.extractfile(info)
                    if data is None:
                        raise tarfile.ReadError("no bytes")
                    if name in (MANIFEST, SEAL):
                        if info.size > _MANIFEST_MOST:
                            raise tarfile.ReadError("it is too large")
                        small[name] = data.read()
                    else:
                        found[name] = _extract(data, info, name, into, progress)
        except _DAMAGED as error:
            raise _damaged(file, f"it cannot be read at or behind {at} ({type(error).__name__})") from error
    return _compared(file, found, small, at)


@contextmanager
def _unpacking(raw: IO[bytes], *, gzipped: bool) -> Iterator[tarfile.TarFile]:
    with ExitStack() as stack:
        source: Any = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="rb")) if gzipped else raw
        yield stack.enter_context(tarfile.open(fileobj=source, mode="r|", tarinfo=_Header))
        while gzipped and source.read(CHUNK):  # the checksum of the whole stands at the end
            pass


def _checked_name(info: tarfile.TarInfo, file: Path, found: dict[str, Member]) -> str:
    path = PurePosixPath(info.name)
    if not info.isreg() or info.issparse():  # a sparse one says for itself how long it is
        raise Refused(f"{info.name!r} in the backup is no regular file; nothing was restored", where=str(file))
    leads_out = path.is_absolute() or ".." in path.parts or "\\" in info.name or "\0" in info.name
    if leads_out or not path.parts or path.as_posix() != info.name:
        raise Refused(f"{info.name!r} in the backup leads elsewhere; nothing was restored", where=str(file))
    if info.name in found:
        raise Refused(f"{info.name!r} is in the backup twice; nothing was restored", where=str(file))
    return info.name


def _extract(data: IO[bytes], info: tarfile.TarInfo, name: str, into: Path | None, progress: Progress) -> Member:
    whole = hashlib.sha256()
    size = 0
    with ExitStack() as stack:
        out = None
        if into is not None:
            made = into / name
            made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            out = stack.enter_context(os.fdopen(handle, "wb"))
        while piece := data.read(CHUNK):
            whole.update(piece)
            size += len(piece)
            if out is not None:
                out.write(piece)
            progress(name, len(piece))
        if out is not None:
            out.flush()
            os.fsync(out.fileno())
            os.fchmod(out.fileno(), info.mode & 0o755)
    return Member(name, size, whole.hexdigest())


def _compared(file: Path, found: dict[str, Member], small: dict[str, bytes], last: str) -> Contents:
    if MANIFEST not in small or SEAL not in small:
        raise _damaged(file, f"it ends at or behind {last}: it was cut off, or a header is damaged there")
    if hashlib.sha256(small[MANIFEST]).hexdigest().encode() != small[SEAL]:
        raise _damaged(file, f"{MANIFEST} does not have the digest that was written down")
    try:
        version = msgspec.json.decode(small[MANIFEST], type=_Version).v
        if version > VERSION:
            raise StoreTooNew(
                f"the backup has version {version}, this version of Mainstay knows {VERSION}",
                mend="install a later Mainstay (pip install --upgrade mainstay)",
                where=str(file),
            )
        contents = msgspec.json.decode(small[MANIFEST], type=Contents)
    except msgspec.DecodeError as error:
        raise _damaged(file, f"{MANIFEST} cannot be read: {error}") from error
    wrong = [one.path for one in contents.files if found.get(one.path) != one]
    more = sorted(found.keys() - {one.path for one in contents.files})
    if wrong:
        raise _damaged(file, f"{', '.join(wrong[:5])} does not have the digest that was written down")
    if more:
        raise _damaged(file, f"{', '.join(more[:5])} is not in its manifest")
    return contents


def _damaged(file: Path, sentence: str) -> Corrupt:
    return Corrupt(f"the backup is damaged: {sentence}; nothing was restored", mend="use another one", where=str(file))
