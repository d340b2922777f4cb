"""From what a model gives to what the business is given: the steps of `model.post`, pure, in the order written.

A step reads one output (`of`) and puts its result in that output's place, or beside it under a new name (`as`); `top`
reads several and puts the best of them in their place. A null stays null.

    calibrate   platt {a, b}: 1 / (1 + exp(a x + b)), as in Platt 1999 and scikit-learn's a_ and b_ of a calibrator;
                isotonic [[x, y], ...]: straight between the points and flat outside them, as scikit-learn's
                IsotonicRegression with out_of_bounds="clip"
    scale       x by + add, not below min, not above max, rounded (half to even)
    threshold   `above` from `at` on, else `below`
    words       the word of each value; `other` for every other value, and without it such a value has no answer
    top         `take` outputs of `of` by value, the first named first where equal: NAME_1, NAME_1_score, NAME_2, ...
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import ColumnType, Field, PostStep
from mainstay.core.records import ModelVersion

_NUMBERS = frozenset({"integer", "number"})
Values = dict[str, Any]
"""Output -> value, in the order in which they leave."""
Act = Callable[[Values], Values]


class Post:
    """The steps made ready for the outputs of one model.

    Raises ModelRefused, naming the step, for one that does not fit the outputs it is given.
    """

    def __init__(self, steps: Sequence[PostStep], given: Sequence[Field]) -> None:
        self._names = tuple(field.name for field in given)
        self._acts: list[Act] = []
        fields = {field.name: field for field in given}
        for number, step in enumerate(steps, 1):
            try:
                fields, act = _STEPS[step.kind](step.args, fields)
            except ModelRefused as error:
                where = f"step {number} of `model.post` ({step.kind})"
                raise ModelRefused(f"{where}: {error.sentence}", mend=error.mend) from None
            self._acts.append(act)
        self.outputs = tuple(fields.values())

    def __call__(self, given: Sequence[Any]) -> tuple[Any, ...]:
        """The final values. Raises ModelRefused for one that has no word."""
        values = dict(zip(self._names, given, strict=True))
        for act in self._acts:
            values = act(values)
        return tuple(values.values())


def with_post(version: ModelVersion, steps: Sequence[PostStep]) -> ModelVersion:
    """The version with these steps in the place of its own. Raises ModelRefused where they do not fit its outputs."""
    given = version.given.outputs
    signature = msgspec.structs.replace(version.signature, outputs=Post(steps, given).outputs)
    return msgspec.structs.replace(version, signature=signature, post=tuple(steps), raw=given if steps else ())


def post_of(version: ModelVersion) -> Post | None:
    """The version's steps; None where it has none."""
    return Post(version.post, version.raw) if version.post else None


def _read(args: Mapping[str, Any], fields: Mapping[str, Field], *, numbers: bool = True) -> Field:
    """The output that a step reads: the one named, else the only one there is."""
    name = args.get("of") or (next(iter(fields)) if len(fields) == 1 else None)
    if name is None:
        raise ModelRefused(f"the outputs are {', '.join(fields)}, and none is named", mend="say which: `of: OUTPUT`")
    return _known(name, fields, numbers=numbers)


def _known(name: str, fields: Mapping[str, Field], *, numbers: bool) -> Field:
    field = fields.get(name)
    if field is None:
        raise ModelRefused(f"there is no output {name}", mend=f"there is: {', '.join(fields)}")
    if numbers and field.type not in _NUMBERS:
        raise ModelRefused(f"{name} is of type {field.type}, and the step wants a number")
    return field


def _put(args: Mapping[str, Any], fields: Mapping[str, Field], read: Field, made: Field) -> dict[str, Field]:
    """The fields with the step's own: in place of the one read, or last under a name of its own."""
    name = args.get("as") or read.name
    if name != read.name and name in fields:
        raise ModelRefused(f"there is an output {name} already", mend="give it another name with `as`")
    return {**fields, name: msgspec.structs.replace(made, name=name)}


def _act(args: Mapping[str, Any], read: Field, compute: Callable[[Any], Any]) -> Act:
    source, name = read.name, args.get("as") or read.name

    def act(values: Values) -> Values:
        value = values[source]
        values[name] = None if value is None else compute(value)
        return values

    return act


Made = tuple[dict[str, Field], Act]


def _scale(args: Mapping[str, Any], fields: Mapping[str, Field]) -> Made:
    read = _read(args, fields)
    by, add = args.get("by", 1.0), args.get("add", 0.0)
    low, high, digits = args.get("min"), args.get("max"), args.get("round")

    def compute(value: float) -> float:
        scaled = float(value) * by + add
        if low is not None:
            scaled = max(scaled, low)
        if high is not None:
            scaled = min(scaled, high)
        return float(scaled if digits is None else round(scaled, digits))

    bounds = [None if one is None else compute(one) for one in (read.minimum, read.maximum)]
    if by < 0:
        bounds.reverse()
    made = msgspec.structs.replace(
        read,
        type="number",
        unit=args.get("unit") or read.unit,
        minimum=low if bounds[0] is None else bounds[0],
        maximum=high if bounds[1] is None else bounds[1],
    )
    return _put(args, fields, read, made), _act(args, read, compute)


def _calibrate(args: Mapping[str, Any], fields: Mapping[str, Field]) -> Made:
    read = _read(args, fields)
    compute = _platt(args["platt"]) if "platt" in args else _isotonic(args["isotonic"])
    made = msgspec.structs.replace(read, type="number", minimum=0.0, maximum=1.0, meaning=f"{read.meaning}, calibrated")
    return _put(args, fields, read, made), _act(args, read, compute)


def _platt(args: Mapping[str, float]) -> Callable[[float], float]:
    a, b = args["a"], args["b"]

    def compute(value: float) -> float:
        power = a * value + b
        # exp of what is large overflows, and is nothing the other way round.
        return 1.0 / (1.0 + math.exp(power)) if power < 0 else math.exp(-power) / (1.0 + math.exp(-power))

    return compute


def _isotonic(points: Sequence[Sequence[float]]) -> Callable[[float], float]:
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]

    def compute(value: float) -> float:
        after = bisect_right(xs, value)
        if after == 0:
            return ys[0]
        if after == len(xs):
            return ys[-1]
        left, right = xs[after - 1], xs[after]
        return ys[after - 1] + (ys[after] - ys[after - 1]) * (value - left) / (right - left)

    return compute


def _threshold(args: Mapping[str, Any], fields: Mapping[str, Field]) -> Made:
    read = _read(args, fields)
    at, above, below = args["at"], args["above"], args["below"]
    meaning = f"{above} from {at:g} {read.unit or read.name} on, else {below}"
    kind = _type_of((above, below))
    made = Field(name=read.name, type=kind, meaning=meaning, categories=(above, below) if kind == "string" else ())
    if made.type == "number":
        above, below = float(above), float(below)
    return _put(args, fields, read, made), _act(args, read, lambda value: above if value >= at else below)


def _words(args: Mapping[str, Any], fields: Mapping[str, Field]) -> Made:
    read = _read(args, fields, numbers=False)
    words, other = args["words"], args.get("other")

    def compute(value: Any) -> Any:
        word = words.get(text_of(value), other)
        if word is None:
            raise ModelRefused(
                f"{read.name} has a value without a word in `model.post`", mend="give it one, or `other`"
            )
        return word

    known = tuple(dict.fromkeys([*words.values(), *([] if other is None else [other])]))
    made = Field(name=read.name, type="string", meaning=f"{read.meaning or read.name}, in words", categories=known)
    return _put(args, fields, read, made), _act(args, read, compute)


def text_of(value: Any) -> str:
    """How a value is written where words are given for it: `true`, `2`, `0.5`; a whole number never as `2.0`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _top(args: Mapping[str, Any], fields: Mapping[str, Field]) -> Made:
    names, take, called = tuple(args["of"]), args["take"], args["as"]
    read = [_known(name, fields, numbers=True) for name in names]
    if len({field.unit for field in read}) > 1:
        raise ModelRefused(f"{', '.join(names)} have different units, and cannot be compared")
    kept = {name: field for name, field in fields.items() if name not in names}
    for place in range(1, take + 1):
        for name, made in (
            (
                f"{called}_{place}",
                Field(name="", type="string", meaning=f"number {place} of {', '.join(names)}", categories=names),
            ),
            (
                f"{called}_{place}_score",
                Field(name="", type="number", unit=read[0].unit, meaning=f"the value of {called}_{place}"),
            ),
        ):
            if name in kept:
                raise ModelRefused(f"there is an output {name} already", mend="give it another name with `as`")
            kept[name] = msgspec.structs.replace(made, name=name)

    def act(values: Values) -> Values:
        scores = [(name, values.pop(name)) for name in names]
        ranked = sorted((one for one in scores if one[1] is not None), key=lambda one: -one[1])[:take]
        ranked += [(None, None)] * (take - len(ranked))
        for place, (name, score) in enumerate(ranked, 1):
            values[f"{called}_{place}"] = name
            values[f"{called}_{place}_score"] = None if score is None else float(score)
        return values

    return kept, act


def _type_of(values: Sequence[Any]) -> ColumnType:
    if all(isinstance(one, bool) for one in values):
        return "boolean"
    if all(isinstance(one, str) for one in values):
        return "string"
    if any(isinstance(one, (bool, str)) for one in values):
        raise ModelRefused(
            "`above` and `below` are of different types", mend="write two texts, two numbers or two truths"
        )
    return "integer" if all(isinstance(one, int) for one in values) else "number"


_STEPS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Field]], Made]] = {
    "scale": _scale,
    "calibrate": _calibrate,
    "threshold": _threshold,
    "words": _words,
    "top": _top,
}
