"""Rates of API keys: a bucket in each worker, and what the others took out of it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from mainstay.core.clock import HOUR, MINUTE, SECOND
from mainstay.core.rate import Rate, read_rate
from mainstay.core.records import ApiKey
from mainstay.serving.meter import Meter
from mainstay.serving.rates import BUCKETS_MOST, Rates, Taken
from mainstay.testing.clock import FakeClock

KEY = ApiKey(id="crm", name="crm", roles=("predict",), created_us=0, rate=Rate(10, SECOND))


def take(rates: Rates, times: int = 1, key: ApiKey = KEY) -> Taken:
    found = None
    for _ in range(times):
        found = rates.take(key, None)
    assert found is not None
    return found


def allowed(rates: Rates, times: int) -> int:
    return sum(take(rates).allowed for _ in range(times))


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/s", Rate(100, SECOND)), ("6000/m", Rate(6000, MINUTE)), (" 5/h", Rate(5, HOUR)), ("0/s", None),
     ("100", None), ("1.5/s", None), ("100/w", None), ("-1/s", None)],
)  # fmt: skip
def test_rates_as_text(text: str, rate: Rate | None) -> None:
    assert read_rate(text) == rate
    if rate is not None:
        assert read_rate(rate.text) == rate


def test_a_bucket_is_emptied_and_refills_at_the_rate() -> None:
    clock = FakeClock(0)
    rates = Rates(clock, Meter())
    assert take(rates) == Taken(True, Rate(10, SECOND), 9, 1, 0)
    assert take(rates, 9).left == 0
    assert take(rates) == Taken(False, Rate(10, SECOND), 0, 1, 1)
    clock.advance(SECOND // 10)
    assert allowed(rates, 5) == 1
    clock.advance(60 * SECOND)
    assert allowed(rates, 50) == 10  # no more at once than one second's


def test_the_files_rate_is_for_keys_without_one() -> None:
    rates = Rates(FakeClock(0), Meter())
    bare = ApiKey(id="b", name="b", roles=("predict",), created_us=0)
    assert rates.take(bare, None) is None
    usual = rates.take(bare, Rate(1, HOUR))
    assert usual is not None
    assert usual.allowed
    again = rates.take(bare, Rate(1, HOUR))
    assert again is not None
    assert (again.allowed, again.wait_s, again.reset_s) == (False, 3600, 3600)
    own = rates.take(KEY, Rate(1, HOUR))
    assert own is not None
    assert own.rate.requests == 10


def test_callers_do_not_take_from_each_other() -> None:
    rates = Rates(FakeClock(0), Meter())
    other = ApiKey(id="o", name="o", roles=("predict",), created_us=0, rate=Rate(10, SECOND))
    assert not take(rates, 11).allowed
    assert take(rates, 1, other).allowed


def test_workers_together_keep_the_rate(tmp_path: Path) -> None:
    clock = FakeClock(0)
    meters = [Meter(tmp_path / f"api-{number}.json") for number in (1, 2)]
    one, two = (Rates(clock, meter) for meter in meters)
    for rates in (one, two):
        rates.look(tmp_path)

    def tell() -> None:
        for meter in meters:
            meter.save(clock.now_us())
        for rates in (one, two):
            rates.look(tmp_path)

    tell()
    assert allowed(one, 20) + allowed(two, 20) == 20  # before they have heard of each other
    tell()
    total = 0
    for _ in range(100):  # ten seconds
        clock.advance(SECOND // 10)
        total += allowed(one, 5) + allowed(two, 5)
        tell()
    assert 70 <= total <= 110  # 100, less the ten that were owed; two may come between two looks


def test_a_restarted_worker_does_not_take_its_past_again(tmp_path: Path) -> None:
    clock = FakeClock(0)
    past = Meter(tmp_path / "api-1.json")
    past.counts.rated["crm"] = 1_000_000
    past.save(0)
    rates = Rates(clock, Meter(tmp_path / "api-2.json"))
    rates.look(tmp_path)
    assert allowed(rates, 20) == 10


def test_full_buckets_of_callers_without_end_are_forgotten(tmp_path: Path) -> None:
    clock = FakeClock(0)
    meters = [Meter(tmp_path / f"api-{number}.json") for number in (1, 2)]
    first, second = (Rates(clock, meter) for meter in meters)
    meters[0].counts.rated["of an earlier process"] = 7
    take(first, 10)
    meters[0].save(0)
    second.look(tmp_path)
    for number in range(5 * BUCKETS_MOST):
        take(first, key=msgspec.structs.replace(KEY, id=f"oidc-entra-{number}"))
        clock.advance(SECOND // 1000)
    assert len(meters[0].counts.rated) <= BUCKETS_MOST + 1, "what is written for the others every second, too"
    take(second)
    take(first, 4)  # forgotten here, and come again: the other owes what it is given
    meters[0].save(0)
    second.look(tmp_path)
    assert take(second).left == 10 - 1 - 4 - 1


def test_what_others_gave_waits_in_one_place(tmp_path: Path) -> None:
    clock = FakeClock(0)
    meters = [Meter(tmp_path / f"api-{number}.json") for number in (1, 2)]
    first, second = (Rates(clock, meter) for meter in meters)
    take(second)
    meters[0].save(0)
    for _ in range(3):
        second.look(tmp_path)
        take(first, 2)
        meters[0].save(0)
    second.look(tmp_path)
    assert len(second._elsewhere) == 1
    assert take(second).left == 10 - 1 - 6 - 1
