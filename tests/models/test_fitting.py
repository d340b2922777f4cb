"""A model fits the API contract, or each reason against it is named."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay.core.nouns import Field, Signature
from mainstay.core.verdicts import Verdict
from mainstay.models.fitting import fits

OFFERED = (
    Field(name="tenure", type="integer"),
    Field(name="contract", type="string"),
    Field(name="unused", type="number"),
)
PROMISED = (Field(name="churn", type="number", unit="probability"),)
INPUTS = (Field(name="tenure", type="number"), Field(name="contract", type="string"))


def test_a_model_that_fits() -> None:
    findings = fits(OFFERED, PROMISED, Signature(inputs=INPUTS, outputs=PROMISED))
    assert [finding.verdict for finding in findings] == [Verdict.PASS]


@pytest.mark.parametrize(
    ("inputs", "outputs", "column", "words"),
    [
        ((Field(name="age", type="number"),), PROMISED, "age", "no column of its input"),
        ((Field(name="contract", type="number"),), PROMISED, "contract", "given as string"),
        ((Field(name="unused", type="integer"),), PROMISED, "unused", "given as number"),
        (INPUTS, (Field(name="churn", type="number", unit="%"),), "churn", "unit probability"),
        (INPUTS, (Field(name="churn", type="string", unit="probability"),), "churn", "type number"),
        (INPUTS, (*PROMISED, Field(name="why", type="string")), "why", "does not promise"),
        (INPUTS, (), "churn", "does not give"),
    ],
)
def test_each_reason_against_it(inputs: Any, outputs: Any, column: str, words: str) -> None:
    findings = fits(OFFERED, PROMISED, Signature(inputs=inputs, outputs=outputs))
    assert [(finding.verdict, finding.column) for finding in findings] == [(Verdict.FAIL, column)]
    assert words in findings[0].sentence


def test_every_reason_is_named_at_once() -> None:
    wrong = Signature(inputs=(Field(name="a", type="number"), Field(name="b", type="number")), outputs=())
    assert [finding.column for finding in fits(OFFERED, PROMISED, wrong)] == ["a", "b", "churn"]
