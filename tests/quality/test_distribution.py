"""A column against its pinned profile: bins, the population stability index, and what the finding says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.nouns import Check, Cleaning, Column
from mainstay.core.sql import literal
from mainstay.core.verdicts import OnFail, Verdict
from mainstay.quality.distribution import (
    EMPTY_SHARE,
    Bin,
    PinnedColumn,
    bins,
    contract_of,
    in_bins,
    judge_distribution,
    pin,
    psi,
)
from mainstay.store.current import Current

TENURE = Column(name="tenure", type="integer", source_name="tenure")
PLAN = Column(name="plan", type="string", source_name="plan")
SHARES = st.lists(st.integers(0, 1000), min_size=2, max_size=12).filter(lambda counts: sum(counts) > 0)


@pytest.fixture(scope="module")
def current() -> Iterator[Current]:
    made = Current(None)
    yield made
    made.close()


def relation(column: str, kind: str, values: list[Any]) -> str:
    rows = ", ".join("(NULL)" if value is None else f"({literal(str(value))})" for value in values)
    return f"(SELECT CAST(v AS {kind}) AS {column} FROM (VALUES {rows}) AS t(v))"


def check(pinned: PinnedColumn, column: str, most: float = 0.2, on_fail: OnFail = "block") -> Check:
    args = {"dataset": "customers", "profile": "p.json", "psi": most, "pinned": msgspec.to_builtins(pinned)}
    return Check(name=f"{column}.distribution", kind="distribution", column=column, args=args, on_fail=on_fail)


def test_the_index_is_the_sum_over_bins_and_empty_bins_count_as_very_little() -> None:
    found = [Bin("a", 0.5, 0.25), Bin("b", 0.5, 0.75)]
    assert psi(found) == pytest.approx(-0.25 * math.log(0.5) + 0.25 * math.log(1.5))
    empty = [Bin("a", 0.0, 0.1)]
    assert psi(empty) == pytest.approx((0.1 - EMPTY_SHARE) * math.log(0.1 / EMPTY_SHARE))


@settings(deadline=None)
@given(before=SHARES, now=SHARES)
def test_the_index_is_never_negative_and_zero_where_nothing_moved(before: list[int], now: list[int]) -> None:
    size = min(len(before), len(now))
    old = [n / sum(before) for n in before][:size]
    new = [n / sum(now) for n in now][:size]
    assert psi([Bin("", e, a) for e, a in zip(old, new, strict=True)]) >= 0
    assert psi([Bin("", e, e) for e in old]) == 0


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.none() | st.integers(-1000, 1000) | st.just(0), min_size=100, max_size=150))
def test_every_row_is_in_one_bin_and_what_was_pinned_has_not_moved(values: list[int | None]) -> None:
    current = Current(None)
    rows = relation("tenure", "BIGINT", values)
    pinned = pin(current.sql, rows, TENURE)
    counts = in_bins(current.sql, rows, "tenure", pinned)
    current.close()
    assert sum(counts) == len(values)
    found = bins(pinned, counts)
    assert psi(found) < 1e-4  # shares are written with six digits
    assert sum(one.before for one in found) == pytest.approx(1, abs=1e-4)
    assert judge_distribution(check(pinned, "tenure"), TENURE, counts).verdict is Verdict.PASS


def test_numbers_have_bins_by_tenths(current: Current) -> None:
    pinned = pin(current.sql, relation("tenure", "BIGINT", list(range(100)) + [None] * 100), TENURE)
    assert pinned.edges == (9, 19, 29, 39, 49, 59, 69, 79, 89)
    assert (pinned.empty, pinned.shares) == (0.5, (0.05,) * 10)
    moved = relation("tenure", "BIGINT", [200] * 60 + [5] * 60 + [None] * 120)
    counts = in_bins(current.sql, moved, "tenure", pinned)
    assert counts == (120, 60, 0, 0, 0, 0, 0, 0, 0, 0, 60)
    finding = judge_distribution(check(pinned, "tenure"), TENURE, counts)
    assert (finding.verdict, finding.failed, finding.total) == (Verdict.FAIL, 1, 240)
    assert finding.sentence.startswith("tenure has a PSI of 3.")
    assert finding.sentence.endswith(
        "over 240 rows, above 0.2; most moved: up to 9 from 5.0 % to 25.0 %, above 89 from 5.0 % to 25.0 %, "
        "9 to 19 from 5.0 % to 0.0 %"
    )
    assert "mainstay profile customers --pin" in finding.mend
    warned = judge_distribution(check(pinned, "tenure", on_fail="warn"), TENURE, counts)
    assert warned.verdict is Verdict.WARN


def test_categories_that_were_never_pinned_are_a_bin_of_their_own_and_not_named(current: Current) -> None:
    pinned = pin(current.sql, relation("plan", "VARCHAR", ["gold"] * 75 + ["it's basic"] * 25), PLAN)
    assert pinned.values == {"gold": 0.75, "it's basic": 0.25}
    counts = in_bins(current.sql, relation("plan", "VARCHAR", ["gold"] * 75 + ["secret"] * 25), "plan", pinned)
    assert counts == (0, 75, 0, 25)
    finding = judge_distribution(check(pinned, "plan"), PLAN, counts)
    assert finding.verdict is Verdict.FAIL
    assert "it's basic from 25.0 % to 0.0 %" in finding.sentence
    assert "values not pinned from 0.0 % to 25.0 %" in finding.sentence
    assert "secret" not in finding.sentence


def test_of_names_and_of_what_is_left_out_only_the_empty_ones_are_pinned(current: Current) -> None:
    names = relation("plan", "VARCHAR", [f"name {n}" for n in range(60)] + [None] * 40)
    assert pin(current.sql, names, PLAN) == PinnedColumn(
        contract=contract_of(PLAN), empty=0.4, left_out="more than 50 values"
    )
    pinned = pin(current.sql, relation("plan", "VARCHAR", ["gold"] * 99 + [None]), PLAN, left_out="pii")
    assert (pinned.values, pinned.empty) == ({}, 0.01)
    counts = in_bins(current.sql, names, "plan", pinned)
    assert counts == (40, 60)
    finding = judge_distribution(check(pinned, "plan"), PLAN, counts)
    assert "empty from 1.0 % to 40.0 %, not empty from 99.0 % to 60.0 %" in finding.sentence


def test_few_rows_are_unknown_and_another_contract_is_an_error(current: Current) -> None:
    pinned = pin(current.sql, relation("plan", "VARCHAR", ["gold"] * 100), PLAN)
    few = judge_distribution(check(pinned, "plan"), PLAN, (0, 50, 49))
    assert (few.verdict, few.sentence) == (
        Verdict.UNKNOWN, "cannot tell from 99 rows how plan is distributed; it takes 100",
    )  # fmt: skip
    cleaned = msgspec.structs.replace(PLAN, clean=(Cleaning(kind="lower"),))
    old = judge_distribution(check(pinned, "plan"), cleaned, ())
    assert old.verdict is Verdict.ERROR
    assert old.sentence == "p.json is older than the contract: type, cleaning or fill of plan changed since"


def test_not_a_number_is_above_every_edge_and_makes_none(current: Current) -> None:
    column = Column(name="score", type="number", source_name="score")
    rows = relation("score", "DOUBLE", [1.5, 2.5, "nan", "inf"] * 30)
    pinned = pin(current.sql, rows, column)
    assert pinned.edges == (1.5, 2.5)
    assert in_bins(current.sql, rows, "score", pinned) == (0, 30, 30, 60)
    assert pin(current.sql, relation("score", "DOUBLE", ["nan"] * 100), column).left_out == "no finite value"
