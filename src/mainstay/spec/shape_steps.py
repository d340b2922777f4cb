"""The shapes of `model.pre` and `model.post`: one step an entry."""

from __future__ import annotations

from pydantic import Field

from mainstay.spec.part import Part
from mainstay.spec.values import Identifier, Scalar, Word


class InputStep(Part):
    """What the steps that read one column have in common."""

    of: Identifier = Field(description="The column read.", examples=["tenure"])
    name: Identifier | None = Field(default=None, alias="as", description="A new column; left out: in its place.")


class PreScaleStep(InputStep):
    by: float | None = Field(default=None, description="x by + add.", examples=[0.01])
    add: float | None = Field(default=None, examples=[0])
    mean: float | None = Field(default=None, description="With `std`: (x - mean) / std.", examples=[64.8])
    std: float | None = Field(default=None, gt=0, examples=[30.1])


class ClipStep(InputStep):
    minimum: float | None = Field(default=None, alias="min", examples=[0])
    maximum: float | None = Field(default=None, alias="max", examples=[72])


class MapStep(InputStep):
    values: dict[str, Scalar] = Field(min_length=1, description="Value -> value.", examples=[{"One year": 1}])
    otherwise: Scalar | None = Field(default=None, description="For every other value.", examples=[0])


class BinStep(InputStep):
    edges: list[float] = Field(min_length=1, description="Ascending; from an edge on it is the next bin.")
    labels: list[Word] | None = Field(default=None, description="One more than the edges; left out: 0, 1, 2, ...")


class Log1pStep(InputStep):
    pass


class PreStepPart(Part):
    """One step between what a feature row or a request gives and what the model eats; exactly one of the keys."""

    impute: dict[Identifier, Scalar] | None = Field(
        default=None,
        min_length=1,
        description="Column -> what stands in for a null: a value, or median, mean, most_frequent.",
        examples=[{"tenure": "median"}],
    )
    scale: PreScaleStep | None = Field(default=None, description="Times and plus, or by mean and std.")
    clip: ClipStep | None = Field(default=None, description="Not below, not above.")
    map: MapStep | None = Field(default=None, description="Another value for each value.")
    bin: BinStep | None = Field(default=None, description="Which of several ranges.")
    log1p: Log1pStep | None = Field(default=None, description="log(1 + x).")


class PlattPart(Part):
    a: float = Field(examples=[-1.7])
    b: float = Field(examples=[0.2])


class OutputStep(Part):
    """What the steps that read one output have in common."""

    of: Identifier | None = Field(default=None, description="The output read; left out: the only one.")
    name: Identifier | None = Field(default=None, alias="as", description="A new output; left out: in its place.")


class ScaleStep(OutputStep):
    by: float = Field(default=1.0, examples=[100])
    add: float = Field(default=0.0, examples=[0])
    minimum: float | None = Field(default=None, alias="min")
    maximum: float | None = Field(default=None, alias="max")
    round: int | None = Field(default=None, ge=0, le=15, description="Digits after the point.")
    unit: str = Field(default="", description="Its new unit.", examples=["percent"])


class CalibrateStep(OutputStep):
    platt: PlattPart | None = Field(default=None, description="1 / (1 + exp(a x + b)).")
    isotonic: list[list[float]] | None = Field(
        default=None, min_length=2, description="Points [x, y], ascending.", examples=[[[0.1, 0.05], [0.9, 0.8]]]
    )


class ThresholdStep(OutputStep):
    at: float = Field(description="From here on it is above.", examples=[0.5])
    above: Scalar = Field(examples=["high"])
    below: Scalar = Field(examples=["low"])


class WordsStep(OutputStep):
    words: dict[str, Word] = Field(min_length=1, description="Value -> word.", examples=[{"0": "basic"}])
    other: Word | None = Field(default=None, description="The word of every other value.")


class TopStep(Part):
    of: list[Identifier] = Field(min_length=2, description="The outputs compared.", examples=[["gold", "basic"]])
    take: int = Field(default=1, ge=1, le=100, description="How many of them leave.")
    name: Identifier = Field(alias="as", examples=["plan"])


class PostStepPart(Part):
    """One step between what the model gives and what leaves; exactly one of the keys."""

    scale: ScaleStep | None = Field(default=None, description="Times, plus, bounds, rounding.")
    calibrate: CalibrateStep | None = Field(default=None, description="A probability that is one.")
    threshold: ThresholdStep | None = Field(default=None, description="Two words for a number.")
    words: WordsStep | None = Field(default=None, description="A word for each value.")
    top: TopStep | None = Field(default=None, description="The best of several outputs.")
