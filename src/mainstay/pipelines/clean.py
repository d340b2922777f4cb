"""Cleaning as DuckDB SQL: the raw value of a column, step by step, to a value of the declared type or NULL.

Pure: facts in, SQL text out. Every rule is written down in docs/cleaning.md; the expressions here are that page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.ids import digest_text
from mainstay.core.nouns import Column, Dataset
from mainstay.core.ports import SourceKind
from mainstay.core.sql import DUCKDB_TYPES
from mainstay.pipelines.clean_forms import FUNCTIONS, knows
from mainstay.pipelines.clean_steps import STEPS, Raw, Value, raw_value
from mainstay.pipelines.clean_types import TYPES
from mainstay.quality import sql
from mainstay.quality.conditions import literals_for

_RULES = "1"
"""Raised when an expression below changes meaning, so that the digest of the cleaning changes with it."""


class Part(msgspec.Struct, frozen=True):
    """An expression that has a name, because others use it more than once."""

    name: str
    """Quoted."""
    sql: str
    depth: int
    """1 over the raw relation, else one more than the deepest part that it uses."""


class CleanColumn(msgspec.Struct, frozen=True):
    """One column of the cleaned relation, as two expressions over the raw relation."""

    name: str
    """The dataset's name of the column."""
    value_sql: str
    """The cleaned value in the declared type's DuckDB type, or NULL."""
    bad_sql: str
    """Boolean, never NULL: there was a value, and it could not be read as declared."""
    parts: tuple[Part, ...] = ()
    value: str = ""
    """`value_sql` in terms of the parts."""
    bad: str = ""
    filled_sql: str = "FALSE"
    """Boolean, never NULL: the value was absent, and the column's `fill` stands in for it."""
    filled: str = ""
    """The same in terms of the parts; empty when the column has no `fill`."""


class CleaningSql(msgspec.Struct, frozen=True):
    """The cleaning of one dataset."""

    columns: tuple[CleanColumn, ...]
    digest: str
    """Over steps, types, source kinds and time zone: equal digests clean equal rows to equal rows."""
    functions: tuple[str, ...] = ()
    """Names in `clean_forms.FUNCTIONS` of what the SQL calls; to be defined before it runs."""

    def select(self, relation: str, *, keep: Sequence[str] = (), bad: bool = True) -> str:
        """A query that cleans the whole relation, every part evaluated once: several times faster than `value_sql`.

        Args:
            relation: Name or bracketed query of the raw relation.
            keep: Expressions over the raw relation that come first, e.g. `_ord` or `1 AS one`.
            bad: Whether each column `c` is followed by its booleans: `c__bad`, and `c__filled` where it has a `fill`.
        """
        parts = [part for column in self.columns for part in column.parts]
        source = relation
        for depth in range(1, 1 + max((part.depth for part in parts), default=0)):
            layer = ", ".join(f"{part.sql} AS {part.name}" for part in parts if part.depth == depth)
            source = f"(SELECT *, {layer} FROM {source})"
        cleaned = [
            f"{expression} AS {sql.name(column.name + suffix)}"
            for column in self.columns
            for expression, suffix in ((column.value, ""), (column.bad, "__bad"), (column.filled, "__filled"))
            if expression and (bad or not suffix)
        ]
        return f"SELECT {', '.join([*keep, *cleaned])} FROM {source}"


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
    columns = tuple(
        _column(dataset, column, kinds, timezone, prefix=f"__part_{number}_")
        for number, column in enumerate(dataset.columns)
    )
    called = tuple(
        name
        for name, function in FUNCTIONS.items()
        if any(f"{function.name}(" in column.value_sql for column in columns)
    )
    known = [knows(FUNCTIONS[name], f"dataset {dataset.name}") for name in called]
    declared = [msgspec.json.encode(_declared(column, kinds)).decode() for column in dataset.columns]
    digest = digest_text(_RULES, timezone or "", *declared, *known)
    return CleaningSql(columns, digest, called)


def _declared(column: Column, kinds: Mapping[str, SourceKind]) -> tuple[object, ...]:
    said = (column.name, column.source_name, kinds[column.source_name], column.type, column.clean)
    return said if column.fill is None else (*said, column.fill)


def _column(
    dataset: Dataset, column: Column, kinds: Mapping[str, SourceKind], timezone: str | None, *, prefix: str
) -> CleanColumn:
    where = f"dataset {dataset.name}, column {column.name}"
    kind = kinds.get(column.source_name)
    if kind is None:
        raise Refused(
            f"{dataset.table} has no column {column.source_name}",
            mend="correct its name, or remove the column from `columns:`",
            where=where,
        )
    parts: dict[str, str] = {}

    def let(expression: str) -> str:
        if expression in parts:
            return expression
        name = sql.name(f"{prefix}{len(parts)}")
        parts[name] = expression
        return name

    raw = Raw(kind=kind, type=column.type, timezone=timezone, where=where, let=let)
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
    bad, value_sql, filled = sql.any_of(lost), final.sql, ""
    if column.fill is not None:
        read = final.sql if final.sql in parts else let(final.sql)
        filled = f"({read} IS NULL AND NOT {bad})"
        stands = literals_for(column.type, where)(column.fill)
        value_sql = f"CASE WHEN {filled} THEN CAST({stands} AS {DUCKDB_TYPES[column.type]}) ELSE {read} END"
    return CleanColumn(
        column.name,
        _alone(value_sql, parts),
        _alone(bad, parts),
        _layered(parts, value_sql + bad),
        value_sql,
        bad,
        _alone(filled, parts) if filled else "FALSE",
        filled,
    )


def _unknown(kind: str, where: str) -> Value:
    raise Refused(f"there is no cleaning step called {kind}", mend=f"use one of {', '.join(STEPS)}", where=where)


def _lost(before: Value, after: Value) -> str:
    return f"({before.sql} IS NOT NULL AND {after.sql} IS NULL)"


def _alone(expression: str, parts: dict[str, str]) -> str:
    """The expression without the parts around it: each is put in its place, or bound by a lambda when used twice."""
    for name, part in reversed(parts.items()):
        uses = expression.count(name)
        if uses == 1:
            expression = expression.replace(name, f"({part})")
        elif uses > 1:
            expression = f"list_transform([{part}], lambda {name}: {expression})[1]"
    return expression


def _layered(parts: dict[str, str], used: str) -> tuple[Part, ...]:
    wanted: list[Part] = []
    depths: dict[str, int] = {}
    for name, part in parts.items():
        depths[name] = 1 + max((depth for other, depth in depths.items() if other in part), default=0)
        if name in used or any(name in later for later in parts.values()):
            wanted.append(Part(name, part, depths[name]))
    return tuple(wanted)
