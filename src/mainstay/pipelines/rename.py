"""A needed column is gone and a new one of its type is there: is it the same, renamed? Evidence, for a person.

Nothing is ever mapped for that reason: the sentence is proposed where the dataset blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Protocol

import msgspec

from mainstay.core.errors import MainstayError
from mainstay.core.nouns import ColumnType, Dataset
from mainstay.core.ports import SourceColumn, SourceKind, SourceRead, TableInfo
from mainstay.core.records import DatasetState
from mainstay.core.sql import identifier
from mainstay.pipelines import stage
from mainstay.pipelines.fit import Fit, declared, names_of, type_before
from mainstay.pipelines.stage import Shape, source_name
from mainstay.store.current import Current, schema_of

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 500
EQUAL = 0.9
"""The least share of equal values that a proposal needs."""
ALIKE = 0.5
"""How alike two names must be where no values can be compared."""


_TYPES: dict[SourceKind, ColumnType] = {
    "integer": "integer", "float": "number", "numeric": "number", "boolean": "boolean", "bytes": "bytes",
    "date": "date", "timestamp": "timestamp", "timestamptz": "timestamp",
}  # fmt: skip


class Sampler(Protocol):
    """Fills `stage` with at most `SAMPLE` rows of the table as this fit reads it; returns their shape."""

    def __call__(self, found: Fit, keys: tuple[str, ...], most: int) -> Shape: ...


def candidates(dataset: Dataset, info: TableInfo, state: DatasetState, found: Fit) -> dict[str, SourceColumn]:
    """Raw name of a missing column -> the one new column of its type, where there is exactly one for one."""
    known = {name for name, _ in state.source_schema}
    taken = set(found.read.values())
    new = [one for one in info.columns if known and one.name not in known | taken and not one.refused]
    types = {raw: type_before(dataset, raw, state) for raw in found.missing}
    pairs = {}
    for raw, native in types.items():
        fitting = [one for one in new if one.native == native]
        if len(fitting) == 1 and list(types.values()).count(native) == 1:
            pairs[raw] = fitting[0]
    return pairs


def propose(
    current: Current, dataset: Dataset, info: TableInfo, state: DatasetState, found: Fit, *, sampler: Sampler
) -> tuple[str, str]:
    """(what is added to the sentence of the block, the mend): empty texts when nothing is to be proposed."""
    pairs = candidates(dataset, info, state, found)
    if not pairs:
        return "", ""
    counted = _counted(current, dataset, found, pairs, sampler) if len(pairs) == len(found.missing) else {}
    said, mends = [], []
    for raw, new in pairs.items():
        old = next((name for name in names_of(dataset, raw) if name in dict(state.source_schema)), raw)
        equal, total = counted.get(raw, (0, 0))
        alike = SequenceMatcher(None, old.casefold(), new.name.casefold()).ratio()
        if (equal < EQUAL * total) if total else (alike < ALIKE):
            continue
        evidence = f"{equal / total:.0%} of {total:,} values equal" if total else f"of the same type, {new.native}"
        said.append(f"{old} is gone and {new.name} has come, {evidence}")
        mends.append(_mend(dataset, raw, new))
    if not said:
        return "", ""
    return "; ".join(said), f"{'; '.join(mends)}; then run `mainstay apply`. It is never done by itself"


def _mend(dataset: Dataset, raw: str, new: SourceColumn) -> str:
    column = declared(dataset, raw)
    if column is None:
        line = f"{raw}: {{type: {_TYPES.get(new.kind, 'string')}, source_name: [{raw}, {new.name}]}}"
        return f"write `{line}` last under datasets.{dataset.name}.columns"
    names = ", ".join([*column.names, new.name])
    return f"write `source_name: [{names}]` at datasets.{dataset.name}.columns.{column.name}"


def _counted(
    current: Current, dataset: Dataset, found: Fit, pairs: dict[str, SourceColumn], sampler: Sampler
) -> dict[str, tuple[int, int]]:
    """Raw name -> (equal values, values compared) of a sample against current; what cannot be compared is left out."""
    rows = f"{schema_of(dataset.name)}.rows"
    keys = tuple(
        str(key) for (key,) in current.sql(f"SELECT _k FROM {rows} WHERE NOT _deleted ORDER BY hash(_k) LIMIT {SAMPLE}")
    )
    if not keys:
        return {}
    tried = msgspec.structs.replace(
        found,
        kinds={**found.kinds, **{raw: new.kind for raw, new in pairs.items()}},
        read={**found.read, **{raw: new.name for raw, new in pairs.items()}},
        missing=(),
    )
    try:
        form = sampler(tried, keys, SAMPLE)
    except MainstayError:  # evidence is a help, not a need: without it the names speak
        return {}
    counted = {}
    for raw in pairs:
        column = declared(dataset, raw)
        if raw in {source_name(dataset, name) for name in dataset.key_names}:
            equal = current.one(f"SELECT count(DISTINCT s._k) FROM stage s JOIN {rows} r ON r._k = s._k")[0]
            counted[raw] = (int(equal), int(current.one("SELECT count(DISTINCT _k) FROM stage")[0]))
        elif column is not None:
            name = identifier(column.name)
            equal, total = current.one(
                f"SELECT count(*) FILTER (n.{name} IS NOT DISTINCT FROM r.{name}), count(*) "
                f"FROM ({form.cleaning.select('stage', keep=('_k',), bad=False)}) n JOIN {rows} r ON r._k = n._k "
                f"WHERE NOT r._deleted AND (n.{name} IS NOT NULL OR r.{name} IS NOT NULL)"
            )
            counted[raw] = (int(equal), int(total))
        elif raw == form.raw_cursor:
            same = f"CAST(s.{identifier(raw)} AS VARCHAR) IS NOT DISTINCT FROM r._cursor"
            equal, total = current.one(
                f"SELECT count(*) FILTER ({same}), count(*) "
                f"FROM stage s JOIN {rows} r ON r._k = s._k WHERE NOT r._deleted"
            )
            counted[raw] = (int(equal), int(total))
    stage.clear(current, "stage")
    return counted


class FirstRows:
    """A read that ends after a number of rows."""

    def __init__(self, read: SourceRead, most: int) -> None:
        self.began_source_us = read.began_source_us
        self.schema: pa.Schema = read.schema
        self.complete = False
        self._read = read
        self._most = most

    def batches(self) -> Iterator[pa.RecordBatch]:
        left = self._most
        for batch in self._read.batches():
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    def cursor(self) -> str | None:
        return None
