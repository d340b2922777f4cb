from __future__ import annotations

from typing import Any

import pytest

from mainstay.core.clock import HOUR, MINUTE
from mainstay.core.nouns import AnswerPolicy, Field, Freshness
from mainstay.core.verdicts import Verdict
from mainstay.serving.card_words import Line, called, label, odds, reading, told
from mainstay.serving.judge import DatasetTerms, Terms
from mainstay.serving.reply import Answer

RISK = Field(name="churn_probability", type="number", unit="probability", meaning="leaves within 90 days")


def terms(*promises: Freshness) -> Terms:
    parts = tuple(DatasetTerms(name=f"d{number}", freshness=each) for number, each in enumerate(promises))
    return Terms(policy=AnswerPolicy(), has_fallback=False, datasets=parts)


def answer(**output: Any) -> Answer:
    return Answer(output, "r1", 1, None, 4.0, Verdict.PASS, "", False, "")


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        ("probability", 0.31, "31 %"),
        ("probability", 0.0, "0 %"),
        ("probability", 0.004, "under 1 %"),
        ("probability", 0.996, "over 99 %"),
        ("probability", 1, "100 %"),
        ("percent", 31.2, "31 %"),
        ("EUR", 1234.5, "1,234.5 EUR"),
        ("EUR", 1000000.0, "1,000,000 EUR"),
        ("", 0.01234, "0.0123"),
        ("days", 3, "3 days"),
        ("", "high", "high"),
        ("", True, "yes"),
        ("", False, "no"),
        ("probability", None, "not known"),
    ],
)
def test_a_value_is_told_with_its_unit(unit: str, value: Any, words: str) -> None:
    assert told(Field(name="x", type="number", unit=unit), value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.001, "fewer than 1 in 100"),
        (0.04, "about 4 in 100"),
        (0.31, "about 3 in 10"),
        (0.5, "about 5 in 10"),
        (0.93, "about 93 in 100"),
        (0.999, "nearly all"),
        (1.2, ""),
        (True, ""),
        (None, ""),
        ("high", ""),
    ],
)
def test_a_probability_is_told_as_people_count(value: Any, words: str) -> None:
    assert odds(value) == words


def test_the_label_is_the_meaning_else_the_name() -> None:
    assert label(RISK) == "Leaves within 90 days"
    assert label(Field(name="churn_probability", type="number")) == "Churn probability"


def test_the_files_meaning_is_said_before_the_models_own() -> None:
    model = (Field(name="p", type="number", meaning="predict_proba of class Yes"), Field(name="q", type="number"))
    own = (Field(name="p", type="number", meaning="leaves within 90 days"), Field(name="q", type="number"))
    assert [label(field) for field in called(model, own)] == ["Leaves within 90 days", "Q"]
    assert label(called(model, ())[0]) == "Predict_proba of class Yes"


def test_the_first_output_is_the_value_and_the_others_stand_below() -> None:
    class_ = Field(name="risk", type="string", meaning="risk")
    found = reading(answer(churn_probability=0.8, risk="high"), (RISK, class_), terms(), key="A", user="j")
    assert (found.label, found.value, found.also) == ("Leaves within 90 days", "80 %", [Line("Risk", "high")])


@pytest.mark.parametrize(
    ("output", "reasons"),
    [
        ({"reasons": '["no contract", "two complaints"]'}, ["no contract", "two complaints"]),
        ({"reasons": ["no contract"]}, ["no contract"]),
        ({"reasons": "[not a list"}, ["[not a list"]),
        ({"reason": "no contract"}, ["no contract"]),
        ({"reason_1": "no contract", "reason_1_score": 0.4, "reason_2": ""}, ["no contract"]),
        ({"reasons": None}, []),
    ],
)
def test_outputs_that_are_reasons_are_listed_as_such(output: dict[str, Any], reasons: list[str]) -> None:
    fields = (RISK, *(Field(name=name, type="string") for name in output))
    found = reading(answer(churn_probability=0.8, **output), fields, terms(), key="A", user="j")
    assert (found.reasons, found.also, found.value) == (reasons, [], "80 %")


def test_the_promise_is_the_strictest_that_was_given() -> None:
    both = terms(Freshness(warn_us=MINUTE, fail_us=HOUR), Freshness(fail_us=2 * HOUR))
    warned = terms(Freshness(warn_us=MINUTE), Freshness())
    given = [
        reading(answer(churn_probability=0.8), (RISK,), each, key="A", user="j") for each in (both, warned, terms())
    ]
    assert [each.promise_seconds for each in given] == [3600.0, 60.0, None]
