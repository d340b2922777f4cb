"""Age over time: what the loop notes, and the line that is drawn of it."""

from __future__ import annotations

from pathlib import Path

from mainstay.app.ages import Ages, age_line, read_samples
from mainstay.app.loop import Loop
from mainstay.app.wiring import own
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND
from mainstay.core.records import AgeSample, DatasetState
from mainstay.store.memory import MemoryState
from mainstay.testing.clock import START_US, FakeClock
from tests.app.shop import Shop

NOW = START_US


def at(as_of_us: int, run_us: int = SECOND) -> dict[str, DatasetState]:
    return {"customers": DatasetState(as_of_us=as_of_us, run_us=run_us)}


def test_the_greatest_age_between_two_samples_is_noted_though_nobody_looked_just_then() -> None:
    state = MemoryState()
    ages = Ages(state, token=0)
    assert ages.look(at(NOW - SECOND), NOW)
    ages.look(at(NOW - SECOND), NOW + 10 * SECOND)
    # A read that began at 30 s was published at 31 s; the look comes at 40 s.
    ages.look(at(NOW + 30 * SECOND), NOW + 40 * SECOND)
    assert not ages.look(at(NOW + 30 * SECOND), NOW + 59 * SECOND)
    assert ages.look(at(NOW + 30 * SECOND), NOW + 61 * SECOND)
    for n in range(60, 121, 20):
        ages.look(at(NOW + n * SECOND), NOW + (n + 2) * SECOND)
    first, second, third = read_samples(state, "customers", NOW - DAY, NOW + DAY)
    assert third.worst_us == 31 * SECOND
    assert first == AgeSample(NOW, NOW - SECOND, SECOND)
    assert second == AgeSample(NOW + 61 * SECOND, NOW + 30 * SECOND, 32 * SECOND)


def test_what_was_never_published_has_no_age_and_what_is_old_goes() -> None:
    state = MemoryState()
    ages = Ages(state, token=0)
    assert not ages.look({"customers": DatasetState()}, NOW)
    ages.look(at(NOW), NOW)
    ages.look(at(NOW), NOW + 4 * DAY)
    assert [one.name for one in state.scan("ages")] == [f"customers/{(NOW + 4 * DAY) // HOUR:010d}"]


def test_a_clock_that_was_set_back_does_not_stop_the_noting() -> None:
    ages = Ages(MemoryState(), token=0)
    assert ages.look(at(NOW), NOW)
    assert ages.look(at(NOW - HOUR), NOW - HOUR)


def test_samples_begin_with_the_last_one_before_the_window() -> None:
    state = MemoryState()
    ages = Ages(state, token=0)
    for n in range(5):
        ages.look(at(NOW), NOW + n * MINUTE)
    found = read_samples(state, "customers", NOW + 150 * SECOND, NOW + 3 * MINUTE)
    assert [(one.at_us - NOW) // MINUTE for one in found] == [2, 3]


def test_each_stretch_shows_its_greatest_age() -> None:
    samples = [AgeSample(NOW - n * MINUTE, NOW - n * MINUTE - SECOND, 20 * SECOND) for n in (4, 3, 2, 1)]
    line = age_line(samples, NOW - 2 * SECOND, NOW, 4 * MINUTE)
    assert [one.worst_us for one in line] == [20 * SECOND] * 4
    assert (line[0].from_us, line[-1].to_us) == (NOW - 4 * MINUTE, NOW)


def test_where_the_loop_did_not_run_the_age_grew_until_it_did() -> None:
    before = AgeSample(NOW - 60 * MINUTE, NOW - 61 * MINUTE, MINUTE)
    back = AgeSample(NOW - 10 * MINUTE, NOW - 10 * MINUTE - SECOND, SECOND)
    line = age_line([before, back], NOW - 10 * MINUTE - SECOND, NOW, 60 * MINUTE)
    minutes = [one.worst_us // MINUTE for one in line if one.worst_us is not None]
    assert minutes[10:50] == [*range(12, 51), 50]
    assert minutes[50:] == list(range(1, 11))


def test_without_samples_the_age_is_reckoned_from_as_of_and_before_it_nothing_is_known() -> None:
    line = age_line([], NOW - 2 * MINUTE, NOW, 4 * MINUTE)
    assert [one.worst_us for one in line] == [None, None, MINUTE, 2 * MINUTE]
    assert {one.worst_us for one in age_line([], None, NOW, 4 * MINUTE)} == {None}


def test_the_loop_notes_ages(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin()
    clock = FakeClock()
    with own(shop.place, "a test", clock=clock) as works:
        loop = Loop(works)
        loop.start()
        for _ in range(3):
            loop.beat()
            clock.advance(2 * MINUTE)
        found = read_samples(works.state, "customers", 0, clock.now_us())
    assert len(found) >= 2
    assert all(one.at_us >= one.as_of_us for one in found[1:])
