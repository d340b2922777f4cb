"""What a person is told about a folder before it is read: what lies there, and the lines that pin a CSV dialect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mainstay.core.counts import counted
from mainstay.core.errors import SourceRefused
from mainstay.core.verdicts import Finding, Verdict
from mainstay.sources.files_bytes import unpacked
from mainstay.sources.files_found import Drop, Lying, format_of
from mainstay.sources.files_options import FilesOptions
from mainstay.sources.files_sniff import Dialect, dialect_of

MANY = 5_000
"""Files beyond which looking at them takes time at every read, and the ledger some hundred kilobytes."""
_HEAD = 64 * 1024


def file_findings(lying: Lying, options: FilesOptions) -> Iterator[Finding]:
    """How many files are there, at rest, waiting, passed over; and what will be asked once there are more."""
    found = len(lying.ready) + len(lying.waiting)
    there = counted(found, "file is", "files are")
    sentence = f"{there} there: {len(lying.ready):,} at rest, the newest {lying.ready[-1].name}"
    if lying.waiting:
        sentence += (
            f"; {counted(len(lying.waiting), 'waits', 'wait')} ({lying.waiting[0].name}: {lying.waiting[0].waits})"
        )
    if lying.passed_over:
        sentence += f"; {counted(len(lying.passed_over), 'is not read', 'are not read')} ({lying.passed_over[0]})"
    many = found > MANY
    yield Finding(
        check="files",
        verdict=Verdict.WARN if many else Verdict.PASS,
        sentence=sentence,
        mend="move files away once they were taken, but for the newest" if many else "",
    )
    if options.mode == "snapshot" and options.whole is None:
        yield Finding(
            check="whole",
            verdict=Verdict.WARN,
            sentence="a second file would stop the reading: it is not said which files are the table",
            mend="write `whole: newest` if each file is the whole table, `whole: together` if all of them are",
        )


def declared(options: FilesOptions, name: str) -> Dialect:
    """The dialect in which the file is read. `name`: what it is called inside its compression."""
    return Dialect(
        delimiter=options.delimiter_of(name),
        quote=options.quote,
        encoding=options.encoding,
        header=options.header,
        skip_lines=options.skip_lines,
    )


def lines_to_type(drop: Drop, options: FilesOptions) -> tuple[str, ...]:
    """The settings by which the file would look right; none when it does, or when it cannot be told."""
    found, as_declared = _seen(drop, options)
    return found.lines(as_declared)


def dialect_options(drop: Drop, options: FilesOptions) -> dict[str, object]:
    """The options that say how the file looks to be written, where they differ from `options`."""
    found, as_declared = _seen(drop, options)
    names = found.__struct_fields__
    return {name: getattr(found, name) for name in names if getattr(found, name) != getattr(as_declared, name)}


def _seen(drop: Drop, options: FilesOptions) -> tuple[Dialect, Dialect]:
    """How the file looks to be written, and how it would be read."""
    with unpacked(drop, options.most) as (content, name):
        head = b""
        while len(head) < _HEAD and (more := content.read(_HEAD - len(head))):
            head += more
        as_declared = declared(options, name)
        return dialect_of(head, as_declared, cut=len(head) >= _HEAD), as_declared


def dialect_finding(drop: Drop, options: FilesOptions) -> Finding:
    """Whether the newest file looks as it is declared."""
    lines = lines_to_type(drop, options)
    if not lines:
        with unpacked(drop, options.most) as (_, name):
            read = declared(options, name)
        sentence = f"{drop.name} looks as declared: {', '.join(read.lines(_NOTHING))}"
        return Finding(check="dialect", verdict=Verdict.PASS, sentence=sentence)
    return Finding(
        check="dialect",
        # Years may be the names of columns: a first row of numbers is worth a look, and no fault.
        verdict=Verdict.WARN if all(line.startswith("header") for line in lines) else Verdict.FAIL,
        sentence=f"{drop.name} looks otherwise than it is declared",
        mend=_typed(lines),
    )


@contextmanager
def pin(drop: Drop, options: FilesOptions) -> Iterator[None]:
    """Where a CSV file is refused and looks as if in another dialect, the mend says the lines to type."""
    try:
        yield
    except SourceRefused as error:
        csv = options.format == "csv" or (options.format == "auto" and format_of(drop.name) == "csv")
        lines = lines_to_type(drop, options) if csv and error.where == drop.name else ()
        if not lines:
            raise
        raise SourceRefused(error.sentence, mend=_typed(lines), where=error.where) from None


def _typed(lines: tuple[str, ...]) -> str:
    return "it looks like this; write it under the source: " + ", ".join(f"`{line}`" for line in lines)


_NOTHING = Dialect(delimiter="", quote="", encoding="", header=False, skip_lines=0)
