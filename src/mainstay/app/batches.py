"""What a person reads of batches. Settling them needs the lease: `app.commands`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mainstay.app.place import Place
from mainstay.app.stores import open_state
from mainstay.core.errors import NotFound
from mainstay.core.records import BatchRecord
from mainstay.pipelines.desk import batch_name
from mainstay.store.shelf import ShelfReader


def listed(place: Place, dataset: str | None = None, *, waiting: bool = False, limit: int = 30) -> list[BatchRecord]:
    """Batches, newest first: at most `limit`, of one dataset or of all, all or those that are not settled."""
    with _batches(place) as batches:
        every = batches.all("" if dataset is None else f"{dataset}/").values()
    found = [one for one in every if not (waiting and one.settled)]
    return sorted(found, key=lambda one: (one.began_us, one.number), reverse=True)[:limit]


def batch(place: Place, dataset: str, number: int) -> BatchRecord:
    """One batch. Raises NotFound."""
    with _batches(place) as batches:
        found = batches.get(batch_name(dataset, number))
    if found is None:
        raise NotFound(f"there is no batch {dataset}/{number}", mend="mainstay batch list")
    return found


@contextlib.contextmanager
def _batches(place: Place) -> Iterator[ShelfReader[BatchRecord]]:
    with contextlib.closing(open_state(place.home)) as state:
        yield ShelfReader(state, "batch", BatchRecord)
