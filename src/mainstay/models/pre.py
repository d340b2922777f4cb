"""From what a feature row or a request gives to what a model eats: the steps of `model.pre`, in the order written.

A step reads one column (`of`) and puts its result in that column's place, or beside it under a new name (`as`). A null
stays null, but for `impute`. Nothing here knows a clock, other rows or chance: the same row gives the same bits.

    impute   a value for a null (or NaN): one that is written, or a statistic that was computed once and is pinned
    scale    x by + add, or (x - mean) / std as scikit-learn's StandardScaler
    clip     not below min, not above max
    map      another value for each value; `otherwise` for every other, and without it such a row has no answer
    bin      how many of the edges x has reached (0 below the first), or the label of that
    log1p    log(1 + x); x at -1 or below has none, and such a row has no answer
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import ColumnType, Field, PreStep
from mainstay.core.records import ModelVersion
from mainstay.models.inputs import null
from mainstay.models.post import text_of

STATISTICS = ("median", "mean", "most_frequent")
_NUMBERS = frozenset({"integer", "number"})
_PLAIN = frozenset({"string", "integer", "number", "boolean"})
Compute = Callable[[Any], Any]


class Fed(msgspec.Struct, frozen=True):
    """One row after the steps."""

    row: tuple[Any, ...]
    """What the model eats, in the order of its own signature."""
    imputed: dict[str, Any]
    """Column -> what was put in the place of a null."""


class Act(msgspec.Struct, frozen=True):
    """One step with its places in the row."""

    source: int
    target: int
    compute: Compute | None
    """None: a null is replaced by `value`."""
    value: Any = None


class Pre:
    """The steps made ready for the columns that they begin with.

    Args:
        steps: In the order of the file. A statistic that is not pinned yet must not be asked for its value.
        given: The columns of a row, in its order.
        wanted: What the model eats, in its order; left out: every column there is after the steps.

    Raises ModelRefused, naming the step, for one that does not fit the columns.
    """

    def __init__(self, steps: Sequence[PreStep], given: Sequence[Field], wanted: Sequence[Field] | None = None) -> None:
        fields = {field.name: field for field in given}
        places = {field.name: place for place, field in enumerate(given)}
        self._names = list(places)
        self._acts: list[Act] = []
        for number, step in enumerate(steps, 1):
            try:
                made, compute = _made(step, fields)
            except ModelRefused as error:
                where = f"step {number} of `model.pre` ({step.kind} of {step.args['of']})"
                raise ModelRefused(f"{where}: {error.sentence}", mend=error.mend) from None
            source = places[step.args["of"]]
            if made.name not in places:
                places[made.name] = len(places)
                self._names.append(made.name)
            fields[made.name] = made
            self._acts.append(Act(source, places[made.name], compute, step.pinned.get("value", step.args.get("with"))))
        self._room = [None] * (len(places) - len(given))
        self._width = len(given)
        self.outputs = tuple(fields.values())
        """Every column there is after the steps."""
        ends = self.outputs if wanted is None else tuple(wanted)
        absent = [field.name for field in ends if field.name not in places]
        if absent:
            raise ModelRefused(f"nothing gives {', '.join(absent)}", mend=f"there is: {', '.join(places)}")
        self._ends = [(places[field.name], field.type == "number") for field in ends]

    def __call__(self, given: Sequence[Any]) -> Fed:
        """One row. Raises ModelRefused where a value has no answer; never repeats the value."""
        if len(given) != self._width:
            raise ModelRefused(f"a row has {counted(len(given), 'value')} where `model.pre` takes {self._width}")
        row = [*given, *self._room]
        imputed: dict[str, Any] = {}
        for act in self._acts:
            value = row[act.source]
            if act.compute is None:
                if null(value):
                    row[act.target] = imputed[self._names[act.target]] = act.value
            else:
                row[act.target] = None if value is None else act.compute(value)
        made = tuple(
            float(row[place]) if number and type(row[place]) is int else row[place] for place, number in self._ends
        )
        return Fed(made, imputed)


def _needed(steps: Sequence[PreStep], given: Sequence[Field], wanted: Sequence[Field]) -> tuple[PreStep, ...]:
    """The steps that what the model eats is made by; the others change nothing for it."""
    Pre(steps, given)  # each step is checked, also those that this model does not need
    alive = {field.name for field in wanted}
    kept: list[PreStep] = []
    for step in reversed(steps):
        made = step.args.get("as", step.args["of"])
        if made in alive:
            kept.append(step)
            if made != step.args["of"]:
                alive.discard(made)
            alive.add(step.args["of"])
    return tuple(reversed(kept))


def with_pre(version: ModelVersion, steps: Sequence[PreStep], columns: Sequence[Field]) -> ModelVersion:
    """The version with these steps before it: its inputs become what they read. Its own come from `version.given`.

    `columns`: what the feature row and the request give. Raises ModelRefused where the steps do not fit them or what
    they give does not fit the model.
    """
    wanted = version.given.inputs
    kept, read = before(steps, columns, wanted)
    signature = msgspec.structs.replace(version.signature, inputs=read)
    return msgspec.structs.replace(version, signature=signature, pre=kept, fed=wanted if kept else ())


def before(
    steps: Sequence[PreStep], columns: Sequence[Field], wanted: Sequence[Field]
) -> tuple[tuple[PreStep, ...], tuple[Field, ...]]:
    """The steps that `wanted` is made by, and what they and the model read of a row. Raises as `with_pre`."""
    kept = _needed(steps, columns, wanted)
    if not kept:
        return (), tuple(wanted)
    read = _read(kept, {field.name: field for field in columns}, wanted)
    _fit(Pre(kept, read).outputs, wanted, {step.args.get("as", step.args["of"]) for step in kept})
    return kept, read


def pre_of(version: ModelVersion) -> Pre | None:
    """The version's steps; None where it has none."""
    return Pre(version.pre, version.signature.inputs, version.fed) if version.pre else None


def declared(steps: Sequence[PreStep]) -> list[tuple[str, dict[str, Any]]]:
    """The steps as a file says them, without what is pinned."""
    return [(step.kind, step.args) for step in steps]


def _read(kept: Sequence[PreStep], columns: Mapping[str, Field], wanted: Sequence[Field]) -> tuple[Field, ...]:
    """What a row must give: the model's own inputs, but for those made of others, as the columns have them."""
    touched = {step.args.get("as", step.args["of"]) for step in kept}
    born = {step.args["as"] for step in kept if "as" in step.args and step.args["as"] != step.args["of"]}
    own = {field.name: field for field in wanted}
    strict = _strict(kept, {field.name for field in wanted if field.required})
    names = [name for name in own if name not in born]
    names += [step.args["of"] for step in kept if step.args["of"] not in born]
    found: dict[str, Field] = {}
    for name in names:
        field = columns.get(name) or own.get(name)
        if name in own and name not in touched:
            field = own[name]
        if field is not None:
            found[name] = msgspec.structs.replace(field, required=name in strict)
    return tuple(found.values())


def _strict(kept: Sequence[PreStep], required: set[str]) -> set[str]:
    """Which columns may not be null, so that no required input of the model is."""
    strict = set(required)
    for step in reversed(kept):
        of = step.args["of"]
        made = step.args.get("as", of)
        if step.kind == "impute":
            strict.discard(of)
        elif made != of and made in strict:
            strict.discard(made)
            strict.add(of)
    return strict


def _fit(given: Sequence[Field], wanted: Sequence[Field], made: set[str]) -> None:
    """What the steps give must be what the model takes; the rest is held against the columns elsewhere."""
    types = {field.name: field.type for field in given}
    for field in wanted:
        came = types.get(field.name)
        if field.name in made and came != field.type and (came, field.type) != ("integer", "number"):
            raise ModelRefused(
                f"`model.pre` gives {field.name} as {came}, and the model takes it as {field.type}",
                mend=f"let a step make it {field.type}, or take the steps of {field.name} out",
            )


def pin(steps: Sequence[PreStep], given: Sequence[Field], rows: Sequence[Sequence[Any]]) -> tuple[PreStep, ...]:
    """The steps with each statistic computed over `rows` (as they are where the step stands) and pinned.

    Rows that a step before it gives no answer for are left out. Raises ModelRefused where no value is left.
    """
    pinned: list[PreStep] = []
    for step in steps:
        made = None
        statistic = step.args.get("with") if step.kind == "impute" else None
        if statistic in STATISTICS and not step.pinned:
            before = Pre(pinned, given)
            place = [field.name for field in before.outputs].index(step.args["of"])
            values = [found for row in rows if not null(found := _at(before, row, place))]
            if not values:
                raise ModelRefused(
                    f"`model.pre` wants the {statistic} of {step.args['of']}, and none of {len(rows):,} current rows "
                    "has a value there",
                    mend="write a value in its place, or `mainstay run` first",
                )
            value = _statistic(statistic, values, before.outputs[place].type)
            made = msgspec.structs.replace(step, pinned={"value": value, "rows": len(values)})
        pinned.append(made or step)
    return tuple(pinned)


def _at(before: Pre, row: Sequence[Any], place: int) -> Any:
    try:
        return before(row).row[place]
    except ModelRefused:
        return None


def _statistic(name: str, values: list[Any], kind: ColumnType) -> Any:
    if name == "most_frequent":
        counts: dict[Any, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        most = max(counts.values())
        return min(value for value, count in counts.items() if count == most)
    if name == "mean":
        return math.fsum(values) / len(values)
    ordered = sorted(values)
    upper = len(ordered) // 2
    if len(ordered) % 2 or kind == "integer":
        # A whole number stays one: of an even count the lower of the two in the middle.
        return ordered[upper if len(ordered) % 2 else upper - 1]
    return (ordered[upper - 1] + ordered[upper]) / 2


def _made(step: PreStep, fields: Mapping[str, Field]) -> tuple[Field, Compute | None]:
    of = step.args["of"]
    field = fields.get(of)
    if field is None:
        raise ModelRefused(f"there is no column {of}", mend=f"there is: {', '.join(fields)}")
    name = step.args.get("as", of)
    if name != of and name in fields:
        raise ModelRefused(f"there is a column {name} already", mend="give it another name with `as`")
    made, compute = _STEPS[step.kind](step.args, field)
    return msgspec.structs.replace(made, name=name), compute


Made = tuple[Field, Compute | None]


def _impute(args: Mapping[str, Any], read: Field) -> Made:
    value = args["with"]
    if value in ("median", "mean") and read.type in _NUMBERS:
        kind: ColumnType = "number" if value == "mean" else read.type
        return msgspec.structs.replace(read, type=kind, required=False), None
    if value == "most_frequent" and read.type in _PLAIN:
        return msgspec.structs.replace(read, required=False), None
    if read.type not in _PLAIN or not _is(value, read.type):
        statistics = " or median, mean, most_frequent" if read.type in _NUMBERS else " or most_frequent"
        mend = f"write one of type {read.type}{statistics}" if read.type in _PLAIN else "give it one in the feature SQL"
        raise ModelRefused(f"{read.name} is of type {read.type}, and {value!r} is no value of it", mend=mend)
    return msgspec.structs.replace(read, required=False), None


def _is(value: Any, kind: ColumnType) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _number(read: Field) -> Field:
    """The column as a number without the categories of what it was. Raises ModelRefused for what is none."""
    if read.type not in _NUMBERS:
        raise ModelRefused(f"{read.name} is of type {read.type}, and the step wants a number")
    return Field(name=read.name, type="number", required=read.required, unit=read.unit, meaning=read.meaning)


def _scale(args: Mapping[str, Any], read: Field) -> Made:
    made = _number(read)
    if "std" in args:
        mean, std = float(args.get("mean", 0.0)), float(args["std"])
        return made, lambda value: (float(value) - mean) / std
    by, add = float(args.get("by", 1.0)), float(args.get("add", 0.0))
    return made, lambda value: float(value) * by + add


def _clip(args: Mapping[str, Any], read: Field) -> Made:
    _number(read)
    low, high = args.get("min"), args.get("max")
    whole = read.type == "integer" and all(one is None or float(one).is_integer() for one in (low, high))
    cast: Callable[[Any], Any] = int if whole else float
    least, most = (None if one is None else cast(one) for one in (low, high))

    def compute(value: Any) -> Any:
        if least is not None and value < least:
            return least
        return most if most is not None and value > most else cast(value) if math.isfinite(value) else value

    return msgspec.structs.replace(read, type="integer" if whole else "number"), compute


def _map(args: Mapping[str, Any], read: Field) -> Made:
    if read.type not in _PLAIN:
        raise ModelRefused(f"{read.name} is of type {read.type}, and the step wants a text, number or truth")
    values, otherwise = dict(args["values"]), args.get("otherwise")
    kind = _type_of([*values.values(), *([] if otherwise is None else [otherwise])])
    if kind == "number":
        values = {word: float(one) for word, one in values.items()}
        otherwise = None if otherwise is None else float(otherwise)

    def compute(value: Any) -> Any:
        made = values.get(text_of(value), otherwise)
        if made is None:
            raise ModelRefused(
                f"{read.name} has a value that `model.pre` does not map", mend="map it, or give an `otherwise`"
            )
        return made

    return Field(name=read.name, type=kind, required=read.required, meaning=read.meaning), compute


def _bin(args: Mapping[str, Any], read: Field) -> Made:
    _number(read)
    edges, labels = [float(edge) for edge in args["edges"]], args.get("labels")
    made = Field(name=read.name, type="string" if labels else "integer", required=read.required, meaning=read.meaning)

    def compute(value: Any) -> Any:
        if null(value):
            return None
        place = bisect_right(edges, value)
        return labels[place] if labels else place

    return made, compute


def _log1p(args: Mapping[str, Any], read: Field) -> Made:
    del args

    def compute(value: Any) -> float:
        if value <= -1:
            raise ModelRefused(f"{read.name} has a value of -1 or less, which has no log1p", mend="`clip` it before")
        return math.log1p(value)

    return _number(read), compute


def _type_of(values: Sequence[Any]) -> ColumnType:
    if all(isinstance(one, bool) for one in values):
        return "boolean"
    if all(isinstance(one, str) for one in values):
        return "string"
    if any(isinstance(one, bool | str) for one in values):
        raise ModelRefused("`values` has values of different types", mend="write texts, numbers or truths alone")
    return "integer" if all(isinstance(one, int) for one in values) else "number"


_STEPS: dict[str, Callable[[Mapping[str, Any], Field], Made]] = {
    "impute": _impute,
    "scale": _scale,
    "clip": _clip,
    "map": _map,
    "bin": _bin,
    "log1p": _log1p,
}
