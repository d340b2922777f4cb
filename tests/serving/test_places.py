"""A worker's places: one caller may have them all, and keeps nobody out."""

from __future__ import annotations

from contextlib import ExitStack

from mainstay.serving.places import Places


def test_one_caller_may_have_all_places_and_keeps_nobody_out() -> None:
    places = Places(8)
    with ExitStack() as here:
        assert all(here.enter_context(places.one("greedy")) for _ in range(8))
        assert not here.enter_context(places.one("greedy"))
        assert [here.enter_context(places.one("modest")) for _ in range(5)] == [True] * 4 + [False], "half of them"
        assert [here.enter_context(places.one("third")) for _ in range(3)] == [True, True, False]
    with places.one("modest") as placed:
        assert placed
    assert places._of == {}
    assert places._all == 0


def test_where_there_are_more_callers_than_places_each_has_one() -> None:
    places = Places(2)
    with ExitStack() as here:
        assert all(here.enter_context(places.one(f"caller-{number}")) for number in range(20))
        assert not here.enter_context(places.one("caller-3"))
