"""Working ahead changes neither what comes nor in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from mainstay.pipelines.ahead import ahead


def test_working_ahead_changes_neither_order_nor_end() -> None:
    with closing(ahead(iter(range(100)))) as chunks:
        assert list(chunks) == list(range(100))
    with closing(ahead(iter(()))) as none:
        assert list(none) == []


def test_working_ahead_tells_what_went_wrong() -> None:
    def breaks() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with closing(ahead(breaks())) as chunks:
        assert next(chunks) == 1
        with pytest.raises(ValueError, match="broken"):
            next(chunks)
