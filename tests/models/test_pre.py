"""The steps of `model.pre`: from a feature row to what a model eats."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, PreStep, Signature
from mainstay.core.records import ModelVersion
from mainstay.models.pre import Pre, pin, pre_of, with_pre

TENURE = Field(name="tenure", type="integer")
CHARGES = Field(name="charges", type="number")
CONTRACT = Field(name="contract", type="string")
SENIOR = Field(name="senior", type="boolean")
SINCE = Field(name="since", type="date")
COLUMNS = (TENURE, CHARGES, CONTRACT, SENIOR, SINCE)


def step(kind: Any, of: str, as_: str | None = None, with_: Any = None, **args: Any) -> PreStep:
    more = {"of": of, "as": as_, "with": with_}
    return PreStep(kind=kind, args={**{name: value for name, value in more.items() if value is not None}, **args})


def one(kind: Any, field: Field, value: Any, **args: Any) -> Any:
    return Pre([step(kind, field.name, **args)], [field])([value]).row[0]


def version(*inputs: Field) -> ModelVersion:
    return ModelVersion(
        number=1, name="m", digest="d", runtime="onnx", signature=Signature(inputs=inputs, outputs=()),
        origin="imported", created_us=0,
    )  # fmt: skip


def test_a_null_and_only_a_null_is_imputed_and_named() -> None:
    pre = Pre([step("impute", "tenure", with_=12), step("impute", "charges", with_=70)], [TENURE, CHARGES])
    assert pre([None, math.nan]) == pre([None, None])
    made = pre([None, None])
    assert (made.row, made.imputed) == ((12, 70.0), {"tenure": 12, "charges": 70})
    assert repr(made.row[1]) == "70.0", "a number is one, also where the file wrote a whole one"
    assert pre([0, 0.0]).imputed == {}


def test_standard_scaling_is_scikit_learns_to_the_last_bit() -> None:
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    rows = np.array([[18.25], [70.35], [104.8], [20.05]])
    fitted = StandardScaler().fit(rows)
    wanted = fitted.transform(rows)
    for row, value in zip(rows, wanted, strict=True):
        assert one("scale", CHARGES, float(row[0]), mean=float(fitted.mean_[0]), std=float(fitted.scale_[0])) == value
    assert one("scale", CHARGES, 50.0, by=0.01, add=1.0) == 1.5
    assert one("scale", CHARGES, None, by=0.01) is None


def test_clip_keeps_a_whole_number_one_where_its_bounds_are() -> None:
    assert [one("clip", TENURE, value, min=0, max=72) for value in (-3, 5, 900, None)] == [0, 5, 72, None]
    assert isinstance(one("clip", TENURE, 900, max=72.0), int)
    assert one("clip", TENURE, 900, max=72.5) == 72.5
    assert one("clip", CHARGES, math.inf, max=10) == 10.0
    assert math.isnan(one("clip", CHARGES, math.nan, min=0))


def test_map_goes_by_text_and_what_it_does_not_know_has_no_answer() -> None:
    words = {"One year": 1, "Two year": 2}
    assert [one("map", CONTRACT, value, values=words) for value in ("Two year", None)] == [2, None]
    assert one("map", CONTRACT, "odd", values=words, otherwise=0) == 0
    assert repr(one("map", CONTRACT, "Two year", values=words, otherwise=0.5)) == "2.0"
    assert one("map", SENIOR, True, values={"true": "old", "false": "young"}) == "old"
    with pytest.raises(ModelRefused, match=r"contract has a value that `model.pre` does not map") as caught:
        one("map", CONTRACT, "4711", values=words)
    assert "4711" not in str(caught.value)


def test_bins_begin_at_their_edges() -> None:
    assert [one("bin", TENURE, value, edges=[12, 24]) for value in (0, 11, 12, 23, 24, None)] == [0, 0, 1, 1, 2, None]
    assert one("bin", CHARGES, math.nan, edges=[1.0]) is None
    labelled = Pre([step("bin", "tenure", as_="band", edges=[12], labels=["new", "old"])], [TENURE])
    assert labelled([30]).row == (30, "old")
    assert [field.type for field in labelled.outputs] == ["integer", "string"]


def test_log1p_has_no_answer_where_there_is_none() -> None:
    assert one("log1p", CHARGES, 1.5) == math.log1p(1.5)
    with pytest.raises(ModelRefused, match="charges has a value of -1 or less"):
        one("log1p", CHARGES, -1.0)


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ([step("clip", "tenur", min=0)], r"step 1 of `model.pre` \(clip of tenur\): there is no column tenur"),
        ([step("scale", "contract", by=2)], "contract is of type string, and the step wants a number"),
        ([step("impute", "contract", with_=3)], "contract is of type string, and 3 is no value of it"),
        ([step("impute", "contract", with_="median"), step("scale", "contract", by=2)], "wants a number"),
        ([step("impute", "tenure", with_=1.5)], "tenure is of type integer, and 1.5 is no value of it"),
        ([step("impute", "since", with_="2026-01-01")], "since is of type date"),
        ([step("impute", "senior", with_=1)], "senior is of type boolean"),
        ([step("map", "since", values={"a": 1})], "since is of type date"),
        ([step("map", "contract", values={"a": 1, "b": "two"})], "different types"),
        ([step("bin", "tenure", as_="charges", edges=[1])], "there is a column charges already"),
        ([step("map", "contract", values={"a": 1}), step("map", "contract", values={"1": "a"}),
          step("log1p", "contract")], r"step 3 of `model.pre`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_step(steps: list[PreStep], sentence: str) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        Pre(steps, COLUMNS)


def test_a_statistic_is_of_the_rows_as_they_are_where_the_step_stands() -> None:
    steps = [
        step("clip", "tenure", max=10),
        step("impute", "tenure", with_="median"),
        step("impute", "charges", with_="mean"),
        step("impute", "contract", with_="most_frequent"),
    ]
    rows = [(1, 1.0, "b"), (4, None, "a"), (500, 2.5, None), (None, math.nan, "a"), (8, 1.0, "b")]
    pinned = pin(steps, COLUMNS[:3], rows)
    assert [one.pinned for one in pinned[1:]] == [
        {"value": 4, "rows": 4},
        {"value": 1.5, "rows": 3},
        {"value": "a", "rows": 4},
    ], "of an even count the lower one stays a whole number; of equal counts the first in order"
    assert Pre(pinned, COLUMNS[:3])((None, None, None)).row == (4, 1.5, "a")
    assert pin(pinned, COLUMNS[:3], [(7, 7.0, "c")]) == pinned, "a pinned one is never computed again"
    with pytest.raises(ModelRefused, match="none of 1 current rows has a value there"):
        pin(steps, COLUMNS[:3], [(1, None, None)])


def test_a_mean_of_whole_numbers_makes_the_column_a_number() -> None:
    (made,) = Pre([step("impute", "tenure", with_="mean")], [TENURE]).outputs
    assert made.type == "number"
    (pinned,) = pin([step("impute", "tenure", with_="mean")], [TENURE], [(1,), (2,)])
    assert repr(Pre([pinned], [TENURE])((3,)).row) == "(3.0,)"


def test_a_version_reads_what_its_steps_read_and_keeps_its_own_inputs() -> None:
    own = (
        Field(name="tenure", type="number", required=True),
        Field(name="code", type="integer", required=True),
        Field(name="senior", type="boolean"),
    )
    steps = [
        step("impute", "tenure", with_=0),
        step("scale", "tenure", by=0.5),
        step("map", "contract", as_="code", values={"One year": 1}),
        step("log1p", "charges"),
    ]
    made = with_pre(version(*own), steps, COLUMNS)
    assert [(field.name, field.type, field.required) for field in made.signature.inputs] == [
        ("tenure", "integer", False),
        ("senior", "boolean", False),
        ("contract", "string", True),
    ], "an imputed null is no null; a contract may not be one, for the code may not"
    assert [each.args["of"] for each in made.pre] == ["tenure", "tenure", "contract"], "this model reads no charges"
    assert made.given.inputs == own
    steps_of = pre_of(made)
    assert steps_of is not None
    assert steps_of([None, True, "One year"]).row == (0.0, 1, True)
    assert with_pre(made, (), COLUMNS) == version(*own)
    assert pre_of(version(*own)) is None


def test_steps_that_give_another_type_than_the_model_takes_are_refused() -> None:
    with pytest.raises(ModelRefused, match="gives contract as integer, and the model takes it as string"):
        with_pre(version(CONTRACT), [step("map", "contract", values={"One year": 1})], COLUMNS)
    wide = with_pre(version(Field(name="tenure", type="number")), [step("clip", "tenure", min=0)], COLUMNS)
    assert wide.pre, "a whole number goes into a number"
