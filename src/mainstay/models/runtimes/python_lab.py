# Runs in interpreters older than ours, and reads fitted attributes that scikit-learn gives no public name.
# ruff: noqa: B905, ICN001, SLF001
"""What is asked of a model once, when it is imported: `describe`, `splits`, `convert`. Loaded by python_host.py only.

Runs in the lab's interpreter, with the lab's libraries, and imports nothing of Mainstay.
"""

from __future__ import annotations

import warnings
from typing import Any

ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")
SMOOTH = ("MLPClassifier", "MLPRegressor", "SVC", "SVR", "GaussianNB", "GaussianProcessRegressor")
METHODS = ("predict", "predict_proba", "decision_function")


def perform(model: Any, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The reply to one such request."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if header["op"] == "describe":
            return {"op": "result", **describe(model, header.get("example"))}, b""
        if header["op"] == "splits":
            return {"op": "result", **splits(model, header["names"])}, b""
        if header["op"] == "convert":
            try:
                return convert(model, header)
            except ModuleNotFoundError as error:
                sentence = f"this interpreter lacks {error.name}"
                return {"op": "error", "code": "missing", "sentence": sentence, "terminal": True}, b""
    return {"op": "error", "code": "op", "sentence": "unknown request", "terminal": True}, b""


# --- describe ----------------------------------------------------------------------------------------------------


def describe(model: Any, example: str | None) -> dict[str, Any]:
    """Names, dtypes, categories and classes: from the artifact, and from the example where there is one."""
    if hasattr(model, "mainstay_describe"):
        return described(model, example)
    names = names_of(model)
    categories = categories_of(model, names)
    native = [name for name, known in categories.items() if known["native"]]
    columns: dict[str, Any] = {}
    if example:
        columns = columns_of(example, names, categories)
        names = names or list(columns)
    classes = getattr(model, "classes_", None)
    return {
        "names": names,
        "width": getattr(model, "n_features_in_", None),
        # A model that was fitted on a frame knows its columns' names; one fitted on an array does not.
        "container": "dataframe" if names_of(model) else "array",
        "classes": None if classes is None else plain(classes),
        "methods": [method for method in METHODS if hasattr(model, method)],
        "kind": f"{type(model).__module__}.{type(model).__name__}",
        "label": label_of(model),
        "columns": columns,
        "categories": {name: known["values"] for name, known in categories.items()},
        "native": native,
    }


def described(model: Any, example: str | None) -> dict[str, Any]:
    """What a model says that describes itself; the example says the columns where it does not."""
    told: dict[str, Any] = model.mainstay_describe()
    if example and not told["columns"]:
        told["columns"] = columns_of(example, None, {})
        told["names"] = list(told["columns"])
    return told


def label_of(model: Any) -> str:
    """What a person would call it: the class at its end, and whether its trees split on categories themselves."""
    final = steps_of(model)[-1]
    native = getattr(final, "is_categorical_", None)
    return type(final).__name__ + (" with native categories" if native is not None and any(native) else "")


def steps_of(model: Any) -> list[Any]:
    """The steps of a pipeline; the model itself when it is none."""
    return [step for _, step in model.steps] if hasattr(model, "steps") else [model]


def names_of(model: Any) -> list[str] | None:
    """The columns it was fitted on, in order."""
    for step in [model, *steps_of(model)]:
        names = getattr(step, "feature_names_in_", None)
        if names is not None:
            return [str(name) for name in names]
    first = steps_of(model)[0]
    if hasattr(first, "transformers"):
        named: list[str] = []
        for _, _, columns in first.transformers:
            listed = [columns] if isinstance(columns, str) else list(columns)
            if not all(isinstance(column, str) for column in listed):
                return None
            named.extend(name for name in listed if name not in named)
        return named
    return None


def categories_of(model: Any, names: list[str] | None) -> dict[str, Any]:
    """Column -> its categories in training, from the encoders; `native` where the trees themselves take categories."""
    found: dict[str, Any] = {}
    first = steps_of(model)[0]
    encoder = getattr(first, "_preprocessor", None)
    if hasattr(first, "transformers_"):
        collect(first, names, found, native=False)
    elif encoder is not None and hasattr(encoder, "transformers_"):
        collect(encoder, names, found, native=True)
    elif hasattr(first, "categories_") and names:
        found.update(zip(names, [{"values": plain(known), "native": False} for known in first.categories_]))
    return found


def collect(columns: Any, names: list[str] | None, found: dict[str, Any], native: bool) -> None:
    """Adds what the encoders inside a ColumnTransformer know."""
    for label, transformer, _ in columns.transformers_:
        places = columns._transformer_to_input_indices[label]
        for step in [transformer] if not hasattr(transformer, "steps") else steps_of(transformer):
            known = getattr(step, "categories_", None)
            if known is None or len(known) != len(places):
                continue
            for place, values in zip(places, known):
                name = names[place] if names else str(place)
                found[name] = {"values": plain(values), "native": native}


def plain(values: Any) -> list[Any]:
    """Values as JSON takes them; nothing in place of NaN and None."""
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    return [value for value in listed if value is not None and value == value]  # noqa: PLR0124 - NaN


def columns_of(example: str, names: list[str] | None, categories: dict[str, Any]) -> dict[str, Any]:
    """Name -> dtype, missing and categories, as the lab's pandas reads the example."""
    import pandas

    frame = pandas.read_parquet(example) if example.endswith(".parquet") else pandas.read_csv(example)
    lost = [name for name in names or [] if name not in frame.columns]
    if lost:
        raise ValueError("the example lacks the column {}".format(", ".join(lost)))
    found: dict[str, Any] = {}
    for name in names or list(frame.columns):
        column = frame[name]
        known = categories.get(name)
        dtype = str(column.dtype)
        spec: dict[str, Any] = {"dtype": dtype, "nulls": bool(column.isna().any())}
        if dtype == "category":
            spec["categories"] = plain(column.cat.categories)
            spec["ordered"] = bool(column.cat.ordered)
        if known and known["native"]:
            spec = {**spec, "dtype": "category", "categories": known["values"]}
        if dtype == "object":
            kinds = sorted({type(value).__name__ for value in column.dropna()})
            spec["kinds"] = kinds
            spec["missing"] = "none" if any(value is None for value in column) else "nan"
        found[name] = spec
    return found


# --- splits ------------------------------------------------------------------------------------------------------


def splits(model: Any, names: list[str]) -> dict[str, Any]:
    """Where trees decide, in the units of the model's own inputs: column -> [[threshold, one float32 step], ...].

    A feature is followed through the pipeline as (column, a, b): its value is a * column + b. Where that cannot be
    said, `unmapped` says why in a sentence, and nothing can be proved around those splits.
    """
    import numpy

    *transformers, final = steps_of(model)
    features: list[Any] = [("number", name, 1.0, 0.0) for name in names]
    for transformer in transformers:
        features = through(transformer, features)
    if getattr(final, "_preprocessor", None) is not None:
        features = through(final._preprocessor, features)
    found = thresholds(final)
    if found is None:
        smooth = hasattr(final, "coef_") or type(final).__name__ in SMOOTH
        if smooth and all(feature[0] != "unknown" for feature in features):
            return {"splits": {}, "unmapped": []}
        return {"splits": {}, "unmapped": [f"it is not known where a {type(final).__name__} decides"]}
    told: dict[str, set[Any]] = {}
    unmapped = set()
    for place, threshold in found:
        feature = features[place]
        if feature[0] == "unknown":
            unmapped.add(f"splits behind a {feature[1]} cannot be mapped back to its inputs")
        elif feature[0] == "number" and feature[2]:
            _, name, a, b = feature
            value = (threshold - b) / a
            step = max(
                float(numpy.spacing(numpy.float32(abs(threshold)))) / abs(a),
                float(numpy.spacing(numpy.float32(abs(value)))),
            )
            told.setdefault(name, set()).add((value, step))
    return {"splits": {name: sorted(values) for name, values in told.items()}, "unmapped": sorted(unmapped)}


def through(transformer: Any, features: list[Any]) -> list[Any]:
    """The features behind a transformer."""
    if transformer is None or transformer == "passthrough":
        return features
    if hasattr(transformer, "transformers_"):
        return through_columns(transformer, features)
    if hasattr(transformer, "steps"):
        for _, step in transformer.steps:
            features = through(step, features)
        return features
    name = type(transformer).__name__
    if name in ENCODERS:
        return [("category", name)] * width_behind(transformer, len(features))
    if hasattr(transformer, "get_support"):
        return [feature for feature, kept in zip(features, transformer.get_support()) if kept]
    if name == "SimpleImputer" and not numeric(transformer) and not getattr(transformer, "add_indicator", False):
        return [("category", name)] * len(features)
    return affine(transformer, features)


def through_columns(transformer: Any, features: list[Any]) -> list[Any]:
    """The same for a ColumnTransformer."""
    behind: list[Any] = []
    for label, part, _ in transformer.transformers_:
        places = transformer._transformer_to_input_indices[label]
        given = [features[place] for place in places]
        out = transformer.output_indices_[label]
        made = [] if isinstance(part, str) and part == "drop" else through(part, given)
        if len(made) != out.stop - out.start:
            made = [("unknown", type(part).__name__)] * (out.stop - out.start)
        behind.extend([None] * max(out.stop - len(behind), 0))
        behind[out.start : out.stop] = made
    return behind


def width_behind(transformer: Any, width: int) -> int:
    """How many features come out of an encoder."""
    try:
        return len(transformer.get_feature_names_out())
    except (AttributeError, ValueError):
        return width


def numeric(transformer: Any) -> bool:
    """Whether an imputer fills numbers."""
    import numpy

    try:
        numpy.asarray(transformer.statistics_, dtype=float)
    except (TypeError, ValueError):
        return False
    return True


def affine(transformer: Any, features: list[Any]) -> list[Any]:
    """The features behind something that scales each column by itself, found by asking it at 0, 1, 2 and 1000."""
    import numpy

    unknown = ("unknown", type(transformer).__name__)
    asked = numpy.array([[0.0], [1.0], [2.0], [1000.0]]) * numpy.ones((1, len(features)))
    try:
        told = numpy.asarray(transformer.transform(asked), dtype=float)
    except (TypeError, ValueError, AttributeError):
        return [unknown] * len(features)
    if told.shape != asked.shape:
        return [unknown] * told.shape[1]
    behind: list[Any] = []
    for place, feature in enumerate(features):
        b, one, two, far = (float(value) for value in told[:, place])
        a = (far - b) / 1000.0
        straight = numpy.allclose([one, two], [a + b, 2 * a + b], rtol=1e-9, atol=1e-9)
        if feature[0] != "number" or not straight:
            behind.append(feature if feature[0] != "number" and straight else unknown)
        else:
            behind.append(("number", feature[1], a * feature[2], a * feature[3] + b))
    return behind


def thresholds(final: Any) -> list[tuple[int, float]] | None:
    """(feature, threshold) of every numeric split of a tree ensemble; None when it is none that we know."""
    import numpy

    if hasattr(final, "_predictors"):
        nodes = [node for group in final._predictors for predictor in group for node in predictor.nodes]
        numeric_ones = [node for node in nodes if not node["is_leaf"] and not node["is_categorical"]]
        return sorted({(int(node["feature_idx"]), float(node["num_threshold"])) for node in numeric_ones})
    members = [final] if hasattr(final, "tree_") else list(numpy.ravel(getattr(final, "estimators_", [])))
    if not members or not all(hasattr(member, "tree_") for member in members):
        return None
    found: list[tuple[int, float]] = []
    for member in members:
        tree = member.tree_
        inner = tree.children_left != -1
        found.extend(zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist()))
    return sorted(set(found))


# --- convert -----------------------------------------------------------------------------------------------------


def convert(model: Any, header: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The model as ONNX, one input a column (or one matrix), and what its outputs are called."""
    import skl2onnx
    from skl2onnx.common import data_types

    kinds = {
        "string": data_types.StringTensorType,
        "boolean": data_types.BooleanTensorType,
        "integer": data_types.Int64TensorType if header.get("integers") == "int64" else data_types.FloatTensorType,
        "number": data_types.FloatTensorType,
    }
    columns = header["columns"]
    if header["container"] == "array":
        initial = [("X", data_types.FloatTensorType([None, len(columns)]))]
    else:
        initial = [(name, kinds[kind]([None, 1])) for name, kind in columns]
    options: dict[str, Any] = {}
    if hasattr(model, "classes_"):
        options["zipmap"] = False
        if header.get("raw"):
            options["raw_scores"] = True
    made = skl2onnx.to_onnx(model, initial_types=initial, options=options)
    told = {
        "op": "result",
        "skl2onnx": skl2onnx.__version__,
        "inputs": [node.name for node in made.graph.input],
        "outputs": [node.name for node in made.graph.output],
    }
    return told, made.SerializeToString()
