"""Files of old and new values beside mainstay.yaml, for `map_file`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import mapping, sequence, text

MOST_PAIRS = 10_000


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

    Raises ValueError with what is wrong in which line.
    """
    found: dict[str, str | None] = {}
    rows = csv.reader(io.StringIO(content.removeprefix("\ufeff")), strict=True)
    try:
        for row in rows:
            if not row:
                continue
            if len(row) != 2:
                raise ValueError(f"{len(row)} columns in line {rows.line_num}")
            if rows.line_num > 1 and row[0] in found:
                raise ValueError(f"{shown(row[0])} again in line {rows.line_num}")
            if rows.line_num > 1:
                found[row[0]] = row[1] or None
    except csv.Error as error:
        raise ValueError(f"{error} in line {rows.line_num}") from None
    if not found:
        raise ValueError("no pairs below the line of names")
    if len(found) > MOST_PAIRS:
        raise ValueError(f"{len(found):,} pairs, more than {MOST_PAIRS:,}")
    return found


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
