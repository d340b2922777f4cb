from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.errors import NotFound, Refused
from mainstay.core.nouns import Fallback, Field, Limits, Signature
from mainstay.serving.contract import ApiContract, breaks, build, path_of, read, write
from tests.serving.toy import SIGNATURE, Toy, integration

CONTRACT = build(integration(), Toy.feature_set().columns, SIGNATURE)
CHURN = Field(name="churn", type="number", unit="probability", minimum=0, maximum=1)


def test_a_contract_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = path_of(tmp_path, 1)
    write(path, CONTRACT)
    assert path.name == "api-1.json"
    assert read(path) == CONTRACT
    assert breaks(CONTRACT, read(path)) == ()


def test_a_missing_or_damaged_contract_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path / "api-1.json")
    (tmp_path / "api-1.json").write_text("{}")
    with pytest.raises(Refused):
        read(tmp_path / "api-1.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": Field(name="customer_id", type="integer", required=True)}, "the key was string"),
        ({"columns": CONTRACT.columns[1:]}, "column `tenure` is gone"),
        ({"columns": (Field(name="tenure", type="string"), *CONTRACT.columns[1:])}, "was integer and becomes string"),
        ({"inputs": (Field(name="at", type="string", required=True),)}, "input `at` is new and required"),
        ({"outputs": ()}, "output `churn` is gone"),
        ({"outputs": (CHURN, Field(name="more", type="number"))}, "output `more` is new"),
        ({"outputs": (Field(name="churn", type="number", unit="percent"),)}, "was in probability and becomes percent"),
    ],
)
def test_what_breaks_a_caller_is_found(changes: dict[str, object], words: str) -> None:
    new: ApiContract = msgspec.structs.replace(CONTRACT, **changes)
    (finding,) = breaks(CONTRACT, new)
    assert words in finding.sentence


@pytest.mark.parametrize(
    ("was", "now", "words"),
    [
        ({}, {"minimum": 0}, "the minimum of input `at` becomes narrower"),
        ({"maximum": 5}, {"maximum": 4}, "the maximum"),
        ({}, {"limits": Limits(shortest=1)}, "the least length"),
        ({"limits": Limits(longest=5)}, {"limits": Limits(longest=4)}, "the greatest length"),
        ({"limits": Limits(pattern="a")}, {"limits": Limits(pattern="b")}, "the pattern"),
        ({"limits": Limits(values=("a", "b"))}, {"limits": Limits(values=("a",))}, "the list of values"),
        ({"maximum": 4, "limits": Limits(values=("a",))}, {"maximum": 5, "limits": Limits(values=("b", "a"))}, ""),
        ({"limits": Limits(pattern="a", shortest=1)}, {}, ""),
    ],
)
def test_a_narrower_input_breaks_callers_and_a_wider_one_does_not(was: Any, now: Any, words: str) -> None:
    old, new = (
        msgspec.structs.replace(CONTRACT, inputs=(Field(name="at", type="string", **one),)) for one in (was, now)
    )
    assert [words in each.sentence for each in breaks(old, new)] == ([True] if words else [])


def test_the_words_of_an_output_are_promised_with_the_fallbacks() -> None:
    risk = Field(name="risk", type="string", categories=("low", "high"))
    file = integration(fallback=Fallback(values={"risk": "unknown"}, reason="none"))
    contract = build(file, (), Signature(inputs=(), outputs=(risk,)))
    assert contract.outputs[0].categories == ("low", "high", "unknown")


def test_key_columns_that_come_and_go_break_callers() -> None:
    two = (Field(name="customer_id", type="string", required=True), Field(name="product_id", type="integer"))
    pairs = msgspec.structs.replace(CONTRACT, key=two[0], keys=two)
    other = (two[0], Field(name="product_id", type="string"))
    for old, new, words in (
        (CONTRACT, pairs, "the key column `product_id` is new"),
        (pairs, CONTRACT, "the key column `product_id` is gone"),
        (pairs, msgspec.structs.replace(pairs, keys=other), "`product_id` was integer and becomes string"),
    ):
        (finding,) = breaks(old, new)
        assert words in finding.sentence
    assert breaks(pairs, msgspec.structs.replace(pairs, keys=two[::-1])) == ()


def test_more_columns_and_optional_inputs_break_nobody() -> None:
    new = msgspec.structs.replace(
        CONTRACT,
        columns=(*CONTRACT.columns, Field(name="extra", type="number")),
        inputs=(Field(name="at", type="string"),),
    )
    assert breaks(CONTRACT, new) == ()
