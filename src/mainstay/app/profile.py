"""What stands in a dataset, beside what its contract says of it, and the checks that it could have. Reads current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mainstay.app import profile_pin
from mainstay.app.new.columns import ENOUGH, personal, propose
from mainstay.core.errors import NotFound
from mainstay.core.nouns import Check, Column, ColumnType, Dataset
from mainstay.core.ports import SourceColumn, SourceKind
from mainstay.core.sql import DUCKDB_TYPES
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.stage import clear
from mainstay.quality.profile import ColumnProfile, profile
from mainstay.quality.said import said
from mainstay.store.current import schema_of

SAMPLE_ROWS = 100_000
"""Rows looked at; of more, so many by chance, the same ones each time."""
SETTLED = 1_000
"""Rows without one empty value from which `required` is proposed."""

_KINDS: dict[ColumnType, SourceKind] = {
    "string": "text", "integer": "integer", "number": "float", "boolean": "boolean", "date": "date",
    "timestamp": "timestamptz", "json": "json", "bytes": "bytes",
}  # fmt: skip


class ColumnBeside(msgspec.Struct, frozen=True, kw_only=True):
    """One column: what stands in it, what was promised of it, and what could be."""

    name: str
    type: ColumnType
    seen: ColumnProfile
    """Of a column marked `pii` without values."""
    contract: tuple[str, ...]
    """Its checks, as they are called: `required`, `min 0`, ..."""
    proposed: tuple[str, ...]
    """Settings that the rows would bear, as they are written in the file."""


class DatasetProfile(msgspec.Struct, frozen=True, kw_only=True):
    dataset: str
    rows: int
    """Rows in current."""
    looked_at: int
    columns: tuple[ColumnBeside, ...]
    checks: tuple[str, ...] = ()
    """Entries of `checks:` that the rows would bear."""
    pinned: str = ""
    """With `pin`: the text of the profile to be kept beside mainstay.yaml."""


def profile_dataset(desk: Desk, name: str, *, pin: bool = False) -> DatasetProfile:
    """The profile of a dataset's rows as they stand in current, cleaned. Raises NotFound for an unknown dataset."""
    dataset = desk.integration.datasets.get(name)
    if dataset is None:
        known = ", ".join(desk.integration.datasets)
        raise NotFound(f"there is no dataset {name}", mend=f"one of {known}")
    desk.current.ensure(dataset)
    table = f"(SELECT * FROM {schema_of(name)}.rows WHERE NOT _deleted)"
    rows = int(desk.current.one(f"SELECT count(*) FROM {table}")[0])
    columns = [(column.name, DUCKDB_TYPES[column.type]) for column in dataset.columns]
    if rows > SAMPLE_ROWS:  # drawn once: drawing it for each column reads a large table as often as it has columns
        sample = f"SELECT * FROM {table} USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (1)"
        desk.current.sql(f"CREATE OR REPLACE TEMP TABLE profiled AS {sample}")
        seen = profile(desk.current.sql, "profiled", columns)
        clear(desk.current, "profiled")
    else:
        seen = profile(desk.current.sql, table, columns)
    says = profile_pin.distances(desk, dataset, table)
    beside = (_beside(dataset, column, found, says) for column, found in zip(dataset.columns, seen, strict=True))
    told = {column.name: (_source(column), found) for column, found in zip(dataset.columns, seen, strict=True)}
    return DatasetProfile(
        dataset=name,
        rows=rows,
        looked_at=min(rows, SAMPLE_ROWS),
        columns=tuple(beside),
        checks=tuple(profile_pin.proposed(desk, dataset, table, Path(desk.integration.folder))),
        pinned=profile_pin.make(desk, dataset, table, told) if pin else "",
    )


def _source(column: Column) -> SourceColumn:
    return SourceColumn(name=column.name, native=column.type, kind=_KINDS[column.type])


def _beside(dataset: Dataset, column: Column, seen: ColumnProfile, says: dict[str, str]) -> ColumnBeside:
    checks = [check for check in dataset.checks if check.column == column.name and check.kind != "type"]
    return ColumnBeside(
        name=column.name,
        type=column.type,
        seen=masked(seen) if column.pii else seen,
        contract=tuple(says.get(check.name) or _shown(check) for check in checks),
        proposed=tuple(_proposed(dataset, column, seen, {check.kind for check in checks})),
    )


def masked(seen: ColumnProfile) -> ColumnProfile:
    """The counts of a personal column, without its values."""
    return msgspec.structs.replace(seen, low=None, high=None, common=())


def _shown(check: Check) -> str:
    return f"{check.kind} {said(check)}".strip() + ("" if check.on_fail == "quarantine" else f" ({check.on_fail})")


def _proposed(dataset: Dataset, column: Column, seen: ColumnProfile, has: set[str]) -> Iterator[str]:
    """What a careful person would add, for what is not checked yet."""
    if seen.rows < ENOUGH:
        return
    source = _source(column)
    if not column.pii and personal(source, seen):
        yield "pii: true"
    if column.name in dataset.key_names:
        return
    if "required" not in has and seen.rows >= SETTLED and seen.present == seen.rows:
        yield "required: true"
    settings: dict[str, Any] = dict(propose(source, seen, name=column.name).settings)
    for name in ("min", "max"):
        if name in settings and name not in has:
            yield f"{name}: {settings[name]}"
    if "values" in settings and not has & {"values", "pattern"} and not column.pii:
        yield f"values: [{', '.join(settings['values'])}], on_fail: warn"
    if column.type == "string" and seen.present == seen.distinct == seen.rows and "unique" not in has:
        yield "unique: true"
