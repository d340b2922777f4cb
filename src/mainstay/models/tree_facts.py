"""What a saved model of XGBoost or LightGBM says of itself, read from its text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from mainstay.core.errors import ModelRefused
from mainstay.models.runtimes.lightgbm import LightgbmRuntime
from mainstay.models.runtimes.xgboost import XgboostRuntime

Family = Literal["binary", "classes", "value"]


class TreeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Columns in the model's order; names are None where it was trained without."""

    names: tuple[str, ...] | None
    width: int
    kinds: dict[int, str]
    """Column -> `integer`, `number`, `boolean` or `category`, where the file says it."""
    codes: dict[int, list[Any]]
    """Column -> its categories in the order of their codes."""
    loose: tuple[list[Any], ...] = ()
    """Categories of columns that the file does not name, in the order of the columns."""
    objective: str
    family: Family
    scores: int
    """Scores for each row: classes, targets or quantiles."""
    splits: dict[int, list[float]]
    """Column -> thresholds, ascending."""
    rounds: tuple[int, int] = (0, 0)
    replaced: str = ""
    """The objective that takes the place of the file's own."""
    notes: tuple[str, ...] = ()


# --- XGBoost -----------------------------------------------------------------------------------------------------

_XGB_KINDS = {"int": "integer", "float": "number", "q": "number", "i": "boolean", "c": "category"}


def read_xgboost(file: Path) -> TreeFacts:
    """Raises ModelRefused when the file is no XGBoost model of trees."""
    if file.suffix.lower() == ".json" and b'"learner"' not in file.read_bytes():
        raise ModelRefused(
            f"{file.name} is no XGBoost model: it has no `learner`", mend="write it with booster.save_model(FILE)"
        )
    runtime = XgboostRuntime()
    learner = runtime.open(file).described()["learner"]
    trees = _model(learner)
    objective = str(learner["objective"]["name"])
    replaced = "multi:softprob" if objective == "multi:softmax" else ""
    booster = runtime.open(file, objective=replaced)
    width = booster.width
    scores = len(booster.scores(np.full((1, width), np.nan, dtype=np.float32), margin=False)[0])
    rounds, notes = _rounds(learner, trees)
    names = learner.get("feature_names") or None
    told = learner.get("feature_types") or []
    return TreeFacts(
        names=tuple(names) if names else None,
        width=width,
        kinds={place: _XGB_KINDS[kind] for place, kind in enumerate(told) if kind in _XGB_KINDS},
        codes=dict(_xgb_codes(trees.get("cats", {}))),
        objective=objective,
        family="binary" if objective == "binary:logistic" else "classes" if objective.startswith("multi:") else "value",
        scores=scores,
        splits=_sorted(_xgb_splits(trees["trees"])),
        rounds=rounds,
        replaced=replaced,
        notes=notes,
    )


def _model(learner: Mapping[str, Any]) -> dict[str, Any]:
    """The part with the trees: `gbtree` holds it as `model`, `dart` around that."""
    booster = learner["gradient_booster"]
    booster = booster.get("gbtree", booster)
    if "trees" not in booster.get("model", {}):
        raise ModelRefused(
            f"this runtime answers with trees, and the model is a {booster.get('name', 'model')} of XGBoost",
            mend="hand it over as a pickle with --python",
        )
    model: dict[str, Any] = booster["model"]
    return model


def _rounds(learner: Mapping[str, Any], trees: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Early stopping leaves more rounds in the file than answer, as in the library's scikit-learn classes."""
    best = learner.get("attributes", {}).get("best_iteration")
    if best is None:
        return (0, 0), ()
    end, whole = int(best) + 1, len(trees.get("iteration_indptr", ())) - 1
    if whole <= end:
        return (0, 0), ()
    note = f"answers with the best {end} of its {whole} rounds (early stopping), as XGBClassifier and XGBRegressor do"
    return (0, end), (note,)


def _xgb_codes(cats: Mapping[str, Any]) -> Iterator[tuple[int, list[Any]]]:
    """Texts lie end to end as UTF-8 with their offsets; numbers as they are."""
    for place, enc in enumerate(cats.get("enc", ())):
        values, offsets = enc.get("values") or [], enc.get("offsets")
        if offsets:
            data = bytes(value & 255 for value in values)
            yield place, [data[a:b].decode("utf-8") for a, b in pairwise(offsets)]
        elif values and offsets is None:
            yield place, list(values)


def _xgb_splits(trees: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    for tree in trees:
        kinds = tree.get("split_type") or [0] * len(tree["left_children"])
        nodes = zip(tree["left_children"], kinds, tree["split_indices"], tree["split_conditions"], strict=True)
        for left, kind, place, threshold in nodes:
            if left != -1 and not kind:
                yield int(place), float(threshold)


# --- LightGBM ----------------------------------------------------------------------------------------------------

_UNNAMED = re.compile(r"Column_\d+")


def read_lightgbm(file: Path) -> TreeFacts:
    """Raises ModelRefused when the file is no LightGBM model."""
    booster = LightgbmRuntime().open(file)
    text = file.read_text("utf-8")
    head = dict(line.partition("=")[::2] for line in text.partition("\nTree=")[0].splitlines() if "=" in line)
    objective = head.get("objective", "").partition(" ")[0]
    names = tuple(head.get("feature_names", "").split())
    if len(names) != booster.width or all(map(_UNNAMED.fullmatch, names)):
        names = ()
    found = re.search(r"^pandas_categorical:(.+)$", text, re.MULTILINE)
    try:
        known = (json.loads(found[1]) if found else None) or []
    except ValueError as error:
        raise ModelRefused("this LightGBM model is cut short in its categories", mend="copy it again") from error
    # `[min:max]` is a number, `a:b:c` a category, `none` a column that never varied.
    marked = [place for place, info in enumerate(head.get("feature_infos", "").split()) if info[0] in "-0123456789"]
    sure = len(marked) == len(known)
    return TreeFacts(
        names=names or None,
        width=booster.width,
        kinds=dict.fromkeys(marked, "category"),
        codes=dict(zip(marked, known, strict=True)) if sure else {},
        loose=() if sure else tuple(known),
        objective=objective or "of its own",
        family="binary" if objective == "binary" else "classes" if objective.startswith("multiclass") else "value",
        scores=booster.columns,
        splits=_sorted(_lgb_splits(text)),
    )


def _lgb_splits(text: str) -> Iterator[tuple[int, float]]:
    for tree in text.split("\nTree=")[1:]:
        lines = dict(line.partition("=")[::2] for line in tree.partition("\n\n")[0].splitlines() if "=" in line)
        kinds = map(int, lines.get("decision_type", "").split())
        places = map(int, lines.get("split_feature", "").split())
        thresholds = map(float, lines.get("threshold", "").split())
        for kind, place, threshold in zip(kinds, places, thresholds, strict=True):
            if not kind & 1:
                yield place, threshold


def _sorted(found: Iterable[tuple[int, float]]) -> dict[int, list[float]]:
    splits: dict[int, set[float]] = {}
    for place, threshold in found:
        splits.setdefault(place, set()).add(threshold)
    return {place: sorted(known) for place, known in splits.items()}
