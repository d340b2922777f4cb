"""Which schema number each store has on disk, which one this version writes, and the steps between them.

To change what a store writes: raise its `SCHEMA`, and add a line to `STEPS` that leads there from the number before.

| store     | where the number stands                                                  |
|-----------|--------------------------------------------------------------------------|
| layout    | `installation.json` of the home                                          |
| state     | `PRAGMA user_version` of `state.sqlite`                                  |
| online    | `PRAGMA user_version` of `online.sqlite`                                 |
| landing   | `landing/schema.json`                                                    |
| artifacts | `artifacts/schema.json`                                                  |

Journal segments carry theirs in each header, and older ones are read as they are. History is Delta Lake and has Delta's
own. Current is a cache: one of a lower number is made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from mainstay.core.errors import Corrupt, StoreOld
from mainstay.store import artifacts_local, home, landing_local, online_sqlite, state_sqlite
from mainstay.store.durable import translated, write_whole
from mainstay.store.home import Home
from mainstay.store.schema_number import FILE, SchemaNumber, compare
from mainstay.store.sqlite_file import told


class Numbered(NamedTuple):
    """A store that carries a schema number."""

    known: int
    """What this version writes."""
    path: Callable[[Home], Path]
    """Where the number stands."""
    of_home: bool = False
    """Whether there is one for the whole home, not one per integration."""


STORES: dict[str, Numbered] = {
    "layout": Numbered(home.SCHEMA, lambda at: at.root / "installation.json", of_home=True),
    "state": Numbered(state_sqlite.SCHEMA, lambda at: at.state),
    "online": Numbered(online_sqlite.SCHEMA, lambda at: at.online),
    "landing": Numbered(landing_local.SCHEMA, lambda at: at.landing / FILE),
    "artifacts": Numbered(artifacts_local.SCHEMA, lambda at: at.artifacts / FILE),
}


class Step(NamedTuple):
    """What leads one store from one schema number to the next."""

    store: str
    reaches: int
    """The number after it; the one before is one less."""
    sentence: str
    """What it does, for the plan."""
    change: Callable[[Any], None]
    """Gets, of a SQLite store, the connection, inside the transaction that raises the number as well; of any other, the
    store's folder, and must then be safe to repeat: the number is raised when it is through."""


STEPS: tuple[Step, ...] = ()
"""Every step there ever was, per store in ascending order. None yet: all stores are at their first schema."""


class Due(NamedTuple):
    """A step that one home needs."""

    home: Home
    step: Step


def plan(homes: Sequence[Home], steps: Sequence[Step] = STEPS) -> list[Due]:
    """The steps that the homes of one root need, in order; none when every store is as this version writes it.

    Raises StoreTooNew for a store that a later version wrote, StoreOld for one from which no steps lead here.
    """
    due = []
    for number, at in enumerate(homes):
        for name, found in numbers(at).items():
            store = STORES[name]
            where = str(store.path(at))
            if found > store.known:
                compare(found, store.known, store=f"{name} of {at.integration}", where=where)
            if store.of_home and number:
                continue
            known = {step.reaches: step for step in steps if step.store == name}
            for reaches in range(found + 1, store.known + 1):
                if reaches not in known:
                    raise StoreOld(
                        f"{name} of {at.integration} has schema {found}; no step leads from {reaches - 1} to {reaches}",
                        mend="upgrade with an earlier Mainstay first, or restore a backup that is later",
                        where=where,
                    )
                due.append(Due(at, known[reaches]))
    return due


def perform(due: Due) -> None:
    """Takes one step. Nobody else may have the store open. After a kill it is not taken, or taken whole."""
    path = STORES[due.step.store].path(due.home)
    with translated(path):
        if path.suffix == ".json":
            due.step.change(path.parent)
            write_whole(path, msgspec.json.encode(SchemaNumber(schema=due.step.reaches)))
            return
    try:
        with closing(sqlite3.connect(_address(path), uri=True, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            due.step.change(connection)
            connection.execute(f"PRAGMA user_version = {due.step.reaches:d}")
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise told(error, path) from error


def _address(path: Path) -> str:
    return f"file:{quote(str(path.absolute()))}?mode=rw"


def read_number(path: Path) -> int | None:
    """The schema number in a SQLite file or a JSON file; None when there is no such file yet.

    Raises Corrupt when it cannot be read.
    """
    with translated(path):
        if not path.is_file():
            return None
        if path.suffix == ".json":
            try:
                return msgspec.json.decode(path.read_bytes(), type=SchemaNumber).schema
            except msgspec.DecodeError as error:
                sentence = f"the schema number cannot be read: {error}"
                raise Corrupt(sentence, mend="restore it from a backup", where=str(path)) from error
    try:
        with closing(sqlite3.connect(_address(path), uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise told(error, path) from error


def numbers(at: Home) -> dict[str, int]:
    """Store -> schema number, of the stores that are there."""
    found = {name: read_number(store.path(at)) for name, store in STORES.items()}
    return {name: number for name, number in found.items() if number is not None}
