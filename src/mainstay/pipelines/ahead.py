"""Two things at once: the next piece is made while the one before it is used."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(pieces: Iterator[T]) -> Generator[T, None, None]:
    """The same pieces, each made on a thread of its own while the one before it is used. To be closed.

    What making a piece raises is raised where that piece would have come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="mainstay-ahead") as maker:
        making = maker.submit(lambda: next(pieces, None))
        while (piece := making.result()) is not None:
            making = maker.submit(lambda: next(pieces, None))
            yield piece
