"""Pinned profiles beside mainstay.yaml, for `distribution`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from mainstay.spec import map_files
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import mapping, sequence, text

FORM = 1
"""Of the files that can be read."""


def named(tree: dict[str, Any]) -> Iterator[tuple[Path, str, str, str]]:
    """Where the tree names such a file, which one, of which dataset, and for which column."""
    for dataset, said in mapping(tree.get("datasets")).items():
        for index, entry in enumerate(sequence(mapping(said).get("checks"))):
            asked = mapping(mapping(entry).get("distribution"))
            if file := text(asked.get("profile")):
                where = ("datasets", dataset, "checks", index, "distribution")
                yield where, file, str(dataset), text(asked.get("column"))


def pinned(content: str, column: str) -> dict[str, Any]:
    """What the file says of one column."""
    found: dict[str, Any] = json.loads(content)["columns"][column]
    return found


def cross_check_profiles(tree: dict[str, Any], files: Mapping[str, str], faults: Faults) -> None:
    """Each profile that is named is there, can be read, and is one of this dataset with this column."""
    for where, file, dataset, column in named(tree):
        place, mend = (
            (*where, "profile"),
            f"type `mainstay profile {dataset} --pin`, which writes profiles/{dataset}.json",
        )
        if FilePath(file).is_absolute():
            wanted = "a path that starts at the folder of mainstay.yaml"
            faults.at(place, wanted, shown(file), "write it relative to the file")
            continue
        content = files.get(map_files.path(file))
        if content is None:
            faults.at(place, "a pinned profile", f"no readable file {file}", mend)
            continue
        tree_of_file = _read(content)
        form, of = tree_of_file.get("mainstay_profile"), tree_of_file.get("dataset")
        columns = mapping(tree_of_file.get("columns"))
        if form != FORM:
            came = f"{file}, which is none" if form is None else f"{file} of form {shown(form)}"
            faults.at(place, f"a pinned profile of form {FORM}", came, mend)
        elif of != dataset:
            faults.at(place, f"a profile of dataset {dataset}", f"{file} of {shown(of)}", mend)
        elif column and not _whole(columns.get(column)):
            faults.at((*where, "column"), f"a column of {file}", shown(column), close(column, columns, otherwise=mend))


def _read(content: str) -> dict[str, Any]:
    try:
        return mapping(json.loads(content))
    except ValueError:
        return {}


def _whole(entry: object) -> bool:
    said = mapping(entry)
    kept: Mapping[str, type | tuple[type, ...]] = {"contract": str, "empty": (int, float)}
    more: Mapping[str, type] = {"edges": list, "shares": list, "values": dict}
    if not all(isinstance(said.get(name), kind) for name, kind in kept.items()):
        return False
    if not all(isinstance(said[name], kind) for name, kind in more.items() if name in said):
        return False
    numbers = [*said.get("edges", []), *said.get("shares", []), *mapping(said.get("values")).values()]
    fits = len(said.get("shares", [])) == (len(said["edges"]) + 1 if said.get("edges") else 0)
    return fits and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in numbers)
