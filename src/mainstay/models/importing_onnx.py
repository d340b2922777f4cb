"""The same for an ONNX graph, which says its inputs and outputs itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import ColumnType, Field, ImageInput, Signature
from mainstay.models.images import told
from mainstay.models.outputs import Output
from mainstay.models.runtimes.onnx import ELEMENTS, OnnxRuntime

_LISTED = 12
"""So many columns of an output are listed one by one; of more, somebody must know which they mean."""

_TYPES: dict[str, ColumnType] = {
    "string": "string",
    "float": "number",
    "double": "number",
    "int64": "integer",
    "int32": "integer",
    "bool": "boolean",
}


def examine_onnx(
    file: Path,
    asked: tuple[Output, ...],
    feature_columns: tuple[tuple[str, ColumnType], ...],
    images: Mapping[str, ImageInput] | None = None,
) -> dict[str, Any]:
    """`options`, `signature` and `build` of the graph in `file`. `images`: inputs of the request that are pictures."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        mend = "export it again, and load it with onnxruntime where it was exported; is it whole?"
        raise ModelRefused(f"onnxruntime cannot load {file.name}: {str(error)[:300]}", mend=mend) from error
    inputs, feed, pictures = _inputs(session, feature_columns, images or {})
    fields, plan = _outputs(session, asked)
    options: dict[str, Any] = {"inputs": feed, "outputs": plan}
    if pictures:
        options["images"] = told(pictures)
    signature = Signature(inputs=inputs, outputs=fields)
    model = OnnxRuntime().load(file, signature, options)
    try:
        return {"options": options, "signature": signature, "build": model.build}
    finally:
        model.close()


def _inputs(
    session: Any, feature_columns: tuple[tuple[str, ColumnType], ...], images: Mapping[str, ImageInput]
) -> tuple[tuple[Field, ...], list[dict[str, Any]], dict[str, ImageInput]]:
    """Each tensor is a column by its name; a single matrix takes the feature set's columns, if they are as many.

    A tensor of pictures takes the declared picture of its name, or the only one where there is one of each.
    """
    fields: list[Field] = []
    feed: list[dict[str, Any]] = []
    pictures: dict[str, ImageInput] = {}
    of_pictures = [node.name for node in session.get_inputs() if len(node.shape) == 4]
    for node in session.get_inputs():
        if node.name in of_pictures:
            name = next(iter(images)) if len(images) == len(of_pictures) == 1 else node.name
            if name not in images:
                raise ModelRefused(
                    f"the input {node.name} takes pictures {node.shape}, and the file does not say how to decode them",
                    mend=f"model: {{request_inputs: {{{name}: {{type: bytes, image: {{size: [WIDTH, HEIGHT]}}}}}}}}",
                )
            pictures[name] = images[name]
            fields.append(Field(name=name, type="bytes", required=True))
            feed.append({"name": node.name, "columns": [name], "type": ELEMENTS.get(node.type, "")})
            continue
        element = ELEMENTS.get(node.type)
        if element is None:
            raise ModelRefused(f"the input {node.name} is a {node.type}, which no feature row can give")
        kind = _TYPES[element]
        whole = element in {"int64", "int32", "bool"}
        wide = node.shape[1] if len(node.shape) == 2 else 1
        if wide == 1:
            names = [node.name]
        elif len(session.get_inputs()) == 1 and len(feature_columns) == wide:
            names = [name for name, _ in feature_columns]
        else:
            raise ModelRefused(
                f"the input {node.name} takes {counted(wide, 'column')} without names, and the feature set has "
                f"{len(feature_columns)}",
                mend="let the feature SQL select exactly those columns in the order of training",
            )
        fields.extend(Field(name=name, type=kind, required=whole) for name in names)
        feed.append({"name": node.name, "columns": names, "type": element})
    return tuple(fields), feed, pictures


def _choices(session: Any) -> list[str]:
    """What could be asked for, probabilities first: each column of a matrix of floats, else the tensor whole."""
    choices: list[tuple[bool, str]] = []
    for node in session.get_outputs():
        if node.type not in ELEMENTS:
            continue
        wide = node.shape[1] if len(node.shape) == 2 else 1
        likely = "prob" in node.name.lower() and node.type in ("tensor(float)", "tensor(double)")
        unit = "probability" if likely else "UNIT"
        parts = [f"[{column}]" for column in range(wide)] if isinstance(wide, int) and 1 < wide <= _LISTED else [""]
        choices.extend((not likely, f"NAME={node.name}{part}:{unit}") for part in parts)
    return [one for _, one in sorted(choices, key=lambda choice: choice[0])]


def _outputs(session: Any, asked: tuple[Output, ...]) -> tuple[tuple[Field, ...], list[dict[str, Any]]]:
    graph = {node.name: node for node in session.get_outputs()}
    listed = ", ".join(f"{node.name} {node.type} {node.shape}" for node in graph.values())
    if not asked:
        raise ModelRefused(
            f"the graph's outputs are: {listed}; which one is the answer, and in which unit?",
            mend="  ".join(f"--output {one}" for one in _choices(session)) or "--output NAME=TENSOR[COLUMN]:UNIT",
        )
    fields, plan = [], []
    for output in asked:
        node = graph.get(output.source)
        if node is None:
            raise ModelRefused(f"the graph has no output {output.source}", mend=f"it has: {listed}")
        if output.part is not None and not output.part.isdigit():
            raise ModelRefused(
                f"a tensor's column is a number, and came as {output.part}",
                mend=f"--output {output.name}={output.source}[1]",
            )
        element = ELEMENTS.get(node.type)
        if element is None:
            raise ModelRefused(
                f"the output {output.source} is a {node.type}, not a tensor of values",
                mend="convert it without ZipMap: options={'zipmap': False}",
            )
        fields.append(Field(name=output.name, type=_TYPES[element], unit=output.unit, meaning=str(output)))
        column = None if output.part is None else int(output.part)
        plan.append({"name": output.name, "tensor": output.source, "column": column})
    return tuple(fields), plan
