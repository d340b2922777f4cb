"""An inference request of the Open Inference Protocol as keys or rows, and answers as its tensors. No transport.

A request whose tensors are the key's columns (and request-time inputs, where the file allows some) is a prediction by
key. Every other request brings the model's inputs: a tensor for each, of shape [n] or [n, 1]; or one tensor of shape
[n, m] whose columns are the model's m inputs in the order of its signature. A NaN stands for null.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from mainstay.core.counts import counted
from mainstay.core.nouns import ColumnType, Field
from mainstay.core.verdicts import worst
from mainstay.serving.blobs import picture_texts
from mainstay.serving.reply import Answer
from mainstay.serving.request import KEYS_MOST, ROWS_MOST, BadRequest, Key, Scalar, Together, unknown_field
from mainstay.serving.tensors import Tensor, has_bytes
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

DATATYPES: dict[ColumnType, str] = {"integer": "INT64", "number": "FP64", "boolean": "BOOL", "timestamp": "INT64"}
"""The data type by which a column is announced and answered; every other is BYTES."""
KEY = "key"
"""What a key of one column may be called too."""
_DIGITS_MOST = 16
RESERVED = ("sequence_id", "sequence_start", "sequence_end", "shared_memory_region")
"""Parameters that ask for what is not done here; to pass over them would give another answer than was asked for."""


Output = Mapping[str, Any]
"""What is given for a row, by name."""


class InferRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks, whichever door it came through."""

    inputs: tuple[Tensor, ...]
    id: str = ""
    outputs: tuple[str, ...] = ()
    """The outputs asked for, in that order; empty: all."""
    timeout_us: int | None = None
    """How long the caller waits."""


class InferReply(msgspec.Struct, frozen=True, kw_only=True):
    """What it gets, before a door writes it."""

    model_name: str
    model_version: str
    id: str
    outputs: tuple[Tensor, ...]
    parameters: dict[str, str | float | bool]


class TensorInfo(msgspec.Struct, frozen=True):
    """A tensor as the metadata of a model names it; -1 is any number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)


def datatype(kind: ColumnType) -> str:
    """The data type of a column."""
    return DATATYPES.get(kind, "BYTES")


def announced(fields: Sequence[Field]) -> tuple[TensorInfo, ...]:
    """Fields as tensors."""
    return tuple(TensorInfo(field.name, datatype(field.type)) for field in fields)


def refuse_reserved(parameters: Mapping[str, Any], where: str) -> None:
    """Raises BadRequest for parameters that ask for what is not done here."""
    for name in RESERVED:
        if parameters.get(name):
            raise BadRequest(f"`{name}` is not supported", where=f"{where}.{name}", mend="send the request without it")


def timeout_us(parameters: Mapping[str, Any]) -> int | None:
    """`timeout` of a request, in microseconds as clients of Triton send it; 0 counts as none. Raises BadRequest."""
    found = parameters.get("timeout", 0)
    if isinstance(found, str) and found.isdigit() and len(found) < _DIGITS_MOST:
        found = int(found)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise BadRequest("`timeout`: wanted whole microseconds", where="parameters.timeout")
    return found or None


def hurried(call: Call, request: InferRequest) -> Call:
    """The call, whose caller waits no longer than the request says."""
    if request.timeout_us is None:
        return call
    ends_us = call.began_us + request.timeout_us
    return replace(call, deadline_us=ends_us if call.deadline_us is None else min(ends_us, call.deadline_us))


def laid_out(snap: Snapshot, request: InferRequest) -> Together:
    """The keys or rows of a request. Raises BadRequest."""
    if not request.inputs:
        raise BadRequest("`inputs` is empty", mend="send a tensor for each input, or the key alone", where="inputs")
    wanted = {field.name for field in snap.version.signature.outputs} if snap.version else set()
    for name, times in Counter(request.outputs).items():
        if name not in wanted:
            raise unknown_field(name, sorted(wanted), "outputs.")
        if times > 1:
            raise BadRequest(f"`outputs.{name}` came twice", mend="ask for it once", where=f"outputs.{name}")
    return asked_columns(snap, _columns(snap, request.inputs))


def asked_columns(snap: Snapshot, columns: Mapping[str, list[Any]]) -> Together:
    """The keys or rows of a request that came as columns: name -> a value for each row. Raises BadRequest."""
    count = len(next(iter(columns.values()), []))
    if not count:
        raise BadRequest("the request has no rows", mend="send at least one", where="inputs")
    for name, values in columns.items():
        if len(values) != count:
            sentence = f"`{name[:60]}` has {counted(len(values), 'row')}, the first column has {count:,}"
            raise BadRequest(sentence, where=name[:60])
    known, pictures = kinds(snap), snap.plan.images if snap.plan else {}
    columns = {name: picture_texts(values) if name in pictures else values for name, values in columns.items()}
    plain = {name: [_in(one, name, known.get(name)) for one in values] for name, values in columns.items()}
    return _by_key(snap, plain) or Together(rows=_bounded(_rows(plain), ROWS_MOST), where="row")


def kinds(snap: Snapshot) -> dict[str, ColumnType]:
    """The type of every column that a request may bring."""
    found: dict[str, ColumnType] = {field.name: field.type for field in snap.key_columns}
    if snap.plan is not None:
        found |= {name: field.type for name, field in snap.plan.fields.items()}
    return found


def refuse_no_text(snap: Snapshot, request: InferRequest, wants_bytes: Callable[[str], bool], output: Output) -> None:
    """For doors that answer in JSON too. Raises BadRequest where bytes are asked for as text and are none."""
    for field in snap.version.signature.outputs if snap.version else ():
        asked = not request.outputs or field.name in request.outputs
        if not asked or field.type != "bytes" or wants_bytes(field.name):
            continue
        try:
            base64.b64decode(output.get(field.name) or "").decode()
        except ValueError:
            mend = "ask for it as bytes: `binary_data: true`"
            raise BadRequest(f"the output `{field.name}` is no text", mend=mend, where="outputs") from None


def refuse_null(snap: Snapshot, request: InferRequest, output: Output) -> None:
    """For doors that answer in bytes alone. Raises BadRequest where an output asked for is null and has no bytes."""
    for field in snap.version.signature.outputs if snap.version else ():
        kind = datatype(field.type)
        asked = not request.outputs or field.name in request.outputs
        if asked and not has_bytes(output.get(field.name), kind):
            raise BadRequest(
                f"the output `{field.name}` is null, which {kind} has no bytes for",
                mend="ask for the other outputs alone, or over HTTP, where it is null in JSON",
                where="outputs",
            )


def replied(snap: Snapshot, request: InferRequest, answers: Sequence[Answer]) -> InferReply:
    """Answers as tensors, with where they come from."""
    fields = {field.name: field for field in snap.version.signature.outputs} if snap.version else {}
    names = request.outputs or tuple(fields)
    outputs = []
    for name in names:
        field = fields[name]
        data = [_out(answer.output.get(name), field) for answer in answers]
        outputs.append(Tensor(name, datatype(field.type), (len(data),), data))
    return InferReply(
        model_name=snap.integration.name,
        model_version=str(answers[0].model_version),
        id=request.id,
        outputs=tuple(outputs),
        parameters=provenance(answers),
    )


def provenance(answers: Sequence[Answer]) -> dict[str, str | float | bool]:
    """Where answers come from, as one: the oldest data, the worst verdict, every receipt (in order, by commas).

    Parameters are plain values, so what /v1 says in lists is a text with commas here.
    """
    ages = [one.age_seconds for one in answers if one.age_seconds is not None]
    as_ofs = [one.as_of for one in answers if one.as_of is not None]
    first = next((one for one in answers if one.degraded), answers[0])
    told: dict[str, str | float | bool] = {
        "receipt": ",".join(one.receipt or "" for one in answers),
        "version": str(answers[0].model_version),
        "verdict": worst(one.verdict for one in answers).value,
        "degraded": any(one.degraded for one in answers),
    }
    if ages:
        told["age_seconds"] = max(ages)
        told["as_of"] = min(as_ofs)
    if first.reason:
        told["reason"] = first.reason
    if first.sentence:
        told["sentence"] = first.sentence
    return told | _stood_in(answers)


def _stood_in(answers: Sequence[Answer]) -> dict[str, str]:
    """Where a value stands that nobody sent, over all answers: inputs in `imputed`, `dataset.column` in `filled`."""
    imputed = [name for one in answers if one.imputed is not msgspec.UNSET for name in one.imputed]
    behind = [one.filled.items() for one in answers if one.filled is not msgspec.UNSET]
    filled = [f"{dataset}.{name}" for items in behind for dataset, names in items for name in names]
    found = {"imputed": imputed, "filled": filled}
    return {what: ",".join(dict.fromkeys(names)) for what, names in found.items() if names}


def _columns(snap: Snapshot, tensors: Sequence[Tensor]) -> dict[str, list[Any]]:
    """Tensors as columns: name -> a value for each row."""
    names = snap.plan.names if snap.plan else ()
    known = set(names) | {field.name for field in snap.key_columns} | {KEY}
    if snap.plan is not None:
        known |= set(snap.plan.fields)
    alone = tensors[0] if len(tensors) == 1 else None
    if alone is not None and (alone.name not in known or (len(alone.shape) == 2 and alone.shape[1] > 1)):
        return _matrix(alone, names)
    columns: dict[str, list[Any]] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise BadRequest(f"`inputs.{tensor.name}` came twice", where=f"inputs.{tensor.name}")
        if len(tensor.shape) > 1 and math.prod(tensor.shape[1:]) != 1:
            raise BadRequest(
                f"`inputs.{tensor.name}`: wanted the shape [n] or [n, 1]", where=f"inputs.{tensor.name}.shape"
            )
        columns[tensor.name] = list(tensor.data)
    return columns


def _matrix(tensor: Tensor, names: Sequence[str]) -> dict[str, list[Any]]:
    """One tensor for all inputs: [n, m], or [n] where the model has one input."""
    width = len(names)
    found = math.prod(tensor.shape[1:]) if len(tensor.shape) > 1 else 1
    if found != width or not width:
        told = ", ".join(f"`{name}`" for name in names[:20])
        raise BadRequest(
            f"`inputs.{tensor.name[:60]}` is no input of this model, and its rows have "
            f"{counted(found, 'value')}, not {width}",
            mend=f"send a tensor for each of {told}; or one of shape [n, {width}] in this order",
            where=f"inputs.{tensor.name[:60]}",
        )
    return {name: list(tensor.data[place::width]) for place, name in enumerate(names)}


def _by_key(snap: Snapshot, columns: Mapping[str, list[Any]]) -> Together | None:
    """The request as one by key; None where its columns are others."""
    keys = [field.name for field in snap.key_columns] or [KEY]
    named = columns
    if len(keys) == 1 and KEY in columns and keys[0] not in columns:
        named = {(keys[0] if name == KEY else name): values for name, values in columns.items()}
    sent = snap.plan.request if snap.plan else {}
    if any(name not in named for name in keys) or any(name not in keys and name not in sent for name in named):
        _refuse_half(snap, keys, named)
        return None
    rows = _rows(named)
    inputs = [{name: value for name, value in row.items() if name not in keys} for row in rows]
    found: list[Key] = []
    truths = {field.name for field in snap.key_columns if field.type == "boolean"}
    for place, row in enumerate(rows):
        for name in keys:
            if row[name] is None or (isinstance(row[name], float | bool) and name not in truths):
                raise BadRequest(f"`{name}[{place}]`: wanted a text or a whole number", where=f"inputs.{name}")
        found.append(row[keys[0]] if len(keys) == 1 else {name: row[name] for name in keys})  # type: ignore[arg-type]
    return Together(keys=_bounded(found, KEYS_MOST), sent=inputs if len(named) > len(keys) else [], where="row")


def _refuse_half(snap: Snapshot, keys: Sequence[str], named: Mapping[str, Any]) -> None:
    """Raises BadRequest for columns that are meant as a key, which no row has, where they are no whole key alone."""
    known = snap.plan.fields if snap.plan else {}
    if not any(name in named and name not in known for name in (*keys, KEY)):
        return
    told = " and ".join(f"`{name}`" for name in keys)
    missing = next((name for name in keys if name not in named), None)
    if missing is not None:
        raise BadRequest(f"`inputs.{missing}` is missing: the key is {told}", where=f"inputs.{missing}")
    sent = snap.plan.request if snap.plan else {}
    other = next(name for name in named if name not in keys and name not in sent)
    if other not in known:
        raise unknown_field(other, sent, "inputs.")
    mend = f"send {told} alone, or every input without it"
    raise BadRequest(f"`inputs.{other}` is read here where a request is by key", where=f"inputs.{other}", mend=mend)


def _bounded(rows: list[Any], most: int) -> list[Any]:
    if len(rows) > most:
        mend = f"send them in requests of at most {most}"
        raise BadRequest(f"{len(rows)} rows came, wanted at most {most}", mend=mend, where="inputs")
    return rows


def _rows(columns: Mapping[str, list[Any]]) -> list[dict[str, Scalar]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _in(value: Any, name: str, kind: ColumnType | None) -> Scalar:
    """A tensor's element as a request has it."""
    if isinstance(value, bytes):
        if kind == "bytes":
            return base64.b64encode(value).decode()
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"`inputs.{name}`: the bytes are not UTF-8", where=f"inputs.{name}") from None
    if isinstance(value, float) and math.isnan(value):
        return None
    # A tensor has one data type for all of its columns; what a column is, the contract knows.
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "boolean" and value in (0, 1):
        return bool(value)
    scalar: Scalar = value
    return scalar


def _out(value: Any, field: Field) -> Any:
    """An output's value as its tensor's element."""
    if value is None or datatype(field.type) != "BYTES":
        return value
    if field.type == "bytes" and isinstance(value, str):
        return base64.b64decode(value)
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)
