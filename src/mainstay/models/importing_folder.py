"""A folder as a model: a class of the lab's own (model.py), or what MLflow logged (MLmodel).

What is kept is one file. Where a flavour of the MLmodel is a file of a runtime of ours, that file is it; else the
folder as a zip that is the same to the bit for the same content, opened by the lab's interpreter.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field
from mainstay.models.outputs import Output
from mainstay.models.runtimes.python_folder import TOLD

WHOLE = frozenset({"class", "mlflow"})
"""Kinds of which the whole folder is the artifact, so that there is nothing to convert."""
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "mlruns"})
_THE_SAME = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip: the digest is of the content."""

# MLflow's column type -> (ours, the dtype of the frame).
_COLUMNS: dict[str, tuple[str, str]] = {
    "boolean": ("boolean", "bool"),
    "integer": ("integer", "int32"),
    "long": ("integer", "int64"),
    "float": ("number", "float32"),
    "double": ("number", "float64"),
    "string": ("string", "object"),
    "datetime": ("timestamp", "datetime64[us]"),
}
_ARROW = {"boolean": "bool_", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


class Handed(msgspec.Struct, frozen=True, kw_only=True):
    """What was handed over, as one file."""

    file: Path
    kind: str | None = None
    """What `examine` is to take it for; None: by its ending."""
    example: Path | None = None
    notes: tuple[str, ...] = ()


@contextlib.contextmanager
def handed(path: Path, example: Path | None = None) -> Iterator[Handed]:
    """A file as it is; a folder as what is kept of it, in a place that is gone after the block.

    Raises ModelRefused for a folder that is neither of the two, or whose MLmodel cannot be used.
    """
    if not path.is_dir():
        yield Handed(file=path, example=example)
        return
    with tempfile.TemporaryDirectory(prefix="mainstay-folder-") as place:
        if (path / "MLmodel").is_file():
            yield _mlflow(path, Path(place), example)
        elif (path / "model.py").is_file():
            yield Handed(file=pack(path, Path(place) / "model.zip"), kind="class", example=example)
        else:
            raise ModelRefused(
                f"the folder {path.name} has neither a model.py nor an MLmodel",
                mend="mainstay new model DIR writes a model.py to begin with",
            )


def pack(folder: Path, into: Path, more: Mapping[str, bytes] | None = None) -> Path:
    """The folder's files as a zip, without caches and hidden ones. Raises ModelRefused for links out of the folder."""
    root = folder.resolve()
    files: dict[str, Path | bytes] = dict(more or {})
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(".") or part in _LEFT_OUT for part in name.split("/")) or not path.is_file():
            continue
        if root not in path.resolve().parents:
            raise ModelRefused(f"{name} is a link out of the folder", mend="put the file itself there")
        files.setdefault(name, path)
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as packed:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _THE_SAME)
            entry.external_attr = 0o600 << 16
            packed.writestr(entry, content if isinstance(content, bytes) else content.read_bytes())
    return into


def described_outputs(
    given: Sequence[Mapping[str, Any]], asked: tuple[Output, ...]
) -> tuple[tuple[Field, ...], list[dict[str, Any]]]:
    """The outputs of a model that says them itself; `--output` chooses among them, renames, and says units."""
    if not given:
        raise ModelRefused(
            "the model does not say what it gives, and of which type",
            mend='`outputs = {"churn_probability": "number"}` in the class; with MLflow, log it with a signature',
        )
    known = {str(one["column"]): one for one in given}
    if not asked and all(one["name"] for one in given):
        asked = tuple(Output(name=one["name"], source="predict", part=str(one["column"])) for one in given)
    if not asked:
        raise ModelRefused("the model's answer has no name", mend="--output NAME=predict:UNIT")
    fields, plan = [], []
    for output in asked:
        part = output.part if output.part is not None or len(known) > 1 else next(iter(known))
        if output.source != "predict" or part not in known:
            parts = ["" if one["column"] is None else f"[{name}]" for name, one in known.items()]
            flags = " or ".join(f"--output NAME=predict{part}:UNIT" for part in parts)
            wanted = output.source + (f"[{output.part}]" if output.part else "")
            raise ModelRefused(f"the model gives {', '.join(known)}, and not {wanted}", mend=flags)
        one = known[part]
        said = {name: one[name] for name in ("meaning", "minimum", "maximum") if name in one}
        field = {"name": output.name, "type": one["type"], "unit": output.unit or one.get("unit", ""), **said}
        fields.append(msgspec.convert(field, Field))
        plan.append(
            {"name": output.name, "type": one["type"], "method": "predict", "index": None, "column": one["column"]}
        )
    return tuple(fields), plan


# --- MLflow ------------------------------------------------------------------------------------------------------

_FILES = {"onnx": "data", "xgboost": "data", "lightgbm": "data", "sklearn": "pickled_model"}
"""Flavour -> where it says which file it is. In this order: the first that is there is taken."""
_PICKLES = {"pickle": "pickle", "cloudpickle": "pickle", "skops": "skops"}


def _mlflow(folder: Path, place: Path, example: Path | None) -> Handed:
    told = _mlmodel(folder)
    flavours = told.get("flavors") or {}
    inputs, outputs = (_columns(told, part) for part in ("inputs", "outputs"))
    pyfunc = flavours.get("python_function") or {}
    for flavour, key in _FILES.items():
        said = flavours.get(flavour)
        if said is None or (flavour == "sklearn" and pyfunc.get("code")):
            continue
        kind = _PICKLES.get(said.get("serialization_format", "pickle")) if flavour == "sklearn" else flavour
        if kind is None or (file := _inside(folder, said.get(key), f"flavors.{flavour}.{key}")) is None:
            continue
        shown = example or (_example(folder, told, inputs, place / "example.parquet") if inputs else None)
        return Handed(file=file, kind=kind, example=shown, notes=(f"the {flavour} flavour of an MLflow model",))
    if not pyfunc.get("loader_module"):
        raise ModelRefused(
            f"the MLmodel has the flavours {', '.join(flavours) or 'none'}, and none that can be run",
            mend="log it with python_function, or one of " + ", ".join(_FILES),
        )
    code = pyfunc.get("code")
    for named in (pyfunc.get("data"), *([code] if isinstance(code, str) else code or ())):
        _inside(folder, named, "flavors.python_function")
    note = {
        "loader": str(pyfunc["loader_module"]),
        "data": str(pyfunc.get("data") or ""),
        "code": [code] if isinstance(code, str) else list(code or ()),
        "columns": {name: _spec(name, kind) for name, kind in inputs} or None,
        "outputs": [_given(name, kind) for name, kind in outputs],
    }
    more = {TOLD: msgspec.json.encode(note)}
    return Handed(
        file=pack(folder, place / "model.zip", more),
        kind="mlflow",
        example=example,
        notes=("the python_function flavour of an MLflow model",),
    )


def _inside(folder: Path, named: object, where: str) -> Path | None:
    """The file that an MLmodel names; None where it is not there. Raises ModelRefused for one outside of the folder."""
    path = folder / str(named or "")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelRefused(f"`{where}` of the MLmodel leads out of its folder", mend="put the file itself there")
    return path if path.is_file() else None


def _mlmodel(folder: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        told = YAML(typ="safe", pure=True).load((folder / "MLmodel").read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ModelRefused(f"the MLmodel of {folder.name} is not YAML") from error
    if not isinstance(told, dict) or not isinstance(told.get("flavors", {}), dict):
        raise ModelRefused(f"the MLmodel of {folder.name} has no flavors")
    return told


def _columns(told: Mapping[str, Any], part: str) -> list[tuple[str | None, str]]:
    """(name, type) of each column of the signature; empty where there is none, or where it speaks of tensors."""
    text = (told.get("signature") or {}).get(part)
    try:
        said = json.loads(text) if isinstance(text, str) else []
    except ValueError as error:
        raise ModelRefused(f"the MLmodel's signature of {part} is not JSON") from error
    columns = [(one.get("name"), str(one.get("type"))) for one in said if isinstance(one, dict)]
    if any(kind == "tensor" for _, kind in columns):
        return []
    for name, kind in columns:
        if kind not in _COLUMNS:
            raise ModelRefused(
                f"the MLmodel's signature has {name or part} of type {kind}, which no feature row can give",
                mend=f"known types: {', '.join(_COLUMNS)}",
            )
    return columns


def _spec(name: str | None, kind: str) -> dict[str, Any]:
    if name is None:
        raise ModelRefused(
            "the MLmodel's signature has inputs without names", mend="log it with a DataFrame as example"
        )
    return {"dtype": _COLUMNS[kind][1], "missing": "none", "kinds": []}


def _given(name: str | None, kind: str) -> dict[str, Any]:
    return {"name": name, "column": name, "type": _COLUMNS[kind][0], "unit": ""}


def _example(
    folder: Path, told: Mapping[str, Any], inputs: Sequence[tuple[str | None, str]], into: Path
) -> Path | None:
    """The signature's columns with their types as a Parquet file, and the input example's rows where they fit."""
    import pyarrow as pa
    from pyarrow import parquet

    if any(name is None for name, _ in inputs):
        return None
    kinds = [(str(name), getattr(pa, _ARROW[kind])() if kind in _ARROW else _other(kind)) for name, kind in inputs]
    schema = pa.schema(kinds)
    rows = _example_rows(folder, told)
    try:
        table = pa.table({name: [row.get(name) for row in rows] for name, _ in kinds}, schema=schema)
    except (pa.ArrowException, TypeError, ValueError):
        table = schema.empty_table()
    parquet.write_table(table, into)
    return into


def _other(kind: str) -> Any:
    import pyarrow as pa

    return pa.timestamp("us") if kind == "datetime" else pa.string()


def _example_rows(folder: Path, told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a DataFrame that was logged as the example; none for every other kind of example."""
    about = told.get("saved_input_example_info") or {}
    file = _inside(folder, about.get("artifact_path"), "saved_input_example_info.artifact_path")
    if about.get("type") != "dataframe" or file is None:
        return []
    try:
        said = json.loads(file.read_text("utf-8"))
    except ValueError:
        return []
    if not isinstance(said, dict) or not {"columns", "data"} <= said.keys():
        return []
    return [dict(zip(said["columns"], row, strict=False)) for row in said["data"]]
