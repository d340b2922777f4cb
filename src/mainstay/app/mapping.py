"""Values of a column that no map knows: what each may mean, for a person to confirm, and the map file that keeps it.

Current is read by whoever owns the lease (`values_of`); proposals are made and the file is written by the command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from mainstay import spec
from mainstay.app.place import Place, whoami
from mainstay.app.stores import open_state
from mainstay.core.audit import Change, Detail
from mainstay.core.clock import Clock, iso
from mainstay.core.errors import NotFound, Refused
from mainstay.core.nouns import Column, Dataset
from mainstay.core.sql import identifier
from mainstay.pipelines.desk import Desk
from mainstay.quality.near import Near, Nearest, clear
from mainstay.spec import map_files
from mainstay.store import audit
from mainstay.store.current import schema_of
from mainstay.store.durable import translated, write_whole

MOST_VALUES = 10_000
"""A column with more values than this is no category."""

Body = dict[str, Any]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asks for."""

    dataset: str
    column: str
    to: Path | None = None
    """The map file; None: the one that the column's cleaning names."""
    known: tuple[str, ...] = ()
    values_of: str = ""
    """`DATASET.COLUMN` whose values are the known ones."""
    least: float = 0.6


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """One value that is not known, and what it may mean, the best first."""

    value: str
    rows: int
    """Of current."""
    quarantined: int
    near: tuple[Near, ...]
    clear: bool
    """Whether the best is clearly better than the next."""


class ToConfirm(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to confirm."""

    dataset: str
    column: str
    file: str
    """Relative to the folder of mainstay.yaml."""
    declared: bool
    """Whether the column's cleaning names the file."""
    known: tuple[str, ...]
    known_from: str
    waiting: int
    """Values that the file maps and that stand in the data as before: the file is not applied yet."""
    proposals: tuple[Proposal, ...]


# --- by the owner of the lease ------------------------------------------------------------------------------------


def values_of(desk: Desk, args: Body) -> Body:
    """The column's values that are not among the known ones, with their counts; and the known ones.

    `args`: {dataset, column, known, values_of, targets}; `targets`, what the map file maps to, count where nothing else
    says what is known. Raises NotFound, and Refused for a column that is no category.
    """
    dataset, column = _column(desk, str(args["dataset"]), str(args["column"]))
    if column.type != "string" or column.pii:
        why = "personal" if column.pii else f"of type {column.type}"
        raise Refused(f"{dataset.name}.{column.name} is {why}, and only categories are mapped", mend="choose another")
    known, known_from = _known(desk, dataset, column, args)
    name, schema = identifier(column.name), schema_of(dataset.name)
    desk.current.ensure(dataset)
    rows = desk.current.sql(
        f"SELECT v, count(*) FILTER (NOT q), count(*) FILTER (q) FROM ("
        f"SELECT {name} AS v, FALSE AS q FROM {schema}.rows WHERE NOT _deleted UNION ALL "
        f"SELECT {name}, TRUE FROM {schema}.quarantine WHERE _state = 'quarantined'"
        f") WHERE v IS NOT NULL GROUP BY v ORDER BY count(*) DESC, v LIMIT {MOST_VALUES + len(known) + 1}"
    )
    there = set(known)
    found = [(value, seen, rejected) for value, seen, rejected in rows if value not in there]
    if len(found) > MOST_VALUES:
        raise Refused(
            f"{dataset.name}.{column.name} has over {MOST_VALUES:,} values that are not known: it is no category",
            mend="name all that are known, or choose another column",
        )
    return {"known": sorted(there), "known_from": known_from, "values": found}


def _column(desk: Desk, dataset: str, column: str) -> tuple[Dataset, Column]:
    found = desk.integration.datasets.get(dataset)
    if found is None:
        known = ", ".join(desk.integration.datasets)
        raise NotFound(f"there is no dataset {dataset}", mend=f"one of {known}")
    try:
        return found, found.column(column)
    except KeyError:
        known = ", ".join(one.name for one in found.columns)
        raise NotFound(f"{dataset} has no column {column}", mend=f"one of {known}") from None


def _known(desk: Desk, dataset: Dataset, column: Column, args: Body) -> tuple[list[str], str]:
    """What a person said counts alone; then the dataset contract; then what the map file maps to."""
    if args["known"]:
        return list(args["known"]), "--known"
    if args["values_of"]:
        name, _, of = str(args["values_of"]).partition(".")
        other, its = _column(desk, name, of)
        return _distinct(desk, other, identifier(its.name)), f"--values-of {args['values_of']}"
    for check in dataset.checks:
        if check.column == column.name and check.kind == "values":
            return [str(value) for value in check.args["values"]], f"`values` of {column.name}"
        if check.column == column.name and check.kind == "references":
            other = desk.integration.datasets[str(check.args["dataset"])]
            return _distinct(desk, other, "_k"), f"keys of {other.name}"
    if args["targets"]:
        return list(args["targets"]), "what the map file maps to"
    raise Refused(
        f"nothing says which values of {dataset.name}.{column.name} are known",
        mend="--known VALUE (once for each), --values-of DATASET.COLUMN, or `values:` on the column",
    )


def _distinct(desk: Desk, dataset: Dataset, column: str) -> list[str]:
    desk.current.ensure(dataset)
    rows = desk.current.sql(
        f"SELECT DISTINCT CAST({column} AS VARCHAR) AS v FROM {schema_of(dataset.name)}.rows "
        f"WHERE NOT _deleted AND {column} IS NOT NULL ORDER BY v LIMIT {MOST_VALUES + 1}"
    )
    if len(rows) > MOST_VALUES:
        raise Refused(f"{dataset.name} has over {MOST_VALUES:,} values there: it is no list of categories")
    return [value for (value,) in rows]


# --- by the command -----------------------------------------------------------------------------------------------


def propose(main: Path, wish: Wish, ask: Callable[[Body], Body]) -> ToConfirm:
    """What is not known, each with what it may mean. `main`: the file; `ask`: has `values_of` performed.

    Raises Refused where the cleaning of the column leaves no place for a map file, FileError and what `ask` raises.
    """
    named = _named(main, wish)
    path = _relative(main, wish.to) if wish.to is not None else named
    if not path:
        raise Refused(
            f"the cleaning of {wish.dataset}.{wish.column} names no map file",
            mend="say which to write: --to FILE.csv",
        )
    if named and path != named:
        raise Refused(f"{wish.dataset}.{wish.column} is mapped by {named}", mend=f"--to {named}, or leave it out")
    mapped = _pairs(main.parent / path)
    targets = sorted({value for value in mapped.values() if value is not None})
    body = {
        "dataset": wish.dataset, "column": wish.column, "known": list(wish.known), "values_of": wish.values_of,
        "targets": targets,
    }  # fmt: skip
    told = ask(body)
    nearest = Nearest(told["known"])
    proposals = []
    for value, rows, quarantined in told["values"]:
        if value in mapped:
            continue
        near = nearest(value, least=wish.least)
        proposals.append(Proposal(value=value, rows=rows, quarantined=quarantined, near=near, clear=clear(near)))
    return ToConfirm(
        dataset=wish.dataset,
        column=wish.column,
        file=path,
        declared=bool(named),
        known=tuple(told["known"]),
        known_from=told["known_from"],
        waiting=sum(1 for value, _, _ in told["values"] if value in mapped),
        proposals=tuple(proposals),
    )


def keep(main: Path, file: str, pairs: Mapping[str, str], *, by: str, on: str) -> None:
    """Writes confirmed pairs into the map file, whole; what stands in it, and was written meanwhile, stays."""
    path = main.parent / file
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    with translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _with(path, pairs, by=by, on=on).encode(), mode=mode)


def confirm(place: Place, main: Path, found: ToConfirm, pairs: Mapping[str, str], *, by: str, clock: Clock) -> None:
    """Keeps confirmed pairs in the map file and records in the audit that they were: how many, never the values."""
    keep(main, found.file, pairs, by=by, on=iso(clock.now_us())[:10])
    told: dict[str, Detail] = {"pairs": len(pairs), "file": found.file, "confirmed_by": by}
    change = Change(
        what="map.confirm",
        object=f"{found.dataset}.{found.column}",
        details=told,
        by=whoami("mainstay map"),
        at_us=clock.now_us(),
    )
    with closing(open_state(place.home)) as state:
        audit.commit(state, [], change)


def _with(path: Path, pairs: Mapping[str, str], *, by: str, on: str) -> str:
    try:
        return map_files.with_pairs(_text(path), pairs, by=by, on=on)
    except ValueError as error:
        raise _not_one(path, error) from None


def _pairs(path: Path) -> Mapping[str, str | None]:
    text = _text(path)
    try:
        return map_files.pairs(text) if text.strip() else {}
    except ValueError as error:
        if "no pairs" in str(error):
            return {}
        raise _not_one(path, error) from None


def _not_one(path: Path, error: ValueError) -> Refused:
    mend = "write a line of two names, then `old,new` in each line"
    return Refused(f"the map file cannot be read: {error}", where=str(path), mend=mend)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise Refused("the map file is no text in UTF-8", where=str(path), mend="save it as UTF-8") from None


def _named(main: Path, wish: Wish) -> str:
    """The map file that the column's cleaning names; empty when it names none."""
    said: Any = spec.unresolved(main)
    for part in ("datasets", wish.dataset, "columns", wish.column, "clean"):
        said = said.get(part) if isinstance(said, dict) else None
    steps = said if isinstance(said, list) else []
    for place, step in enumerate(steps):
        if isinstance(step, dict) and isinstance(step.get("map_file"), str):
            if place != len(steps) - 1:
                raise Refused(
                    f"the cleaning of {wish.dataset}.{wish.column} goes on after its map file",
                    mend="put `map_file` last: what is proposed are values as cleaning leaves them",
                )
            return map_files.path(step["map_file"])
    return ""


def _relative(main: Path, to: Path) -> str:
    """A path as typed, from the folder of mainstay.yaml. Raises Refused for one outside it."""
    folder, wanted = main.absolute().parent, Path(os.path.normpath(to.absolute()))
    if not wanted.is_relative_to(folder):
        raise Refused(f"{to} lies outside the folder of {main.name}", mend=f"write it below {folder}")
    return wanted.relative_to(folder).as_posix()
