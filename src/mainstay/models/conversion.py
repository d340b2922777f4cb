"""Conversion to ONNX: an optimisation, taken only when it is proved to be the same model. Else the original serves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Signature
from mainstay.core.ports import Row
from mainstay.models.importing import Examined, ask, opened
from mainstay.models.parity import Parity, Splits, answers, compare, failing, probe
from mainstay.models.runtimes.onnx import OnnxRuntime
from mainstay.models.runtimes.python import PythonModel
from mainstay.models.side import side_folder

CONVERTIBLE = frozenset({"string", "integer", "number", "boolean"})


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    onnx: bytes | None
    """The proved graph; None: the original serves."""
    options: dict[str, Any]
    """Of the onnx runtime."""
    build: str
    signature: Signature
    """The original's, with the nulls that it refuses now marked as required."""
    parity: dict[str, Any]
    """For ModelVersion.parity, JSON."""
    reason: str
    """One sentence for people: what was proved, or why the original serves."""


def convert(
    file: Path,
    examined: Examined,
    rows: Sequence[Row],
    *,
    home: Path | None = None,
    clock: Clock | None = None,
) -> Conversion:
    """Tries to convert the original and compares both on `rows` (the current feature rows, in signature order).

    Raises what opening the original raises; a conversion that fails or differs is an outcome, not an error.
    """
    clock = clock or SystemClock()
    kept = Conversion(onnx=None, options={}, build="", signature=examined.signature, parity={}, reason="")
    if not rows:
        return _refused(kept, examined, "there are no current rows to prove a conversion on")
    options = dict(examined.options)
    side = side_folder(options["python"], ("pyarrow", "skl2onnx"), home) if home else None
    if side:
        options["side"] = str(side)
    with opened(file, examined.signature, options, clock) as original:
        required, closed = probe(original, examined.signature, rows, clock)
        signature = marked(examined.signature, required)
        kept = msgspec.structs.replace(kept, signature=signature)
        hindrance = _hindrance(examined, rows, original, clock)
        if hindrance:
            return _refused(kept, examined, hindrance)
        told = ask(original, {"op": "splits", "names": [field.name for field in signature.inputs]}, clock)[0]
        if told["unmapped"]:
            return _refused(kept, examined, "; ".join(told["unmapped"]))
        splits = {name: [(float(t), float(step)) for t, step in known] for name, known in told["splits"].items()}
        fixed = {"required": list(required), "closed": list(closed)}
        return _best(kept, examined, original, rows=rows, splits=splits, fixed=fixed, clock=clock)


def marked(signature: Signature, required: Sequence[str]) -> Signature:
    """The signature with `required` set on the inputs named."""
    inputs = tuple(
        msgspec.structs.replace(field, required=field.required or field.name in required) for field in signature.inputs
    )
    return Signature(inputs=inputs, outputs=signature.outputs)


def _hindrance(examined: Examined, rows: Sequence[Row], original: PythonModel, clock: Clock) -> str:
    """Why no conversion is even tried; empty when nothing stands against it."""
    strange = sorted({field.type for field in examined.signature.inputs} - CONVERTIBLE)
    if strange:
        return f"an input of type {strange[0]} has no tensor"
    if len({plan["method"] for plan in examined.options["outputs"]} - {"predict"}) > 1:
        return "predict_proba and decision_function do not come out of one graph"
    if None in answers(original, rows[:1], clock) and all(one is None for one in answers(original, rows, clock)):
        return "the original refuses every current row"
    return ""


def _best(
    kept: Conversion,
    examined: Examined,
    original: PythonModel,
    *,
    rows: Sequence[Row],
    splits: Splits,
    fixed: Mapping[str, Any],
    clock: Clock,
) -> Conversion:
    """The first way of converting that is proved equal; else the reason of the one that came closest."""
    failures: list[tuple[int, str, dict[str, Any]]] = []
    for graph, options in _ways(examined, original, clock):
        if graph is None:
            failures.append((len(rows) + 1, f"skl2onnx cannot convert it: {options['error']}", {}))
            continue
        full = {**options, **fixed}
        with tempfile.TemporaryDirectory(prefix="mainstay-parity-") as folder:
            place = Path(folder) / "model.onnx"
            place.write_bytes(graph)
            try:
                converted = OnnxRuntime(clock).load(place, kept.signature, full)
            except ModelRefused as error:
                failures.append((len(rows) + 1, error.sentence, {}))
                continue
            try:
                parity = compare(original, converted, kept.signature, rows, splits, clock=clock, closed=fixed["closed"])
            finally:
                converted.close()
        if parity.equal:
            return msgspec.structs.replace(
                kept,
                onnx=graph,
                options=full,
                build=converted.build,
                parity={"converted": True, **_stored(parity)},
                reason=proof(parity),
            )
        failures.append((parity.current.differ + parity.current.refusals, failing(parity), _stored(parity)))
    _, reason, measured = min(failures, key=lambda failure: failure[0])
    return _refused(kept, examined, reason, measured)


def _ways(examined: Examined, original: PythonModel, clock: Clock) -> Iterator[tuple[bytes | None, dict[str, Any]]]:
    """Graphs to try with the options for each: whole numbers as float32 or int64, nulls of texts as "" or "nan"."""
    inputs = examined.signature.inputs
    names = [field.name for field in inputs]
    given = examined.options["frame"]["container"]
    numbers = all(field.type in {"integer", "number"} for field in inputs)
    whole = any(field.type == "integer" for field in inputs) and given != "array"
    # A bare estimator takes one tensor only, so a frame of numbers is tried as a matrix too.
    containers = (given, "array") if numbers and given != "array" else (given,)
    for container, integers in product(containers, ("float", "int64") if whole else ("float",)):
        if container != given and integers != "float":
            continue
        header = {
            "op": "convert",
            "container": container,
            "columns": [(field.name, field.type) for field in inputs],
            "integers": integers,
            "raw": any(plan["method"] == "decision_function" for plan in examined.options["outputs"]),
        }
        try:
            told, graph = ask(original, header, clock)
        except ModelRefused as error:
            yield None, {"error": error.sentence.partition("\n")[0][:160]}
            continue
        feed = _feed(names, told["inputs"], container)
        outputs = [_tensor(plan, told["outputs"]) for plan in examined.options["outputs"]]
        nullable = any(field.type == "string" and not field.required for field in inputs)
        for null_string in ("", "nan") if nullable else ("",):
            yield graph, {"inputs": feed, "outputs": outputs, "null_string": null_string}


def _feed(names: Sequence[str], tensors: Sequence[str], container: str) -> list[dict[str, Any]]:
    """Which columns go into which input of the graph.

    skl2onnx keeps the order of inputs, and gives names such as `mean radius` a form that a graph may have.
    """
    if container == "array":
        return [{"name": tensors[0], "columns": list(names)}]
    same = tensors if len(tensors) == len(names) else names
    return [{"name": tensor, "columns": [name]} for tensor, name in zip(same, names, strict=True)]


def _tensor(plan: Mapping[str, Any], tensors: Sequence[str]) -> dict[str, Any]:
    """Where an output stands in what skl2onnx makes: the label or value first, then the scores of the classes."""
    if plan["method"] == "predict":
        return {"name": plan["name"], "tensor": tensors[0], "column": None}
    column = plan["index"] if plan["index"] is not None else 0
    return {"name": plan["name"], "tensor": tensors[-1], "column": column}


def _refused(kept: Conversion, examined: Examined, why: str, measured: Mapping[str, Any] | None = None) -> Conversion:
    reason = f"{examined.kind}: {why}; the original serves as it is"
    parity = {"converted": False, "reason": reason, **(measured or {})}
    return msgspec.structs.replace(kept, parity=parity, reason=reason)


def _stored(parity: Parity) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(parity)
    return {**built, "band_share": parity.band_share}


def proof(parity: Parity) -> str:
    """The numbers for it."""
    return (
        f"equal to {parity.current.largest:.1e} on {counted(parity.current.rows, 'row')} and to "
        f"{parity.around.largest:.1e} on {parity.around.rows:,} points around {counted(parity.splits, 'split')}; "
        f"within one float32 step of a split ({parity.band_share:.1%} of the rows) up to {parity.band.largest:.2g}"
    )
