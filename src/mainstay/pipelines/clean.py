"""Cleaning as DuckDB SQL: the raw value of a column, step by step, to a value of the declared type or NULL.

Pure: facts in, SQL text out. Every rule is written down in docs/cleaning.md; the expressions here are that page.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.ids import digest_text
from mainstay.core.nouns import Column, Dataset
from mainstay.core.ports import SourceKind
from mainstay.pipelines.clean_steps import STEPS, Raw, Value, raw_value
from mainstay.pipelines.clean_types import TYPES
from mainstay.quality import sql

_RULES = "1"
"""Raised when an expression below changes meaning, so that the digest of the cleaning changes with it."""


class CleanColumn(msgspec.Struct, frozen=True):
    """One column of the cleaned relation, as two expressions over the raw relation."""

    name: str
    """The dataset's name of the column."""
    value_sql: str
    """The cleaned value in the declared type's DuckDB type, or NULL."""
    bad_sql: str
    """Boolean, never NULL: there was a value, and it could not be read as declared."""


class CleaningSql(msgspec.Struct, frozen=True):
    """The cleaning of one dataset."""

    columns: tuple[CleanColumn, ...]
    digest: str
    """Over steps, types, source kinds and time zone: equal digests clean equal rows to equal rows."""


def cleaning(dataset: Dataset, kinds: Mapping[str, SourceKind], timezone: str | None) -> CleaningSql:
    """The cleaning of every column of `dataset`, in its order.

    Args:
        dataset: The dataset contract.
        kinds: Source name of a column -> what its raw values mean. The raw relation has columns of these names,
            typed as `SourceKind` says (int64, double, bool, text, blob).
        timezone: The zone of timestamps that do not carry one; None when the source declares none.

    Raises:
        Refused: a column is not in the source, or no value of it could ever be read as declared; the mend says what
            to write in the file.
    """
    columns = tuple(_column(dataset, column, kinds, timezone) for column in dataset.columns)
    declared = [
        msgspec.json.encode((column.name, column.source_name, kinds[column.source_name], column.type, column.clean))
        for column in dataset.columns
    ]
    digest = digest_text(_RULES, timezone or "", *(part.decode() for part in declared))
    return CleaningSql(columns, digest)


def _column(dataset: Dataset, column: Column, kinds: Mapping[str, SourceKind], timezone: str | None) -> CleanColumn:
    where = f"dataset {dataset.name}, column {column.name}"
    kind = kinds.get(column.source_name)
    if kind is None:
        raise Refused(
            f"{dataset.table} has no column {column.source_name}",
            mend="correct its name, or remove the column from `columns:`",
            where=where,
        )
    raw = Raw(kind=kind, type=column.type, timezone=timezone, where=where)
    value = raw_value(sql.name(column.source_name), kind)
    lost: list[str] = []
    for step in column.clean:
        after = STEPS[step.kind](value, step.args, raw) if step.kind in STEPS else _unknown(step.kind, where)
        if after.may_lose:
            lost.append(_lost(value, after))
        value = after
    final = TYPES[column.type](value, raw)
    if final.may_lose:
        lost.append(_lost(value, final))
    return CleanColumn(column.name, final.sql, sql.any_of(lost))


def _unknown(kind: str, where: str) -> Value:
    raise Refused(f"there is no cleaning step called {kind}", mend=f"use one of {', '.join(STEPS)}", where=where)


def _lost(before: Value, after: Value) -> str:
    return f"({before.sql} IS NOT NULL AND {after.sql} IS NULL)"
