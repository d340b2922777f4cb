"""Rows per calendar window: which windows there are, which are alike, and how far one may lie from the others."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.clock import DAY, HOUR
from mainstay.core.nouns import Check
from mainstay.core.verdicts import OnFail, Verdict
from mainstay.quality.volume import ENOUGH, Per, band, judge_volume, windows

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Apia")


def at(text: str, zone: ZoneInfo = BERLIN) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * 1_000_000


def check(within: float | None = None, on_fail: OnFail = "block") -> Check:
    args = {"per": "day", "of": None, "within": within, "past": 28, "late_us": 0}
    return Check(name="volume", kind="volume", args=args, on_fail=on_fail)


def test_the_last_day_is_over_at_midnight_where_the_data_lives() -> None:
    before, after = at("2026-11-02T23:59:59"), at("2026-11-03T00:00:00")
    assert windows(before, "day", BERLIN, 28)[0].name == "Sunday 2026-11-01"
    assert windows(after, "day", BERLIN, 28)[0].name == "Monday 2026-11-02"
    assert [one.first for one in windows(after, "day", BERLIN, 28)] == [
        "2026-11-02", "2026-10-26", "2026-10-19", "2026-10-12", "2026-10-05",
    ]  # fmt: skip


def test_a_day_on_which_clocks_change_has_23_or_25_hours() -> None:
    autumn = windows(at("2026-10-26T08:00:00"), "day", BERLIN, 28)
    assert (autumn[0].name, autumn[0].ends_us - autumn[0].begins_us) == ("Sunday 2026-10-25", 25 * HOUR)
    assert {one.ends_us - one.begins_us for one in autumn[1:]} == {24 * HOUR}
    spring = windows(at("2026-03-30T08:00:00"), "day", BERLIN, 0)[0]
    assert (spring.name, spring.ends_us - spring.begins_us) == ("Sunday 2026-03-29", 23 * HOUR)
    week = windows(at("2026-10-26T08:00:00"), "week", BERLIN, 3)
    assert [one.name for one in week][:2] == ["the week of 2026-10-19", "the week of 2026-10-12"]
    assert week[0].ends_us - week[0].begins_us == 7 * DAY + HOUR


def test_an_hour_is_compared_with_the_same_hour_of_the_week() -> None:
    found = windows(at("2026-10-27T15:30:00"), "hour", BERLIN, 504)
    assert [one.name for one in found] == [
        "Tuesday 2026-10-27 14:00", "Tuesday 2026-10-20 14:00", "Tuesday 2026-10-13 14:00", "Tuesday 2026-10-06 14:00",
    ]  # fmt: skip
    assert found[0].begins_us - found[1].begins_us == 7 * DAY + HOUR  # the clocks went back between


def test_an_hour_that_comes_twice_is_two_windows_and_one_that_is_skipped_is_none() -> None:
    first = windows(at("2026-10-25T01:10:00", ZoneInfo("UTC")), "hour", BERLIN, 504)[0]
    second = windows(at("2026-10-25T02:10:00", ZoneInfo("UTC")), "hour", BERLIN, 504)[0]
    assert (first.name, second.name) == ("Sunday 2026-10-25 02:00+0200", "Sunday 2026-10-25 02:00+0100")
    assert first.ends_us == second.begins_us
    skipped = windows(at("2026-04-12T03:10:00"), "hour", BERLIN, 504)
    assert [one.name[7:17] for one in skipped] == ["2026-04-12", "2026-04-05", "2026-03-22"]  # not 2026-03-29 02:00


@settings(deadline=None)
@given(
    now=st.integers(at("2024-01-01T00:00:00"), at("2030-01-01T00:00:00")),
    per=st.sampled_from(("hour", "day", "week")),
    zone=st.sampled_from(ZONES),
)
def test_windows_are_over_are_alike_and_the_next_one_follows(now: int, per: Per, zone: str) -> None:
    where = ZoneInfo(zone)
    found = windows(now, per, where, {"hour": 672, "day": 28, "week": 4}[per])
    last = found[0]
    assert last.ends_us <= now
    assert windows(last.ends_us - 1, per, where, 0)[0].ends_us == last.begins_us
    assert windows(last.ends_us, per, where, 0)[0] == last
    for before, one in pairwise(found):
        assert one.ends_us <= before.begins_us
    local = [datetime.fromtimestamp(one.begins_us // 1_000_000, UTC).astimezone(where) for one in found]
    assert len({(one.weekday(), one.hour) for one in local}) == 1
    assert all(one.minute == 0 for one in local)


def test_how_far_a_count_may_lie_from_the_others() -> None:
    assert band([100, 80, 120], 0.5) == (50, 150)
    # median 100, deviations 20, 0, 20: MAD 20, and 3.5 * 1.4826 * 20 = 103.8
    assert band([100, 80, 120], None)[1] == pytest.approx(203.782)
    # no deviation at all: the scale is the square root of the median
    assert band([100, 100, 100], None) == (65, 135)
    assert band([0, 0, 0], None) == (0, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=ENOUGH, max_size=60), st.none() | st.floats(0.01, 5))
def test_the_median_is_always_within_bounds(past: list[int], within: float | None) -> None:
    low, high = band(past, within)
    assert low <= median(past) <= high


def test_what_it_says() -> None:
    window = windows(at("2026-11-03T00:00:00"), "day", BERLIN, 0)[0]
    silent = judge_volume(check(0.5), window, 0, [90, 100, 110, 120])
    assert (silent.verdict, silent.failed, silent.total) == (Verdict.FAIL, 1, 0)
    assert silent.sentence == (
        "no rows in Monday 2026-11-02; the 4 like it before have a median of 105, so 52.5 to 158 would be within bounds"
    )
    assert silent.mend
    assert judge_volume(check(0.5, "warn"), window, 160, [90, 100, 110, 120]).verdict is Verdict.WARN
    fine = judge_volume(check(0.5), window, 1, [1, 1, 1])
    assert fine.sentence == (
        "1 row in Monday 2026-11-02; the 3 like it before have a median of 1, so 0.5 to 1.5 are within bounds"
    )
    assert fine.verdict is Verdict.PASS


def test_too_little_past_is_unknown_and_never_a_pass() -> None:
    window = windows(at("2026-11-03T00:00:00"), "day", BERLIN, 0)[0]
    found = judge_volume(check(0.5), window, 100, [100, 100])
    assert found.verdict is Verdict.UNKNOWN
    assert found.sentence == (
        "cannot tell yet: 100 rows in Monday 2026-11-02, and 2 of the 3 windows like it that are needed to compare"
    )
    assert judge_volume(check(0.5), window, None, [100, 100, 100]).verdict is Verdict.UNKNOWN
