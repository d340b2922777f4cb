"""The bytes of a file: opened as the very file that was seen, unpacked under a limit, decoded."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, cast

from mainstay.core.errors import SourceAway, SourceError, SourceRefused
from mainstay.sources.files_found import Drop, identity
from mainstay.sources.files_sniff import LINE_END

CHUNK = 1024 * 1024
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A link or a pipe that took the file's place is neither followed nor waited for."""
_ONE_BYTE = frozenset({"cp1252", "iso8859-1", "iso8859-15", "cp850", "cp437", "cp1250", "iso8859-2"})
"""Encodings in which nearly any bytes are text: a file in UTF-8 would pass for one of them."""


def refused(drop: Drop, sentence: str, *, mend: str = "") -> SourceRefused:
    """The file cannot be taken as it is."""
    return SourceRefused(sentence, mend=mend or "mend the file, or move it away; others wait for it", where=drop.name)


def unfinished(drop: Drop, sentence: str) -> SourceAway:
    """The file is at rest and not whole: still on its way, or broken off."""
    mend = "it is taken once it is whole; if the transfer broke off, send it again or move it away"
    return SourceAway(f"{sentence}: it is not whole yet", mend=mend, where=drop.name)


@contextmanager
def opened(drop: Drop) -> Iterator[BinaryIO]:
    """The file, read-only. Raises SourceAway when it is another than the one seen, now or when it is left."""
    try:
        handle = os.open(drop.path, os.O_RDONLY | os.O_CLOEXEC | _CAREFUL)
    except FileNotFoundError:
        raise _moved(drop) from None
    except OSError as error:
        mend = "let the account that runs Mainstay read it"
        raise SourceAway(f"it cannot be read: {error.strerror}", mend=mend, where=drop.name) from None
    with os.fdopen(handle, "rb") as stream:
        _unchanged(drop, stream)
        try:
            yield stream
        except SourceError:
            _unchanged(drop, stream)  # a fault of a file that is being written is no fault of the file
            raise
        except OSError as error:
            raise SourceAway(f"it cannot be read: {error.strerror or error}", where=drop.name) from None
        _unchanged(drop, stream)


def _unchanged(drop: Drop, stream: BinaryIO) -> None:
    if identity(os.fstat(stream.fileno())) != drop.identity:
        raise _moved(drop)


def _moved(drop: Drop) -> SourceAway:
    mend = "nothing of it was taken; it is tried again"
    return SourceAway("it was changed or moved while it was read", mend=mend, where=drop.name)


def digest(drop: Drop) -> str:
    """SHA-256 of the file's bytes as they lie there, in hexadecimal digits."""
    with opened(drop) as stream:
        return hashlib.file_digest(cast("io.BufferedReader", stream), "sha256").hexdigest()


class Unpacked(io.RawIOBase):
    """The bytes inside, at most `most` of them."""

    def __init__(self, drop: Drop, inner: io.BufferedIOBase | IO[bytes], most: int) -> None:
        self._drop = drop
        self._inner = inner
        self._left = most
        self._most = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left + 1 if size < 0 else min(size, self._left + 1)
        try:
            data = self._inner.read(wanted)
        except EOFError:
            raise unfinished(self._drop, "its compressed data ends too early") from None
        except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error):
            raise refused(self._drop, "its compressed data is damaged") from None
        self._left -= len(data)
        if self._left < 0:
            mend = "raise `unpacked_most_mb` if it is meant to be so large, or move it away"
            raise refused(self._drop, f"it unpacks to more than {self._most // 2**20:,} MB", mend=mend)
        return data

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


@contextmanager
def unpacked(drop: Drop, most: int) -> Iterator[tuple[Unpacked, str]]:
    """The file's content and the name that it has inside, unpacked on the way, never to disk."""
    lower = drop.name.lower()
    with opened(drop) as stream:
        if lower.endswith(".gz"):
            with gzip.GzipFile(fileobj=stream) as inner:
                yield Unpacked(drop, inner, most), drop.name[:-3]
        elif lower.endswith(".zip"):
            with archive(drop, stream, most) as found, found.open(_only(drop, found)) as member:
                yield Unpacked(drop, member, most), _only(drop, found).filename
        else:
            yield Unpacked(drop, stream, max(most, drop.size)), drop.name


@contextmanager
def archive(drop: Drop, stream: BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """A zip file, whole, that says of itself that it unpacks to no more than `most` bytes."""
    try:
        found = zipfile.ZipFile(stream)
    except zipfile.BadZipFile:
        raise unfinished(drop, "it has no zip directory at its end") from None
    with found:
        if sum(member.file_size for member in found.infolist()) > most:  # zipfile reads no more of a member than that
            mend = "raise `unpacked_most_mb` if it is meant to be so large, or move it away"
            raise refused(drop, f"it unpacks to more than {most // 2**20:,} MB", mend=mend)
        if any(_leads_out(member) for member in found.infolist()):
            mend = "have the file packed by its bare name"
            raise refused(drop, "a member of it is a link, or its path leads out of the archive", mend=mend)
        if any(member.flag_bits & 1 for member in found.infolist()):
            raise refused(drop, "it is encrypted", mend="have it sent without a password")
        yield found


def _leads_out(member: zipfile.ZipInfo) -> bool:
    """Nothing is unpacked to a path of the archive's; whoever writes such a one means nothing good all the same."""
    name = member.filename.replace("\\", "/")
    return name.startswith("/") or ".." in name.split("/") or stat.S_ISLNK(member.external_attr >> 16)


def _only(drop: Drop, found: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        one
        for one in found.infolist()
        if not one.is_dir()
        and not one.filename.startswith("__MACOSX/")
        and not one.filename.rpartition("/")[2].startswith(".")
    ]
    if len(members) != 1:
        mend = "have one file in each zip, so that each is one drop"
        raise refused(drop, f"it holds {len(members)} files", mend=mend)
    if members[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise refused(drop, "it is packed by a method other than deflate", mend="have it packed as plain zip or gzip")
    return members[0]


class Utf8(io.RawIOBase):
    """Text of any encoding as UTF-8. A byte that is no text is told by its place, never by what stands around it."""

    def __init__(self, drop: Drop, inner: Unpacked, encoding: str, quote: str = "", *, skip_lines: int = 0) -> None:
        self.failed: SourceError | None = None
        """What went wrong, for readers in whose hands an exception loses its kind."""
        self._drop = drop
        self._inner = inner
        self._encoding = encoding
        name = codecs.lookup(encoding).name.removesuffix("-sig")
        self._mark = name == "utf-8"
        """Whether a byte order mark may come, which is no part of the first value."""
        self._decoder = codecs.getincrementaldecoder(name)()
        self._offset = 0
        self._skip = skip_lines
        self._broken = ""
        """While lines are skipped, the CR of a CR LF that may be broken between two readings."""
        self._quote = quote.encode()
        self._quotes = 0
        self._doubted = codecs.getincrementaldecoder("utf-8")() if name in _ONE_BYTE else None
        self._wide = False
        self._ended = False
        self._rest = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            if size < 0:
                return b"".join(iter(lambda: self.read(CHUNK), b""))
            while not self._rest and not self._ended:
                self._rest = self._next(max(size, 64))
        except SourceError as error:
            self.failed = error
            raise
        given, self._rest = self._rest[:size], self._rest[size:]
        return given

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _next(self, size: int) -> bytes:
        data = self._inner.read(min(size, CHUNK))
        self._ended = not data
        pending = self._decoder.getstate()[0]
        try:
            text = self._decoder.decode(data, self._ended)
        except UnicodeDecodeError as error:
            at = self._offset - len(pending) + error.start
            mend = (
                "write the encoding that it has as `encoding:`, e.g. cp1252; `mainstay check` says what it looks like"
            )
            raise refused(self._drop, f"byte {at:,} is not {self._encoding}", mend=mend) from None
        except UnicodeError:  # UTF-16 without its mark, say
            raise refused(self._drop, f"it is not {self._encoding}", mend="write its encoding as `encoding:`") from None
        self._offset += len(data)
        self._doubt(data)
        if self._mark and text:
            text, self._mark = text.removeprefix("\ufeff"), False
        found = (self._skipped(text) if self._skip else text).encode("utf-8", "surrogatepass")
        if self._quote:
            self._quotes += found.count(self._quote)
            if self._ended and self._quotes % 2:
                mend = 'if it was cut off, send it again; if quotes mean nothing in it, write `quote: ""`'
                raise refused(self._drop, f"a value in {self._quote.decode()} does not end", mend=mend)
        return found

    def _skipped(self, text: str) -> str:
        """What is left of the text behind the lines to skip."""
        text, self._broken = self._broken + text, ""
        if text.endswith("\r") and not self._ended:
            text, self._broken = text[:-1], "\r"
        for line_end in LINE_END.finditer(text):
            self._skip -= 1
            if not self._skip:
                return text[line_end.end() :] + self._broken
        return ""

    def _doubt(self, data: bytes) -> None:
        """A file of UTF-8 read in an encoding of one byte a letter would come in garbled, and nobody would be told."""
        if self._doubted is None:
            return
        try:
            self._wide = not self._doubted.decode(data, self._ended).isascii() or self._wide
        except UnicodeDecodeError:
            self._doubted = None
            return
        if self._ended and self._wide:
            mend = "write `encoding: utf-8`"
            raise refused(self._drop, f"it is UTF-8, and `encoding` is {self._encoding}", mend=mend)
