"""How many, for people."""

from __future__ import annotations

import pytest

from mainstay.core.counts import counted


@pytest.mark.parametrize(
    ("count", "one", "many", "said"),
    [
        (0, "row", "", "0 rows"),
        (1, "row", "", "1 row"),
        (1_200, "row", "", "1,200 rows"),
        (1, "batch is", "batches are", "1 batch is"),
        (2, "batch is", "batches are", "2 batches are"),
    ],
)
def test_one_is_one_and_all_else_are_many(count: int, one: str, many: str, said: str) -> None:
    assert counted(count, one, many) == said
