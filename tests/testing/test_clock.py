from __future__ import annotations

import pytest

from mainstay.core.clock import SECOND, Clock, iso
from mainstay.testing.clock import START_US, FakeClock


def test_it_stands_still_until_told() -> None:
    clock = FakeClock()
    held: Clock = clock
    assert (held.now_us(), held.monotonic_us()) == (START_US, 0)
    assert iso(START_US) == "2026-11-01T09:00:00.000000Z"
    clock.advance(21 * SECOND)
    assert (held.now_us(), held.monotonic_us()) == (START_US + 21 * SECOND, 21 * SECOND)


def test_only_the_wall_clock_can_be_set_back() -> None:
    clock = FakeClock(100)
    clock.advance(5)
    clock.set_wall(50)
    assert (clock.now_us(), clock.monotonic_us()) == (50, 5)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
