"""What lies in a folder: which files a table takes in, and which of them are at rest. Looks, and opens nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

import msgspec

from mainstay.core.clock import span
from mainstay.core.errors import SourceAway, SourceRefused

FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet", ".xlsx": "excel", ".xlsm": "excel", ".xls": "excel",
}  # fmt: skip
"""Ending of a name -> what `format: auto` takes the file for."""

PACKED = (".gz", ".zip")
UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".swp", "~")
"""Endings of names under which others write a file before it gets its own."""


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it lies there."""

    name: str
    """Its path below the source's folder, parts divided by /."""
    path: str
    """Where it is, links followed."""
    identity: tuple[int, ...]
    """Device, number, size, and the times of its last change: differs after any write."""
    modified_ns: int
    waits: str = ""
    """Why it is not taken yet; empty when it is at rest."""

    @property
    def size(self) -> int:
        return self.identity[2]


class Lying(msgspec.Struct, frozen=True, kw_only=True):
    """What a table's files are at one moment."""

    ready: tuple[Drop, ...]
    """At rest, in the order in which they are read."""
    waiting: tuple[Drop, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Names that match and are no data: other endings, links that lead out of the folder."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The folder of a source, and what is looked for in it."""

    folder: Path
    pattern: str
    """What a file's path below the folder must match; empty for any."""
    settle_us: int
    done_suffix: str
    by_name: bool
    """Whether files are read in the order of their names; else in that of their last change."""
    any_ending: bool
    """Whether `format` is declared, so that the endings of names say nothing."""
    where: str


def split_path(path: str) -> tuple[Path, str]:
    """The folder that `path` begins with, and the pattern that is the rest; a path without * and ? is a folder."""
    parts = Path(path).parts
    first = next((at for at, part in enumerate(parts) if "*" in part or "?" in part), len(parts))
    return Path(*parts[:first]), "/".join(parts[first:])


def matches(name: str, pattern: str) -> bool:
    """Whether the path `name` fits: * and ? within a part, ** over any number of them. Nothing else is special."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
        else:
            inside = "".join({"*": "[^/]*", "?": "[^/]"}.get(sign, re.escape(sign)) for sign in part)
            parts.append(inside + "/")
    whole = "".join(parts)
    return re.fullmatch(whole.removesuffix("/") if not pattern.endswith("**") else whole + "[^/]+", name) is not None


def takes_in(name: str, table: str) -> bool:
    """Whether a table takes in the file: it is the file, lies in the folder, or fits the pattern that it names."""
    return table in (".", name) or name.startswith(table + "/") or matches(name, table)


def look(place: Place, table: str, now_us: int) -> Lying:
    """The table's files. Raises SourceAway when the folder is not there, SourceRefused for a table outside it."""
    if table.startswith("/") or ".." in table.split("/") or not table:
        mend = "name a file, a folder or a pattern below `path`; `table: .` takes in all of it"
        raise SourceRefused(f"table {table!r} does not lie in {place.folder}", mend=mend, where=place.where)
    ready, waiting, passed = [], [], []
    seen = list(walk(place))
    names = {name for name, _ in seen}
    for name, entry in seen:
        if not takes_in(name, table) or (place.pattern and not matches(name, place.pattern)):
            continue
        if place.done_suffix and name.endswith(place.done_suffix):
            continue
        drop = None if _unfinished(name) else _drop(place, name, entry, names, now_us)
        if drop is None:
            passed.append(name)
        elif drop.waits:
            waiting.append(drop)
        else:
            ready.append(drop)
    ready.sort(key=lambda drop: drop.name if place.by_name else (drop.modified_ns, drop.name))
    return Lying(ready=tuple(ready), waiting=tuple(waiting), passed_over=tuple(passed))


def walk(place: Place) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below the folder with its path in it; hidden ones and linked folders are not entered."""
    if not place.folder.is_dir():
        mend = "check `path`, mount what it lies on, or bring the folder back"
        raise SourceAway(f"there is no folder {place.folder}", mend=mend, where=place.where)
    yield from _walk(place, str(place.folder), "")


def _walk(place: Place, folder: str, above: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # it was moved away while we looked
    except OSError as error:
        mend = "let the account that runs Mainstay read it"
        raise SourceAway(
            f"{above or folder} cannot be listed: {error.strerror}", mend=mend, where=place.where
        ) from None
    for entry in found:
        if entry.name.startswith((".", "~$")):
            continue
        name = above + entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(place, entry.path, name + "/")
        elif entry.is_file() or entry.is_symlink():
            yield name, entry


def _unfinished(name: str) -> bool:
    return name.lower().endswith(UNFINISHED)


def format_of(name: str) -> str:
    """What a file's name says it is; empty when it says nothing. Compressed files are asked without that ending."""
    lower = name.lower()
    for ending in PACKED:
        lower = lower.removesuffix(ending)
    return FORMATS.get(Path(lower).suffix, "")


def _drop(place: Place, name: str, entry: os.DirEntry[str], names: set[str], now_us: int) -> Drop | None:
    """The file as it lies there; None when it is no data of this table."""
    if not place.any_ending and not format_of(name) and not name.lower().endswith(".zip"):
        return None
    path = entry.path
    if entry.is_symlink():
        path = os.path.realpath(path)
        if not Path(path).is_relative_to(os.path.realpath(place.folder)):
            return None
    try:
        stat = Path(path).lstat()
    except OSError:
        return None  # it went while we looked, or the link leads nowhere
    if not S_ISREG(stat.st_mode):
        return None  # a link to a pipe or a device, which would be waited for
    waits = ""
    if place.done_suffix:
        if name + place.done_suffix not in names:
            waits = f"{name}{place.done_suffix} has not come"
    else:
        rest_us = now_us - max(stat.st_mtime_ns, stat.st_ctime_ns) // 1_000
        if rest_us < place.settle_us:
            waits = f"it changed {span(rest_us)} ago" if rest_us >= 0 else "its time lies ahead of our clock"
    return Drop(name=name, path=path, identity=identity(stat), modified_ns=stat.st_mtime_ns, waits=waits)


def identity(stat: os.stat_result) -> tuple[int, ...]:
    """What tells a file as it was from what it is."""
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
