"""MLflow's scoring protocol: `/invocations`, in its four JSON forms and as CSV. Translates; decides nothing.

Source: MLflow's scoring server, as its documentation and clients have it. Errors are its `{error_code, message}`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope

from mainstay import __version__
from mainstay.core.counts import counted
from mainstay.core.errors import NotFound
from mainstay.core.nouns import ColumnType
from mainstay.http.body import read_body
from mainstay.http.oip import JSON, by_method, provenance
from mainstay.http.oip_body import read_json
from mainstay.http.problems import Told
from mainstay.serving import infer
from mainstay.serving.answer import NotReady
from mainstay.serving.desk import Desk
from mainstay.serving.reply import Refusal
from mainstay.serving.request import BadRequest, Together, came, whole
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Call

PATHS = ("/invocations", "/version")
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "BAD_REQUEST",
    408: "BAD_REQUEST",
    409: "RESOURCE_CONFLICT",
    410: "RESOURCE_DOES_NOT_EXIST",
    413: "INVALID_PARAMETER_VALUE",
    415: "INVALID_PARAMETER_VALUE",
    422: "INVALID_PARAMETER_VALUE",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "TEMPORARILY_UNAVAILABLE",
}
_encode = msgspec.json.Encoder().encode
_TRUE = {"true": True, "false": False}

Columns = dict[str, list[Any]]


class InvocationsDoor:
    """Answers `/invocations` and `/version`.

    Args:
        desk: What answers.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, call: Call) -> Told | Refusal:
        """The response, to be sent. Raises MainstayError, TooLarge, Gone and TimeoutError, as any door."""
        if scope["path"] == "/version":
            by_method(scope, "GET")
            return Told(200, _encode(__version__), (JSON,))
        if scope["path"] != "/invocations":
            raise NotFound("there is no such call", mend="see /docs")
        by_method(scope, "POST")
        named = dict(scope["headers"])
        snap = self._desk.view.now
        if snap is None or snap.plan is None:
            raise NotReady("no model version answers yet")
        raw = await read_body(scope["headers"], receive, self._desk.arrive_s)
        asked = read(raw, named.get(b"content-type", b"application/json"), snap)
        reply = await self._desk.answering.predict_together(snap, asked, call)
        if isinstance(reply, Refusal):
            return reply
        names = snap.outputs
        alone = len(names) == 1
        predictions = [one.output.get(names[0]) if alone else one.output for one in reply]
        told = infer.provenance(reply)
        return Told(200, _encode({"predictions": predictions, "mainstay": told}), (JSON, *provenance(told)))


def dressed(told: Told) -> Told:
    """A problem as this family's clients read it, its own fields beside theirs."""
    problem: dict[str, Any] = msgspec.json.decode(told.body)
    sentence = "; ".join(part for part in (problem.get("detail", ""), problem.get("mend", "")) if part)
    code = _CODES.get(told.status, "INTERNAL_ERROR")
    return Told(told.status, _encode({"error_code": code, "message": sentence, **problem}), (JSON, *told.headers))


def read(body: bytes, content_type: bytes, snap: Snapshot) -> Together:
    """The keys or rows of a body. Raises BadRequest."""
    kind, charset = _kind(content_type)
    if charset not in ("", "utf-8", "utf8"):
        raise BadRequest("the body's charset is not UTF-8", mend="send it as UTF-8", status=415)
    if kind == "text/csv":
        return infer.asked_columns(snap, _csv(body, snap))
    if kind != "application/json":
        raise BadRequest("the body's type is not known", mend="application/json or text/csv", status=415)
    raw = read_json(body)
    given = [name for name in FORMS if name in raw]
    if len(given) != 1:
        came_ = " and ".join(f"`{name}`" for name in given) or "none of them"
        raise BadRequest(f"wanted exactly one of {', '.join(f'`{one}`' for one in FORMS)}, found {came_}")
    unknown = [name for name in raw if name not in (*FORMS, "params")]
    if unknown:
        raise BadRequest(f"unknown field `{unknown[0][:60]}`", mend="`params` may stand beside the data")
    if raw.get("params"):
        raise BadRequest("`params` are not taken by this model", where="params")
    return infer.asked_columns(snap, _columns(given[0], raw[given[0]], snap))


def _columns(form: str, value: Any, snap: Snapshot) -> Columns:
    names = snap.plan.names if snap.plan else ()
    match form, value:
        case "dataframe_split", {"columns": [*columns], "data": [*rows]}:
            return _split([str(one) for one in columns], rows, f"{form}.data")
        case "dataframe_records", [*records]:
            return _records(records, form)
        case "instances" | "inputs", [dict(), *_]:
            return _records(value, form)
        case "instances" | "inputs", [list(), *_]:
            return _split(names, value, form)
        case "instances" | "inputs", [_, *_] if len(names) == 1:
            return {names[0]: list(value)}
        case "inputs", dict() if value and all(isinstance(one, list) for one in value.values()):
            return {name: [_alone(one) for one in values] for name, values in value.items()}
        case "inputs", dict() if value:
            return {name: [one] for name, one in value.items()}
    wanted = {
        "dataframe_split": "an object with `columns` and `data`",
        "dataframe_records": "a list of objects",
        "instances": "a list of objects or of rows",
        "inputs": "an object of columns, or a list of objects or of rows",
    }
    raise BadRequest(f"`{form}`: wanted {wanted[form]}, found {came(value)}", where=form)


def _records(records: Sequence[Any], where: str) -> Columns:
    """Objects as columns; a field that an object leaves out is null there."""
    columns: Columns = {}
    for place, record in enumerate(records):
        if not isinstance(record, dict):
            raise BadRequest(f"`{where}[{place}]`: wanted an object, found {came(record)}", where=f"{where}[{place}]")
        for name in record:
            if name not in columns:
                columns[name] = [None] * place
        for name, values in columns.items():
            values.append(_alone(record.get(name)))
    return columns


def _split(names: Sequence[str], rows: Sequence[Any], where: str) -> Columns:
    _each_once(names)
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            sentence = f"`{where}[{place}]`: wanted a list of {counted(len(names), 'value')}"
            raise BadRequest(sentence, where=f"{where}[{place}]", mend=f"in this order: {', '.join(names)}"[:300])
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _each_once(names: Sequence[str]) -> None:
    """Raises BadRequest for a column that came twice: which of them is meant, nobody can know."""
    twice, times = next(iter(Counter(names).most_common(1)), ("", 0))
    if times > 1:
        raise BadRequest(f"the column `{twice[:60]}` came twice", where=twice[:60], mend="send it once")


def _alone(value: Any) -> Any:
    """A value out of the list of one that some clients wrap it in."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _csv(body: bytes, snap: Snapshot) -> Columns:
    """Columns out of a CSV with a header; an empty field is null, every other is read by its column's type."""
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise BadRequest("the body is not CSV in UTF-8", mend="a header, then a line a row", status=400) from None
    if not lines:
        raise BadRequest("the body is empty", mend="send a header, then a line a row", status=400)
    names, rows = lines[0], [line for line in lines[1:] if line]
    _each_once(names)
    for place, row in enumerate(rows):
        if len(row) != len(names):
            raise BadRequest(f"line {place + 2} has {len(row)} fields, the header {len(names)}", status=400)
    kinds = infer.kinds(snap)
    return {
        name: [_cell(row[at], kinds.get(name, "string"), f"{name}, line {place + 2}") for place, row in enumerate(rows)]
        for at, name in enumerate(names)
    }


def _cell(text: str, kind: ColumnType, where: str) -> Any:
    if text == "":
        return None
    try:
        match kind:
            case "integer":
                return _whole(_digits(text))
            case "number":
                return float(_digits(text))
            case "boolean":
                return _TRUE[text.lower()]
            case "timestamp" if text.lstrip("-").isdigit():
                return int(text)
            case _:
                return text
    except (ValueError, KeyError):
        raise BadRequest(f"{where}: wanted {kind}", where=where) from None


def _digits(text: str) -> str:
    """Raises ValueError for what Python alone reads as a number: 1_000, or digits of another script."""
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return text


def _whole(text: str) -> int | float:
    """A DataFrame writes 12.0 where another row of the column is empty."""
    try:
        return int(text)
    except ValueError:
        return whole(float(text))  # type: ignore[no-any-return]


def _kind(content_type: bytes) -> tuple[str, str]:
    """Media type and charset of a Content-Type."""
    first, *more = content_type.decode("latin-1").lower().split(";")
    named: Mapping[str, str] = dict(one.strip().partition("=")[::2] for one in more)
    return first.strip() or "application/json", named.get("charset", "").strip('"')
