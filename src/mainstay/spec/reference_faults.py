"""What must fit together between a `references` check and the dataset that it names."""

from __future__ import annotations

from typing import Any

from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import key_of, mapping, sequence, text, type_of


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
                column, columns = said.get("column"), mapping(mapping(dataset).get("columns"))
                names = [text(one) for one in (column if isinstance(column, list) else [column])]
                for place, one in enumerate(names) if isinstance(column, list) else ():
                    if one and columns and one not in columns:
                        at = (*where, "column", place)
                        faults.at(at, "a column of this dataset", shown(one), close(one, columns))
                mine = [(name, type_of(columns, name)) for name in names if name]
                _same_types((*where, "column"), mine, other, mapping(datasets[other]), faults)
                _no_circle((*where, "dataset"), name, other, parents, faults)


def _same_types(where: Path, mine: list[tuple[str, str]], other: str, parent: dict[str, Any], faults: Faults) -> None:
    keys = key_of(parent)
    if mine and keys and len(mine) != len(keys):
        mend = f"write {keys[0]}, say" if len(keys) == 1 else f"write a list in the order of [{', '.join(keys)}]"
        wanted = f"a column for each of {', '.join(f'`{key}`' for key in keys)}, the key of {other}"
        faults.at(where, wanted, f"{len(mine)}", mend)
        return
    for (name, kind), key in zip(mine, keys, strict=False):
        theirs = type_of(mapping(parent.get("columns")), key)
        if kind and theirs and kind != theirs:
            wanted = f"a column of type {theirs}, as the key `{key}` of {other}"
            came = f"one of type {kind}" if len(keys) == 1 else f"{name}, of type {kind}"
            faults.at(where, wanted, came, "give both the same type")


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
