"""The same for the files that XGBoost and LightGBM save: data, opened here and not in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import ColumnType, Field, Signature
from mainstay.models.outputs import Output
from mainstay.models.runtimes import runtime_of
from mainstay.models.tree_facts import TreeFacts, read_lightgbm, read_xgboost

_READ = {"xgboost": read_xgboost, "lightgbm": read_lightgbm}
_PLAIN = frozenset({"integer", "number", "boolean"})


def examine_trees(
    file: Path,
    kind: str,
    asked: tuple[Output, ...],
    feature_columns: tuple[tuple[str, ColumnType], ...],
    example: Path | None,
) -> dict[str, Any]:
    """`options`, `signature`, `build`, `kind` and `notes` of the model in `file`."""
    runtime = runtime_of(kind)
    facts = _READ[kind](file)
    shown = _columns_of(example) if example else {}
    names = facts.names or _names(facts, shown, example, feature_columns)
    types: dict[str, str] = {**shown, **dict(feature_columns)}
    codes = _codes(facts, names, types)
    inputs = tuple(_field(facts, place, name, types.get(name), codes.get(name)) for place, name in enumerate(names))
    fields, plan = _outputs(facts, asked)
    options: dict[str, Any] = {"codes": codes, "outputs": plan}
    if kind == "xgboost":
        options |= {"rounds": list(facts.rounds), "objective": facts.replaced}
    signature = Signature(inputs=inputs, outputs=fields)
    model = runtime.load(file, signature, options)
    try:
        build = model.build
    finally:
        model.close()
    return {
        "options": options,
        "signature": signature,
        "build": build,
        "kind": f"{kind} {facts.objective}",
        "notes": facts.notes,
    }


def splits_of(file: Path, kind: str, signature: Signature) -> dict[str, list[float]]:
    """The thresholds by input."""
    known = _READ[kind](file).splits
    return {field.name: known[place] for place, field in enumerate(signature.inputs) if place in known}


def _columns_of(example: Path) -> dict[str, str]:
    """The example's columns with their types, in order."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        table = parquet.read_table(example) if example.suffix.lower() == ".parquet" else csv.read_csv(example)
    except (OSError, pa.ArrowException) as error:
        raise ModelRefused(f"the example {example.name} cannot be read ({type(error).__name__})") from error
    types = pa.types
    found = {}
    for column in table.schema:
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if types.is_boolean(kind):
            found[column.name] = "boolean"
        elif types.is_integer(kind):
            found[column.name] = "integer"
        else:
            found[column.name] = "number" if types.is_floating(kind) or types.is_null(kind) else "string"
    return found


def _names(
    facts: TreeFacts,
    shown: Mapping[str, str],
    example: Path | None,
    feature_columns: tuple[tuple[str, ColumnType], ...],
) -> tuple[str, ...]:
    if not shown or example is None:
        also = "; the feature set has as many, but their order cannot be known"
        raise ModelRefused(
            f"the model was trained on {counted(facts.width, 'column')} without names"
            + (also if len(feature_columns) == facts.width else ""),
            mend="--example FILE, a CSV or Parquet file with exactly those columns in order",
        )
    if len(shown) != facts.width:
        raise ModelRefused(
            f"the model takes {counted(facts.width, 'column')}, and {example.name} has {len(shown)}",
            mend="give an example with exactly the columns it was trained on, without label and key",
        )
    return tuple(shown)


def _codes(facts: TreeFacts, names: Sequence[str], types: Mapping[str, str]) -> dict[str, list[Any]]:
    """Input -> categories. LightGBM may not name the columns of its categories: the ones given as text are they."""
    if not facts.loose:
        return {names[place]: values for place, values in facts.codes.items()}
    texts = [name for name in names if types.get(name) == "string"]
    if len(texts) != len(facts.loose) or any(not isinstance(one, str) for values in facts.loose for one in values):
        raise ModelRefused(
            f"the file holds categories without their names, of {counted(len(facts.loose), 'column')}, and "
            f"{counted(len(texts), 'input is', 'inputs are')} given as text ({', '.join(texts) or 'none'})",
            mend="let the feature SQL give exactly the columns that were categories in training as text",
        )
    return dict(zip(texts, facts.loose, strict=True))


def _field(facts: TreeFacts, place: int, name: str, given: str | None, codes: Sequence[Any] | None) -> Field:
    """The input's type: the categories' own; else what the feature set gives, if it is a number or a truth."""
    if codes is not None:
        kind = _type_of_codes(name, codes)
        if given is not None and given != kind:
            raise ModelRefused(
                f"the categories of {name} are of type {kind}, and the feature set gives it as {given}",
                mend=f"cast {name} to {kind} in the feature SQL",
            )
        known = tuple(codes) if kind == "string" else ()
        return msgspec.convert({"name": name, "type": kind, "categories": known}, Field)
    told = facts.kinds.get(place)
    if given is not None and given not in _PLAIN:
        if told == "category":
            raise ModelRefused(
                f"the file does not hold the categories of {name} (XGBoost saves them from 3.1 on, LightGBM for pandas "
                "categories)",
                mend=f"save the model again that way, or let the feature SQL give the codes of {name}",
            )
        raise ModelRefused(
            f"the model takes {name} as a number, and it is given as {given}",
            mend=f"cast {name} to a number in the feature SQL, or train it as a category",
        )
    told = "integer" if told == "category" else told
    return msgspec.convert({"name": name, "type": given or told or "number"}, Field)


def _type_of_codes(name: str, codes: Sequence[Any]) -> str:
    kinds = {type(one) for one in codes}
    for kind, word in ((str, "string"), (bool, "boolean"), (int, "integer")):
        if kinds == {kind}:
            return word
    if kinds <= {int, float}:
        return "number"
    raise ModelRefused(f"the categories of {name} are neither all texts nor all numbers")


def _outputs(facts: TreeFacts, asked: tuple[Output, ...]) -> tuple[tuple[Field, ...], list[dict[str, Any]]]:
    """The signature's outputs, and which score gives each."""
    if not asked:
        raise _what_to_type(facts)
    fields, plan = [], []
    for output in asked:
        how, column = _how(facts, output)
        kind = "integer" if how == "class" else "number"
        bounds = {"minimum": 0.0, "maximum": 1.0} if output.source == "predict_proba" else {}
        meaning = output.source if output.part is None else f"{output.source} of {output.part}"
        fields.append(
            msgspec.convert(
                {"name": output.name, "type": kind, "unit": output.unit, "meaning": meaning, **bounds}, Field
            )
        )
        plan.append({"name": output.name, "how": how, "column": column, "margin": output.source == "decision_function"})
    return tuple(fields), plan


def _how(facts: TreeFacts, output: Output) -> tuple[str, int]:
    """How the output is taken from the row's scores, and from which of them."""
    methods = ("predict", "decision_function") if facts.family == "value" else ("predict_proba", "decision_function")
    if output.source not in {"predict", *methods}:
        raise ModelRefused(f"a {facts.objective} model has no {output.source}", mend=f"it has: {', '.join(methods)}")
    if output.source == "predict" and facts.family == "binary":
        raise ModelRefused(
            "`predict` means the class in scikit-learn and the probability in the library",
            mend=f"--output {output.name}=predict_proba[1]:probability, and a threshold in `model.post` for a class",
        )
    if output.source == "predict" and facts.family == "classes":
        if output.part is not None:
            raise ModelRefused("predict gives the class itself", mend=f"--output {output.name}=predict")
        return "class", 0
    classes = 2 if facts.family == "binary" else facts.scores
    if output.part is None and output.source != "predict_proba" and (facts.family == "binary" or classes == 1):
        return "column", 0
    known = [str(number) for number in range(classes)]
    if output.part not in known:
        what = "column" if facts.family == "value" else "class"
        came = "none was named" if output.part is None else f"there is no {output.part}"
        raise ModelRefused(f"{output.source} has the {what} {', '.join(known)}, and {came}", mend=_flags(facts))
    if facts.family != "binary":
        return "column", int(output.part)
    if output.source == "decision_function" and output.part == "0":
        raise ModelRefused("decision_function speaks for 1 only", mend=f"--output {output.name}=decision_function[1]")
    return ("column" if output.part == "1" else "complement"), 0


def _flags(facts: TreeFacts) -> str:
    if facts.family == "value":
        parts = [f"[{number}]" for number in range(facts.scores)] if facts.scores > 1 else [""]
        return "   ".join(f"--output NAME=predict{part}:UNIT" for part in parts)
    classes = 2 if facts.family == "binary" else facts.scores
    return "one of: " + "   ".join(f"--output NAME=predict_proba[{number}]:probability" for number in range(classes))


def _what_to_type(facts: TreeFacts) -> ModelRefused:
    if facts.family == "value":
        return ModelRefused(
            f"the model ({facts.objective}) does not say what its answer is called and in which unit",
            mend=_flags(facts),
        )
    classes = 2 if facts.family == "binary" else facts.scores
    return ModelRefused(
        f"the model ({facts.objective}) has the classes 0 to {classes - 1}, which one's probability is the answer?",
        mend=_flags(facts),
    )
