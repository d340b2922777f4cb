from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import DAY
from mainstay.core.errors import SourceAway, SourceRefused
from mainstay.core.nouns import Guard
from mainstay.core.ports import ReadRequest
from mainstay.sources.guard import ConnectionCap, admit, is_open, opens_us, parse_hours, retry_delay_us

NIGHT = "20:00-06:00 Europe/Berlin"
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")
instants = st.integers(0, 4_000_000_000_000_000)
clock_times = st.tuples(st.integers(0, 23), st.integers(0, 59))


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        ("2026-07-01T19:59:59+02:00", False),
        ("2026-07-01T20:00:00+02:00", True),
        ("2026-07-02T05:59:59+02:00", True),
        ("2026-07-02T06:00:00+02:00", False),
        ("2026-01-01T18:30:00+00:00", False),  # winter: 19:30 in Berlin
        ("2026-01-01T19:30:00+00:00", True),
    ],
)
def test_a_window_over_midnight_is_by_its_own_zones_clock(instant: str, expected: bool) -> None:
    assert is_open(NIGHT, us(instant)) is expected


def test_no_window_is_always_open_and_equal_ends_are_the_whole_day() -> None:
    assert is_open("", 0)
    assert is_open("00:00-24:00 UTC", 0)
    assert is_open("07:00-07:00 UTC", 0)


@pytest.mark.parametrize(
    "text", ["20-06 UTC", "20:00-06:00", "25:00-06:00 UTC", "20:00-24:30 UTC", "20:00-06:00 Europe/Berln", "x"]
)
def test_what_is_no_window_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SourceRefused) as raised:
        parse_hours(text)
    assert "20:00-06:00 Europe/Berlin" in raised.value.mend


@given(now=instants, begins=clock_times, ends=clock_times, zone=st.sampled_from(ZONES))
def test_it_opens_at_the_next_instant_at_which_it_is_open(
    now: int, begins: tuple[int, int], ends: tuple[int, int], zone: str
) -> None:
    window = f"{begins[0]:02}:{begins[1]:02}-{ends[0]:02}:{ends[1]:02} {zone}"
    opens = opens_us(window, now)
    if is_open(window, now):
        assert opens == now
        return
    assert now < opens <= now + 2 * DAY
    local = datetime.fromtimestamp(opens / 1e6, UTC).astimezone(ZoneInfo(zone))
    skipped = local.replace(hour=begins[0], minute=begins[1], fold=0)
    # The wall clock shows the opening, unless that minute is skipped when summer time begins.
    assert (local.hour, local.minute) == begins or skipped.astimezone(UTC).astimezone(ZoneInfo(zone)) != skipped


@given(failures=st.integers(0, 10_000), chance=st.binary(min_size=4, max_size=4))
@pytest.mark.promise(6)
def test_back_off_grows_to_the_most_and_keeps_half_to_chance(failures: int, chance: bytes) -> None:
    guard = Guard(retry_first_us=500_000, retry_most_us=60_000_000)
    full = min(60_000_000, 500_000 * 2 ** max(failures - 1, 0))
    delay = retry_delay_us(failures, guard, lambda length: chance[:length])
    assert full // 2 <= delay <= full


@pytest.mark.promise(6)
def test_full_reads_wait_for_their_hours_and_increments_do_not() -> None:
    guard = Guard(backfill_hours=NIGHT)
    noon, night = us("2026-07-01T12:00:00+02:00"), us("2026-07-01T22:00:00+02:00")
    full = [
        ReadRequest(table="t", columns=("id",), key="id", mode="snapshot"),
        ReadRequest(table="t", columns=("id",), key="id", mode="keys"),
        ReadRequest(table="t", columns=("id",), key="id", mode="increment", cursor="id"),
    ]
    small = [
        ReadRequest(table="t", columns=("id",), key="id", mode="increment", cursor="id", since="1"),
        ReadRequest(table="t", columns=("id",), key="id", mode="by_keys", keys=("1",)),
    ]
    for request in full:
        with pytest.raises(SourceAway) as raised:
            admit(guard, request, noon, where="source crm")
        assert "2026-07-01T18:00:00" in raised.value.mend
        admit(guard, request, night, where="source crm")
    for request in small:
        admit(guard, request, noon, where="source crm")
        with pytest.raises(SourceAway):
            admit(Guard(allowed_hours=NIGHT), request, noon, where="source crm")


@pytest.mark.promise(6)
def test_the_cap_lets_in_as_many_as_it_says_and_frees_on_leaving() -> None:
    cap = ConnectionCap(2, wait_us=1_000, where="source crm")
    with cap.one(), cap.one(), pytest.raises(SourceAway, match="all 2 connections"), cap.one():
        pass
    with pytest.raises(ZeroDivisionError), cap.one(), cap.one():
        raise ZeroDivisionError
    with cap.one(), cap.one():
        pass
