"""Erasure in the answers that may be asked for again: all of them go, whoever they are about.

They are a cache of a day. Whoever asks once more is answered anew, by what is known then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mainstay.app.people import named_in
from mainstay.app.stores import open_repeats
from mainstay.app.wiring import Works
from mainstay.core.ports import Repeats


@contextmanager
def _opened(works: Works) -> Iterator[Repeats | None]:
    """The store; None where no worker has ever needed one."""
    home = works.place.home
    if home.stores is None and not home.repeats.exists():
        yield None
        return
    found = open_repeats(home)
    try:
        yield found
    finally:
        found.close()


def forget(works: Works) -> None:
    """Removes every answer, and stops those that are being made from being kept. Raises StoreBusy."""
    with _opened(works) as found:
        if found is not None:
            found.clear()


def naming(works: Works, key: str) -> int:
    """How many of the kept answers name the key."""
    with _opened(works) as found:
        if found is None:
            return 0
        return sum(named_in(works.desk, body.decode(errors="replace"), key) for body in found.bodies())
