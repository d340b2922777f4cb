# Runs in interpreters older than ours.
# ruff: noqa: B905
"""A program of `torch.export` (.pt2), opened by the lab's PyTorch. Loaded by python_host.py only.

`torch.export.load` is no safe reader by itself: it unpickles example inputs and whatever payload the archive marks so,
takes any function of `torch` by name (`torch.os.system` is one), and evaluates texts of guards and of symbolic sizes.
So the archive is judged here and written anew first. What reaches PyTorch is JSON with operators of its own operator
sets, and plain bytes of weights: no pickle, no compiled code, no guards, no example inputs.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

TYPES = {7: "number", 8: "number", 5: "integer", 4: "integer", 12: "boolean"}
"""PyTorch's number of a data type -> ours: float32, float64, int64, int32, bool."""
DTYPES = {"number": "float64", "integer": "int64", "boolean": "bool"}
OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims)\.\w+\.\w+|torch\.sym_\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
)
UNSAFE = ("from_file",)
"""Operators that look beyond their inputs."""
WORD = re.compile(r"[A-Za-z_]\w*")
SYMBOL = re.compile(r"[su]\d+|Symbol|Integer|Max|Min|Mod|FloorDiv|PythonMod|positive|nonnegative|integer|True|False")
TEXT = re.compile(r"[\w\s'(),=+*/-]*")
PLAIN = re.compile(
    r"data/(weights|constants)/(weight|tensor)_\d+|\.?data/(version|serialization_id)"
    r"|archive_(format|version)|byteorder"
)


def opened(data: bytes) -> Any:
    """The program, judged and made ready. Raises ValueError with a sentence for what is not taken."""
    told, safe = judged(data)
    import torch

    torch.set_num_threads(1)
    return Program(torch.export.load(io.BytesIO(safe)).module(check_guards=False), told)


def judged(data: bytes) -> tuple[dict[str, Any], bytes]:
    """What the program says of itself, and the archive that may be loaded."""
    into = io.BytesIO()
    told: dict[str, Any] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(into, "w", zipfile.ZIP_STORED) as made:
        for name in given.namelist():
            root, _, path = name.partition("/")
            if path == "models/model.json":
                told = json.loads(given.read(name))
                made.writestr(name, json.dumps(program(told)))
            elif path == "data/sample_inputs/model.pt":
                made.writestr(name, b"")  # a pickle, and nobody needs it
            elif path in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
                content = given.read(name)
                payloads(json.loads(content))
                made.writestr(name, content)
            elif PLAIN.fullmatch(path) and root:
                made.writestr(name, given.read(name))
            else:
                raise ValueError(
                    f"the archive holds {path[:80]!r}, which is neither weights nor a program: export it anew"
                )
    if not told:
        raise ValueError("the archive holds no program: write it with torch.export.save")
    return told, into.getvalue()


def payloads(config: dict[str, Any]) -> None:
    """Weights are bytes, never pickles."""
    for name, one in config["config"].items():
        if one.get("use_pickle") or not re.fullmatch(r"(weight|tensor)_\d+", one["path_name"]):
            raise ValueError(f"{name} is pickled, and a pickle may be any program: export it with plain tensors")


def program(told: dict[str, Any]) -> dict[str, Any]:
    """The same without guards and remarks; every operator and every size in it is looked at."""
    graph = {**told["graph_module"], "metadata": {}}
    for step in steps(graph):
        if "target" in step:
            target = str(step["target"])
            if not OPERATORS.fullmatch(target) or any(word in target for word in UNSAFE):
                raise ValueError(f"the program calls {target[:80]}, which is no operator of a model")
            step["metadata"] = {}
        text = step.get("expr_str")
        if text is not None and not (TEXT.fullmatch(text) and all(map(SYMBOL.fullmatch, WORD.findall(text)))):
            raise ValueError("the program has a size that is no arithmetic")
    return {**told, "graph_module": graph, "guards_code": []}


def steps(value: Any) -> Any:
    """Every mapping in the JSON, however deep."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            yield one
            rest.extend(one.values())
        elif isinstance(one, list):
            rest.extend(one)


class Program:
    """A program over columns: what it takes and gives, and `predict`."""

    def __init__(self, module: Any, told: dict[str, Any]) -> None:
        self.module = module
        graph = told["graph_module"]
        values, signature = graph["graph"]["tensor_values"], graph["signature"]
        taken = [one["user_input"]["arg"] for one in signature["input_specs"] if "user_input" in one]
        given = [one["user_output"]["arg"] for one in signature["output_specs"] if "user_output" in one]
        if not all("as_tensor" in one for one in (*taken, *given)):
            raise ValueError("the program takes or gives something that is no tensor")
        self.inputs = [tensor(one["as_tensor"]["name"], values) for one in taken]
        self.outputs = [tensor(one["as_tensor"]["name"], values) for one in given]
        wide = [one for one in self.inputs if one["width"] != 1]
        self.matrix = len(self.inputs) == 1 and bool(wide)
        if wide and not self.matrix:
            raise ValueError("an input has several columns: give each column an input, or all of them one")

    def mainstay_describe(self) -> dict[str, Any]:
        """In the words of python_lab.describe."""
        columns = {one["name"]: {"dtype": DTYPES[one["type"]], "kinds": []} for one in self.inputs}
        return {
            "names": None if self.matrix else list(columns),
            "width": self.inputs[0]["width"] if self.matrix else len(columns),
            "container": "array" if self.matrix else "columns",
            "classes": None,
            "methods": ["predict"],
            "kind": "torch.export",
            "label": "torch.export program",
            "columns": {} if self.matrix else columns,
            "categories": {},
            "native": [],
            "given": [
                {"name": part, "column": part, "type": one["type"], "unit": ""}
                for one in self.outputs
                for part in parts(one)
            ],
        }

    def predict(self, given: Any) -> dict[str, Any]:
        """Columns, or one matrix, to columns."""
        import torch

        arrays = [given] if self.matrix else [given[one["name"]] for one in self.inputs]
        tensors = []
        for one, array in zip(self.inputs, arrays):
            made = torch.tensor(array.tolist(), dtype=getattr(torch, one["dtype"]))
            tensors.append(made if self.matrix or one["flat"] else made.reshape(-1, 1))
        with torch.inference_mode():
            results = self.module(*tensors)
        found = {}
        for one, result in zip(self.outputs, results if isinstance(results, (tuple, list)) else [results]):
            rows = result.reshape(len(arrays[0]), -1).numpy()
            found.update({part: rows[:, place] for place, part in enumerate(parts(one))})
        return found


def tensor(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """One input or output: `[rows]` or `[rows, width]`."""
    said = values[name]
    sizes = said["sizes"]
    if said["dtype"] not in TYPES or len(sizes) not in (1, 2) or "as_expr" not in sizes[0]:
        mend = 'export it with torch.export.Dim for its first dimension, "rows"'
        raise ValueError(f"{name} must be numbers or truths of the shape [rows] or [rows, width]: {mend}")
    if len(sizes) == 2 and "as_int" not in sizes[1]:
        raise ValueError(f"{name} has no fixed width")
    dtype = {7: "float32", 8: "float64", 5: "int64", 4: "int32", 12: "bool"}[said["dtype"]]
    width = sizes[1]["as_int"] if len(sizes) == 2 else 1
    return {"name": name, "type": TYPES[said["dtype"]], "dtype": dtype, "flat": len(sizes) == 1, "width": width}


def parts(one: dict[str, Any]) -> list[str]:
    """The columns of an output by name: its own, or `softmax.0`, `softmax.1`."""
    return [one["name"]] if one["width"] == 1 else ["{}.{}".format(one["name"], place) for place in range(one["width"])]
