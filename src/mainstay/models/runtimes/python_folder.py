# Runs in interpreters older than ours, and starts fast: plain os calls, libraries by full name.
# ruff: noqa: PTH118, PTH123, TRY004
"""A folder as an artifact: a class of the lab's own, or an MLflow model. Loaded by python_host.py only.

The artifact is a zip of the folder. It is unpacked where the host may write, and its modules are found there first.
Runs in the lab's interpreter and imports nothing of Mainstay.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import stat
import sys
import zipfile
from typing import Any

TOLD = "mainstay.json"
"""What the import read from an MLmodel, so that nobody has to read YAML here."""
DTYPES = {
    "string": "object",
    "integer": "int64",
    "number": "float64",
    "boolean": "bool",
    "timestamp": "datetime64[us]",
}


def opened(data: bytes, folder: str, kind: str) -> Any:
    """The model in the zip. Raises ValueError with a sentence for what is not as it must be."""
    place = os.path.join(folder, "artifact")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        for one in packed.infolist():
            parts = one.filename.split("/")
            if one.filename.startswith("/") or ".." in parts or stat.S_ISLNK(one.external_attr >> 16):
                raise ValueError("the artifact has a link in it, or a path that leads out")
        packed.extractall(place)
    return mlflow_model(place) if kind == "mlflow" else own_class(place)


class Opened:
    """Something with `predict`, and what it says of itself."""

    def __init__(self, model: Any, label: str, columns: dict[str, Any] | None, given: list[dict[str, Any]]) -> None:
        self.model = model
        self.label = label
        self.columns = columns
        self.given = given

    def predict(self, frame: Any) -> Any:
        return self.model.predict(frame)

    def mainstay_describe(self) -> dict[str, Any]:
        """In the words of python_lab.describe; `given` are its outputs, None where it does not say them."""
        return {
            "names": None if self.columns is None else list(self.columns),
            "width": None if self.columns is None else len(self.columns),
            "container": "dataframe",
            "classes": None,
            "methods": ["predict"],
            "kind": self.label,
            "label": self.label,
            "columns": self.columns or {},
            "categories": {},
            "native": [],
            "given": self.given,
        }


# --- a class of the lab's own ------------------------------------------------------------------------------------


def own_class(place: str) -> Opened:
    """`class Model` of model.py, made and loaded."""
    sys.path.insert(0, place)
    spec = importlib.util.spec_from_file_location("model", os.path.join(place, "model.py"))
    if spec is None or spec.loader is None:
        raise ValueError("model.py cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["model"] = module
    spec.loader.exec_module(module)
    kind = getattr(module, "Model", None)
    if kind is None:
        raise ValueError("model.py has no `class Model`")
    made = kind()
    if not callable(getattr(made, "predict", None)):
        raise ValueError("`class Model` has no `predict(self, frame)`")
    if hasattr(made, "load"):
        made.load(place)
    inputs = getattr(made, "inputs", None)
    columns = None if inputs is None else {name: column_of(name, said) for name, said in dict(inputs).items()}
    given = [output_of(name, said) for name, said in dict(getattr(made, "outputs", None) or {}).items()]
    return Opened(made, "Model of model.py", columns, given)


def column_of(name: str, said: Any) -> dict[str, Any]:
    """How the frame's column is built: `"number"`, or a list of the categories of a text."""
    if isinstance(said, (list, tuple)):
        return {"dtype": "category", "categories": [str(one) for one in said], "ordered": False}
    if said not in DTYPES:
        raise ValueError(f"the input {name} is declared as {said!r}; known types: {', '.join(DTYPES)}")
    return {"dtype": DTYPES[said], "missing": "none", "kinds": []}


def output_of(name: str, said: Any) -> dict[str, Any]:
    """`"number"`, or `{"type": "number", "unit": "probability", ...}`."""
    told = dict(said) if isinstance(said, dict) else {"type": said}
    if told.get("type") not in ("string", "integer", "number", "boolean"):
        raise ValueError(f"the output {name} is declared as {said!r}; known types: string, integer, number, boolean")
    return {"name": name, "column": name, "unit": "", **told}


# --- MLflow ------------------------------------------------------------------------------------------------------


def mlflow_model(place: str) -> Opened:
    """By MLflow itself where the lab has it; else by the loader that the MLmodel names, which may need none of it."""
    with open(os.path.join(place, TOLD)) as file:
        told = json.load(file)
    if importlib.util.find_spec("mlflow") is not None:
        model = importlib.import_module("mlflow.pyfunc").load_model(place)
    elif told["loader"].partition(".")[0] == "mlflow":
        raise ValueError("this model needs MLflow, and this interpreter does not have it: python -m pip install mlflow")
    else:
        for code in told["code"]:
            sys.path.insert(0, os.path.join(place, code))
        loader = importlib.import_module(told["loader"])
        model = loader._load_pyfunc(os.path.join(place, told["data"]) if told["data"] else place)  # noqa: SLF001
    return Opened(model, "MLflow " + told["loader"], told["columns"], told["outputs"])
