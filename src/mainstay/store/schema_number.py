"""Every store carries a schema number: a newer one is refused, an older one is offered `mainstay upgrade`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mainstay.core.errors import Corrupt, StoreOld, StoreTooNew
from mainstay.store.durable import translated, write_whole

FILE = "schema.json"


class SchemaNumber(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a store's folder, beside its data."""

    schema: int


def compare(found: int, known: int, *, store: str, where: str) -> None:
    """Refuses a store whose number is not ours.

    Raises StoreTooNew when `found` is above `known`, StoreOld when it is below.
    """
    if found > known:
        raise StoreTooNew(
            f"{store} has schema {found}, this version of Mainstay knows schema {known}",
            mend="install a later Mainstay (pip install --upgrade mainstay)",
            where=where,
        )
    if found < known:
        raise StoreOld(
            f"{store} has schema {found}, this version of Mainstay writes schema {known}",
            mend="run `mainstay upgrade --dry-run`, then `mainstay upgrade`",
            where=where,
        )


def compare_folder(folder: Path, known: int, *, store: str) -> None:
    """The same for a store that is a folder; a folder without a number gets ours and is made if need be.

    Raises Corrupt when the number cannot be read.
    """
    path = folder / FILE
    with translated(path):
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, msgspec.json.encode(SchemaNumber(schema=known)))
            return
        data = path.read_bytes()
    try:
        found = msgspec.json.decode(data, type=SchemaNumber).schema
    except msgspec.DecodeError as error:
        raise Corrupt(f"the schema number of {store} cannot be read: {error}", where=str(path)) from error
    compare(found, known, store=store, where=str(folder))
