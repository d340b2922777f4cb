"""Which schema number each store has on disk, and which one this version writes.

| store     | where the number stands                                                  |
|-----------|--------------------------------------------------------------------------|
| layout    | `installation.json` of the home                                          |
| state     | `PRAGMA user_version` of `state.sqlite`                                  |
| online    | `PRAGMA user_version` of `online.sqlite`                                 |
| landing   | `landing/schema.json`                                                    |
| artifacts | `artifacts/schema.json`                                                  |

Journal segments carry theirs in each header, and older ones are read as they are. History is Delta Lake and has Delta's
own. Current is a cache: one of another number is made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from mainstay.core.errors import Corrupt
from mainstay.store import artifacts_local, home, landing_local, online_sqlite, state_sqlite
from mainstay.store.durable import translated
from mainstay.store.home import Home
from mainstay.store.schema_number import FILE, SchemaNumber
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
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise told(error, path) from error


def numbers(at: Home) -> dict[str, int]:
    """Store -> schema number, of the stores that are there."""
    found = {name: read_number(store.path(at)) for name, store in STORES.items()}
    return {name: number for name, number in found.items() if number is not None}
