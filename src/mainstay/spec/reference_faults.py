"""What must fit together between a `references` check and the dataset that it names."""

from __future__ import annotations

from typing import Any

from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import mapping, sequence, text, type_of


def cross_check_references(datasets: dict[str, Any], faults: Faults) -> None:
    """The dataset is there, its key has the column's type, and no two datasets wait for each other."""
    parents: dict[str, set[str]] = {name: set() for name in datasets}
    for name, dataset in datasets.items():
        for index, check in enumerate(sequence(mapping(dataset).get("checks"))):
            said = mapping(mapping(check).get("references"))
            other = text(said.get("dataset"))
            where = ("datasets", name, "checks", index, "references")
            if other and other not in datasets:
                faults.at((*where, "dataset"), "a dataset of this file", shown(other), close(other, datasets))
            elif other:
                mine = type_of(mapping(mapping(dataset).get("columns")), text(said.get("column")))
                _same_type((*where, "column"), mine, other, mapping(datasets[other]), faults)
                _no_circle((*where, "dataset"), name, other, parents, faults)


def _same_type(where: Path, mine: str, other: str, parent: dict[str, Any], faults: Faults) -> None:
    key = text(parent.get("key"))
    theirs = type_of(mapping(parent.get("columns")), key)
    if mine and theirs and mine != theirs:
        wanted = f"a column of type {theirs}, as the key `{key}` of {other}"
        faults.at(where, wanted, f"one of type {mine}", "give both the same type")


def _no_circle(where: Path, name: str, other: str, parents: dict[str, set[str]], faults: Faults) -> None:
    if other == name:
        return
    above, seen = [other], {other}
    while above:
        for parent in parents.get(above.pop(), set()) - seen:
            seen.add(parent)
            above.append(parent)
    if name in seen:
        mend = "delete one of the checks: neither could be published before the other"
        faults.at(where, "a dataset that does not refer back", shown(other), mend)
    parents[name].add(other)
