"""XGBoost and LightGBM files: read, asked for what they do not say, and proved equal to their own library."""

from __future__ import annotations

import ctypes
from contextlib import closing
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.core.clock import SystemClock
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, Signature
from mainstay.models.adding import draft
from mainstay.models.importing import Examined, examine
from mainstay.models.proving import prove
from mainstay.models.registry import Registry, load
from mainstay.models.runtimes import runtime_of
from mainstay.models.runtimes.trees import Feed
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.memory import MemoryState
from tests.models.trees import COLUMNS, customers, frame, lightgbm_file, xgboost_file

PROBABILITY = "churn=predict_proba[1]:probability"
ROWS = customers(200, seed=8)

BINARY = {"objective": "binary:logistic"}
CLASSES = {"num_class": 3}
EACH = (PROBABILITY, "stays=predict_proba[0]", "m=decision_function")
OF_THREE = ("p=predict_proba[2]", "c=predict", "m=decision_function[1]")
CALLS = ("calls=predict:call", "raw=decision_function")
QUANTILES = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9], "tree_method": "hist"}

Case = tuple[str, str, dict[str, Any], tuple[str, ...]]
"""File, label, parameters, outputs."""
XGBOOST: dict[str, Case] = {
    "binary": ("a.json", "binary", {**BINARY, "base_score": 0.3}, EACH),
    "ubj": ("a.ubj", "binary", BINARY, (PROBABILITY,)),
    "early": ("a.ubj", "binary", {**BINARY, "early": True}, (PROBABILITY,)),
    "softprob": ("a.ubj", "classes", {**CLASSES, "objective": "multi:softprob"}, OF_THREE),
    "softmax": ("a.json", "classes", {**CLASSES, "objective": "multi:softmax"}, OF_THREE),
    "value": ("a.ubj", "value", {"objective": "reg:squarederror"}, ("months=predict:month",)),
    "poisson": ("a.ubj", "value", {"objective": "count:poisson"}, CALLS),
    "quantiles": ("a.ubj", "value", QUANTILES, ("low=predict[0]:EUR", "high=predict[1]:EUR")),
    "dart": ("a.ubj", "binary", {**BINARY, "booster": "dart", "rate_drop": 0.2}, (PROBABILITY,)),
    "forest": ("a.ubj", "binary", {**BINARY, "num_parallel_tree": 5, "subsample": 0.7}, (PROBABILITY,)),
}
FOREST = {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
LIGHTGBM: dict[str, Case] = {
    "binary": ("a.txt", "binary", {"objective": "binary"}, EACH),
    "classes": ("a.txt", "classes", {**CLASSES, "objective": "multiclass"}, OF_THREE),
    "value": ("a.txt", "value", {"objective": "regression"}, ("months=predict:month",)),
    "poisson": ("a.txt", "value", {"objective": "poisson"}, CALLS),
    "linear": ("a.txt", "value", {"objective": "regression", "linear_tree": True}, ("months=predict:month",)),
    "forest": ("a.txt", "binary", FOREST, (PROBABILITY,)),
    "zeros": ("a.txt", "binary", {"objective": "binary", "zero_as_missing": True}, (PROBABILITY,)),
}
CASES = [(kind, name) for kind, table in (("xgboost", XGBOOST), ("lightgbm", LIGHTGBM)) for name in table]


@pytest.mark.parametrize(
    "row", [[1.5, -2, True], [None, "NaN", nan], ["Infinity", "-Infinity", 10**400], [10**30, 1e-320, -(10**400)]]
)
def test_a_row_is_laid_out_alike_at_once_and_value_by_value(row: list[Any]) -> None:
    fields = tuple(Field(name=name, type="number") for name in "abc")
    signature = Signature(inputs=fields, outputs=())
    at_once, each = Feed(signature, {}, closed=False, most=inf), Feed(signature, {}, closed=False, most=inf)
    each._whole = None
    rooms = [(ctypes.c_double * 3)(7, 7, 7) for _ in range(2)]
    at_once.fill(rooms[0], row)
    each.fill(rooms[1], row)
    assert bytes(rooms[0]) == bytes(rooms[1])


@pytest.mark.parametrize("value", [{}, [1], "12", b"1"])
def test_a_value_of_another_type_is_refused_however_the_row_is_laid_out(value: object) -> None:
    signature = Signature(inputs=(Field(name="a", type="number"),), outputs=())
    with pytest.raises(ModelRefused, match="a value of a is not of type number"):
        Feed(signature, {}, closed=False, most=inf).fill((ctypes.c_double * 1)(), [value])


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_kind_of_model_is_proved_equal_to_its_library(kind: str, name: str, tmp_path: Path) -> None:
    file, task, params, outputs = (XGBOOST if kind == "xgboost" else LIGHTGBM)[name]
    made = (xgboost_file if kind == "xgboost" else lightgbm_file)(tmp_path / file, task, **params)
    found = examine(made, outputs=outputs, feature_columns=COLUMNS)
    assert [(field.name, field.type) for field in found.signature.inputs] == [*COLUMNS]
    proof = prove(made, found, ROWS, SystemClock())
    assert proof.parity["proved"]
    assert proof.parity["splits"] > 3
    largest = max(proof.parity[part]["largest"] for part in ("current", "around", "band", "alone"))
    # DART weighs its trees, and the library adds them in another order in place than out of it.
    assert largest < 1e-6 if name == "dart" else largest == 0
    assert f"to {f'{largest:.1e}' if largest else 'the last bit'} on 200 rows" in proof.told


def test_what_leaves_is_what_the_labs_own_class_gives(tmp_path: Path) -> None:
    import lightgbm
    import xgboost

    rows = customers()
    told = [float(row[1] < 20 and row[0] != "Two year") for row in rows]
    table = frame(rows)
    lab = xgboost.XGBClassifier(n_estimators=15, max_depth=4, n_jobs=1, enable_categorical=True).fit(table, told)
    lab.save_model(tmp_path / "a.ubj")
    other = lightgbm.LGBMClassifier(n_estimators=15, n_jobs=1, verbose=-1).fit(table, told)
    other.booster_.save_model(tmp_path / "a.txt")
    for file, wanted in (("a.ubj", lab.predict_proba(table)), ("a.txt", other.predict_proba(table))):
        found = examine(tmp_path / file, outputs=(PROBABILITY, "stays=predict_proba[0]"), feature_columns=COLUMNS)
        with closing(runtime_of(found.runtime).load(tmp_path / file, found.signature, found.options)) as model:
            assert model.predict(rows) == [(float(one[1]), float(one[0])) for one in wanted]


def test_early_stopping_answers_with_the_best_round_and_says_so(tmp_path: Path) -> None:
    made = xgboost_file(tmp_path / "a.ubj", "binary", objective="binary:logistic", early=True)
    found = examine(made, outputs=(PROBABILITY,), feature_columns=COLUMNS)
    assert found.options["rounds"][1] >= 1
    assert "early stopping" in found.notes[0]


def xgb(tmp_path: Path, **more: Any) -> Path:
    return xgboost_file(tmp_path / "a.ubj", "binary", rounds=4, objective="binary:logistic", **more)


def test_a_version_of_it_answers_from_the_artifacts(tmp_path: Path) -> None:
    file = xgb(tmp_path)
    found = examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)
    artifacts = LocalArtifacts(tmp_path / "artifacts")
    made = draft(file, found, name="churn", feature_set="sha256:f", rows=ROWS, artifacts=artifacts, by="anna")
    assert made.version.runtime == "xgboost"
    assert any("to the last bit" in line for line in made.told)
    version = Registry(MemoryState()).add(made.version)
    with closing(load(version, artifacts, tmp_path)) as model:
        assert len(model.predict(ROWS)) == 200
        assert model.build == made.version.build


def test_without_rows_nothing_is_proved(tmp_path: Path) -> None:
    file = xgb(tmp_path)
    found = examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)
    assert prove(file, found, [], SystemClock()).parity == {
        "proved": False,
        "reason": "there are no current rows to compare it on with its library",
    }


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_a_wrong_order_of_categories_is_caught_with_its_numbers(kind: str, tmp_path: Path) -> None:
    file = xgb(tmp_path) if kind == "xgboost" else lightgbm_file(tmp_path / "a.txt", "binary", objective="binary")
    found = examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)
    # The library is given the categories as texts, and knows better.
    codes = {**found.options["codes"], "contract": [*reversed(found.options["codes"]["contract"])]}
    wrong = msgspec.structs.replace(found, options={**found.options, "codes": codes})
    with pytest.raises(ModelRefused, match=r"itself answers differently: differs by up to .* of 200 rows"):
        prove(file, wrong, ROWS, SystemClock())


def refused(file: Path, sentence: str, *, outputs: tuple[str, ...] = (PROBABILITY,), columns: Any = COLUMNS) -> None:
    with pytest.raises(ModelRefused) as caught:
        examine(file, outputs=outputs, feature_columns=columns)
    assert sentence in str(caught.value)
    assert "Stack trace" not in str(caught.value)
    assert "\n  [bt]" not in str(caught.value)


def test_what_the_file_does_not_say_is_asked(tmp_path: Path) -> None:
    file = xgb(tmp_path)
    refused(file, "--output NAME=predict_proba[0]:probability   --output NAME=predict_proba[1]", outputs=())
    refused(file, "`predict` means the class in scikit-learn", outputs=("a=predict",))
    refused(file, "predict_proba has the class 0, 1, and there is no Yes", outputs=("a=predict_proba[Yes]",))
    refused(file, "none was named", outputs=("a=predict_proba",))
    refused(file, "has no transform", outputs=("a=transform",))
    refused(file, "speaks for 1 only", outputs=("a=decision_function[0]",))
    value = xgboost_file(tmp_path / "v.ubj", "value", rounds=2)
    refused(value, "--output NAME=predict:UNIT", outputs=())
    classes = xgboost_file(tmp_path / "c.ubj", "classes", rounds=2, objective="multi:softprob", num_class=3)
    refused(classes, "the classes 0 to 2", outputs=())
    refused(classes, "predict gives the class itself", outputs=("a=predict[1]",))


def test_types_are_held_against_the_feature_set(tmp_path: Path) -> None:
    file = xgb(tmp_path)
    given = dict(COLUMNS)
    refused(file, "cast contract to string", columns=tuple({**given, "contract": "integer"}.items()))
    refused(file, "cast charges to a number", columns=tuple({**given, "charges": "string"}.items()))
    inputs = examine(file, outputs=(PROBABILITY,)).signature.inputs
    assert [(one.name, one.type) for one in inputs] == [*COLUMNS], "without a feature set the file's own types stand"


def test_files_that_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"hello": 1}')
    refused(tmp_path / "a.json", "it has no `learner`")
    (tmp_path / "b.json").write_text('{"learner": 1}')
    refused(tmp_path / "b.json", "XGBoost refuses this")
    (tmp_path / "a.ubj").write_bytes(b"nothing of the kind")
    refused(tmp_path / "a.ubj", "cut short, or is no model")
    (tmp_path / "a.txt").write_text("a poem\n")
    refused(tmp_path / "a.txt", "begins with `tree`")
    (tmp_path / "b.txt").write_text("tree\nversion=v4\n")
    refused(tmp_path / "b.txt", "LightGBM refuses this")


def test_a_lightgbm_file_without_its_end_is_refused(tmp_path: Path) -> None:
    file = lightgbm_file(tmp_path / "a.txt", "binary", objective="binary")
    whole = file.read_text()
    file.write_text(whole[: whole.index("end of parameters")])
    refused(file, "is cut short")
    file.write_text(whole[: whole.index("pandas_categorical") + 24])
    refused(file, "is cut short in its categories")


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["a.txt", "a.ubj", "a.json"])
def test_a_file_that_was_cut_short_is_refused(name: str, share: float, tmp_path: Path) -> None:
    """Both libraries read past the end of some such files, and the process dies of it."""
    file = tmp_path / name
    if name == "a.txt":
        whole = lightgbm_file(file, "binary", objective="binary").read_bytes().partition(b"end of trees")[0]
    else:
        whole = xgboost_file(file, "binary", objective="binary:logistic").read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelRefused, match=r"refuses this: \S+|cut short|no `learner`"):
        examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)


def test_a_linear_booster_is_refused_with_the_way_round(tmp_path: Path) -> None:
    import numpy as np
    import xgboost

    data = xgboost.DMatrix(np.ones((4, 2)), [0, 1, 0, 1])
    model = xgboost.train({"booster": "gblinear", "verbosity": 0}, data, 1)
    model.save_model(tmp_path / "a.ubj")
    refused(tmp_path / "a.ubj", "gblinear")


def test_columns_without_names_need_an_example(tmp_path: Path) -> None:
    import lightgbm
    import numpy as np
    import xgboost

    rows = np.array([[row[1], row[2] or 0.0] for row in customers()])
    told = [float(row[1] < 20) for row in customers()]
    xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(rows, told), 3).save_model(tmp_path / "a.ubj")
    data = lightgbm.Dataset(rows, told)
    lightgbm.train({"objective": "binary", "verbose": -1}, data, 3).save_model(tmp_path / "a.txt")
    example = tmp_path / "train.csv"
    example.write_text("tenure,charges\n3,29.5\n")
    for name in ("a.ubj", "a.txt"):
        refused(tmp_path / name, "--example FILE", columns=(("tenure", "integer"), ("charges", "number")))
        found = examine(tmp_path / name, outputs=(PROBABILITY,), example=example)
        assert [(one.name, one.type) for one in found.signature.inputs] == [
            ("tenure", "integer"),
            ("charges", "number"),
        ]
        pairs = [(row[1], row[2]) for row in ROWS]
        assert prove(tmp_path / name, found, pairs, SystemClock()).parity["proved"]
    example.write_text("tenure\n3\n")
    with pytest.raises(ModelRefused, match=r"takes 2 columns, and train.csv has 1"):
        examine(tmp_path / "a.ubj", outputs=(PROBABILITY,), example=example)


def test_categories_that_the_file_lost_are_not_guessed(tmp_path: Path) -> None:
    import numpy as np
    import xgboost

    codes = np.array([[float(len(row[0]))] for row in customers()])
    told = [float(row[1] < 20) for row in customers()]
    data = xgboost.DMatrix(codes, told, feature_names=["contract"], feature_types=["c"], enable_categorical=True)
    xgboost.train({"objective": "binary:logistic"}, data, 3).save_model(tmp_path / "a.ubj")
    refused(tmp_path / "a.ubj", "does not hold the categories of contract", columns=(("contract", "string"),))
    found = examine(tmp_path / "a.ubj", outputs=(PROBABILITY,), feature_columns=(("contract", "integer"),))
    assert prove(tmp_path / "a.ubj", found, [(8,), (14,), (None,)], SystemClock()).parity["proved"]


def test_lightgbms_ordered_categories_are_those_that_are_given_as_text(tmp_path: Path) -> None:
    def ordered(table: Any) -> Any:
        table = table.drop(columns=["zone"])
        return table.assign(contract=table["contract"].cat.as_ordered())

    file = lightgbm_file(tmp_path / "a.txt", "binary", change=ordered, objective="binary")
    found = examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS[:4])
    assert found.signature.inputs[0].categories == ("Month-to-month", "One year", "Two year")
    assert prove(file, found, [row[:4] for row in ROWS], SystemClock()).parity["proved"]
    refused(file, "categories without their names, of 1 column, and 0 inputs", columns=COLUMNS[1:4])


def loaded(file: Path, found: Examined) -> Any:
    return closing(runtime_of(found.runtime).load(file, found.signature, found.options))


def test_infinity_is_refused_where_the_library_refuses_it(tmp_path: Path) -> None:
    file = xgb(tmp_path)
    with loaded(file, examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)) as model:
        for value in (inf, -inf, "Infinity", 1e300, 10**400):
            with pytest.raises(ModelRefused, match="charges is infinite or too large"):
                model.predict([("One year", 3, value, True, 10)])
        missing, texts = (
            model.predict([("One year", 3, None, True, 10)]),
            model.predict([("One year", 3, "NaN", True, 10)]),
        )
        assert missing == texts
    file = lightgbm_file(tmp_path / "a.txt", "binary", objective="binary")
    with loaded(file, examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)) as model:
        assert model.predict([("One year", 3, inf, True, 10)]) == model.predict([("One year", 3, "Infinity", True, 10)])


def test_a_signature_of_another_width_is_refused(tmp_path: Path) -> None:
    for file in (xgb(tmp_path), lightgbm_file(tmp_path / "a.txt", "binary", objective="binary")):
        found = examine(file, outputs=(PROBABILITY,), feature_columns=COLUMNS)
        short = msgspec.structs.replace(found.signature, inputs=found.signature.inputs[:3])
        with pytest.raises(ModelRefused, match="takes 5 columns, and the signature has 3"):
            runtime_of(found.runtime).load(file, short, found.options)
        other = msgspec.structs.replace(found.signature, outputs=())
        with pytest.raises(ModelRefused, match="other outputs"):
            runtime_of(found.runtime).load(file, other, found.options)
