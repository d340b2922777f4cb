"""How a source's table fits a dataset: which of its columns is read as which, and what changed since the last read.

Pure. A column of the dataset has one raw name, under which it lands for good, and one or several names in the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mainstay.core.errors import SourceRefused
from mainstay.core.nouns import Column, Dataset
from mainstay.core.ports import SourceColumn, SourceKind, TableInfo
from mainstay.core.records import DatasetState, Drifted
from mainstay.core.verdicts import Verdict
from mainstay.pipelines.stage import raw_columns, source_name
from mainstay.sources.widths import wider

if TYPE_CHECKING:
    import pyarrow as pa

LET_BE = "`mainstay apply` says that it is known"


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """A table against a dataset."""

    kinds: dict[str, SourceKind] = {}
    """Raw name -> what its values mean."""
    read: dict[str, str] = {}
    """Raw name -> the table's column that is read."""
    lost: tuple[str, ...] = ()
    """Raw names of columns that are gone and read as NULL."""
    missing: tuple[str, ...] = ()
    """Raw names of columns that are gone and needed."""
    refused: tuple[SourceColumn, ...] = ()
    retyped: tuple[tuple[str, str, str], ...] = ()
    """(the table's column, type before, type now): they block."""
    widened: tuple[tuple[str, str, str], ...] = ()
    """The same, of those that are read on."""


def names_of(dataset: Dataset, raw: str) -> tuple[str, ...]:
    """What a raw column may be called in the source, in the order of preference."""
    column = declared(dataset, raw)
    return (raw,) if column is None else column.names


def declared(dataset: Dataset, raw: str) -> Column | None:
    """The dataset's column that lands under this name; None for one that is only read beside the contract."""
    return next((column for column in dataset.columns if column.source_name == raw), None)


def found_in(dataset: Dataset, columns: dict[str, SourceColumn]) -> dict[str, SourceColumn]:
    """Raw name -> the table's column that it is read from; what is gone is not in it."""
    found = {}
    for raw in raw_columns(dataset):
        name = next((name for name in names_of(dataset, raw) if name in columns), None)
        if name is not None:
            found[raw] = columns[name]
    return found


def fit(dataset: Dataset, info: TableInfo, state: DatasetState) -> Fit:
    """The table against the dataset, and against what it was at the last read (`state`)."""
    found = found_in(dataset, {column.name: column for column in info.columns})
    kinds: dict[str, SourceKind] = {}
    read: dict[str, str] = {}
    lost: list[str] = []
    missing: list[str] = []
    refused: list[SourceColumn] = []
    retyped: list[tuple[str, str, str]] = []
    widened: list[tuple[str, str, str]] = []
    for raw in raw_columns(dataset):
        column = found.get(raw)
        if column is None:
            may = may_be_null(dataset, raw) and _seen(dataset, raw, state)
            (lost if may else missing).append(raw)
            if may:
                kinds[raw] = state.kinds.get(raw, "text")
        elif column.refused:
            refused.append(column)
        else:
            kinds[raw], read[raw] = column.kind, column.name
            before = type_before(dataset, raw, state)
            if before and before != column.native:
                accepted = _accepted(dataset, raw, before, column, state)
                (widened if accepted else retyped).append((column.name, before, column.native))
    return Fit(
        kinds=kinds,
        read=read,
        lost=tuple(lost),
        missing=tuple(missing),
        refused=tuple(refused),
        retyped=tuple(retyped),
        widened=tuple(widened),
    )


def type_before(dataset: Dataset, raw: str, state: DatasetState) -> str:
    """The type that the column had at the last read, under whichever name; empty when that is not known."""
    known = dict(state.source_schema)
    return next((known[name] for name in names_of(dataset, raw) if name in known), "")


def _seen(dataset: Dataset, raw: str, state: DatasetState) -> bool:
    known = {name for name, _ in state.source_schema}
    return raw in state.kinds or any(name in known for name in names_of(dataset, raw))


def may_be_null(dataset: Dataset, raw: str) -> bool:
    """Whether the column is read as NULL where it is lost: the file says so, and no row depends on it."""
    column = declared(dataset, raw)
    if dataset.schema_drift.lost != "as_null" or column is None or raw in _bearing(dataset):
        return False
    asked = any(check.kind == "required" and check.column == column.name for check in dataset.checks)
    return not column.required and not asked


def _bearing(dataset: Dataset) -> set[str]:
    """Raw names without which a row has no key, no place in time, or no order."""
    names = [*dataset.key_names, dataset.event_time, dataset.duplicates.by, dataset.deletes.column]
    names.append(dataset.cursor.column if dataset.cursor is not None else None)
    return {source_name(dataset, name) for name in names if name}


def _accepted(dataset: Dataset, raw: str, before: str, column: SourceColumn, state: DatasetState) -> bool:
    """A key or cursor must go on being the same kind of value: its text is what rows are known and ordered by."""
    same = state.kinds.get(raw, column.kind) == column.kind
    return dataset.schema_drift.widened == "accept" and wider(before, column.native) and (
        same or raw not in _bearing(dataset)
    )  # fmt: skip


def complaint(dataset: Dataset, found: Fit) -> SourceRefused | None:
    """Why nothing can be landed, with all that is wrong; None when the table fits."""
    where = f"dataset {dataset.name}"
    if found.missing:
        gone = "; ".join(
            f"column {' or '.join(names_of(dataset, raw))} of {dataset.table} is gone; {dependents(dataset, raw)}"
            for raw in found.missing
        )
        name = names_of(dataset, found.missing[0])[-1]
        mend = f"bring {name} back in the source, or take it out of the file and run `mainstay apply`"
        return SourceRefused(gone, where=where, mend=mend)
    if found.refused:
        column = found.refused[0]
        return SourceRefused(
            f"column {column.name} of {dataset.table} ({column.native}) cannot be read: {column.refused}",
            where=where,
            mend="leave the column out of `columns:`, or read it through a view that casts it to text",
        )
    if found.retyped:
        return SourceRefused(
            "; ".join(f"column {name} was {before} and is {after}" for name, before, after in found.retyped),
            where=where,
            mend="bring the type back, or run `mainstay apply` to accept it",
        )
    return None


def dependents(dataset: Dataset, raw: str) -> str:
    """What needs the column, for a person."""
    uses = [f"column {column.name}" for column in dataset.columns if column.source_name == raw]
    if raw in {source_name(dataset, name) for name in dataset.key_names}:
        uses.append("the key")
    if dataset.cursor is not None and raw == source_name(dataset, dataset.cursor.column):
        uses.append("the cursor")
    if dataset.deletes.column and raw == source_name(dataset, dataset.deletes.column):
        uses.append("deletes")
    checks = [check.name for check in dataset.checks if check.column and source_name(dataset, check.column) == raw]
    asked = f" and by checks {', '.join(checks)}" if checks else ""
    return f"needed by {', '.join(uses)}{asked}"


def drift(dataset: Dataset, info: TableInfo, state: DatasetState, found: Fit, now_us: int) -> tuple[Drifted, ...]:
    """What changed in the table since the last read and does not block, as `schema_drift` says it is told."""
    known = dict(state.source_schema)
    there = {column.name: column for column in info.columns}
    said = dataset.schema_drift
    told = []

    def tell(change: str, column: str, sentence: str, mend: str = "", verdict: Verdict = Verdict.PASS) -> None:
        row = {"change": change, "column": column, "sentence": sentence, "mend": mend, "verdict": verdict}
        told.append(msgspec.convert({**row, "at_us": now_us}, Drifted))

    taken = set(found.read.values())
    for column in info.columns if known and said.added == "warn" else ():
        if column.name not in known and column.name not in taken:
            mend = f"read it: add it under `columns:`; or let it be: {LET_BE}"
            tell("added", column.name, f"the table has a new column {column.name} ({column.native}), which is not read",
                 mend, Verdict.WARN)  # fmt: skip
    for name, before, after in found.widened:
        tell("widened", name, f"column {name} was {before} and is {after}, which holds all of it")
    for raw, name in found.read.items():
        last = next((one for one in names_of(dataset, raw) if one in known), name)
        if last != name:
            tell("renamed", name, f"column {_shown(dataset, raw)} is read from {name}: {last} is gone")
        if said.nullable == "warn" and last in state.not_null and there[name].nullable and _required(dataset, raw):
            mend = f"rows without it go where the check says; ask why, or let it be: {LET_BE}"
            tell("nullable", name, f"column {name} is required, and may be NULL in the table from now on", mend,
                 Verdict.WARN)  # fmt: skip
    for raw in found.lost:
        gone = " or ".join(names_of(dataset, raw))
        mend = f"bring {gone} back, name its new name under `source_name`, or take the column out of the file"
        tell("lost", _shown(dataset, raw), f"column {gone} is gone and read as NULL", mend, Verdict.WARN)
    return tuple(told)


def _shown(dataset: Dataset, raw: str) -> str:
    column = declared(dataset, raw)
    return raw if column is None else column.name


def _required(dataset: Dataset, raw: str) -> bool:
    column = declared(dataset, raw)
    return column is not None and column.required


def not_null(info: TableInfo, found: Fit) -> tuple[str, ...]:
    """The columns read that the table never lets be NULL."""
    read = set(found.read.values())
    return tuple(column.name for column in info.columns if column.name in read and not column.nullable)


def known_names(state: DatasetState) -> tuple[tuple[str, str], ...]:
    """The schema of the last read with every type accepted as it may be now; the names stay known."""
    return tuple((name, "") for name, _ in state.source_schema)


def kinds_of_landed(dataset: Dataset, schema: pa.Schema) -> dict[str, SourceKind]:
    """Raw column -> kind, as a landed file says it; what the contract gained since is NULL in there, and text."""
    kinds: dict[str, SourceKind] = {}
    for field in schema:
        if field.name not in ("_ord", "_op", "_k"):
            kinds[field.name] = msgspec.convert((field.metadata or {}).get(b"kind", b"text").decode(), SourceKind)
    for name in raw_columns(dataset):
        kinds.setdefault(name, "text")
    return kinds


def lost_of_landed(schema: pa.Schema) -> tuple[str, ...]:
    """Raw columns that were gone from the source when the file landed, and are NULL in it for that."""
    return tuple(field.name for field in schema if (field.metadata or {}).get(b"lost"))
