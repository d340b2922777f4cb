"""Files of old and new values beside mainstay.yaml, for `map_file`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from mainstay.core.counts import counted
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import mapping, sequence, text

MOST_PAIRS = 10_000
NOTES = ("confirmed_by", "confirmed_on")
"""Columns that `mainstay map` writes beside a pair."""


def named(tree: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where the tree names such a file, and which."""
    for dataset, said in mapping(tree.get("datasets")).items():
        for column, part in mapping(mapping(said).get("columns")).items():
            for index, step in enumerate(sequence(mapping(part).get("clean"))):
                if file := text(mapping(step).get("map_file")):
                    yield ("datasets", dataset, "columns", column, "clean", index, "map_file"), file


def path(file: str) -> str:
    """The path under which a named file's text is kept."""
    return os.path.normpath(file).replace(os.sep, "/")


def pairs(content: str) -> dict[str, str | None]:
    """Old value -> new one; an empty new one is null. The first line names the columns.

    Columns after the second are notes: where the first line names more than two, each line has as many. Raises
    ValueError with what is wrong in which line.
    """
    _, lines = _read(content)
    if not lines:
        raise ValueError("no pairs below the line of names")
    return {line[0]: line[1] or None for line in lines}


def with_pairs(content: str, new: Mapping[str, str], *, by: str, on: str) -> str:
    """The file's text with these pairs too, who confirmed them and when, in order of the old values.

    A pair that stands stays as it is. Raises ValueError as `pairs`; an empty `content` is a file that is begun.
    """
    names, lines = _read(content) if content.strip() else (["old", "new"], [])
    names += [each for each in NOTES if each not in names]
    places = [names.index(each) for each in NOTES]
    rows = {line[0]: [*line, *[""] * (len(names) - len(line))] for line in lines}
    for old, value in new.items():
        row = [old, value, *[""] * (len(names) - 2)]
        for place, note in zip(places, (by, on), strict=True):
            row[place] = note
        rows.setdefault(old, row)
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows[old] for old in sorted(rows, key=lambda old: (old.casefold(), old)))
    return made.getvalue()


def _read(content: str) -> tuple[list[str], list[list[str]]]:
    """The names of the first line, and the other lines."""
    found: dict[str, list[str]] = {}
    rows = csv.reader(io.StringIO(content.removeprefix("\ufeff")), strict=True)
    names: list[str] = []
    try:
        for row in rows:
            if not row:
                continue
            if not names:
                if len(row) < 2:
                    raise ValueError(f"{counted(len(row), 'column')} in line {rows.line_num}")
                names = row
                continue
            if len(row) != len(names):
                raise ValueError(f"{counted(len(row), 'column')} in line {rows.line_num}")
            if row[0] in found:
                raise ValueError(f"{shown(row[0])} again in line {rows.line_num}")
            found[row[0]] = row
    except csv.Error as error:
        raise ValueError(f"{error} in line {rows.line_num}") from None
    if len(found) > MOST_PAIRS:
        raise ValueError(f"{len(found):,} pairs, more than {MOST_PAIRS:,}")
    return names, list(found.values())


def cross_check_map_files(tree: dict[str, Any], files: Mapping[str, str], faults: Faults) -> None:
    """Each file that is named is there, and says what becomes of what."""
    for where, file in named(tree):
        if FilePath(file).is_absolute():
            wanted = "a path that starts at the folder of mainstay.yaml"
            faults.at(where, wanted, shown(file), "write it relative to the file")
        elif path(file) not in files:
            mend = close(file, [each for each in files if each.endswith(".csv")], otherwise="create the file")
            faults.at(where, "a CSV file of two columns", f"no readable file {file}", mend)
        else:
            try:
                pairs(files[path(file)])
            except ValueError as error:
                mend = "write a line of two names, then `old,new` in each line; an empty new value is null"
                faults.at(where, "a CSV file of two columns", f"{file}: {error}", mend)
