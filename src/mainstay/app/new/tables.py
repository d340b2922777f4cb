"""What a table's key, cursor and delete flag are, most likely. Pure: each is a guess with its evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mainstay.app.new.columns import parted
from mainstay.core.counts import counted
from mainstay.core.ports import SourceColumn, TableInfo
from mainstay.quality.profile import ColumnProfile

_CHANGED = re.compile(
    r"(updated|modified|changed|last_?(change|mod|modified|updated?|edit|touch)|mtime|row_?version|change_?(date|time|ts))"
    r"|geaendert|geändert|aenderung",
    re.IGNORECASE,
)
_BORN = re.compile(r"created|inserted|added|born|erstellt|angelegt|signup|signed", re.IGNORECASE)
_GONE = re.compile(
    r"^(is_?)?deleted(_?(at|on|flag|ts|time|date))?$|^removed(_?(at|on))?$|^del_?flag$|geloescht|gelöscht",
    re.IGNORECASE,
)
_KEYLIKE = re.compile(r"(^|_)(id|key|no|nr|number|code|uuid|guid)$|id$", re.IGNORECASE)
_NOT = frozenset({"0", "f", "false", "n", "no"})
"""What a delete flag says of rows that are there."""
_TIMES = frozenset({"timestamp", "timestamptz"})


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that nobody said, what was taken for it, and why."""

    what: str
    taken: str
    """What was written; empty when nothing was found."""
    evidence: str
    flag: str = ""
    """The option that says otherwise."""


def keys_of(info: TableInfo, seen: Mapping[str, ColumnProfile]) -> Iterator[tuple[str, str]]:
    """(column, evidence) of what may name a row, the likeliest first."""
    told = set()
    if len(info.primary_key) == 1 and _has_one_text(info, seen, info.primary_key[0]):
        told.add(info.primary_key[0])
        yield info.primary_key[0], "the primary key"
    ranked = sorted(
        (column for column in info.columns if _names_rows(column, seen.get(column.name))),
        key=lambda column: column.name not in info.indexed,
    )
    for column in ranked:
        if column.name not in told:
            rows = seen[column.name].rows
            yield (
                column.name,
                f"no value is repeated or empty among {counted(rows, 'row')}; no primary key of one column",
            )


def _names_rows(column: SourceColumn, seen: ColumnProfile | None) -> bool:
    if seen is None or column.refused or column.kind not in {"integer", "text", "uuid", "numeric"}:
        return False
    if not _KEYLIKE.search(parted(column.name)):
        return False  # an amount that happens never to repeat
    if column.kind == "numeric" and not seen.all("integer"):
        return False
    return seen.rows > 0 and seen.present == seen.distinct == seen.rows


def _has_one_text(info: TableInfo, seen: Mapping[str, ColumnProfile], name: str) -> bool:
    """Whether equal values of the column have one text, so that it can be a key."""
    kind = next(one.kind for one in info.columns if one.name == name)
    return kind != "float" and (kind != "numeric" or (name in seen and seen[name].all("integer")))


def cursor_of(info: TableInfo, seen: Mapping[str, ColumnProfile], *, text: bool) -> Guess:
    """The column that tells what is new. `text`: whether ISO texts can be a cursor there (SQLite)."""
    flag = "--cursor"
    able = [
        column
        for column in info.columns
        if not column.refused
        and _CHANGED.search(parted(column.name))
        and _moves(column, seen.get(column.name), text=text)
    ]
    able.sort(key=lambda column: (column.name not in info.indexed, column.nullable))
    if able:
        best = able[0]
        looked = seen[best.name]
        parts = [f"called {best.name}", f"newest {looked.high}"]
        if looked.nulls:
            parts.append(f"empty in {counted(looked.nulls, 'row, which is read', 'rows, which are read')} each time")
        parts.append("leads an index" if best.name in info.indexed else "no index leads with it")
        return Guess(what="cursor", taken=best.name, evidence=", ".join(parts), flag=flag)
    born = [column.name for column in info.columns if _BORN.search(parted(column.name))]
    why = f"{born[0]} says when a row was born, not when it changed" if born else "no column says when a row changed"
    return Guess(what="cursor", taken="", evidence=f"{why}, so every read is a full one", flag=flag)


def _moves(column: SourceColumn, seen: ColumnProfile | None, *, text: bool) -> bool:
    if seen is None or not seen.present:
        return False
    if column.kind in _TIMES:
        return True
    if re.search(r"version", column.name, re.IGNORECASE):
        return column.kind in {"integer", "numeric"}
    return text and column.kind == "text" and (seen.all("timestamp") or seen.all("timestamp_zoned"))


def gone_of(info: TableInfo, seen: Mapping[str, ColumnProfile]) -> Guess | None:
    """The column that marks deleted rows; None where nothing looks like one."""
    for column in info.columns:
        looked = seen.get(column.name)
        if looked is None or column.refused or not _GONE.search(parted(column.name)):
            continue
        if column.kind in {*_TIMES, "date"}:
            marked = looked.present
        elif column.kind in {"boolean", "integer", "numeric", "text"} and looked.distinct <= 2:
            marked = sum(count for value, count in looked.common if value.casefold() not in _NOT)
        else:
            continue
        seen_as = f"called {column.name}; set in {marked:,} of {counted(looked.rows, 'row')}"
        return Guess(what="deletes", taken=column.name, evidence=seen_as, flag="--deletes")
    return None


def label_of(column: str, seen: ColumnProfile) -> tuple[str, float]:
    """(positive value, its share) of a column with two values. Raises ValueError when it has another number of them."""
    if len(seen.common) != 2:
        raise ValueError(f"{column} has {counted(seen.distinct, 'distinct value')}, and a label has two")
    for value, count in seen.common:
        if value.casefold() in {"yes", "y", "true", "t", "1", "ja", "1.0"}:
            return value, count / seen.present
    value, count = seen.common[-1]
    return value, count / seen.present


def plain(text: str) -> str:
    """A name without case, `_` and the like, to compare names with."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


def singular(name: str) -> str:
    """What one row of a table is called, roughly: `customers` -> `customer`."""
    if name.endswith("ies") and len(name) > 4:
        return name[:-3] + "y"
    if name.endswith(("ses", "xes", "ches", "shes")):
        return name[:-2]
    if name.endswith("s") and not name.endswith("ss") and len(name) > 3:
        return name[:-1]
    return f"one_{name}"


def slug(text: str, *, otherwise: str) -> str:
    """A name for an integration, source or model: small letters, digits, `_` and `-`."""
    found = re.sub(r"[^a-z0-9_-]+", "-", text.casefold()).strip("-_")[:60]
    return found if found and found[0].isalpha() else otherwise


def best_table(names: Sequence[str], inputs: Sequence[str], columns: Mapping[str, Sequence[str]]) -> tuple[str, int]:
    """The table with the most of the model's inputs, and how many of them; ("", 0) when none has any or two tie."""
    wanted = {plain(name) for name in inputs}
    scores = sorted(((len(wanted & {plain(one) for one in columns[name]}), name) for name in names), reverse=True)
    if not scores or scores[0][0] == 0 or (len(scores) > 1 and scores[1][0] == scores[0][0]):
        return "", 0
    return scores[0][1], scores[0][0]
