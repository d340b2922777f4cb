"""The steps of `model.post`: what they make of values and of the outputs that are promised."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, PostStep, Signature
from mainstay.core.records import ModelVersion
from mainstay.models.post import Post, post_of, with_post

Kind = Literal["scale", "calibrate", "threshold", "words", "top"]
P = Field(name="p", type="number", unit="probability", minimum=0.0, maximum=1.0)
CLASS = Field(name="kind", type="integer")
OFFERS = tuple(Field(name=name, type="number", unit="probability") for name in ("gold", "basic", "none"))


def step(kind: Kind, **args: Any) -> PostStep:
    return PostStep(kind=kind, args={name.rstrip("_"): value for name, value in args.items()})


def one(kind: Kind, value: Any, field: Field = P, **args: Any) -> Any:
    (made,) = Post([step(kind, **args)], [field])([value])
    return made


def test_scaling_multiplies_adds_bounds_and_rounds() -> None:
    assert one("scale", 0.256, by=100.0, round=1) == 25.6
    assert one("scale", 0.5, by=2.0, add=1.0) == 2.0
    assert one("scale", 0.9, by=10.0, max=5.0) == 5.0
    assert one("scale", -3.0, min=0.0) == 0.0
    assert one("scale", None, by=100.0) is None
    (made,) = Post([step("scale", by=-100.0, unit="percent")], [P]).outputs
    assert (made.name, made.unit, made.minimum, made.maximum) == ("p", "percent", -100.0, 0.0)
    assert one("scale", 3, CLASS, by=2) == 6.0
    assert Post([step("scale", by=2)], [CLASS]).outputs[0].type == "number"


def test_platt_is_scikit_learns_sigmoid_and_does_not_overflow() -> None:
    from sklearn.calibration import _SigmoidCalibration

    fitted = _SigmoidCalibration().fit([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], [0, 0, 1, 0, 1, 1])
    for value in (-5.0, 0.0, 0.3, 7.0):
        ours = one("calibrate", value, platt={"a": fitted.a_, "b": fitted.b_})
        assert ours == pytest.approx(float(fitted.predict([value])[0]), abs=1e-12)
    assert one("calibrate", 1e6, platt={"a": 1.0, "b": 0.0}) == 0.0
    assert one("calibrate", -1e6, platt={"a": 1.0, "b": 0.0}) == 1.0


def test_isotonic_is_scikit_learns_and_flat_outside_its_points() -> None:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit([0.1, 0.2, 0.4, 0.8], [0.0, 0.3, 0.2, 0.9])
    points = [[float(x), float(y)] for x, y in zip(fitted.X_thresholds_, fitted.y_thresholds_, strict=True)]
    for value in (0.0, 0.1, 0.15, 0.3, 0.5, 0.8, 1.0):
        ours = one("calibrate", value, isotonic=points)
        assert ours == pytest.approx(float(fitted.predict([value])[0]), abs=1e-6), "it computes in float32"


def test_a_threshold_is_above_from_its_point_on() -> None:
    words: Any = {"at": 0.5, "above": "high", "below": "low"}
    assert [one("threshold", value, **words) for value in (0.49, 0.5, None)] == ["low", "high", None]
    (made,) = Post([step("threshold", **words)], [P]).outputs
    assert (made.type, made.unit, made.minimum) == ("string", "", None)
    assert made.meaning == "high from 0.5 probability on, else low"
    assert one("threshold", 1.0, at=0.5, above=True, below=False) is True
    assert repr(one("threshold", 1.0, at=0.5, above=1, below=0.5)) == "1.0"


def test_words_are_by_text_and_a_value_without_one_has_no_answer() -> None:
    words = {"0": "basic", "1": "gold"}
    assert [one("words", value, CLASS, words=words) for value in (0, 1.0, None)] == ["basic", "gold", None]
    assert one("words", 7, CLASS, words=words, other="none") == "none"
    assert one("words", True, Field(name="b", type="boolean"), words={"true": "yes"}) == "yes"
    with pytest.raises(ModelRefused, match="kind has a value without a word") as caught:
        one("words", 4711, CLASS, words=words)
    assert "4711" not in str(caught.value)


def test_the_best_leave_in_order_and_the_first_named_wins() -> None:
    post = Post([step("top", of=["gold", "basic", "none"], take=2, as_="offer")], [P, *OFFERS])
    assert [field.name for field in post.outputs] == ["p", "offer_1", "offer_1_score", "offer_2", "offer_2_score"]
    assert post([0.5, 0.2, 0.6, 0.2]) == (0.5, "basic", 0.6, "gold", 0.2)
    assert post([0.5, None, 0.6, None]) == (0.5, "basic", 0.6, None, None)
    assert post.outputs[2].unit == "probability"


def test_steps_run_in_order_beside_or_in_place_of_what_they_read() -> None:
    steps = [
        step("calibrate", platt={"a": -1.0, "b": 0.0}),
        step("threshold", of="p", as_="risk", at=0.7, above="high", below="low"),
        step("scale", of="p", by=100.0, unit="percent", round=0),
    ]
    post = Post(steps, [P])
    assert post([2.0]) == (88.0, "high")
    assert [(field.name, field.type, field.unit) for field in post.outputs] == [
        ("p", "number", "percent"),
        ("risk", "string", ""),
    ]
    assert post([2.0]) == post([2.0])
    assert math.isclose(Post(steps[:1], [P])([2.0])[0], 1 / (1 + math.exp(-2)))


@pytest.mark.parametrize(
    ("steps", "fields", "sentence"),
    [
        ([step("scale", by=2.0)], [P, CLASS], "the outputs are p, kind, and none is named"),
        ([step("scale", of="q")], [P], r"step 1 of `model.post` \(scale\): there is no output q"),
        ([step("scale")], [Field(name="s", type="string")], "s is of type string, and the step wants a number"),
        ([step("scale", of="p", as_="kind")], [P, CLASS], "there is an output kind already"),
        ([step("threshold", at=1, above="a", below=2)], [P], "of different types"),
        ([step("top", of=["p", "kind"], take=1, as_="x")], [P, CLASS], "different units"),
        ([step("threshold", at=1, above="a", below="b"), step("scale")], [P], r"step 2 of `model.post` \(scale\)"),
    ],
)
def test_what_does_not_fit_is_told_with_its_step(steps: list[PostStep], fields: list[Field], sentence: str) -> None:
    with pytest.raises(ModelRefused, match=sentence):
        Post(steps, fields)


def test_a_version_keeps_both_its_own_outputs_and_those_that_leave() -> None:
    plain = ModelVersion(
        number=2, name="m", digest="d", runtime="onnx", signature=Signature(inputs=(), outputs=(P,)), origin="imported",
        created_us=0,
    )  # fmt: skip
    assert post_of(plain) is None
    assert plain.given == plain.signature
    once = with_post(plain, [step("threshold", at=0.5, above="high", below="low")])
    assert [field.type for field in once.signature.outputs] == ["string"]
    assert once.given.outputs == (P,)
    again = with_post(once, [step("scale", by=100.0)])
    assert again.given.outputs == (P,), "steps start from what the model gives, not from other steps"
    assert with_post(again, ()) == plain
