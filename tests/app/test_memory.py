"""What the loop holds is what it needs: freed memory goes back to the system."""

from __future__ import annotations

import mmap
import sys

import psutil
import pytest

from mainstay.app.memory import give_back, modest


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_trim")
def test_what_was_freed_between_things_that_stay_is_given_back() -> None:
    process = psutil.Process()
    blocks = [bytes(mmap.PAGESIZE * 4) for _ in range(8_000)]  # each below the size that malloc maps by itself
    kept = blocks[::100]
    del blocks
    before = process.memory_info().rss
    give_back()
    assert process.memory_info().rss < before - 64 * 2**20
    assert len(kept) == 80


def test_whoever_has_told_the_allocator_is_not_overruled() -> None:
    (name,) = modest({})
    assert modest({name: "narenas:9"}) == {name: "narenas:9"}
    assert "narenas:1" in modest({"HOME": "/"})[name]
