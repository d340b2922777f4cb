"""The drawing of age against promise, and the words that say the same."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.app.ages import AgePoint
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND
from mainstay.core.nouns import Freshness
from mainstay.testing.clock import START_US
from mainstay.web.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw, said

PROMISED = Freshness(warn_us=HOUR, fail_us=2 * HOUR)


def points(ages: Sequence[int | None], width: int = MINUTE) -> list[AgePoint]:
    return [AgePoint(START_US + n * width, START_US + (n + 1) * width, age) for n, age in enumerate(ages)]


def test_a_promise_that_was_broken_says_so_and_for_how_long() -> None:
    chart = draw(points([MINUTE, 90 * MINUTE, 150 * MINUTE, 2 * MINUTE]), PROMISED)
    assert chart.sentence == (
        "In the last 4 min the greatest age was 2.5 h, about 2026-11-01 09:03 UTC. "
        "Promised: warn 1 h and fail 2 h; it was past warn for about 2 min and past fail for about 1 min."
    )
    assert [one.said for one in chart.table] == ["kept", "past fail", "past warn", "kept"]
    assert [one.age for one in chart.table] == ["2 min", "2.5 h", "1.5 h", "1 min"]


def test_a_gap_is_a_gap_and_nothing_known_is_said() -> None:
    chart = draw(points([SECOND, None, None, SECOND]), PROMISED)
    assert (len(chart.lines), len(chart.areas)) == (2, 2)
    assert [one.said for one in chart.table] == ["kept", "not known", "not known", "kept"]
    nothing = draw(points([None, None]), PROMISED)
    assert nothing.lines == ()
    assert nothing.sentence == "No age is known for the last 2 min."


def test_without_a_promise_none_is_drawn() -> None:
    chart = draw(points([SECOND] * 3), Freshness())
    assert chart.promises == ()
    assert chart.sentence.endswith("No age is promised.")
    assert {one.said for one in chart.table} == {"no promise"}


def test_labels_of_promises_that_lie_close_together_do_not_cover_each_other() -> None:
    first, second = draw(points([30 * DAY]), Freshness(warn_us=MINUTE, fail_us=2 * MINUTE)).promises
    assert first.label_at - second.label_at >= 14


@pytest.mark.parametrize(
    ("age", "word"), [(HOUR, "kept"), (HOUR + 1, "past warn"), (2 * HOUR + 1, "past fail"), (None, "not known")]
)
def test_an_age_that_equals_the_promise_keeps_it(age: int | None, word: str) -> None:
    assert said(age, PROMISED) == word


@given(
    st.lists(st.none() | st.integers(0, 4_000 * DAY), min_size=1, max_size=240),
    st.none() | st.integers(1, 400 * DAY),
    st.integers(1, 100 * DAY),
)
def test_nothing_is_ever_drawn_outside(ages: list[int | None], warn: int | None, more: int) -> None:
    fail = None if warn is None else warn + more
    chart = draw(points(ages), Freshness(warn_us=warn, fail_us=fail))
    for run in (*chart.lines, *chart.areas):
        for pair in run.split(" "):
            x, y = map(float, pair.split(","))
            assert LEFT - 1 <= x <= WIDTH - RIGHT + 1
            assert TOP - 1 <= y <= HEIGHT - BOTTOM + 1
    assert all(
        TOP - 1 <= at <= HEIGHT - BOTTOM for at in [one.at for one in chart.ages] + [one.at for one in chart.promises]
    )
    assert 2 <= len(chart.ages) <= 6
    assert len(chart.table) <= 24
