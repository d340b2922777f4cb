"""Which known value a mistyped one may mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.quality.near import Nearest, clear

CITIES = ["München", "Münster", "New York", "Frankfurt am Main", "Frankfurt (Oder)", "Zone 1", "Zone 2", "Köln"]


@pytest.mark.parametrize(
    ("text", "value", "evidence"),
    [
        ("MUNCHEN", "München", "equal but for case, accents and punctuation"),
        ("York, New", "New York", "the same words in another order"),
        ("Mnchen", "München", "6 of 7 letters in order"),
        ("frankfurt a main", "Frankfurt am Main", "letters in order"),
        ("Oder Frankfrt", "Frankfurt (Oder)", "letters in order, the words put in order"),
        ("Kö", "Köln", "letters in order"),
        ("new", "New York", "it begins so"),
    ],
)
def test_the_nearest_comes_first_with_its_evidence(text: str, value: str, evidence: str) -> None:
    best = Nearest(CITIES)(text)[0]
    assert best.value == value
    assert evidence in best.evidence


def test_other_numbers_are_another_thing() -> None:
    near = Nearest(["Zone 1", "Zone 2"])("zone 3")
    assert [one.score for one in near] == [0.7, 0.7]
    assert "its numbers differ" in near[0].evidence
    assert not clear(near)
    assert Nearest(CITIES)("zone-2")[0].score == 1.0


def test_what_is_like_nothing_has_no_proposal() -> None:
    assert Nearest(CITIES)("???") == ()
    assert Nearest(CITIES)("quartz") == ()
    assert Nearest([])("München") == ()


def test_a_second_one_nearly_as_good_makes_the_first_doubtful() -> None:
    assert clear(Nearest(["Monthly", "Yearly"])("Monthyl"))
    assert not clear(Nearest(["Rome A", "Rome B"])("Rome C"))


@given(text=st.text(max_size=12), known=st.lists(st.text(max_size=12), max_size=6))
def test_any_text_is_compared_and_the_best_is_first(text: str, known: list[str]) -> None:
    found = Nearest(known)(text, least=0.0, take=6)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert all(0.0 <= one.score <= 1.0 for one in found)
    few = Nearest(known)(text, least=0.0, take=2)
    assert [one.score for one in few] == [one.score for one in found[:2]], "looking for fewer finds the same"
