"""What must fit together about keys: their columns are there, have a type that names rows, are mapped one by one."""

from __future__ import annotations

from typing import Any

from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.plain import key_of, mapping, text, type_of

NAMING_TYPES = ("string", "integer", "boolean", "date", "timestamp")
"""Types whose equal values have one text: what can be a column of a key of several. A `number` is no key at all."""

_ALL = "all"


def cross_check_key(path: Path, dataset: dict[str, Any], columns: dict[str, Any], faults: Faults) -> None:
    """Every column of a dataset's key is one of its columns, of a type that names a row."""
    names = key_of(dataset)
    for place, name in enumerate(names):
        where = (*path, "key", place) if isinstance(dataset.get("key"), list) else (*path, "key")
        if columns and name not in columns:
            mend = close(name, columns, otherwise=f"add `{name}: {{type: string, required: true}}` to columns")
            faults.at(where, "a column of this dataset", shown(name), mend)
        kind = type_of(columns, name)
        if kind and kind not in NAMING_TYPES and (len(names) > 1 or kind == "number"):
            mend = "declare it as string, or as integer where it has no fraction"
            faults.at(where, f"a column of type {', '.join(NAMING_TYPES)}", f"{name}, of type {kind}", mend)


def cross_check_mapping(path: Path, feature: dict[str, Any], faults: Faults) -> None:
    """`from:` says for each column of the key what it is in a dataset's row."""
    names = key_of(feature)
    for name, said in mapping(feature.get("from")).items():
        count = len(said) if isinstance(said, list) else 1
        if not names or text(said) == _ALL or count == len(names):
            continue
        wanted = "a column or an expression" if len(names) == 1 else f"a list of {len(names)}, one for each key column"
        came = f"{count} of them" if isinstance(said, list) else shown(said)
        faults.at((*path, "from", name), f"{wanted}, or `all`", came, f"write {_example(names)}")


def _example(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"
