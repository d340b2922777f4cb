"""The cost curve: what is asked of the model, and what is kept of what the clock said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainstay.core.clock import SECOND
from mainstay.core.errors import ModelAway, ModelRefused
from mainstay.core.ports import Row, RuntimeCapabilities
from mainstay.core.records import Cost
from mainstay.models.cost import SIZES, curve, together
from mainstay.testing.clock import FakeClock


class Ticking:
    """Takes 100 microseconds and 5 for each row, by a clock of its own; the first call of a size ten times that."""

    capabilities = RuntimeCapabilities(blocking=False)
    build = "ticking"

    def __init__(self, clock: FakeClock, *, row_us: int = 5, dies_at: int = 10_000) -> None:
        self.clock, self.row_us, self.dies_at = clock, row_us, dies_at
        self.asked: list[int] = []

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        if any(row[0] is None for row in rows):
            raise ModelRefused("no nulls")
        if len(rows) >= self.dies_at:
            raise ModelAway("gone")
        cold = 1 if self.asked[-1:] == [len(rows)] else 10
        self.asked.append(len(rows))
        self.clock.advance((100 + self.row_us * len(rows)) * cold)
        return [(1.0,)] * len(rows)

    def present(self) -> bool:
        return True

    def close(self) -> None: ...


def test_each_size_is_measured_warm_on_rows_that_are_answered() -> None:
    model = Ticking(FakeClock())
    found = curve(model, [(1.0,), (None,), (2.0,)], model.clock)
    assert found == tuple(Cost(rows=size, us=100 + 5 * size) for size in SIZES)
    assert max(model.asked) == 1024


def test_a_slow_model_is_not_asked_for_minutes() -> None:
    model = Ticking(FakeClock(), row_us=SECOND)
    found = curve(model, [(1.0,)], model.clock)
    assert [one.rows for one in found] == [1, 2]
    assert model.asked == [1, 1, 2], "once to see that it answers, once for each size"


def test_a_model_that_dies_of_many_rows_keeps_what_was_measured() -> None:
    model = Ticking(FakeClock(), dies_at=64)
    assert [one.rows for one in curve(model, [(1.0,)], model.clock)] == [1, 2, 4, 8, 16, 32]


def test_without_a_row_that_is_answered_there_is_nothing_to_measure() -> None:
    model = Ticking(FakeClock())
    assert curve(model, [], model.clock) == ()
    assert curve(model, [(None,)], model.clock) == ()


class Other(Ticking):
    """Gives a row other bits when others are asked with it, as a matrix product may."""

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        found = super().predict(rows, deadline_us=deadline_us)
        return found if len(rows) < 16 else [(1.0000000000000002,)] * len(rows)


def of_calls(model: Ticking) -> int:
    rows = [(float(number),) for number in range(5)]
    return together(model, rows, curve(model, rows, model.clock), model.clock)


def test_rows_are_asked_together_where_that_costs_less_and_does_not_take_long() -> None:
    assert of_calls(Ticking(FakeClock(), row_us=0)) == 32
    assert of_calls(Ticking(FakeClock(), row_us=100)) == 32, "half price, within 5 ms"
    assert of_calls(Ticking(FakeClock(), row_us=200)) == 16, "and two thirds"
    assert of_calls(Ticking(FakeClock(), row_us=900)) == 1, "nine tenths are in each row"
    slow = (Cost(rows=1, us=100_000), Cost(rows=4, us=180_000), Cost(rows=16, us=500_000))
    model = Ticking(FakeClock())
    assert together(model, [(1.0,)], slow, model.clock) == 4, "a call for 16 takes five times as long as one for a row"


def test_rows_are_never_asked_together_where_that_changes_a_bit() -> None:
    assert of_calls(Other(FakeClock(), row_us=0)) == 8


def test_rows_are_asked_alone_where_nothing_is_known() -> None:
    model = Ticking(FakeClock())
    assert together(model, [(1.0,)], (), model.clock) == 1
    assert together(model, [(None,)], (Cost(rows=1, us=100), Cost(rows=8, us=100)), model.clock) == 1
    assert of_calls(Ticking(FakeClock(), row_us=0, dies_at=8)) == 4
