"""What a person reads of batches. Settling them needs the lease: `app.commands`."""

from __future__ import annotations

import contextlib

from mainstay.app.place import Place
from mainstay.app.stores import open_state
from mainstay.core.errors import NotFound
from mainstay.core.records import BatchRecord
from mainstay.store.shelf import ShelfReader

SETTLED = ("published", "discarded")


def listed(place: Place, dataset: str | None = None, *, waiting: bool = False, limit: int = 30) -> list[BatchRecord]:
    """Batches, newest first: at most `limit`, of one dataset or of all, all or those that are not settled."""
    found = [
        one
        for one in _all(place)
        if (dataset is None or one.dataset == dataset) and not (waiting and one.status in SETTLED)
    ]
    return sorted(found, key=lambda one: (one.began_us, one.number), reverse=True)[:limit]


def batch(place: Place, dataset: str, number: int) -> BatchRecord:
    """One batch. Raises NotFound."""
    found = next((one for one in _all(place) if (one.dataset, one.number) == (dataset, number)), None)
    if found is None:
        raise NotFound(f"there is no batch {dataset}/{number}", mend="mainstay batch list")
    return found


def _all(place: Place) -> list[BatchRecord]:
    with contextlib.closing(open_state(place.home)) as state:
        return list(ShelfReader(state, "batch", BatchRecord).all().values())
