"""What a changed table means for a dataset in state and journal: it blocks and lifts, drifts are told once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from mainstay.core.errors import MainstayError, SourceRefused
from mainstay.core.nouns import Dataset
from mainstay.core.parts import Parts
from mainstay.core.ports import SourceRead, TableInfo
from mainstay.core.records import DatasetState, Drifted
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.fit import Fit, drift, may_be_null, names_of, not_null

if TYPE_CHECKING:
    import pyarrow as pa


class RawRead:
    """A source's read with its columns under their raw names."""

    def __init__(self, read: SourceRead, names: dict[str, str]) -> None:
        """`names`: the table's column -> raw name."""
        import pyarrow as pa

        self.began_source_us = read.began_source_us
        self.complete = read.complete
        self.schema: pa.Schema = pa.schema(
            [field.with_name(names.get(field.name, field.name)) for field in read.schema]
        )
        self._read = read

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in self._read.batches():
            yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def cursor(self) -> str | None:
        return self._read.cursor()


def asked(dataset: Dataset, found: Fit, raw: tuple[str, ...]) -> dict[str, object]:
    """The columns that a read asks for, by the table's names, as fields of a ReadRequest."""
    names = {name: names_of(dataset, name) for name in raw}
    parts = Parts(
        names={found.read.get(name, each[0]): each for name, each in names.items() if len(each) > 1},
        optional=tuple(found.read[name] for name in raw if name in found.read and may_be_null(dataset, name)),
        absent={names[name][0]: found.kinds[name] for name in found.lost},
    )
    return {"columns": tuple(found.read[name] for name in raw if name in found.read), "parts": parts}


def raw_read(read: SourceRead, dataset: Dataset, found: Fit) -> SourceRead:
    """The read as it lands: under raw names, whatever the table calls its columns today."""
    names = {name: raw for raw, name in found.read.items()}
    names.update({names_of(dataset, raw)[0]: raw for raw in found.lost})
    return RawRead(read, names) if any(name != raw for name, raw in names.items()) else read


def block(
    desk: Desk, dataset: Dataset, state: DatasetState, error: MainstayError, proposal: tuple[str, str]
) -> MainstayError:
    """Blocks the dataset, once, and says why; the error to be raised.

    Args:
        desk: The integration's stores.
        dataset: Which dataset.
        state: Its state.
        error: What does not fit.
        proposal: What to add to its sentence, and the mend in its place; empty texts when there is none.
    """
    more, mend = proposal
    told = SourceRefused(f"{error.sentence}; {more}", mend=mend, where=error.where) if more else error
    desk.tell("dataset.blocked", {"dataset": dataset.name, "why": told.sentence})
    blocked = msgspec.structs.replace(state, blocked=told.sentence, misfit=error.sentence, blocked_mend=mend)
    desk.datasets.put(dataset.name, blocked, token=desk.token)
    return told


def note(desk: Desk, dataset: Dataset, state: DatasetState, info: TableInfo, found: Fit) -> None:
    """Keeps in state what the table is now, and tells what drifted since the last read: each drift once.

    A column that is back after it was read as NULL has the whole table read again.
    """
    before = {(one.change, one.column, one.sentence) for one in state.drift}
    seen = drift(dataset, info, state, found, desk.clock.now_us())
    new = [one for one in seen if (one.change, one.column, one.sentence) not in before]
    back = [one for one in state.drift if one.change == "lost" and one.column not in {x.column for x in _lost(seen)}]
    there = {column.name for column in info.columns}
    taken = set(found.read.values())
    kept = [
        one
        for one in state.drift
        if one not in back and (one.change == "lost" or (one.column in there and (one.change != "added" or
                                                                                 one.column not in taken)))
    ]  # fmt: skip
    fresh = msgspec.structs.replace(state, kinds=dict(found.kinds), not_null=not_null(info, found), drift=(*kept, *new))
    if back:
        fresh = msgspec.structs.replace(fresh, read_all=True)
    if fresh != state:
        desk.datasets.put(dataset.name, fresh, token=desk.token)
    _tell(desk, dataset, new, back)


def _lost(drifted: tuple[Drifted, ...]) -> list[Drifted]:
    return [one for one in drifted if one.change == "lost"]


def _tell(desk: Desk, dataset: Dataset, new: list[Drifted], back: list[Drifted]) -> None:
    added = [one.column for one in new if one.change == "added"]
    if added:
        desk.tell("dataset.columns_added", {"dataset": dataset.name, "columns": added})
    for one in new:
        if one.change != "added":
            body = {"dataset": dataset.name, "change": one.change, "column": one.column, "why": one.sentence}
            desk.tell("dataset.schema_drift", body)
    for one in back:
        why = f"column {one.column} is back; the whole table is read again"
        body = {"dataset": dataset.name, "change": "back", "column": one.column, "why": why}
        desk.tell("dataset.schema_drift", body)
