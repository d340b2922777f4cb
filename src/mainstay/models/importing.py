"""Reading what a model file is: its names, types, categories and outputs. What it does not say is asked, never guessed.

A pickle is opened by the lab's own interpreter in a process of its own, never here; an ONNX graph or what XGBoost and
LightGBM save is data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.clock import SECOND, Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused, NotFound
from mainstay.core.ids import digest_bytes
from mainstay.core.nouns import ColumnType, Field, ImageInput, Signature
from mainstay.models.importing_folder import described_outputs
from mainstay.models.outputs import Output, parse_outputs
from mainstay.models.runtimes.python import PythonModel, PythonRuntime
from mainstay.models.side import side_folder

FORMATS = {
    ".onnx": "onnx",
    ".joblib": "joblib",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".skops": "skops",
    ".pt2": "torch",
    ".json": "xgboost",
    ".ubj": "xgboost",
    ".txt": "lightgbm",
}
DATA = frozenset({"onnx", "xgboost", "lightgbm"})
"""What is opened here; every other kind by the lab's interpreter."""
ASK_US = 120 * SECOND
_EMPTY = Signature(inputs=(), outputs=())


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model file, enough to run it as it is."""

    digest: str
    runtime: str
    options: dict[str, Any]
    signature: Signature
    build: str
    kind: str
    """What a person would call it: the class at the end of the pipeline, `onnx`, or `xgboost` with its objective."""
    isolation: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know: warnings of its libraries."""


def examine(
    file: Path,
    *,
    python: str | None = None,
    example: Path | None = None,
    outputs: tuple[str, ...] = (),
    feature_columns: tuple[tuple[str, ColumnType], ...] = (),
    trusted: tuple[str, ...] = (),
    paths: tuple[str, ...] = (),
    home: Path | None = None,
    load_timeout_us: int = 60 * SECOND,
    kind: str | None = None,
    images: Mapping[str, ImageInput] | None = None,
    clock: Clock | None = None,
) -> Examined:
    """Raises ModelRefused with the line to type for what neither the file, the example nor the feature set says.

    `kind` is said where the file's ending does not say it: `class` and `mlflow` are zips of folders. `home` is where a
    side folder for the interpreter may be made; without it the lab's environment must have pyarrow. `images`: inputs
    that are pictures.
    """
    if not file.is_file():
        raise NotFound(f"there is no file {file}", mend="check the path")
    kind = kind or FORMATS.get(file.suffix.lower())
    if kind is None:
        raise ModelRefused(f"{file.name} is of no known kind", mend=f"known endings: {', '.join(FORMATS)}")
    asked = parse_outputs(outputs)
    digest = digest_bytes(file.read_bytes())
    if kind in DATA:
        found = _data(file, kind, asked, feature_columns, example=example, images=images or {})
        return Examined(digest=digest, runtime=kind, **found)
    if python is None:
        raise ModelRefused(
            f"a model of kind {kind} can only be opened by the libraries it was made with",
            mend="--python path/to/the/lab/venv/bin/python",
        )
    options: dict[str, Any] = {
        "python": python,
        "format": kind,
        "trusted": list(trusted),
        "paths": list(paths),
        "load_timeout_us": load_timeout_us,
        "digest": digest,
    }
    side = side_folder(python, ("pyarrow",), home) if home else None
    if side:
        options["side"] = str(side)
    return _original(
        file, options, asked, example=example, feature_columns=feature_columns, clock=clock or SystemClock()
    )


def _data(
    file: Path,
    kind: str,
    asked: tuple[Output, ...],
    feature_columns: tuple[tuple[str, ColumnType], ...],
    *,
    example: Path | None,
    images: Mapping[str, ImageInput],
) -> dict[str, Any]:
    """What a file that is data says; its reader is imported only here, with its library."""
    if kind == "onnx":
        from mainstay.models.importing_onnx import examine_onnx

        return {"kind": kind, **examine_onnx(file, asked, feature_columns, images)}
    from mainstay.models.importing_trees import examine_trees

    return examine_trees(file, kind, asked, feature_columns, example)


def _original(
    file: Path,
    options: Mapping[str, Any],
    asked: tuple[Output, ...],
    *,
    example: Path | None,
    feature_columns: tuple[tuple[str, ColumnType], ...],
    clock: Clock,
) -> Examined:
    """What the model says of itself, in a process of its own."""
    with opened(file, _EMPTY, options, clock) as model:
        told = ask(model, {"op": "describe", "example": str(example.absolute()) if example else None}, clock)[0]
        inputs, frame = _inputs(told, feature_columns, example)
        fields, plan = _outputs(told, asked)
        return Examined(
            digest=options["digest"],
            runtime="python",
            options={**options, "frame": frame, "outputs": plan},
            signature=Signature(inputs=inputs, outputs=fields),
            build=model.build,
            kind=told["label"],
            isolation=model.isolation,
            notes=tuple(model.warnings),
        )


@contextlib.contextmanager
def opened(artifact: Path, signature: Signature, options: Mapping[str, Any], clock: Clock) -> Iterator[PythonModel]:
    """The original in a process of its own, ended with the block."""
    model = PythonRuntime(clock).load(artifact, signature, {**options, "start": True, "socket": None})
    try:
        if not isinstance(model, PythonModel):
            raise TypeError(type(model).__name__)
        yield model
    finally:
        model.close()


def ask(model: PythonModel, header: Mapping[str, Any], clock: Clock) -> tuple[dict[str, Any], bytes]:
    """One question of the import, with its own patience."""
    return model.ask(header, b"", clock.monotonic_us() + ASK_US)


def _inputs(
    told: Mapping[str, Any], feature_columns: tuple[tuple[str, ColumnType], ...], example: Path | None
) -> tuple[tuple[Field, ...], dict[str, Any]]:
    """The signature's inputs, and the frame that the host rebuilds."""
    names, width = told["names"], told["width"]
    if names is None and feature_columns and len(feature_columns) == width:
        raise ModelRefused(
            f"the model was trained on {counted(width, 'column')} without names, so their order cannot be known",
            mend="--example FILE, a CSV or Parquet file with exactly those columns in order",
        )
    if names is None:
        raise ModelRefused("the model does not know its columns' names", mend="--example FILE (CSV or Parquet)")
    if width is not None and len(names) != width:
        raise ModelRefused(
            f"the model takes {counted(width, 'column')}, "
            f"and {example.name if example else 'the file'} has {len(names)}",
            mend="give an example with exactly the columns it was trained on, without label and key",
        )
    types = dict(feature_columns)
    fields, columns, unknown = [], [], []
    for name in names:
        known = told["columns"].get(name)
        spec = _spec(name, known, types.get(name), told)
        if spec is None:
            unknown.append(name)
            continue
        columns.append(spec)
        fields.append(_field(spec, told["categories"].get(name) or spec.get("categories", ())))
    if unknown:
        raise ModelRefused(
            f"neither the file nor the feature set says the type of {', '.join(unknown)}",
            mend="--example FILE, a CSV or Parquet file with a few rows as in training, or add them to the feature SQL",
        )
    for field in fields:
        if field.name in types and not _agree(types[field.name], field.type):
            raise ModelRefused(
                f"the model takes {field.name} as {field.type}, and the feature set gives it as {types[field.name]}",
                mend="cast it in the feature SQL, or give an example whose columns are as they were in training",
            )
    return tuple(fields), {"container": told["container"], "columns": columns}


_DTYPE = {"string": "object", "integer": "int64", "number": "float64", "boolean": "bool", "timestamp": "datetime64[us]"}


def _spec(
    name: str, known: Mapping[str, Any] | None, given: str | None, told: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One column of the frame; None when nobody says its dtype."""
    if known is not None:
        kinds = known.get("kinds", ["str"])
        if kinds not in (["str"], ["bool"], []):
            raise ModelRefused(f"the column {name} of the example mixes {' and '.join(kinds)}")
        spec = {"name": name, "dtype": known["dtype"], "missing": known.get("missing", "nan")}
        if kinds == ["bool"]:
            spec["kind"] = "boolean"
        if known["dtype"] == "category":
            spec |= {"categories": known["categories"], "ordered": known.get("ordered", False)}
        return spec
    if name in told["native"]:
        return {"name": name, "dtype": "category", "categories": told["categories"][name], "ordered": False}
    if given is None:
        return None
    return {"name": name, "dtype": _DTYPE.get(given, "object"), "missing": "nan"}


def _field(spec: Mapping[str, Any], categories: Sequence[Any]) -> Field:
    kind = _type_of(spec)
    whole = str(spec["dtype"]).startswith(("int", "uint", "bool"))
    known = tuple(map(str, categories)) if kind == "string" else ()
    return Field(name=str(spec["name"]), type=kind, required=whole, categories=known)


def _type_of(spec: Mapping[str, Any]) -> ColumnType:
    """The signature's type for a dtype of the lab."""
    dtype = str(spec["dtype"])
    if dtype == "category":
        first = spec["categories"][0] if spec["categories"] else ""
        if isinstance(first, bool):
            return "boolean"
        return "integer" if isinstance(first, int) else "number" if isinstance(first, float) else "string"
    if spec.get("kind") == "boolean" or dtype == "bool":
        return "boolean"
    if dtype.startswith(("int", "uint")):
        return "integer"
    if dtype.startswith("float"):
        return "number"
    if dtype.startswith("datetime64"):
        return "timestamp"
    if dtype in {"object", "str", "string"}:
        return "string"
    raise ModelRefused(f"the column {spec['name']} has the dtype {dtype}, which cannot be rebuilt exactly")


def _agree(given: str, wanted: str) -> bool:
    return given == wanted or (given, wanted) == ("integer", "number") or (given, wanted) == ("number", "integer")


def _outputs(told: Mapping[str, Any], asked: tuple[Output, ...]) -> tuple[tuple[Field, ...], list[dict[str, Any]]]:
    """The signature's outputs, and which method and column of the model gives each."""
    classes: list[Any] | None = told["classes"]
    if "given" in told:
        return described_outputs(told["given"], asked)
    if not asked:
        raise _what_to_type(told)
    fields, plan = [], []
    for output in asked:
        if output.source not in told["methods"]:
            raise ModelRefused(f"the model has no {output.source}", mend=f"it has: {', '.join(told['methods'])}")
        index, kind = None, "number"
        if output.part is not None:
            index = _class_index(output, classes)
        elif output.source == "predict_proba" or (output.source == "decision_function" and len(classes or ()) > 2):
            raise _what_to_type(told)
        if output.source == "predict" and classes:
            kind = _type_of({"name": output.name, "dtype": "category", "categories": classes})
        if output.source == "decision_function" and len(classes or ()) == 2:
            index = None
        plan.append({"name": output.name, "type": kind, "method": output.source, "index": index})
        bounds = {"minimum": 0.0, "maximum": 1.0} if output.source == "predict_proba" else {}
        fields.append(
            msgspec.convert(
                {"name": output.name, "type": kind, "unit": output.unit, "meaning": _meaning(output), **bounds}, Field
            )
        )
    return tuple(fields), plan


def _meaning(output: Output) -> str:
    return output.source if output.part is None else f"{output.source} of class {output.part}"


def _class_index(output: Output, classes: list[Any] | None) -> int:
    known = [str(one) for one in classes or ()]
    if output.source == "predict" or not known:
        raise ModelRefused(
            f"{output.source} has no classes to choose from", mend=f"--output {output.name}={output.source}"
        )
    if output.part not in known:
        raise ModelRefused(f"the model has no class {output.part}", mend=f"its classes: {', '.join(known)}")
    if output.source == "decision_function" and len(known) == 2 and output.part != known[1]:
        raise ModelRefused(
            f"decision_function speaks for {known[1]} only",
            mend=f"--output {output.name}=decision_function[{known[1]}]",
        )
    return known.index(output.part)


def _what_to_type(told: Mapping[str, Any]) -> ModelRefused:
    """The exact flags for each class: which of them the integration is about, only a person knows."""
    classes = [str(one) for one in told["classes"] or ()]
    if classes and "predict_proba" in told["methods"]:
        flags = [f"--output NAME=predict_proba[{one}]:probability" for one in classes]
        return ModelRefused(
            f"the model's classes are {', '.join(classes)}; which one's probability is the answer?",
            mend="one of: " + "   ".join(flags),
        )
    if classes:
        return ModelRefused(f"the model's classes are {', '.join(classes)}", mend="--output NAME=predict")
    return ModelRefused(
        "the model does not say what its answer is called and in which unit", mend="--output NAME=predict:UNIT"
    )
