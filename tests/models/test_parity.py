"""What is compared, and that a conversion which is wrong anywhere is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.clock import SystemClock
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import Row, RuntimeCapabilities
from mainstay.models.parity import answers, around, compare, difference, in_band, inside, oddities, probe

CLOCK = SystemClock()
SIGNATURE = Signature(
    inputs=(
        Field(name="tenure", type="integer"),
        Field(name="charges", type="number"),
        Field(name="plan", type="string", categories=("a", "b")),
    ),
    outputs=(Field(name="churn", type="number"),),
)
ROWS = [(1, 20.0, "a"), (5, 40.0, "b"), (9, 80.0, "a"), (30, None, "b")]
SPLITS = {"tenure": [(5.5, 1e-6)], "charges": [(50.0, 4e-6)]}


class Formula:
    """A model that is a function of the row; raises what the function raises."""

    capabilities = RuntimeCapabilities(blocking=False)
    build = "formula"

    def __init__(self, formula: Callable[..., Any]) -> None:
        self.formula = formula

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        return [(self.formula(*row),) for row in rows]

    def present(self) -> bool:
        return True

    def close(self) -> None:
        pass


def tree(tenure: Any, charges: Any, plan: Any) -> float:
    return (0.2 if tenure is None or tenure <= 5.5 else 0.5) + (0.1 if charges is None or charges <= 50.0 else 0.3)


def compared(wrong: Callable[..., Any]) -> Any:
    return compare(Formula(tree), Formula(wrong), SIGNATURE, ROWS, SPLITS, clock=CLOCK)


def test_the_same_model_is_equal_and_the_numbers_say_so() -> None:
    parity = compared(tree)
    assert parity.equal
    assert parity.current.rows == len(ROWS)
    assert parity.splits == 2
    assert parity.around.rows > 0
    assert parity.band.rows > 0


WRONG: dict[str, Callable[..., Any]] = {
    "a split goes to the other side": lambda t, c, p: tree(t, c, p) if t != 6 else 0.0,
    "near a split that no row is near to": lambda t, c, p: tree(t, c, p) if c is None or not 50 < c < 50.01 else 0.9,
    "a category": lambda t, c, p: tree(t, c, p) + (p == "b") * 0.1,
    "a category never seen": lambda t, c, p: tree(t, c, p) + (p not in {"a", "b", None}) * 0.1,
    "a null": lambda t, c, p: tree(t, c, p) + (t is None) * 0.1,
    "more than the tolerance": lambda t, c, p: tree(t, c, p) + 2e-6,
    "not a number": lambda t, c, p: float("nan"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_conversion_is_caught(name: str) -> None:
    assert not compared(WRONG[name]).equal


def test_one_that_answers_what_the_original_refuses_is_caught() -> None:
    def strict(tenure: Any, charges: Any, plan: Any) -> float:
        if plan not in {"a", "b"}:
            raise ModelRefused("unknown plan")
        return tree(tenure, charges, plan)

    parity = compare(Formula(strict), Formula(tree), SIGNATURE, ROWS, SPLITS, clock=CLOCK)
    assert not parity.equal
    assert parity.around.refusals > 0
    assert probe(Formula(strict), SIGNATURE, ROWS, CLOCK) == (("plan",), ("plan",))
    assert probe(Formula(tree), SIGNATURE, ROWS, CLOCK) == ((), ())


def test_within_the_band_is_measured_and_not_judged() -> None:
    parity = compared(lambda t, c, p: tree(t, float(np.float32(c)) if c is not None else None, p))
    assert parity.equal
    shifted = compared(lambda t, c, p: tree(t, c - 4e-6 if c is not None else None, p))
    assert shifted.equal
    assert shifted.band.largest == pytest.approx(0.2)


def test_rows_in_the_band_are_counted() -> None:
    assert in_band(SIGNATURE, (1, 50.000001, "a"), SPLITS)
    assert not in_band(SIGNATURE, (1, 50.1, "a"), SPLITS)
    assert not in_band(SIGNATURE, (1, None, "a"), SPLITS)


def test_nothing_is_proved_without_rows() -> None:
    assert not compare(Formula(tree), Formula(tree), SIGNATURE, [], SPLITS, clock=CLOCK).equal


def test_points_lie_on_either_side_of_each_split() -> None:
    charges = {row[1] for row in around(SIGNATURE, ROWS, SPLITS)} - {None}
    assert {40.0, 80.0, 50.0 - 50e-4, 50.0 + 50e-4} <= charges
    assert all(isinstance(row[0], int) for row in around(SIGNATURE, ROWS, SPLITS))
    plans = {row[2] for row in oddities(SIGNATURE, ROWS)}
    assert {"a", "b", None} < plans
    assert {row[2] for row in oddities(SIGNATURE, ROWS, ("plan",))} == {"a", "b", None}


def test_a_row_that_is_refused_spoils_no_other() -> None:
    def picky(tenure: Any, charges: Any, plan: Any) -> float:
        if charges is None:
            raise ModelRefused("null")
        return float(charges)

    assert answers(Formula(picky), ROWS, CLOCK) == [(20.0,), (40.0,), (80.0,), None]


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e-6)), max_size=20))
def test_a_small_difference_is_within_the_tolerance_and_counted(pairs: list[tuple[float, float]]) -> None:
    found = difference([(0.0,) for _ in pairs], [(apart,) for _, apart in pairs], 1e-6)
    assert found.equal
    assert found.largest == max((apart for _, apart in pairs), default=0.0)


@given(st.floats(1e-3, 1e6), st.floats(1e-9, 1e-4))
def test_the_band_and_the_points_around_never_meet(split: float, step: float) -> None:
    splits = {"charges": [(split, step)]}
    rows = [(1, split * 0.5, "a"), (2, split * 2, "b")]
    assert not any(in_band(SIGNATURE, row, splits) for row in around(SIGNATURE, rows, splits))
    assert all(abs(row[1] - split) <= step * (1 + 1e-6) + split * 1e-12 for row in inside(SIGNATURE, rows, splits))
